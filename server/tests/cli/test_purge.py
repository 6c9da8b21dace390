import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from authserver.maintenance.purge import DEFAULT_TARGETS
from server.tests.audit.sealed import Clock, Trail, keyring_in
from server.tests.cli.terminal import Command
from server.tests.conftest import open_target

WORDS = (sys.executable, "-m", "authserver", "purge")


def inherited() -> dict[str, str]:
    """Return the environment without what configures the product."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AUTHPLANE_")}


def purge(environment: dict[str, str], *words: str) -> tuple[int, str, list[dict[str, Any]], list[str]]:
    """Run the command; return code, output, the log and what else was on stderr."""
    done = subprocess.run(
        [*WORDS, *words], env=inherited() | environment, capture_output=True, text=True, timeout=30, check=False
    )
    lines = done.stderr.splitlines()
    logged = [json.loads(line) for line in lines if line.startswith("{")]
    return done.returncode, done.stdout, logged, [line for line in lines if not line.startswith("{")]


def execute(target: str, sql: str) -> None:
    async def run() -> None:
        db = await open_target(target)
        await db.write(lambda tx: tx.execute(sql))
        await db.close()

    asyncio.run(run())


def test_every_target_runs_once_and_is_logged(environment: dict[str, str], database_target: str) -> None:
    execute(database_target, "INSERT INTO dpop_jtis (jkt, jti, expires_at) VALUES ('k', 'j', 1)")
    code, out, logged, rest = purge(environment)
    assert (code, out, rest) == (0, "", [])
    assert [(line["msg"], line["table"]) for line in logged] == [
        ("purge completed", str(target)) for target in DEFAULT_TARGETS
    ]
    assert {line["table"]: line["deleted"] for line in logged}["dpop-nonces"] == 1


def test_only_what_is_named_runs(environment: dict[str, str]) -> None:
    code, _, logged, _ = purge(environment, "--only", " sessions , jti,", "--timeout=0")
    assert (code, [line["table"] for line in logged]) == (0, ["jti", "sessions"])


def test_history_goes_only_when_it_is_named_with_a_retention(environment: dict[str, str], tmp_path: Path) -> None:
    asyncio.run(keyring_in(tmp_path / "keys"))  # what is left of audit events is signed
    code, _, logged, _ = purge(environment, "--only=audit-events,issuances,unused-clients", "--retention", "90d")
    tables = [line["table"] for line in logged if "table" in line]
    assert (code, tables) == (0, ["audit-events", "issuances", "unused-clients"])


def test_no_key_is_made_to_sign_what_is_left_of_the_trail(environment: dict[str, str], tmp_path: Path) -> None:
    code, _, _, rest = purge(environment, "--only=audit-events", "--retention", "90d")
    assert code == 1
    assert str(tmp_path / "keys") in rest[-1]
    assert not (tmp_path / "keys").exists()


def test_a_failing_target_does_not_keep_the_next_from_running(environment: dict[str, str], tmp_path: Path) -> None:
    environment = {"AUTHPLANE_STORAGE_SQLITE_PATH": str(tmp_path / "empty.db")}
    code, _, logged, rest = purge(environment, "--only", "jti,sessions")
    assert (code, rest) == (1, ["error: one or more purge operations failed"])
    assert [(line["msg"], line["table"], line["level"]) for line in logged] == [
        ("purge failed", "jti", "ERROR"),
        ("purge failed", "sessions", "ERROR"),
    ]
    assert "no such table" in logged[0]["error"]


def test_the_deadline_ends_it(environment: dict[str, str]) -> None:
    code, _, logged, rest = purge(environment, "--timeout", "1ns")
    assert (code, rest) == (1, ["error: one or more purge operations failed"])
    assert logged[-1]["msg"] in {"purge interrupted", "purge aborted before op"}
    assert len(logged) < len(DEFAULT_TARGETS)


class Blocker:
    """Somebody who holds the first table of a purge and does not let go."""

    def __init__(self, dsn: str) -> None:
        self._runner = asyncio.Runner()
        self._connection = self._run(asyncpg.connect(dsn))
        self._run(self._connection.execute("BEGIN; LOCK TABLE assertion_jtis IN ACCESS EXCLUSIVE MODE"))

    def wait_for_another(self) -> None:
        """Wait until somebody waits for the table."""
        deadline = time.monotonic() + 20
        waiting = (
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
            " WHERE NOT granted AND datname = current_database()"
        )
        while not self._run(self._connection.fetchval(waiting)):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self) -> None:
        self._run(self._connection.close())
        self._runner.close()

    def _run(self, work: Any) -> Any:
        return self._runner.run(work)


@pytest.fixture
def blocker(environment: dict[str, str], postgres_template: str) -> Iterator[Blocker]:
    blocker = Blocker(postgres_template)
    yield blocker
    blocker.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
def test_a_signal_ends_it(environment: dict[str, str], blocker: Blocker, number: signal.Signals) -> None:
    with subprocess.Popen(WORDS, env=inherited() | environment, stderr=subprocess.PIPE, text=True) as process:
        blocker.wait_for_another()
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
    first, *rest = err.splitlines()
    logged = json.loads(first)
    assert (logged["msg"], logged["table"], logged["level"]) == ("purge interrupted", "assertion-jti", "ERROR")
    assert (process.returncode, rest) == (1, ["error: one or more purge operations failed"])


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--only", ", ,"), "--only requires at least one target"),
        (("--only", "jti,coffee"), "unknown purge target 'coffee'; valid targets: assertion-jti, audit-events,"),
        (("--only", "audit-events"), "target audit-events needs --retention"),
        (("--timeout", "soon"), "Invalid value for '--timeout': 'soon' is not a duration"),
        (("--retention", "-1s"), "Invalid value for '--retention': it must not be negative"),
    ],
)
def test_what_cannot_be_asked_is_refused(terminal: Command, words: tuple[str, ...], sentence: str) -> None:
    done = terminal("purge", *words)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {sentence}")
    assert done.err.count("\n") == 1


def test_old_audit_events_leave_a_trail_that_can_be_verified(
    environment: dict[str, str], database_target: str, tmp_path: Path
) -> None:
    async def grow() -> None:
        db = await open_target(database_target)
        clock = Clock()
        clock.ms = int(time.time() - 10 * 24 * 3600) * 1000
        trail = Trail(db, await keyring_in(tmp_path / "keys"), clock)
        await trail.grow(3)
        clock.pass_seconds(8 * 24 * 3600)
        await trail.grow(2)
        await db.close()

    asyncio.run(grow())
    code, _, logged, rest = purge(environment, "--only=audit-events", "--retention", "5d")
    assert (code, rest) == (0, [])
    assert [(line["msg"], line["table"], line["deleted"]) for line in logged if "table" in line] == [
        ("purge completed", "audit-events", 3)
    ]
    words = (sys.executable, "-m", "authserver", "admin", "audit", "verify")
    done = subprocess.run(words, env=inherited() | environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "intact=true checkpoints=2..2 rows=2 late=0 unsealed=1 purged=3 " in done.stdout
