"""Clients that prove themselves by a signature: ``private_key_jwt`` (RFC 7523 §2.2; public API, 3.1)."""

from urllib.parse import urlsplit

from authserver.clients.client_keys import ClientKeys
from authserver.clients.records import Client
from authserver.clients.spent_assertions import spend_assertion
from authserver.protocol.client_assertions import InvalidAssertion, UnverifiedAssertion, read_client_assertion
from authserver.storage.database import Database, Writer
from authserver.telemetry.notes import note


class ClientAssertions:
    """Reads, verifies and spends assertions, which is the order in which they are to be called.

    Args:
        db: Where spent assertions are remembered.
        keys: Finds the clients' keys.
        issuer: As configured; it and its token endpoint are what assertions are addressed to, at every endpoint.
    """

    def __init__(self, db: Database, keys: ClientKeys, *, issuer: str) -> None:
        self._db = db
        self._keys = keys
        self._spellings = frozenset({issuer, f"{issuer}/oauth/token"})
        # An URL object, as clients keep an issuer in, spells an empty path as a slash (RFC 3986 §6.2.3; decision 0019).
        self._audiences = self._spellings if urlsplit(issuer).path else self._spellings | {f"{issuer}/"}

    def read(self, assertion: str, *, client_id: str, now: int) -> UnverifiedAssertion:
        """Check what needs neither the client nor its keys.

        Args:
            assertion: As sent.
            client_id: The client that the request names beside it; empty when it names none.
            now: Seconds since the epoch.

        Raises:
            InvalidAssertion: It does not hold, or is another client's.
        """
        note("client assertion read", registered=self._spellings)
        unverified = read_client_assertion(assertion, audiences=self._audiences, now=now)
        if client_id and client_id != unverified.client_id:
            raise InvalidAssertion("assertion_subject")
        return unverified

    async def verify(self, assertion: UnverifiedAssertion, client: Client, *, now: int) -> None:
        """Check that the client signed it.

        Raises:
            InvalidAssertion: None of its keys did, or they cannot be had.
        """
        if not assertion.is_signed_by(await self._keys.find(client, assertion, now=now)):
            raise InvalidAssertion("assertion_signature")

    async def spend(self, assertion: UnverifiedAssertion, *, now: int) -> None:
        """Spend it. Of any number of callers at once, in any number of processes, one returns.

        Raises:
            InvalidAssertion: It was spent before.
            StorageUnavailable: Whether it was spent cannot be told.
        """

        async def spend(tx: Writer) -> bool:
            issuer = f"client:{assertion.client_id}"
            return await spend_assertion(tx, issuer, assertion.jti, expires_at=assertion.expires_at, now=now)

        if not await self._db.write(spend):
            raise InvalidAssertion("assertion_replayed")
