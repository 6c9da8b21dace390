"""What operators do with clients: create, change, suspend, delete, list (admin API, 3; command line, 4)."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

import orjson

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent, operator_name
from authserver.audit.trail import AuditTrail, detail
from authserver.clients.agents import TOPIC
from authserver.clients.records import Client, ClientStatus, RegistrationSource
from authserver.clients.registration import Registered, build_client
from authserver.clients.secrets import ClientSecrets
from authserver.clients.served import ServedMetadata
from authserver.clients.store import (
    delete_client,
    find_client,
    insert_client,
    may_be_id,
    revoke_client,
    update_client,
)
from authserver.protocol.client_id_urls import check_client_id_url
from authserver.protocol.client_metadata import PRIVATE_KEY_JWT, ClientMetadata, parse_registration
from authserver.protocol.errors import OAuthError
from authserver.protocol.identifiers import new_secret
from authserver.protocol.operator_errors import Conflict, Invalid, NotFound
from authserver.protocol.redirect_uris import MAX_DOCUMENT_REDIRECT_URIS, MAX_REDIRECT_URIS
from authserver.storage.changes import announce
from authserver.storage.database import Database, UniqueViolation, Writer
from authserver.telemetry.metrics import CLIENTS_REGISTERED


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTokens:
    """What the packages above do about a client's tokens; client id and ``now`` are handed to each.

    Attributes:
        has_live: Whether the client has a family or machine token that still works.
        revoke_all: Revokes every family and machine token of the client.
    """

    has_live: Callable[[Writer, str, int], Awaitable[bool]]
    revoke_all: Callable[[Writer, str, int], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClient:
    """What an operator asks for; every member is checked.

    Attributes:
        client_id: What the client calls itself: the URL of its metadata document, which is not read then (MCP checklist
            CM-15). None makes a new one.
        jwks: A key set as parsed from JSON; this or ``jwks_uri`` with ``private_key_jwt``.
        scope: The ceiling, separated by spaces.
    """

    name: str
    client_id: str | None = None
    redirect_uris: Sequence[str] = ()
    grant_types: Sequence[str] = ()
    response_types: Sequence[str] = ()
    auth_method: str = "none"
    jwks: object = None
    jwks_uri: str | None = None
    scope: str = ""
    is_agent: bool = False
    agent_description: str = ""
    dpop_bound_access_tokens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientChanges:
    """What an operator changes; None leaves a member as it is, and one of the two for keys replaces the other."""

    name: str | None = None
    redirect_uris: Sequence[str] | None = None
    grant_types: Sequence[str] | None = None
    scope: str | None = None
    jwks: object = None
    jwks_uri: str | None = None
    dpop_bound_access_tokens: bool | None = None


class ClientAdministration:
    """The clients, as operators see them. Every change is audited in the transaction that makes it."""

    def __init__(
        self, db: Database, trail: AuditTrail, secrets: ClientSecrets, served: ServedMetadata, tokens: ClientTokens
    ) -> None:
        self._db = db
        self._trail = trail
        self._secrets = secrets
        self._served = served
        self._tokens = tokens

    async def create(self, new: NewClient, *, now: int) -> Registered:
        """Create a client.

        Raises:
            Invalid: Something asked for may not be registered; the sentence lists every problem.
            Conflict: There is a client of that identifier already.
        """
        if new.client_id is not None:
            _check_client_id(new.client_id)
        metadata = self._check(
            {
                "client_name": new.name,
                "redirect_uris": list(new.redirect_uris),
                "grant_types": list(new.grant_types),
                "response_types": list(new.response_types),
                "token_endpoint_auth_method": new.auth_method,
                "jwks": new.jwks,
                "jwks_uri": new.jwks_uri,
                "scope": new.scope,
                "agent": new.is_agent,
                "agent_description": new.agent_description,
                "dpop_bound_access_tokens": new.dpop_bound_access_tokens,
            }
        )
        registered = build_client(metadata, self._secrets, source=RegistrationSource.ADMIN, scope=new.scope, now=now)
        if new.client_id is not None:
            registered = replace(registered, client=replace(registered.client, id=new.client_id))
        client = registered.client
        event = _event(Action.CLIENT_CREATED_ADMIN, client.id, detail(name=client.name))

        async def insert(tx: Writer) -> None:
            await insert_client(tx, client)
            if client.is_agent:
                await announce(tx, TOPIC)
            await self._trail.append(tx, event, now=now)

        try:
            await self._db.write(insert)
        except UniqueViolation as exc:
            raise Conflict("there is a client with this client_id already") from exc
        CLIENTS_REGISTERED.inc("admin")
        return registered

    async def update(self, client_id: str, changes: ClientChanges, *, now: int) -> Client:
        """Change a client; the whole result is checked anew. What is as wanted already is not written.

        Raises:
            NotFound: There is no such client.
            Invalid: The result may not be registered.
            Conflict: Somebody else changed the client meanwhile.
        """
        client = await self._get(client_id)
        wanted = _apply(client, changes)
        may_have_many = client.registration_source is RegistrationSource.CIMD
        metadata = self._check(
            _describe(wanted) | _describe_keys(client, changes),
            max_redirect_uris=MAX_DOCUMENT_REDIRECT_URIS if may_have_many else MAX_REDIRECT_URIS,
        )
        wanted = replace(wanted, name=metadata.client_name, grant_types=metadata.grant_types)
        if metadata.token_endpoint_auth_method == PRIVATE_KEY_JWT:
            wanted = replace(wanted, jwks=metadata.jwks, jwks_uri=metadata.jwks_uri)
        return client if wanted == client else await self._update(wanted, Action.CLIENT_UPDATED, now=now)

    async def rotate_secret(self, client_id: str, *, now: int) -> Registered:
        """Give a client a new secret; the old one is dead at once.

        Raises:
            NotFound: There is no such client.
            Invalid: The client has no secret.
            Conflict: Somebody else changed the client meanwhile.
        """
        client = await self._get(client_id)
        if not client.secret_hash:
            raise Invalid("the client has no secret")
        secret = new_secret()
        wanted = replace(client, secret_hash=self._secrets.hash(secret))
        rotated = await self._update(wanted, Action.CLIENT_SECRET_ROTATED, now=now)
        return Registered(client=rotated, client_secret=secret)

    async def suspend(self, client_id: str, *, now: int) -> Client:
        """Stop an active client for a time; its tokens are not touched, but refused with it.

        Raises:
            NotFound: There is no such client.
            Conflict: The client is not active.
        """
        client = await self._get(client_id)
        if client.status is not ClientStatus.ACTIVE:
            raise Conflict("only an active client can be suspended")
        wanted = replace(client, status=ClientStatus.SUSPENDED)
        return await self._update(wanted, Action.CLIENT_SUSPENDED, now=now)

    async def reactivate(self, client_id: str, *, now: int) -> Client:
        """Let a suspended client act again.

        Raises:
            NotFound: There is no such client.
            Conflict: The client is not suspended.
        """
        client = await self._get(client_id)
        if client.status is not ClientStatus.SUSPENDED:
            raise Conflict("only a suspended client can be reactivated")
        wanted = replace(client, status=ClientStatus.ACTIVE)
        return await self._update(wanted, Action.CLIENT_REACTIVATED, now=now)

    async def revoke(self, client_id: str, *, now: int) -> Client:
        """Stop a client for ever, whatever it is at the moment. May be run again.

        Raises:
            NotFound: There is no such client.
        """
        if not may_be_id(client_id):
            raise _not_found()
        event = _event(Action.CLIENT_REVOKED, client_id)

        async def revoke(tx: Writer) -> Client:
            is_changed = await revoke_client(tx, client_id, now=now)
            client = await find_client(tx, client_id)
            if client is None:
                raise _not_found()
            if is_changed:
                if client.is_agent:
                    await announce(tx, TOPIC)
                await self._trail.append(tx, event, now=now)
            return client

        return await self._db.write(revoke)

    async def delete(self, client_id: str, *, force: bool = False, now: int) -> None:
        """Delete a client with its authorizations and consent grants; what was issued stays on record.

        Raises:
            NotFound: There is no such client.
            Conflict: It has live tokens, and they are not to be revoked by ``force``.
        """
        event = _event(Action.CLIENT_DELETED, client_id, detail(force=force))

        async def delete(tx: Writer) -> None:
            if not force and await self._tokens.has_live(tx, client_id, now):
                raise Conflict("the client has active tokens; use force to revoke them")
            if force:
                await self._tokens.revoke_all(tx, client_id, now)
            if not await delete_client(tx, client_id):
                raise _not_found()
            await announce(tx, TOPIC)
            await self._trail.append(tx, event, now=now)

        await self._db.write(delete)

    async def _get(self, client_id: str) -> Client:
        client = await find_client(self._db, client_id)
        if client is None:
            raise _not_found()
        return client

    async def _update(self, wanted: Client, action: Action, *, now: int) -> Client:
        event = _event(action, wanted.id)
        changed = replace(wanted, updated_at=now)

        async def update(tx: Writer) -> bool:
            updated = await update_client(tx, changed)
            if updated and wanted.is_agent:
                await announce(tx, TOPIC)
            if updated:
                await self._trail.append(tx, event, now=now)
            return updated

        if not await self._db.write(update):
            raise Conflict("the client was changed by somebody else meanwhile")
        return replace(changed, version=wanted.version + 1)

    def _check(self, document: dict[str, object], *, max_redirect_uris: int = MAX_REDIRECT_URIS) -> ClientMetadata:
        try:
            metadata = parse_registration(
                document,
                served_grants=self._served.grant_types,
                served_auth_methods=self._served.auth_methods,
                enabling_variables=self._served.enabling_variables,
                max_redirect_uris=max_redirect_uris,
                is_operators=True,
            )
            self._served.check(metadata)
        except OAuthError as exc:
            raise Invalid(exc.description) from exc
        return metadata


def _check_client_id(client_id: str) -> None:
    try:
        # Nothing is fetched from there, so the configured rules of fetching do not matter.
        check_client_id_url(client_id, require_https=False)
    except OAuthError as exc:
        raise Invalid(f"{exc.description}; leave it out for a client without a metadata document") from exc


def _apply(client: Client, changes: ClientChanges) -> Client:
    return replace(
        client,
        name=client.name if changes.name is None else changes.name,
        redirect_uris=client.redirect_uris if changes.redirect_uris is None else tuple(changes.redirect_uris),
        grant_types=client.grant_types if changes.grant_types is None else tuple(changes.grant_types),
        scope=client.scope if changes.scope is None else changes.scope,
        dpop_bound_access_tokens=(
            client.dpop_bound_access_tokens
            if changes.dpop_bound_access_tokens is None
            else changes.dpop_bound_access_tokens
        ),
    )


def _describe(client: Client) -> dict[str, object]:
    """Return a client as the document that would register it."""
    return {
        "client_name": client.name,
        "redirect_uris": list(client.redirect_uris),
        "grant_types": list(client.grant_types),
        "response_types": list(client.response_types),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "scope": client.scope,
        "application_type": client.application_type,
    }


def _describe_keys(client: Client, changes: ClientChanges) -> dict[str, object]:
    """Return the keys of that document: the new ones, or those a client has that must use them."""
    if changes.jwks is not None or changes.jwks_uri is not None:
        return {"jwks": changes.jwks, "jwks_uri": changes.jwks_uri}
    if client.token_endpoint_auth_method != PRIVATE_KEY_JWT:
        return {}
    return {"jwks": orjson.loads(client.jwks) if client.jwks is not None else None, "jwks_uri": client.jwks_uri}


def _not_found() -> NotFound:
    return NotFound("client not found")


def _event(action: Action, client_id: str, what: str = "") -> AuditEvent:
    return AuditEvent(action, actor_id=operator_name(), client_id=client_id, detail=what)
