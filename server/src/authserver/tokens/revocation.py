"""``POST /oauth/revoke`` (RFC 7009, public API §15)."""

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail, subject_name
from authserver.authorization.store import find_refresh_token, revoke_family
from authserver.clients.authentication import ClientAuthenticator
from authserver.clients.records import Client
from authserver.keys.keyring import Keyring
from authserver.protocol.errors import InvalidRequest
from authserver.protocol.identifiers import hash_token
from authserver.storage.database import Database, Writer
from authserver.telemetry.metrics import TOKENS_REVOKED
from authserver.tokens.endpoint import authenticate, check_form
from authserver.tokens.recognition import recognise
from authserver.tokens.records import Issuance, IssuanceKind
from authserver.tokens.store import revoke_issuance, revoke_issuances_of_family
from authserver.web.forms import Form


class RevocationEndpoint:
    """Ends a refresh token with its whole family, or one access token."""

    def __init__(
        self, db: Database, issuer: str, keyring: Keyring, authenticator: ClientAuthenticator, trail: AuditTrail
    ) -> None:
        self._db = db
        self._issuer = issuer
        self._keyring = keyring
        self._authenticator = authenticator
        self._trail = trail

    async def handle(self, form: Form, *, authorization: str | None, now: int) -> None:
        """Revoke the token if it is this client's; otherwise do nothing and tell nothing.

        Raises:
            InvalidRequest: ``token`` is missing or a parameter is repeated.
            InvalidClient: The client did not prove who it is.
            StorageUnavailable: Nothing was revoked (RFC 7009 §2.2.1).
        """
        check_form(form)
        client = await authenticate(self._authenticator, form, authorization, require_confidential=False, now=now)
        token = form.get("token")
        if token is None:
            raise InvalidRequest("token parameter is required", reason="parameter_missing")
        # A refresh token has no dots and an access token has two, so the hint is not needed.
        if "." not in token:
            await self._revoke_family(token, client, now=now)
            return
        recognised = await recognise(self._db, self._keyring, token, issuer=self._issuer, now=now)
        if recognised is not None and recognised.issuance.client_id == client.id:
            await self._revoke_access_token(recognised.issuance, client, now=now)

    async def _revoke_family(self, refresh_token: str, client: Client, *, now: int) -> None:
        token = await find_refresh_token(self._db, hash_token(refresh_token))
        if token is None or token.expires_at <= now or token.family.client_id != client.id:
            return
        family = token.family
        event = AuditEvent(
            Action.TOKEN_REVOKED, actor_id=family.user_id, client_id=client.id, detail=detail(family=family.id)
        )

        async def revoke(tx: Writer) -> bool:
            if not await revoke_family(tx, family.id, now=now):
                return False
            await revoke_issuances_of_family(tx, family.id, now=now)
            await self._trail.append(tx, event, now=now)
            return True

        if await self._db.write(revoke):
            TOKENS_REVOKED.inc("explicit")

    async def _revoke_access_token(self, issuance: Issuance, client: Client, *, now: int) -> None:
        is_machine = issuance.kind is IssuanceKind.MACHINE
        event = AuditEvent(
            Action.TOKEN_REVOKED,
            actor_id=subject_name(issuance.subject or client.id),
            client_id=client.id,
            detail=detail(*(("machine_token",) if is_machine else ()), jti=issuance.id),
        )

        async def revoke(tx: Writer) -> bool:
            if not await revoke_issuance(tx, issuance.id, now=now):
                return False
            await self._trail.append(tx, event, now=now)
            return True

        if await self._db.write(revoke):
            TOKENS_REVOKED.inc("explicit_machine" if is_machine else "explicit")
