"""What an operator may do with users' credentials: set those that no browser can, and revoke any."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import orjson

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.broker.records import BrokerGrant, BrokerProtocol, BrokerProvider, Sealed
from authserver.broker.sealing import seal
from authserver.broker.store import find_provider, hold_provider, list_grants_of_user, revoke_grant, save_grant
from authserver.encryption.encryptor import Encryptor
from authserver.protocol.identifiers import new_id, parse_id
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.resources.store import list_upstream_scopes
from authserver.storage.database import Database, Reader, ReferenceViolation, Writer
from authserver.users.store import find_user

MAX_SCOPES = 1000
_MAX_SCOPE_BYTES = 1024
_MAX_CREDENTIAL_BYTES = 64 * 1024

_MEMBER: Mapping[BrokerProtocol, str] = {
    BrokerProtocol.API_KEY: "api_key",
    BrokerProtocol.SERVICE_ACCOUNT: "impersonate_sub",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredential:
    """A user's credential at a provider as an operator states it; not yet checked.

    Attributes:
        credential: One member, which the protocol names.
        scopes: What it is good for; None: all that the provider's resources declare now.
    """

    user_id: str
    provider_id: str
    credential: Mapping[str, object] = field(repr=False)
    scopes: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerGrantAdministration:
    """The operators' side of the credentials.

    Attributes:
        encryptor: Seals the credentials; without one there can be none.
        clock_ms: Milliseconds since the epoch.
    """

    db: Database
    trail: AuditTrail
    encryptor: Encryptor | None
    clock_ms: Callable[[], int]

    async def set(self, new: NewCredential, *, now: int) -> BrokerGrant:
        """Give a user a credential at a provider, or another in the place of what is there, revoked or not.

        Returns:
            What is stored; its version is 1 when there was nothing.

        Raises:
            NotFound: There is no such user or provider.
            Invalid: The user is disabled, the provider's users connect by themselves, the credential or a scope is none,
                or nothing can be encrypted here.
            Conflict: The provider was given another protocol meanwhile.
            Failed: The credential cannot be encrypted now.
        """
        if not new.user_id:
            raise Invalid("user_id is required")
        await _check_user(self.db, new.user_id)
        provider = await find_provider(self.db, new.provider_id)
        if provider is None:
            raise _no_provider(new.provider_id)
        credential = _check_credential(provider, new.credential)
        if new.scopes is not None:
            _check_scopes(new.scopes)
        sealed = await self._seal(new, credential)
        event = AuditEvent(Action.BROKER_GRANT_CREATED_ADMIN, actor_id=operator_name())
        grant_id = new_id(self.clock_ms())

        async def save(tx: Writer) -> BrokerGrant:
            held = await hold_provider(tx, provider.id)
            if held is None:
                raise _no_provider(provider.id)
            if held.protocol is not provider.protocol:
                raise Conflict("broker provider was changed by someone else at the same time")
            await _check_user(tx, new.user_id)
            declared = new.scopes if new.scopes is not None else await list_upstream_scopes(tx, provider.id)
            grant = await save_grant(
                tx,
                BrokerGrant(
                    id=grant_id,
                    user_id=new.user_id,
                    broker_provider_id=provider.id,
                    credential=sealed,
                    scopes=tuple(dict.fromkeys(declared)),
                    version=1,
                    created_at=now,
                    updated_at=now,
                ),
            )
            await self.trail.append(tx, replace(event, detail=detail(**_fields(grant), version=grant.version)), now=now)
            return grant

        try:
            return await self.db.write(save)
        except ReferenceViolation as exc:
            raise _no_user(new.user_id) from exc

    async def revoke(self, grant_id: str, *, now: int) -> None:
        """Revoke a credential, so that nothing more is vended for it; an unknown id is none, and once is enough.

        What the provider issued before stays good there: nobody here can take it back.
        """
        identifier = parse_id(grant_id)
        if identifier is None:
            return
        event = AuditEvent(Action.BROKER_GRANT_REVOKED_ADMIN, actor_id=operator_name())

        async def revoke(tx: Writer) -> None:
            grant = await revoke_grant(tx, identifier, now=now)
            if grant is not None:
                await self.trail.append(tx, replace(event, detail=detail(**_fields(grant))), now=now)

        await self.db.write(revoke)

    async def of_user(self, user_id: str) -> list[BrokerGrant]:
        """Return what a user has, revoked or not, newest first."""
        return await list_grants_of_user(self.db, user_id)

    async def _seal(self, new: NewCredential, credential: bytes) -> Sealed:
        if self.encryptor is None:
            raise Invalid("a credential cannot be stored without data_encryption")
        return await seal(self.encryptor, credential, context=credential_context(new.user_id, new.provider_id))


def credential_context(user_id: str, provider_id: str) -> str:
    """Return what a user's credential is sealed under: it opens for this user and provider alone."""
    return f"broker:{user_id}:{provider_id}"


def _check_credential(provider: BrokerProvider, credential: Mapping[str, object]) -> bytes:
    """Return a credential as it is encrypted.

    Raises:
        Invalid: The protocol has another, or it is empty or too long.
    """
    member = _MEMBER.get(provider.protocol)
    if member is None:
        raise Invalid(f"users connect to a provider of protocol {provider.protocol} by themselves, in the browser")
    value = credential.get(member)
    if set(credential) != {member} or not isinstance(value, str) or not value:
        raise Invalid(f'credential must be {{"{member}": "…"}} for a provider of protocol {provider.protocol}')
    try:
        sealed = orjson.dumps({member: value})
    except TypeError as exc:
        raise Invalid(f"{member} holds characters that are none") from exc
    if len(sealed) > _MAX_CREDENTIAL_BYTES:
        raise Invalid(f"credential must be at most {_MAX_CREDENTIAL_BYTES} bytes")
    return sealed


def _check_scopes(scopes: Sequence[str]) -> None:
    if len(scopes) > MAX_SCOPES:
        raise Invalid(f"scopes_granted may have {MAX_SCOPES} entries at most")
    for scope in scopes:
        if scope.split() != [scope] or len(scope.encode("utf-8", "surrogatepass")) > _MAX_SCOPE_BYTES:
            raise Invalid(f"an entry of scopes_granted must be 1 to {_MAX_SCOPE_BYTES} bytes without blanks")


async def _check_user(db: Reader, user_id: str) -> None:
    user = await find_user(db, user_id)
    if user is None:
        raise _no_user(user_id)
    if not user.is_active:
        raise Invalid("user is disabled")


def _fields(grant: BrokerGrant) -> dict[str, str | bytes]:
    return {"id": grant.id, "user_id": grant.user_id, "broker_provider_id": grant.broker_provider_id}


def _no_user(user_id: str) -> NotFound:
    return NotFound(f"user not found: {user_id}")


def _no_provider(provider_id: str) -> NotFound:
    return NotFound(f"broker provider not found: {provider_id}")
