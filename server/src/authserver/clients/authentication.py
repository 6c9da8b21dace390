"""How a client proves itself at the token, revocation and introspection endpoints (public API, 3)."""

import binascii
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple
from urllib.parse import unquote_plus

from authserver.clients.assertions import ClientAssertions
from authserver.clients.limits import ClientRates
from authserver.clients.records import Client
from authserver.clients.secrets import ClientSecrets
from authserver.clients.store import find_client, update_secret_hash
from authserver.protocol.client_assertions import ASSERTION_TYPE, InvalidAssertion
from authserver.protocol.errors import CLIENT_NOT_ACTIVE, InvalidClient
from authserver.storage.database import Database, StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.telemetry.notes import identified, note
from authserver.telemetry.origin import current_origin
from authserver.telemetry.spans import annotate

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")

_log = get_logger("clients")

FindClient = Callable[[str], Awaitable[Client | None]]
"""Looks a client up by its id, as ``find_client``."""


class ClientCredentials(NamedTuple):
    """What a request says about who sends it; nothing of it is proved.

    Attributes:
        client_id: Empty when the assertion alone names the client.
        client_secret: None when none was sent.
        assertion: None when none was sent; never beside a secret.
    """

    client_id: str
    client_secret: str | None = None
    assertion: str | None = None


def parse_client_credentials(
    authorization: str | None,
    client_id: str | None,
    client_secret: str | None,
    *,
    assertion_type: str | None = None,
    assertion: str | None = None,
) -> ClientCredentials:
    """Read who a request says it is from.

    A Basic header that decodes wins; what the body repeats must then be equal. One that is not base64 or has no colon
    is ignored.

    Args:
        authorization: The ``Authorization`` header.
        client_id: The parameter of the body; empty counts as absent, here and below.
        client_secret: The parameter of the body.
        assertion_type: The parameter ``client_assertion_type``.
        assertion: The parameter ``client_assertion``.

    Raises:
        InvalidClient: No client is named, the header is malformed inside, header and body disagree, or there is an
            assertion that is not one of the type that is known, or not alone.
    """
    basic = _decode_basic(authorization) if authorization else None
    if assertion or assertion_type:
        if basic is not None or client_secret:
            raise InvalidClient(reason="assertion_beside_secret", audited=False)
        if not assertion or assertion_type != ASSERTION_TYPE:
            raise InvalidClient(reason="assertion_unsupported", audited=False)
        return ClientCredentials(client_id=client_id or "", assertion=assertion)
    if basic is None:
        if not client_id:
            raise InvalidClient(reason="client_not_found", audited=False)
        return ClientCredentials(client_id=client_id, client_secret=client_secret or None)
    if (client_id and client_id != basic.client_id) or (client_secret and client_secret != basic.client_secret):
        note("client credentials compared", client_id=client_id or "", expected=basic.client_id)
        raise InvalidClient(reason="credentials_disagree", audited=False)
    return basic


