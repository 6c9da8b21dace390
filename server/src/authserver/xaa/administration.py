"""What an operator may do with trusted providers: register, change and delete them, and have their keys fetched anew."""

from dataclasses import dataclass, replace

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.shared_fetches import DocumentUnavailable
from authserver.outbound.client import OutboundClient
from authserver.protocol.id_jag import may_share_subjects
from authserver.protocol.identifiers import new_public_id
from authserver.protocol.operator_errors import Invalid, NotFound, Unreachable
from authserver.protocol.uris import parse_uri
from authserver.storage.changes import announce
from authserver.storage.database import Database, UniqueViolation, Writer
from authserver.telemetry.metrics import XAA_IDP_OPERATIONS
from authserver.xaa.discovery import discover_jwks_uri
from authserver.xaa.provider_keys import ProviderKeys
from authserver.xaa.records import TrustedIdp
from authserver.xaa.registry import TOPIC
from authserver.xaa.store import delete_idp, find_idp, insert_idp, list_idps, raise_keys_version, update_idp

MAX_NAME_BYTES = 255

_MAX_URI_CHARACTERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class IdpDraft:
    """A provider as an operator states it; not yet checked.

    Attributes:
        jwks_uri: Empty: it is discovered.
        audience: Empty: our issuer.
    """

    name: str
    issuer: str
    jwks_uri: str = ""
    audience: str = ""


