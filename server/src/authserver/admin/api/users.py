"""``/admin/users`` (admin API, 5)."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Body, Call, Query, endpoint
from authserver.admin.long_lists import answer_list, read_pages
from authserver.admin.records import Role
from authserver.admin.views import Status
from authserver.protocol.operator_errors import Invalid, NotFound
from authserver.protocol.times import spell_time
from authserver.users.records import User, UserRole
from authserver.users.store import find_user, list_users
from authserver.web.http import HttpResponse

_MOST = 500


class UserBody(Body):
    """A local user; any role but ``admin`` is ``user``."""

    email: str | None = None
    password: str | None = None
    name: str | None = None
    role: str | None = None


class UserPatch(Body):
    """What may change."""

    email: str | None = None
    name: str | None = None


class PasswordBody(Body):
    """Another password."""

    password: str | None = None


class UserView(TypedDict):
    """A user; ``email`` is empty for a federated one without."""

    id: str
    email: str
    name: str
    role: str
    status: str
    provider: str
    created_at: str


@endpoint("GET", "/admin/users", role=Role.AUDITOR, query={"limit": Query.NUMBER, "after": Query.TEXT})
async def list_all_users(call: Call[None]) -> list[UserView] | HttpResponse:
    """List users, oldest first: all of them, or as many as limit says that come after the user of an id."""
    db, after_id = call.parts.db, call.query.get("after")
    if call.query.get("limit") is None and after_id is None:
        return await answer_list(read_pages(lambda size, last: list_users(db, limit=size, after=last)), build_user)
    limit = call.number("limit", default=_MOST, least=1, most=_MOST)
    after = None if after_id is None else await find_user(db, after_id)
    if after is None and after_id is not None:
        raise Invalid("after names no user")
    return [build_user(user) for user in await list_users(db, limit=limit, after=after)]


@endpoint("POST", "/admin/users", role=Role.OPERATOR, status=201, refusals=(409,))
async def create_user(call: Call[UserBody]) -> UserView:
    """Create a local user."""
    body = call.body
    if not body.email or not body.password:
        raise Invalid("email and password are required")
    user = await call.parts.accounts.create_user(
        email=body.email,
        password=body.password,
        name=body.name or "",
        role=UserRole.ADMIN if body.role == UserRole.ADMIN else UserRole.USER,
        now=call.now,
    )
    return build_user(user)


@endpoint("GET", "/admin/users/{id}", role=Role.AUDITOR, refusals=(404,))
async def get_user(call: Call[None]) -> UserView:
    """Show a user."""
    user = await find_user(call.parts.db, call.path["id"])
    if user is None:
        raise NotFound("user not found")
    return build_user(user)


@endpoint("PATCH", "/admin/users/{id}", role=Role.OPERATOR, refusals=(404, 409))
async def update_user(call: Call[UserPatch]) -> UserView:
    """Change a user's address or name."""
    user = await call.parts.accounts.update_user(
        call.path["id"], email=call.body.email, name=call.body.name, now=call.now
    )
    return build_user(user)


@endpoint("PATCH", "/admin/users/{id}/disable", role=Role.OPERATOR, refusals=(404, 409))
async def disable_user(call: Call[None]) -> Status:
    """Shut a user out: sign-in, sessions and tokens stop working."""
    user = await call.parts.accounts.disable_user(call.path["id"], now=call.now)
    return Status(status=user.status)


@endpoint("PATCH", "/admin/users/{id}/enable", role=Role.OPERATOR, refusals=(404, 409))
async def enable_user(call: Call[None]) -> Status:
    """Let a disabled user in again."""
    user = await call.parts.accounts.enable_user(call.path["id"], now=call.now)
    return Status(status=user.status)


@endpoint("POST", "/admin/users/{id}/password", role=Role.OPERATOR, status=204, refusals=(404, 409))
async def set_user_password(call: Call[PasswordBody]) -> None:
    """Give a local user another password; their browser sessions end."""
    await call.parts.accounts.set_password(call.path["id"], call.body.password or "", now=call.now)


@endpoint(
    "DELETE", "/admin/users/{id}", role=Role.OPERATOR, status=204, refusals=(404, 409), query={"force": Query.FLAG}
)
async def delete_user(call: Call[None]) -> None:
    """Delete a user; with live tokens only by force, which revokes them."""
    await call.parts.accounts.delete_user(call.path["id"], force=call.flag("force"), now=call.now)


def build_user(user: User) -> UserView:
    """Return a user as the API shows them: never the password's hash."""
    return UserView(
        id=user.id,
        email=user.email or "",
        name=user.name,
        role=user.role,
        status=user.status,
        provider=user.provider,
        created_at=spell_time(user.created_at),
    )


ENDPOINTS = (
    list_all_users,
    create_user,
    get_user,
    update_user,
    disable_user,
    enable_user,
    set_user_password,
    delete_user,
)
