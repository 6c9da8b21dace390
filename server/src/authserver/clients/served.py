"""What clients may register for on this server."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from authserver.protocol.client_metadata import NONE, PRIVATE_KEY_JWT, ClientMetadata
from authserver.protocol.errors import InvalidClientMetadata

SERVED_AUTH_METHODS = frozenset({NONE, "client_secret_basic", "client_secret_post", PRIVATE_KEY_JWT})


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedMetadata:
    """What is served now.

    Attributes:
        grant_types: The grants that are switched on.
        binds_tokens: Whether proofs of possession are served.
        enabling_variables: Of grants that can be switched off, the variable that switches each on.
        auth_methods: The client authentication methods.
    """

    grant_types: frozenset[str]
    binds_tokens: bool = False
    enabling_variables: Mapping[str, str] = field(default_factory=dict)
    auth_methods: frozenset[str] = SERVED_AUTH_METHODS

    def check(self, metadata: ClientMetadata) -> None:
        """Check that nothing is stated that this server would then not do.

        Raises:
            InvalidClientMetadata: The client asks to be bound to keys, and proofs of possession are not served.
        """
        if metadata.dpop_bound_access_tokens and not self.binds_tokens:
            raise InvalidClientMetadata("client validation failed: dpop_bound_access_tokens is not supported here")
