import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from server.tests.cli.terminal import Command


def test_migrating_may_be_repeated(terminal: Command, tmp_path: Path) -> None:
    environment = {"AUTHPLANE_STORAGE_SQLITE_PATH": str(tmp_path / "new.db")}
    first = terminal("migrate", **environment)
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith("migrations applied: ")
    assert first.out != "migrations applied: 0\n"
    assert terminal("migrate", **environment).out == "migrations applied: 0\n"


def test_a_migrated_database_needs_nothing(command: Command) -> None:
    done = command("migrate")
    assert (done.code, done.out, done.err) == (0, "migrations applied: 0\n", "")


def test_a_database_that_does_not_answer_is_explained(terminal: Command) -> None:
    done = terminal(
        "migrate",
        AUTHPLANE_STORAGE_DRIVER="postgres",
        AUTHPLANE_STORAGE_POSTGRES_DSN="postgresql://nobody@127.0.0.1:1/none",
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: cannot connect to PostgreSQL: ")


@pytest.fixture
def weak_dsn(postgres_target: str) -> Iterator[str]:
    """The migrated database, for a role that reads and writes rows and may create nothing."""

    async def administer(*statements: str) -> None:
        connection = await asyncpg.connect(postgres_target)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    where = urlsplit(postgres_target)
    role = f"weak_{where.path[1:]}"
    asyncio.run(
        administer(
            f"CREATE ROLE {role} LOGIN PASSWORD 'weak'",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {role}",
            f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {role}",
        )
    )
    yield where._replace(netloc=f"{role}:weak@{where.netloc.rpartition('@')[2]}").geturl()
    asyncio.run(administer(f"DROP OWNED BY {role}", f"DROP ROLE {role}"))


def test_a_role_that_may_create_nothing_works_on_a_migrated_database(terminal: Command, weak_dsn: str) -> None:
    weak = {"AUTHPLANE_STORAGE_DRIVER": "postgres", "AUTHPLANE_STORAGE_POSTGRES_DSN": weak_dsn}
    assert terminal("migrate", **weak).out == "migrations applied: 0\n"
    checked = terminal("check", AUTHPLANE_SERVER_ADDRESS="127.0.0.1:0", AUTHPLANE_ADMIN_ENABLED="false", **weak)
    assert (checked.code, checked.err) == (0, "")
    user = terminal("admin", "user", "create", "--email", "ada@example.com", "--password", "a good password", **weak)
    assert (user.code, user.err) == (0, "")


def test_a_command_that_applies_no_migrations_says_that_they_are_missing(
    terminal: Command, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MASTER_KEY", "ab" * 32)
    done = terminal(
        "admin",
        "key",
        "list",
        AUTHPLANE_STORAGE_DRIVER="postgres",
        AUTHPLANE_STORAGE_POSTGRES_DSN=postgres_dsn,
        AUTHPLANE_SIGNING_KEY_STORE="postgres_key",
        AUTHPLANE_DATA_ENCRYPTION_DRIVER="aes_master",
        AUTHPLANE_DATA_ENCRYPTION_KEY_ENV="MASTER_KEY",
    )
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: run authserver migrate first: ")
    assert done.err.count("\n") == 1
