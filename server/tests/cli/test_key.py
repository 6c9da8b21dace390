import re
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

KEY = r"kid=([\w-]{22}) alg=ES256 use=sig status="


def test_listing_makes_the_first_key(command: Command) -> None:
    done = command("admin", "key", "list")
    assert done.code == 0
    assert re.fullmatch(rf"{KEY}current\n", done.out)
    assert command("admin", "key", "list").out == done.out


def test_a_rotation_puts_a_new_key_in_front_and_is_audited(command: Command, database_target: str) -> None:
    old = command("admin", "key", "list").fields["kid"]
    done = command("admin", "key", "rotate")
    kid = done.fields["kid"]
    assert (done.code, done.out) == (0, f"key rotated: kid={kid} alg=ES256\n")
    assert re.fullmatch(rf"{KEY}current\n{KEY}previous\n", command("admin", "key", "list").out)
    assert re.findall(KEY, command("admin", "key", "list").out) == [kid, old]
    (row,) = audited(database_target)
    assert (row.action, row.actor_id) == ("key.rotated", "admin")
    assert row.detail == f"admin rotated signing key: kid={kid}"


def test_a_database_without_tables_is_not_migrated_and_nothing_is_rotated(terminal: Command, tmp_path: Path) -> None:
    environment = {"AUTHPLANE_STORAGE_SQLITE_PATH": str(tmp_path / "empty.db")}
    done = terminal("admin", "key", "rotate", **environment)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: run authserver migrate first: ")
    assert not (tmp_path / "data" / "keys").exists()


def test_listing_needs_no_database(terminal: Command, tmp_path: Path) -> None:
    assert terminal("admin", "key", "list", AUTHPLANE_STORAGE_SQLITE_PATH=str(tmp_path)).code == 0


@pytest.mark.parametrize("verb", ["list", "rotate"])
def test_keys_that_cannot_be_read_are_explained(command: Command, tmp_path: Path, verb: str) -> None:
    (tmp_path / "file").touch()
    done = command("admin", "key", verb, AUTHPLANE_SIGNING_KEY_PATH=str(tmp_path / "file"))
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {tmp_path}/file: ")