class IdpAdministration:
    """The operators' side of the registry. Each change is audited in its own transaction.

    It begins with the announcement, whose row is what changes wait for: one at a time, whichever process makes them.
    """

    def __init__(
        self, db: Database, trail: AuditTrail, http: OutboundClient, keys: ProviderKeys, *, own_issuer: str
    ) -> None:
        self._db = db
        self._trail = trail
        self._http = http
        self._keys = keys
        self._own_issuer = own_issuer

    async def register(self, draft: IdpDraft, *, now: int) -> TrustedIdp:
        """Trust a provider; where its keys are is discovered unless it is stated.

        Raises:
            Invalid: A field breaks its rule, the issuer is registered, our own, or one whose users could pass for those
                of another, or nothing can be discovered.
        """
        check_name(draft.name)
        _check_https(draft.issuer, "issuer")
        if draft.issuer.rstrip("/") == self._own_issuer.rstrip("/"):
            raise Invalid("issuer is this server's own: it cannot vouch to itself")
        jwks_uri = draft.jwks_uri or await discover_jwks_uri(self._http, draft.issuer)
        _check_https(jwks_uri, "jwks_uri")
        idp = TrustedIdp(
            id=new_public_id(),
            name=draft.name,
            issuer=draft.issuer,
            jwks_uri=jwks_uri,
            audience=draft.audience or self._own_issuer,
            enabled=True,
            keys_version=1,
            created_at=now,
            updated_at=now,
        )
        event = AuditEvent(Action.IDP_REGISTERED, actor_id=operator_name())

        async def register(tx: Writer) -> None:
            await announce(tx, TOPIC)
            for other in await list_idps(tx):
                if may_share_subjects(idp.issuer, other.issuer):
                    raise Invalid(f"issuer cannot be told apart from {other.issuer} where a colon follows")
            await insert_idp(tx, idp)
            await self._record(tx, event, idp, now=now)

        try:
            await self._db.write(register)
        except UniqueViolation as exc:
            raise Invalid(f"issuer is already registered: {idp.issuer}") from exc
        XAA_IDP_OPERATIONS.inc("register")
        return idp

    async def every(self) -> list[TrustedIdp]:
        """Return all providers, oldest first."""
        return await list_idps(self._db)

    async def get(self, idp_id: str) -> TrustedIdp:
        """Return one provider.

        Raises:
            NotFound: There is no such provider.
        """
        idp = await find_idp(self._db, idp_id)
        if idp is None:
            raise _no_such(idp_id)
        return idp

    async def update(
        self, idp_id: str, *, name: str | None = None, enabled: bool | None = None, now: int
    ) -> TrustedIdp:
        """Change what is given; nothing else of a provider can be changed. What is as wanted already is not written.

        Raises:
            NotFound: There is no such provider.
            Invalid: The name breaks its rule.
        """
        if name is not None:
            check_name(name)
        event = AuditEvent(Action.IDP_UPDATED, actor_id=operator_name())

        async def update(tx: Writer) -> TrustedIdp:
            if name is not None or enabled is not None:
                await announce(tx, TOPIC)
            idp = await find_idp(tx, idp_id)
            if idp is None:
                raise _no_such(idp_id)
            if name in {None, idp.name} and enabled in {None, idp.enabled}:
                return idp
            await update_idp(tx, idp_id, name=name, enabled=enabled, now=now)
            changed = replace(
                idp,
                name=idp.name if name is None else name,
                enabled=idp.enabled if enabled is None else enabled,
                updated_at=now,
            )
            await self._record(tx, event, changed, now=now)
            return changed

        return await self._db.write(update)

    async def delete(self, idp_id: str, *, now: int) -> None:
        """Trust a provider no longer; its policies and mappings go with it.

        Raises:
            NotFound: There is no such provider.
        """
        event = AuditEvent(Action.IDP_DELETED, actor_id=operator_name())

        async def delete(tx: Writer) -> None:
            await announce(tx, TOPIC)
            idp = await find_idp(tx, idp_id)
            if idp is None or not await delete_idp(tx, idp_id):
                raise _no_such(idp_id)
            await self._record(tx, event, idp, now=now)

        await self._db.write(delete)
        XAA_IDP_OPERATIONS.inc("delete")

    async def refresh_keys(self, idp_id: str, *, now: int) -> TrustedIdp:
        """Have every process forget a provider's keys, and fetch them here and now to see that they can be had.

        Raises:
            NotFound: There is no such provider.
            Unreachable: The keys were forgotten, and cannot be fetched.
        """
        event = AuditEvent(Action.IDP_KEYS_REFRESHED, actor_id=operator_name())

        async def forget(tx: Writer) -> TrustedIdp:
            await announce(tx, TOPIC)
            await raise_keys_version(tx, idp_id)
            idp = await find_idp(tx, idp_id)
            if idp is None:
                raise _no_such(idp_id)
            await self._record(tx, event, idp, now=now)
            return idp

        idp = await self._db.write(forget)
        try:
            await self._keys.fetch(idp, now=now)
        except DocumentUnavailable as exc:
            raise Unreachable(f"the keys of {idp.issuer} cannot be had: {exc}") from exc
        return idp

    async def _record(self, tx: Writer, event: AuditEvent, idp: TrustedIdp, *, now: int) -> None:
        await self._trail.append(tx, replace(event, detail=detail(id=idp.id, issuer=idp.issuer)), now=now)


def check_name(name: str) -> None:
    """Check the name of a provider or a policy.

    Raises:
        Invalid: It is empty or too long.
    """
    if not name.strip() or len(name.encode()) > MAX_NAME_BYTES or not name.isprintable():
        raise Invalid(f"name must be 1 to {MAX_NAME_BYTES} bytes without control characters")


def _check_https(uri: str, name: str) -> None:
    parts = parse_uri(uri)
    if (
        parts is None
        or parts.scheme != "https"
        or not parts.host
        or parts.userinfo is not None
        or parts.fragment is not None
        or len(uri) > _MAX_URI_CHARACTERS
    ):
        raise Invalid(f"{name} must be an https URL with a host, of at most {_MAX_URI_CHARACTERS} characters")
    if name == "issuer" and parts.query is not None:
        raise Invalid("issuer must have no query")


def _no_such(idp_id: str) -> NotFound:
    return NotFound(f"trusted IdP not found: {idp_id}")
