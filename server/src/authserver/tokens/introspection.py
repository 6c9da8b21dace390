"""``POST /oauth/introspect`` (RFC 7662, public API §14)."""

import time
from typing import Any

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.authentication import ClientAuthenticator
from authserver.clients.records import Client
from authserver.clients.store import find_client, may_be_id
from authserver.keys.keyring import Keyring
from authserver.protocol.errors import InvalidClient, InvalidRequest, OAuthError, new_reference
from authserver.protocol.id_jag import is_foreign_subject
from authserver.protocol.jose import InvalidToken
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import Database
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import INTROSPECTION, INTROSPECTION_DURATION
from authserver.telemetry.notes import note, refuse
from authserver.tokens.endpoint import authenticate, check_form
from authserver.tokens.recognition import PresentedJwt, RecognisedToken, read_presented, verify_presented
from authserver.tokens.records import Issuance, IssuanceKind, IssuedToken
from authserver.tokens.store import find_issued, find_issued_and_client
from authserver.web.forms import Form

_log = get_logger("token")

_COPIED = (
    *("scope", "client_id", "sub", "iss", "jti", "exp", "iat", "nbf"),
    *("cnf", "act", "agent_id", "agent_chain", "auth_time", "amr"),
)
_NAMED_DENIALS = frozenset({"client_not_active", "assertion_replayed"})
_INACTIVE: dict[str, Any] = {"active": False}


class _Asked:
    """The token that is asked about; it is looked up together with the client that asks."""

    __slots__ = ("_db", "_is_read", "_issued", "_presented")

    def __init__(self, db: Database, token: str) -> None:
        self._db = db
        self._issued: IssuedToken | None = None
        self._is_read = False
        self._presented: PresentedJwt | None
        try:
            self._presented = read_presented(token)
        except InvalidToken:
            self._presented = None

    async def find_caller(self, client_id: str) -> Client | None:
        """Look the client up, and what was written down about the token."""
        if self._presented is None or not may_be_id(client_id):
            return await find_client(self._db, client_id)
        found = await find_issued_and_client(self._db, self._presented.jti, client_id)
        self._is_read = True
        if found is None:
            return await find_client(self._db, client_id)
        self._issued, client = found
        return client

    async def recognise(self, keyring: Keyring, *, issuer: str, now: int) -> RecognisedToken | None:
        """Return the token if it is one of ours and in force; None for anything else."""
        if self._presented is None:
            return None
        if not self._is_read:
            self._issued = await find_issued(self._db, self._presented.jti)
        try:
            return verify_presented(self._presented, self._issued, keyring=keyring, issuer=issuer, now=now)
        except InvalidToken:
            return None


