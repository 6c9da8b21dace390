from pathlib import Path

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
