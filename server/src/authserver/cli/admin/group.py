"""``authserver admin``: the nouns."""

from typing import Any

import click

from authserver.cli.groups import LazyGroup
from authserver.cli.server_options import SERVER_OPTIONS, offer_server

_NOUNS = (
    "client",
    "user",
    "resource",
    "provider",
    "fronting",
    "grant",
    "issuance",
    "token",
    "key",
    "dcr",
    "trace",
    "idp",
    "xaa",
    "audit",
    "operator",
)


class _AdminGroup(LazyGroup):
    """The nouns: their commands take ``--server``."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.params += SERVER_OPTIONS

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a noun."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            offer_server(command)
        return command


command = _AdminGroup(
    name="admin",
    help="Administer: on the database and the signing keys directly, or with --server through an admin listener.",
    modules={noun: f"authserver.cli.admin.{noun}" for noun in _NOUNS},
)
