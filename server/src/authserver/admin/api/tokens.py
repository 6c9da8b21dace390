"""``/admin/tokens`` and what a user holds (admin API, 4)."""

from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.records import Role
from authserver.authorization.family_store import Family, count_families, list_families
from authserver.protocol.identifiers import spell_id
from authserver.protocol.operator_errors import NotFound
from authserver.protocol.times import spell_time
from authserver.storage.database import Reader
from authserver.tokens.machine_store import MachineToken, count_machine_tokens, list_machine_tokens
from authserver.users.store import find_user

_PAGE = 50
_PAGING = {"limit": Query.NUMBER, "offset": Query.NUMBER}


class TokenView(TypedDict):
    """A family of refresh tokens, whose id stands in ``jti``; or a token that a machine got for itself."""

    jti: str
    type: str
    client_id: str
    user_id: NotRequired[str]
    scope: str
    resource: str
    status: str
    created_at: str
    expires_at: NotRequired[str]


class TokenList(TypedDict):
    """A page of each kind, one behind the other, and how many there are of both."""

    tokens: list[TokenView]
    total: int


class LoggedOut(TypedDict):
    """How many families a user lost."""

    user_id: str
    tokens_revoked: int


@endpoint("GET", "/admin/tokens", role=Role.AUDITOR, query={**_PAGING, "client_id": Query.TEXT, "user_id": Query.TEXT})
async def list_tokens(call: Call[None]) -> TokenList:
    """List families and machine tokens, newest first, each paged by itself."""
    client_id, user_id = call.query.get("client_id"), call.query.get("user_id")
    return await _list(call, client_id=client_id, user_id=user_id)


@endpoint("DELETE", "/admin/tokens/{jti}", role=Role.OPERATOR, status=204, unknown=400)
async def revoke_token(call: Call[None]) -> None:
    """Revoke a family with all it handed out, or one machine token; may be repeated."""
    await call.parts.tokens.revoke(call.path["jti"], now=call.now)


@endpoint("GET", "/admin/users/{id}/tokens", role=Role.AUDITOR, refusals=(404,), query=_PAGING)
async def list_tokens_of_user(call: Call[None]) -> TokenList:
    """List the families of a user, newest first."""
    user_id = call.path["id"]
    if await find_user(call.parts.db, user_id) is None:
        raise NotFound("user not found")
    return await _list(call, client_id=None, user_id=user_id)


@endpoint("DELETE", "/admin/users/{id}/tokens", role=Role.OPERATOR, refusals=(404,))
async def log_user_out(call: Call[None]) -> LoggedOut:
    """End a user's browser sessions and revoke all their families and tokens."""
    user_id = call.path["id"]
    return LoggedOut(user_id=user_id, tokens_revoked=await call.parts.accounts.force_logout(user_id, now=call.now))


async def _list(call: Call[None], *, client_id: str | None, user_id: str | None) -> TokenList:
    """Return a page of families and, unless it is about a user, one of machine tokens; counting may read all."""
    limit = call.lenient_number("limit", default=_PAGE, least=1)
    offset = call.lenient_number("offset", default=0, least=0)

    async def read(reader: Reader) -> TokenList:
        families = await list_families(reader, limit=limit, offset=offset, user_id=user_id, client_id=client_id)
        total = await count_families(reader, user_id=user_id, client_id=client_id)
        if user_id is not None:
            return TokenList(tokens=[_family(family) for family in families], total=total)
        machines = await list_machine_tokens(reader, limit=limit, offset=offset, client_id=client_id)
        total += await count_machine_tokens(reader, client_id=client_id)
        return TokenList(tokens=[*map(_family, families), *map(_machine_token, machines)], total=total)

    return await call.parts.db.survey(read)


def _family(family: Family) -> TokenView:
    return TokenView(
        jti=spell_id(family.id),
        type="authorization_code",
        client_id=family.client_id,
        user_id=family.user_id,
        scope=family.scope,
        resource=family.resource or "",
        status="active" if family.revoked_at is None else "revoked",
        created_at=spell_time(family.created_at),
    )


def _machine_token(token: MachineToken) -> TokenView:
    return TokenView(
        jti=spell_id(token.id),
        type="client_credentials",
        client_id=token.client_id,
        scope=token.scopes,
        resource=token.resource,
        status="active",
        created_at=spell_time(token.issued_at),
        expires_at=spell_time(token.expires_at),
    )


ENDPOINTS = (list_tokens, revoke_token, list_tokens_of_user, log_user_out)
