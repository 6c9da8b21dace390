import asyncio
import json
import re
from dataclasses import replace

import pytest

from authserver.protocol.identifiers import new_public_id
from authserver.storage.database import Writer
from authserver.users.records import User, UserProvider, UserRole, UserStatus
from authserver.users.store import insert_user
from server.tests.cli.terminal import Command, audited
from server.tests.conftest import NOW, open_target

PASSWORD = "correct horse battery staple"
USER = User(
    id="",
    email=None,
    name="",
    role=UserRole.USER,
    status=UserStatus.ACTIVE,
    password_hash="",
    provider=UserProvider.LOCAL,
    provider_sub="",
    session_epoch=0,
    version=1,
    created_at=NOW,
    updated_at=NOW,
)


def create(command: Command, email: str = "ada@example.com", *words: str) -> str:
    done = command("admin", "user", "create", "--email", email, "--password", PASSWORD, *words)
    assert done.code == 0, done.err
    return done.fields["id"]


def test_a_user_is_created(command: Command, database_target: str) -> None:
    done = command("admin", "user", "create", "--email", "ada@example.com", "--password", PASSWORD, "--role", "admin")
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"user created: id=[\w-]{22} email=ada@example\.com role=admin\n", done.out)
    (row,) = audited(database_target)
    assert (row.action, row.actor_id, row.ip) == ("user.created", "admin", "")


def test_the_password_may_come_from_standard_input(command: Command) -> None:
    done = command("admin", "user", "create", "--email", "ada@example.com", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert done.code == 0
    assert done.fields["role"] == "user"


def test_everything_may_come_from_the_environment(command: Command) -> None:
    done = command(
        *("admin", "user", "create"),
        AUTHSERVER_USER_EMAIL="env@example.com",
        AUTHSERVER_USER_PASSWORD=PASSWORD,
        AUTHSERVER_USER_NAME="Env",
        AUTHSERVER_USER_ROLE="admin",
    )
    assert (done.fields["email"], done.fields["role"]) == ("env@example.com", "admin")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--password", PASSWORD), "--email is required"),
        (("--email", "ada@example.com"), "--password is required"),
        (("--email", "ada@example.com", "--password-stdin"), "--password is required"),
        (("--email", "ada@example.com", "--password", "x", "--role", "god"), "--role must be admin or user"),
        (("--email", "ada", "--password", "x"), "email is not an address"),
        (("--email", "ada@example.com", "--password", "x" * 1025), "password must be at most 1024 bytes"),
    ],
)
def test_what_may_not_be_a_user_is_refused(command: Command, words: tuple[str, ...], sentence: str) -> None:
    done = command("admin", "user", "create", *words)
    assert (done.code, done.out, done.err) == (1, "", f"error: {sentence}\n")


def test_an_address_is_given_once(command: Command) -> None:
    create(command)
    done = command("admin", "user", "create", "--email", "ADA@example.com", "--password", "x")
    assert (done.code, done.out, done.err) == (1, "", "error: email is already in use\n")


def test_only_what_is_given_changes(command: Command) -> None:
    user_id = create(command)
    done = command("admin", "user", "update", "--id", user_id, "--name", "Ada L")
    assert (done.code, done.out) == (0, f"user updated: id={user_id} email=ada@example.com name=Ada L\n")
    done = command("admin", "user", "update", "--email", "new@example.com", AUTHSERVER_USER_ID=user_id)
    assert (done.code, done.out) == (0, f"user updated: id={user_id} email=new@example.com name=Ada L\n")


def test_a_password_is_changed(command: Command) -> None:
    user_id = create(command)
    done = command("admin", "user", "set-password", "--id", user_id, "--password-stdin", stdin="another")
    assert (done.code, done.out) == (0, f"user password set: id={user_id}\n")


def test_a_user_is_disabled_and_enabled(command: Command) -> None:
    user_id = create(command)
    assert command("admin", "user", "disable", "--id", user_id).out == f"user disabled: id={user_id}\n"
    assert command("admin", "user", "disable", "--id", user_id).err == "error: user is already disabled\n"
    assert command("admin", "user", "enable", "--id", user_id).out == f"user enabled: id={user_id}\n"


def test_a_user_is_logged_out_everywhere(command: Command, database_target: str) -> None:
    user_id = create(command)
    done = command("admin", "user", "force-logout", "--id", user_id)
    assert (done.code, done.out) == (0, f"user {user_id} force-logged out: 0 token families revoked\n")
    assert audited(database_target)[-1].action == "user.force_logout"


def test_a_user_is_deleted(command: Command) -> None:
    user_id = create(command)
    done = command("admin", "user", "delete", "--id", user_id, "--force=true")
    assert (done.code, done.out) == (0, f"user deleted: id={user_id}\n")
    assert command("admin", "user", "list").out == "no users found\n"


def test_users_are_listed(command: Command) -> None:
    user_id = create(command)
    done = command("admin", "user", "list")
    assert (done.code, done.out) == (0, f"id={user_id} email=ada@example.com role=user status=active\n")


def test_all_users_are_listed_however_many(terminal: Command, sqlite_target: str) -> None:
    async def fill() -> None:
        db = await open_target(sqlite_target)

        async def insert(tx: Writer) -> None:
            for number in range(1001):
                await insert_user(tx, replace(USER, id=new_public_id(), email=f"{number}@example.com"))

        await db.write(insert)
        await db.close()

    asyncio.run(fill())
    environment = {"AUTHPLANE_STORAGE_SQLITE_PATH": sqlite_target}
    lines = terminal("admin", "user", "list", **environment).out.splitlines()
    assert len(set(lines)) == len(lines) == 1001
    assert len(json.loads(terminal("admin", "user", "list", "--json", **environment).out)) == 1001


@pytest.mark.parametrize(
    "words", [("update",), ("delete",), ("force-logout",), ("disable",), ("enable",), ("set-password", "--password=x")]
)
def test_an_unknown_user_is_refused(command: Command, words: tuple[str, ...]) -> None:
    assert command("admin", "user", *words, "--id", "nobody").err == "error: user not found: nobody\n"
    done = command("admin", "user", *words)
    assert (done.code, done.out, done.err) == (1, "", "error: --id is required\n")
