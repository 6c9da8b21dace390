"""What clients may register for on this server."""

from dataclasses import dataclass

from authserver.protocol.client_metadata import NONE

SERVED_AUTH_METHODS = frozenset({NONE, "client_secret_basic", "client_secret_post"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMetadata:
    """What is served now.

    Attributes:
        grant_types: The grants that are switched on.
        auth_methods: The client authentication methods.
    """

    grant_types: frozenset[str]
    auth_methods: frozenset[str] = SERVED_AUTH_METHODS
