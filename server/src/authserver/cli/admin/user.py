"""``authserver admin user`` (cli.md §5)."""

import sys
from typing import Any

import click

from authserver.cli.admin.calling import Api, calls_api
from authserver.cli.groups import Group
from authserver.cli.options import require, switch

_ROLES = frozenset({"user", "admin"})
_PAGE = 500


@click.group("user", cls=Group)
def command() -> None:
    """Create, change and list users."""


@command.command("create")
@click.option("--email", envvar="AUTHSERVER_USER_EMAIL", default="", help="What the user signs in with. Required.")
@click.option("--password", envvar="AUTHSERVER_USER_PASSWORD", default="", help="Required, here or on standard input.")
@switch("--password-stdin", help="Reads the password from standard input, one line.")
@click.option("--name", envvar="AUTHSERVER_USER_NAME", default="", help="How the user is called.")
@click.option("--role", envvar="AUTHSERVER_USER_ROLE", default="user", show_default=True, help="admin or user.")
@calls_api()
def create(api: Api, *, email: str, password: str, password_stdin: bool, name: str, role: str) -> None:
    """Create a local user."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    require(email, "--email")
    require(password, "--password")
    if role not in _ROLES:
        raise click.ClickException("--role must be admin or user")
    new = {"email": email, "password": password, "name": name, "role": role}
    user = api.call("POST /admin/users", body=new)
    api.tell(user, f"user created: id={user['id']} email={user['email']} role={user['role']}")


@command.command("update")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.option("--email", help="What the user signs in with.")
@click.option("--name", help="How the user is called.")
@calls_api()
def update(api: Api, *, user_id: str, email: str | None, name: str | None) -> None:
    """Change a user; what is not given stays."""
    require(user_id, "--id")
    user = api.call("PATCH /admin/users/{id}", id=user_id, body={"email": email, "name": name})
    api.tell(user, f"user updated: id={user['id']} email={user['email']} name={user['name']}")


@command.command("set-password")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.option("--password", envvar="AUTHSERVER_USER_PASSWORD", default="", help="Required, here or on standard input.")
@switch("--password-stdin", help="Reads the password from standard input, one line.")
@calls_api()
def set_password(api: Api, *, user_id: str, password: str, password_stdin: bool) -> None:
    """Give a user a new password; every browser session of theirs ends."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    require(user_id, "--id")
    require(password, "--password")
    answer = api.call("POST /admin/users/{id}/password", id=user_id, body={"password": password})
    api.tell(answer, f"user password set: id={user_id}")


@command.command("disable")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@calls_api()
def disable(api: Api, *, user_id: str) -> None:
    """Refuse a user everywhere, until enabled again."""
    require(user_id, "--id")
    status = api.call("PATCH /admin/users/{id}/disable", id=user_id)
    api.tell(status, f"user disabled: id={user_id}")


@command.command("enable")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@calls_api()
def enable(api: Api, *, user_id: str) -> None:
    """Let a disabled user in again."""
    require(user_id, "--id")
    status = api.call("PATCH /admin/users/{id}/enable", id=user_id)
    api.tell(status, f"user enabled: id={user_id}")


@command.command("delete")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@switch("--force", help="Also with live tokens, which are revoked.")
@calls_api()
def delete(api: Api, *, user_id: str, force: bool) -> None:
    """Delete a user."""
    require(user_id, "--id")
    answer = api.call("DELETE /admin/users/{id}", id=user_id, query={"force": force})
    api.tell(answer, f"user deleted: id={user_id}")


@command.command("force-logout")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@calls_api()
def force_logout(api: Api, *, user_id: str) -> None:
    """End every browser session, family and token of a user."""
    require(user_id, "--id")
    answer = api.call("DELETE /admin/users/{id}/tokens", id=user_id)
    api.tell(answer, f"user {user_id} force-logged out: {answer['tokens_revoked']} token families revoked")


@command.command("list")
@calls_api()
def list_(api: Api) -> None:
    """List all users, oldest first."""
    users = api.call("GET /admin/users", query={"limit": _PAGE})
    page = users
    while len(page) == _PAGE:
        page = api.call("GET /admin/users", query={"limit": _PAGE, "after": users[-1]["id"]})
        users += page
    api.tell_list(users, map(_line, users), none="no users found")


def _line(user: dict[str, Any]) -> str:
    return f"id={user['id']} email={user['email']} role={user['role']} status={user['status']}"
