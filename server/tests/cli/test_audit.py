"""``authserver admin audit`` on both databases."""

import asyncio
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from authserver.audit.delivery.records import Delivery
from authserver.audit.delivery.store import begin_delivery, fail_delivery
from authserver.protocol.identifiers import spell_id
from authserver.storage.database import Database
from server.tests.audit.sealed import Clock, Trail, change_row, keyring_in, tamper
from server.tests.cli.terminal import Command
from server.tests.conftest import open_target


def sealed(target: str, keys: Path, *counts: int) -> list[bytes]:
    """Have a trail written and sealed; return the ids of its rows."""

    async def grow() -> list[bytes]:
        db = await open_target(target)
        try:
            return await Trail(db, await keyring_in(keys), Clock()).grow(*counts)
        finally:
            await db.close()

    return asyncio.run(grow())


def on(target: str, work: Callable[[Database], Awaitable[None]]) -> None:
    async def opened() -> None:
        db = await open_target(target)
        await work(db)
        await db.close()

    asyncio.run(opened())


def look_back_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trail of a fixed date read, however long ago that is."""
    for name in ("DEFAULT", "MAX"):
        monkeypatch.setenv(f"AUTHPLANE_ADMIN_AUDIT_{name}_LOOKBACK", "1000000h")


def test_a_trail_that_is_intact_is_said_to_be(command: Command, database_target: str, tmp_path: Path) -> None:
    sealed(database_target, tmp_path / "keys", 3, 2)
    done = command("admin", "audit", "verify")
    assert done.code == 0
    assert done.fields.items() >= {"intact": "true", "checkpoints": "1..2", "rows": "5", "trusted": "yes"}.items()


def test_the_row_that_was_edited_is_named(command: Command, database_target: str, tmp_path: Path) -> None:
    ids = sealed(database_target, tmp_path / "keys", 3, 2)
    on(database_target, lambda db: change_row(db, ids[3], "actor_number", "somebody"))

    done = command("admin", "audit", "verify")
    assert done.code == 1
    # The making of the key was logged there, too.
    assert (
        done.err.splitlines()[-1]
        == f"error: the audit trail is not as it was sealed: the first bad row is {spell_id(ids[3])}"
    )
    assert f"fault=row_changed checkpoint=2 row={spell_id(ids[3])} " in done.out

    report = json.loads(command("admin", "audit", "verify", "--json").out)
    assert (report["intact"], report["first_bad_row"], report["fault_count"]) == (False, spell_id(ids[3]), 1)


def test_a_checkpoint_that_was_printed_is_looked_for(command: Command, database_target: str, tmp_path: Path) -> None:
    assert command("admin", "audit", "checkpoint").out == "no checkpoints found\n"
    sealed(database_target, tmp_path / "keys", 1, 1)
    printed = command("admin", "audit", "checkpoint").out.split()[0]
    assert command("admin", "audit", "verify", "--checkpoint", printed).code == 0
    on(database_target, lambda db: tamper(db, "DELETE FROM audit_checkpoints WHERE number = 2"))
    done = command("admin", "audit", "verify", "--checkpoint", printed)
    assert done.code == 1
    assert "fault=tail_removed checkpoint=1 " in done.out
    assert json.loads(command("admin", "audit", "checkpoint", "--json").out)["number"] == 1


def test_keys_of_somebody_else_are_not_trusted(command: Command, database_target: str, tmp_path: Path) -> None:
    sealed(database_target, tmp_path / "keys", 1)
    jwks = tmp_path / "jwks.json"
    for directory, code in (("keys", 0), ("others", 1)):
        keys = asyncio.run(keyring_in(tmp_path / directory)).snapshot(1_790_000_000).jwks
        jwks.write_bytes(keys)
        done = command("admin", "audit", "verify", "--keys", str(jwks))
        assert (done.code, "fault=key_not_trusted" in done.out) == (code, bool(code))


def test_no_key_is_made_to_trust_a_trail(command: Command, tmp_path: Path) -> None:
    done = command("admin", "audit", "verify")
    assert done.code == 1
    assert "give the keys to trust with --keys" in done.err
    assert not (tmp_path / "keys").exists()


def test_the_bounds_of_looking_back_are_those_of_the_admin_api(command: Command) -> None:
    done = command("admin", "audit", "list", "--since", "4000w")
    assert (done.code, done.err) == (1, "error: since must be at most 720 hours ago\n")


def test_what_cannot_be_asked_is_refused(command: Command, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("[]")
    assert command("admin", "audit", "verify", "--checkpoint", "5:abc").err.startswith("error: --checkpoint must be")
    done = command("admin", "audit", "verify", "--keys", str(tmp_path / "no.json"))
    assert (done.code, done.err) == (1, f"error: {tmp_path}/no.json: not a JWK set\n")


def test_an_export_is_verified_without_its_database(command: Command, database_target: str, tmp_path: Path) -> None:
    sealed(database_target, tmp_path / "keys", 3, 2)
    file = tmp_path / "export.jsonl"
    assert command("admin", "audit", "export", "--output", str(file)).code == 0
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(asyncio.run(keyring_in(tmp_path / "keys")).snapshot(1_790_000_000).jwks)
    nowhere = {"AUTHPLANE_STORAGE_DRIVER": "sqlite", "AUTHPLANE_STORAGE_SQLITE_PATH": str(tmp_path / "none" / "db")}

    done = command("admin", "audit", "verify", "--file", str(file), "--keys", str(jwks), **nowhere)
    assert (done.code, done.fields["rows"], done.fields["trusted"]) == (0, "5", "yes")
    done = command("admin", "audit", "verify", "--file", str(file), **nowhere)
    assert (done.code, done.fields["trusted"]) == (0, "no")
    assert done.err.startswith("note: nobody vouches for these keys")
    assert not (tmp_path / "none").exists()


def test_the_row_that_was_edited_in_an_export_is_named(command: Command, database_target: str, tmp_path: Path) -> None:
    ids = sealed(database_target, tmp_path / "keys", 3)
    file = tmp_path / "export.jsonl"
    command("admin", "audit", "export", "--output", str(file))
    file.write_text(file.read_text().replace("n=1", "n=7"))
    done = command("admin", "audit", "verify", "--file", str(file))
    assert (done.code, done.err.splitlines()[-1]) == (
        1,
        f"error: the audit trail is not as it was sealed: the first bad row is {spell_id(ids[1])}",
    )


def test_events_are_listed_newest_first(
    command: Command, database_target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_back_far(monkeypatch)
    assert command("admin", "audit", "list").out == "no audit events found\n"
    ids = sealed(database_target, tmp_path / "keys", 3)
    lines = command("admin", "audit", "list", "--limit", "2").out.splitlines()
    assert [line.split(" id=")[1] for line in lines] == [
        f'{spell_id(ids[2])} detail="n=2"',
        f'{spell_id(ids[1])} detail="n=1"',
    ]
    assert lines[0].startswith("time=2026-09-21T14:13:20Z action=user.login actor_id=u1 client_id=c1 ip=192.0.2.7 ")
    (event,) = json.loads(command("admin", "audit", "list", "--limit", "1", "--json").out)
    assert event == {
        "id": spell_id(ids[2]),
        "action": "user.login",
        "actor_id": "u1",
        "client_id": "c1",
        "ip": "192.0.2.7",
        "detail": "n=2",
        "trace_id": "",
        "reference": "",
        "created_at": "2026-09-21T14:13:20Z",
    }
    for flags in (("--action", "token.issued"), ("--actor", "u2"), ("--client", "c2"), ("--since", "1s")):
        assert command("admin", "audit", "list", *flags).out == "no audit events found\n"
    for flags in (("--action", "user.login"), ("--actor", "u1"), ("--client", "c1")):
        assert len(command("admin", "audit", "list", *flags).out.splitlines()) == 3


def test_the_newest_events_are_shown_oldest_first(
    command: Command, database_target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    look_back_far(monkeypatch)
    ids = sealed(database_target, tmp_path / "keys", 3)
    lines = command("admin", "audit", "tail", "-n", "2", "--json").out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [spell_id(ids[1]), spell_id(ids[2])]
    assert command("admin", "audit", "tail", "-n", "0").out == ""


def test_following_shows_what_comes(environment: dict[str, str], command: Command, tmp_path: Path) -> None:
    words = (sys.executable, "-m", "authserver", "admin", "audit", "tail", "--follow", "--json")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUTHPLANE_")}
    with subprocess.Popen(words, env=inherited | environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            seen = None
            for number in range(30):
                # Whatever the follower has missed while it started, the next one is not.
                assert (
                    command(
                        "admin", "user", "create", "--email", f"u{number}@example.com", "--password", "long enough 1"
                    ).code
                    == 0
                )
                ready, _, _ = select.select([process.stdout], [], [], 1)
                if ready:
                    seen = json.loads(process.stdout.readline())
                    break
            assert seen is not None
            assert seen["action"] == "user.created"
        finally:
            process.send_signal(signal.SIGINT)
    assert process.returncode in {0, 1}


def test_where_each_destination_stands_is_shown(command: Command, database_target: str, tmp_path: Path) -> None:
    assert command("admin", "audit", "delivery").out == "no deliveries found\n"
    sealed(database_target, tmp_path / "keys", 3, 2)
    stands = Delivery(destination="webhook", checkpoint=1, position=1, sequence=4, begun_at=1_790_000_000)

    async def fail(db: Database) -> None:
        await db.write(lambda tx: begin_delivery(tx, stands))
        await db.write(lambda tx: fail_delivery(tx, stands, "status 500", next_attempt_at=1_790_000_004))

    on(database_target, fail)
    configured = {
        "AUTHPLANE_AUDIT_WEBHOOK_URL": "https://siem.example.com/hook",
        "AUTHPLANE_AUDIT_WEBHOOK_SECRET_REF": "CONNECTOR_HOOK",
    }
    assert command("admin", "audit", "delivery", **configured).out.startswith(
        "destination=webhook sequence=4 checkpoint=1 position=1 begun_at=2026-09-21T14:13:20Z delivered_at= failures=1"
        ' last_error="status 500" next_attempt_at=2026-09-21T14:13:24Z configured=true pending=1 seconds='
    )
    (shown,) = json.loads(command("admin", "audit", "delivery", "--json").out)
    assert (shown["pending"], shown["configured"], shown["failures"]) == (1, False, 1)
