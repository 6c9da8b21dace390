"""``authserver admin``: the nouns."""

from authserver.cli.groups import LazyGroup

_NOUNS = (
    "client",
    "user",
    "resource",
    "fronting",
    "grant",
    "issuance",
    "key",
    "dcr",
    "trace",
    "idp",
    "xaa",
    "audit",
    "operator",
)

command = LazyGroup(
    name="admin",
    help="Work on the database and the signing keys directly, with the server running or not.",
    modules={noun: f"authserver.cli.admin.{noun}" for noun in _NOUNS},
)
