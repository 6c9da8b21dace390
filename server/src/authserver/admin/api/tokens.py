"""``/admin/tokens`` and what a user holds (admin API, 4)."""

from typing import NotRequired

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, Query, endpoint
from authserver.admin.long_lists import answer_list
from authserver.admin.records import Role
from authserver.admin.token_lists import Listed
from authserver.authorization.family_store import Family
from authserver.protocol.identifiers import parse_id, spell_id
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.protocol.times import spell_time
from authserver.tokens.machine_store import MachineToken
from authserver.users.store import find_user
from authserver.web.http import HttpResponse

_PAGE = 50
_START = "start"
_PAGING = {"limit": Query.NUMBER, "offset": Query.NUMBER, "after": Query.TEXT}


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
async def list_tokens(call: Call[None]) -> TokenList | HttpResponse:
    """List families and machine tokens, newest first, each paged by itself; with ``after``, as one list.

    ``after`` is the id of the last one of the page before, and ``start`` for the first page.
    """
    client_id, user_id = call.query.get("client_id"), call.query.get("user_id")
    return await _list(call, client_id=client_id, user_id=user_id)


@endpoint("DELETE", "/admin/tokens/{jti}", role=Role.OPERATOR, status=204, unknown=400)
async def revoke_token(call: Call[None]) -> None:
    """Revoke a family with all it handed out, or one machine token; may be repeated."""
    await call.parts.tokens.revoke(call.path["jti"], now=call.now)


@endpoint("GET", "/admin/users/{id}/tokens", role=Role.AUDITOR, refusals=(404,), query=_PAGING)
async def list_tokens_of_user(call: Call[None]) -> TokenList | HttpResponse:
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


async def _list(call: Call[None], *, client_id: str | None, user_id: str | None) -> HttpResponse:
    listed = Listed(call.parts.db, client_id=client_id, user_id=user_id)
    limit, after = call.lenient_number("limit", default=_PAGE, least=1), call.query.get("after")
    if after is None:
        pages = listed.apart(limit, offset=call.lenient_number("offset", default=0, least=0))
    else:
        last = parse_id(after)
        if last is None and after != _START:
            raise Invalid(f"after must be an id, or {_START}")
        pages = listed.together(limit, after=last)
    total = await call.parts.totals.count(*listed.counted, now=call.now)
    return await answer_list(pages, _view, before=b'{"tokens":[', behind=b'],"total":%d}' % total)


def _view(listed: Family | MachineToken) -> TokenView:
    return _family(listed) if isinstance(listed, Family) else _machine_token(listed)


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