class IntrospectionEndpoint:
    """Tells a resource server, or the client itself, whether a token is in force."""

    def __init__(
        self,
        db: Database,
        issuer: str,
        keyring: Keyring,
        authenticator: ClientAuthenticator,
        catalog: ResourceCatalog,
        trail: AuditTrail,
    ) -> None:
        self._db = db
        self._issuer = issuer
        self._keyring = keyring
        self._authenticator = authenticator
        self._catalog = catalog
        self._trail = trail

    async def handle(self, form: Form, *, authorization: str | None, now: int) -> dict[str, Any]:
        """Answer one request: the members of the response.

        Raises:
            InvalidRequest: ``token`` is missing or a parameter is repeated.
            InvalidClient: The caller did not prove to be an active confidential client.
            StorageUnavailable: There is no verdict; never answered as inactive (ruling R19).
        """
        started = time.perf_counter()
        try:
            members = await self._answer(form, authorization=authorization, now=now)
        except Exception:
            INTROSPECTION.inc("error")
            raise
        INTROSPECTION.inc("active" if members["active"] else "inactive")
        INTROSPECTION_DURATION.observe(time.perf_counter() - started)
        return members

    async def _answer(self, form: Form, *, authorization: str | None, now: int) -> dict[str, Any]:
        check_form(form)
        token = form.get("token")
        asked = _Asked(self._db, token or "")
        caller = await self._authenticate(form, authorization, asked, now=now)
        if token is None:
            raise InvalidRequest("token parameter is required", reason="parameter_missing")
        recognised = await asked.recognise(self._keyring, issuer=self._issuer, now=now)
        if recognised is None:
            await self._record_inactive(caller.id, "invalid_token", now=now)
            return _INACTIVE
        reason = await self._find_objection(recognised, caller)
        if reason is not None:
            note("token recognised", expected=recognised.issuance.client_id, resource=recognised.issuance.resource_id)
            await self._record_inactive(caller.id, reason, now=now, jti=recognised.issuance.id)
            return _INACTIVE
        event = AuditEvent(
            Action.TOKEN_INTROSPECTED,
            client_id=caller.id,
            detail=detail(jti=recognised.issuance.id, issuing_client=recognised.issuance.client_id),
        )
        await self._trail.record_soon(event, now=now)
        return _build_active(recognised)

    async def _authenticate(self, form: Form, authorization: str | None, asked: "_Asked", *, now: int) -> Client:
        try:
            return await authenticate(
                self._authenticator, form, authorization, require_confidential=True, find=asked.find_caller, now=now
            )
        except InvalidClient as exc:
            if exc.audited:
                await self._record_denial(exc.client_id, _denial_reason(exc), now=now, reference=exc.reference)
            raise

    async def _find_objection(self, token: RecognisedToken, caller: Client) -> str | None:
        """Return why a token counts for nothing in front of this caller (steps 3 to 7), or None."""
        issuance = token.issuance
        if caller.id != issuance.client_id and not await self._is_runtime_of(caller.id, issuance.resource_id):
            return "caller_not_authorized_for_token"
        if issuance.revoked_at is not None:
            return _revocation_reason(issuance)
        if token.client_is_active is not True and not await self._is_client_active(token):
            return "issuing_client_inactive"
        if token.subject_is_active is not True and not await self._is_subject_active(token):
            return "subject_inactive"
        return None

    async def _is_client_active(self, token: RecognisedToken) -> bool:
        if token.client_is_active is not None:
            return token.client_is_active
        # A fronted token names the Resource that its gateway stands for, which is no client.
        return token.issuance.kind is IssuanceKind.EXCHANGE and await self._catalog.has_slug(token.issuance.client_id)

    async def _is_subject_active(self, token: RecognisedToken) -> bool:
        subject = token.issuance.subject
        if token.subject_is_active is not None or subject is None:
            return token.subject_is_active is not False
        if (
            token.issuance.kind is IssuanceKind.EXCHANGE
            and (client := await find_client(self._db, subject)) is not None
        ):
            # Exchanged from what a machine got for itself.
            return client.is_active
        return is_foreign_subject(subject)

    async def _is_runtime_of(self, client_id: str, resource_id: str | None) -> bool:
        """Whether a client acts as the resource that a token is for (the token's one audience)."""
        if resource_id is None:
            return False
        resource = await self._catalog.get(resource_id)
        if resource is None or not resource.uri:
            # Without a URI the audience is the issuer, which nobody acts as.
            return False
        if client_id in resource.policy.runtime_client_ids:
            return True
        if client_id in {resource.slug, resource.uri}:
            # The identifier of a resource as the caller's own id is how old installations said the same.
            _log.warning("a resource's runtime client is known by the resource's identifier alone", client_id=client_id)
            return True
        return False

    async def _record_inactive(self, caller_id: str, reason: str, *, now: int, jti: bytes | None = None) -> None:
        """Leave what explains ``{"active": false}``. The answer names no reference id; its audit row does."""
        reference = new_reference()
        text = "the token is not active, or not for this caller to know about"
        refuse(reference=reference, error="inactive", reason=reason, description=text, status=200)
        await self._record_denial(caller_id, reason, now=now, jti=jti, reference=reference)

    async def _record_denial(
        self, caller_id: str, reason: str, *, now: int, jti: bytes | None = None, reference: str | None = None
    ) -> None:
        event = AuditEvent(
            Action.TOKEN_INTROSPECT_DENIED,
            client_id=caller_id,
            detail=detail(reason=reason, jti=jti),
            reference=reference,
        )
        await self._trail.record_soon(event, now=now)


def _denial_reason(exc: OAuthError) -> str:
    return exc.reason if exc.reason in _NAMED_DENIALS else "invalid_client_secret"


def _revocation_reason(issuance: Issuance) -> str:
    if issuance.kind is IssuanceKind.MACHINE:
        return "machine_token_revoked"
    return "token_revoked" if issuance.kind is IssuanceKind.USER else "issuance_revoked"


def _build_active(token: RecognisedToken) -> dict[str, Any]:
    """Return the members of an active answer; ``aud`` is a string here, as it always was."""
    claims = token.claims
    members: dict[str, Any] = {"active": True}
    for name in _COPIED:
        if name in claims:
            members[name] = claims[name]
    members["aud"] = claims["aud"][0]
    members["token_type"] = "DPoP" if "cnf" in claims else "Bearer"
    return members
