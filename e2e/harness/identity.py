"""The three ways in which a client becomes known to the server."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from e2e.harness.installation import Installation
from e2e.harness.metadata_document import Authority, metadata_document

WAYS = ("registers itself", "names its document", "was registered before")
REDIRECT_URI = "http://127.0.0.1/callback"  # without the port that a client then uses, as RFC 8252 §7.3 has it


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client that has never met the server starts with: nothing, its document's URL, or an identifier."""

    metadata_url: str | None = None
    client_id: str | None = None


@contextlib.contextmanager
def identity_by(way: str, *, installation: Installation, authority: Authority) -> Iterator[Identity]:
    """Prepare one of the three ways for a public client that is called back on loopback at ``/callback``."""
    if way == "names its document":
        with metadata_document(authority, redirect_uris=[REDIRECT_URI], name="A client with a document") as url:
            yield Identity(metadata_url=url)
    elif way == "was registered before":
        yield Identity(client_id=installation.create_public_client(REDIRECT_URI))
    else:
        yield Identity()