class ClientAuthenticator:
    """Finds the client of a request and checks its proof."""

    def __init__(
        self, db: Database, secrets: ClientSecrets, assertions: ClientAssertions, rates: ClientRates | None = None
    ) -> None:
        self._db = db
        self._secrets = secrets
        self._assertions = assertions
        self._rates = rates

    async def authenticate(
        self,
        credentials: ClientCredentials,
        *,
        require_confidential: bool = False,
        find: FindClient | None = None,
        now: int,
    ) -> Client:
        """Return the client that proved itself, or that is public in this request and says so.

        Args:
            credentials: What the request says.
            require_confidential: Whether a public client is refused.
            find: Looks the client up, for who reads something else with it; asked anew when a check took long, and not
                when an assertion proves the client.
            now: Seconds since the epoch.

        Raises:
            InvalidClient: It is unknown, did not prove itself, is not confidential where it must be, or may not act.
                What anybody can cause for free is not audited (errors.md §9).
            SlowDown: It is who it says, and asks too often.
            StorageUnavailable: The client, or whether its assertion was used before, cannot be looked up.
        """
        if credentials.assertion is not None:
            return await self._check_assertion(credentials.client_id, credentials.assertion, now=now)
        client = await (find(credentials.client_id) if find else find_client(self._db, credentials.client_id))
        _note_client(credentials.client_id, client, sent="a secret" if credentials.client_secret else "nothing")
        if client is None:
            # Costs what that of a client which is there would.
            self._secrets.is_current(credentials.client_secret or "", "")
            raise InvalidClient(reason="client_not_found", audited=False)
        if client.needs_no_proof:
            _check_public(credentials, require_confidential=require_confidential)
            if client.has_keys:
                client = replace(client, came_unproved=True)
        elif client.secret_hash:
            if not credentials.client_secret:
                raise InvalidClient(reason="missing_client_secret", audited=False)
            if self._secrets.is_outdated(client.secret_hash):
                client = await self._check_outdated(client, credentials.client_secret, find)
            else:
                _check_secret(client, is_right=self._secrets.is_current(credentials.client_secret, client.secret_hash))
        else:
            raise InvalidClient(reason="missing_client_assertion", audited=False)
        _check_active(client)
        self._let_in(client)
        return client

    def _let_in(self, client: Client) -> None:
        """Count a client that is who it says, unless it asks too often, and name it in the span."""
        if self._rates is not None:
            self._rates.check(client, current_origin().ip)
        annotate(client_id=client.id)

    async def _check_assertion(self, client_id: str, assertion: str, *, now: int) -> Client:
        """Return the client that signed an assertion, which is spent by it and by no failed check of who it is.

        Who replays one, or is suspended, has had a signed assertion in hand; anything else anybody can send.
        """
        try:
            unverified = self._assertions.read(assertion, client_id=client_id, now=now)
            client = await find_client(self._db, unverified.client_id)
            _note_client(unverified.client_id, client, sent="an assertion")
            if client is None:
                raise InvalidClient(reason="client_not_found", audited=False)
            await self._assertions.verify(unverified, client, now=now)
            identified()
        except InvalidAssertion as exc:
            raise InvalidClient(reason=exc.reason, audited=False) from exc
        _check_active(client)
        try:
            await self._assertions.spend(unverified, now=now)
        except InvalidAssertion as exc:
            raise InvalidClient(reason=exc.reason, client_id=client.id) from exc
        # After it is spent: whoever replays one that was seen somewhere would take the client's own requests from it. So a
        # request that comes too often has spent its assertion, and is repeated with another one.
        self._let_in(client)
        return client

    async def _check_outdated(self, client: Client, client_secret: str, find: FindClient | None) -> Client:
        """Check a secret that is kept in a form which is not asked for any more, and keep it in the one that is.

        Returns:
            The client, looked up once more: it took its time, and what is read with it shall be as young as the answer.
        """
        _check_secret(client, is_right=await self._secrets.is_right(client_secret, client.secret_hash))
        await self._rewrite(client, client_secret)
        found = await (find(client.id) if find else find_client(self._db, client.id))
        if found is None:
            raise InvalidClient(reason="client_not_found", audited=False)
        return found

    async def _rewrite(self, client: Client, client_secret: str) -> None:
        """Store the secret in the form that is asked for now; the next success tries again when this one cannot."""
        new = self._secrets.hash(client_secret)
        try:
            await self._db.write(lambda tx: update_secret_hash(tx, client.id, old=client.secret_hash, new=new))
        except StorageUnavailable:
            _log.warning("client secret not rewritten", client_id=client.id)


def _check_secret(client: Client, *, is_right: bool) -> None:
    if not is_right:
        raise InvalidClient(reason="invalid_client_secret", client_id=client.id)
    identified()


def _check_active(client: Client) -> None:
    """Refuse a client that may not act: after its proof, as whether it is suspended is its own business."""
    if not client.is_active:
        raise InvalidClient(
            CLIENT_NOT_ACTIVE, reason="client_not_active", audited=not client.is_public, client_id=client.id
        )


def _note_client(client_id: str, client: Client | None, *, sent: str) -> None:
    if client is None:
        note("client looked up", client_id=client_id, found="not registered", authentication=sent)
        return
    note(
        "client looked up",
        client_id=client.id,
        found="registered",
        source=client.registration_source,
        status=client.status,
        authentication=sent,
        expected=client.token_endpoint_auth_method,
    )


def _check_public(credentials: ClientCredentials, *, require_confidential: bool) -> None:
    if require_confidential or credentials.client_secret is not None:
        raise InvalidClient(reason="public_client", audited=False)


def _decode_basic(authorization: str) -> ClientCredentials | None:
    """Return what a Basic header carries (RFC 6749 §2.3.1), or None when there is nothing to go by."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = binascii.a2b_base64(encoded.strip(" "), strict_mode=True)
    except (binascii.Error, ValueError):
        return None
    name, colon, secret = decoded.partition(b":")
    if not colon:
        return None
    client_id, client_secret = _decode_form(name), _decode_form(secret)
    if client_id == "":
        raise InvalidClient(reason="client_not_found", audited=False)
    # A URL's own colon would part it: whoever sends one as it is has encoded nothing.
    if client_id is None or client_secret is None or _is_torn_url(name, secret):
        raise InvalidClient(reason="malformed_credentials", audited=False)
    # Some libraries send a header for a public client, too: with nothing behind the colon.
    return ClientCredentials(client_id, client_secret or None)


def _is_torn_url(name: bytes, secret: bytes) -> bool:
    return secret.startswith(b"//") and name.lower() in {b"https", b"http"}


def _decode_form(value: bytes) -> str | None:
    try:
        text = value.decode("utf-8")
        if "%" not in text and "+" not in text:
            return text
        return None if _BROKEN_ESCAPE.search(text) else unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        return None
