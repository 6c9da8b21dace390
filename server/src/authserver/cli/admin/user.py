"""``authserver admin user`` (cli.md §5)."""

import sys

import click

from authserver.cli.admin.opening import require, run
from authserver.cli.groups import Group
from authserver.cli.options import switch
from authserver.core import Core
from authserver.users.records import User, UserRole


@click.group("user", cls=Group)
def command() -> None:
    """Create, change and list users."""


@command.command("create")
@click.option("--email", envvar="AUTHSERVER_USER_EMAIL", default="", help="What the user signs in with. Required.")
@click.option("--password", envvar="AUTHSERVER_USER_PASSWORD", default="", help="Required, here or on standard input.")
@switch("--password-stdin", help="Reads the password from standard input, one line.")
@click.option("--name", envvar="AUTHSERVER_USER_NAME", default="", help="How the user is called.")
@click.option("--role", envvar="AUTHSERVER_USER_ROLE", default="user", show_default=True, help="admin or user.")
@click.pass_obj
def create(config_path: str | None, *, email: str, password: str, password_stdin: bool, name: str, role: str) -> None:
    """Create a local user."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    require(email, "--email")
    require(password, "--password")
    if role not in set(UserRole):
        raise click.ClickException("--role must be admin or user")

    user = run(
        config_path,
        lambda core: core.accounts.create_user(
            email=email, password=password, name=name, role=UserRole(role), now=core.clock()
        ),
    )
    click.echo(f"user created: id={user.id} email={user.email} role={user.role}")


@command.command("update")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.option("--email", help="What the user signs in with.")
@click.option("--name", help="How the user is called.")
@click.pass_obj
def update(config_path: str | None, *, user_id: str, email: str | None, name: str | None) -> None:
    """Change a user; what is not given stays."""
    require(user_id, "--id")
    user = run(config_path, lambda core: core.accounts.update_user(user_id, email=email, name=name, now=core.clock()))
    click.echo(f"user updated: id={user.id} email={user.email or ''} name={user.name}")


@command.command("set-password")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.option("--password", envvar="AUTHSERVER_USER_PASSWORD", default="", help="Required, here or on standard input.")
@switch("--password-stdin", help="Reads the password from standard input, one line.")
@click.pass_obj
def set_password(config_path: str | None, *, user_id: str, password: str, password_stdin: bool) -> None:
    """Give a user a new password; every browser session of theirs ends."""
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    require(user_id, "--id")
    require(password, "--password")
    user = run(config_path, lambda core: core.accounts.set_password(user_id, password, now=core.clock()))
    click.echo(f"user password set: id={user.id}")


@command.command("disable")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.pass_obj
def disable(config_path: str | None, *, user_id: str) -> None:
    """Refuse a user everywhere, until enabled again."""
    require(user_id, "--id")
    user = run(config_path, lambda core: core.accounts.disable_user(user_id, now=core.clock()))
    click.echo(f"user disabled: id={user.id}")


@command.command("enable")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.pass_obj
def enable(config_path: str | None, *, user_id: str) -> None:
    """Let a disabled user in again."""
    require(user_id, "--id")
    user = run(config_path, lambda core: core.accounts.enable_user(user_id, now=core.clock()))
    click.echo(f"user enabled: id={user.id}")


@command.command("delete")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@switch("--force", help="Also with live tokens, which are revoked.")
@click.pass_obj
def delete(config_path: str | None, *, user_id: str, force: bool) -> None:
    """Delete a user."""
    require(user_id, "--id")
    run(config_path, lambda core: core.accounts.delete_user(user_id, force=force, now=core.clock()))
    click.echo(f"user deleted: id={user_id}")


@command.command("force-logout")
@click.option("--id", "user_id", envvar="AUTHSERVER_USER_ID", default="", help="Required.")
@click.pass_obj
def force_logout(config_path: str | None, *, user_id: str) -> None:
    """End every browser session, family and token of a user."""
    require(user_id, "--id")
    count = run(config_path, lambda core: core.accounts.force_logout(user_id, now=core.clock()))
    click.echo(f"user {user_id} force-logged out: {count} token families revoked")


@command.command("list")
@click.pass_obj
def list_(config_path: str | None) -> None:
    """List all users."""

    async def every(core: Core) -> list[User]:
        return [user async for user in core.accounts.every_user()]

    users = run(config_path, every)
    for user in users:
        click.echo(f"id={user.id} email={user.email or ''} role={user.role} status={user.status}")
    if not users:
        click.echo("no users found")
