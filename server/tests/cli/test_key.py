import re
from pathlib import Path

import pytest

from server.tests.cli.terminal import Command, audited

KEY = r"kid=([\w-]{22}) alg=ES256 use=sig status="


def test_listing_makes_the_first_key(command: Command) -> None:
    done = command("admin", "key", "list")
    # Commands tell their result and nothing else.
    assert (done.code, done.err) == (0, "")
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


def test_a_rotation_that_fails_says_why_to_who_works_on_this_machine(command: Command, tmp_path: Path) -> None:
    kid = command("admin", "key", "list").fields["kid"]
    (tmp_path / "keys" / "in-the-way.tmp").mkdir()
    done = command("admin", "key", "rotate")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"error: {tmp_path}/keys/in-the-way.tmp: ")
    assert command("admin", "key", "list").fields["kid"] == kid


def test_a_key_that_was_rotated_a_moment_ago_is_retired_once_its_successor_signs(
    command: Command, database_target: str
) -> None:
    old = command("admin", "key", "list").fields["kid"]
    new = command("admin", "key", "rotate").fields["kid"]
    done = command("admin", "key", "retire", "--kid", old)
    assert (done.code, done.out) == (0, f"key retired: kid={old}\n")
    assert re.findall(KEY, command("admin", "key", "list").out) == [new]
    assert [row.action for row in audited(database_target)] == ["key.rotated", "key.retired"]


def test_the_current_key_is_not_retired(command: Command, database_target: str) -> None:
    kid = command("admin", "key", "list").fields["kid"]
    done = command("admin", "key", "retire", "--kid", kid)
    assert (done.code, done.err) == (1, f"error: kid={kid} is the current key: rotate first\n")
    assert command("admin", "key", "retire", "--kid", "x").err == "error: kid=x is not a published key\n"
    assert command("admin", "key", "retire").err == "error: --kid is required\n"
    assert audited(database_target) == []


def test_keys_in_the_database_are_listed_rotated_and_retired(
    command: Command, postgres_target: str, tmp_path: Path
) -> None:
    environment = {
        "AUTHPLANE_STORAGE_DRIVER": "postgres",
        "AUTHPLANE_STORAGE_POSTGRES_DSN": postgres_target,
        "AUTHPLANE_SIGNING_KEY_STORE": "postgres_key",
        "AUTHPLANE_DATA_ENCRYPTION_DRIVER": "aes_master",
        "AUTHPLANE_DATA_ENCRYPTION_KEY_ENV": "MASTER_KEY",
        "MASTER_KEY": "ab" * 32,
    }
    old = command("admin", "key", "list", **environment).fields["kid"]
    new = command("admin", "key", "rotate", **environment).fields["kid"]
    assert re.findall(KEY, command("admin", "key", "list", **environment).out) == [new, old]
    assert command("admin", "key", "retire", "--kid", old, **environment).code == 0
    assert re.findall(KEY, command("admin", "key", "list", **environment).out) == [new]
    assert not (tmp_path / "keys").exists()
    refused = command("admin", "key", "list", **environment | {"MASTER_KEY": "cd" * 32})
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == f"error: table signing_keys: kid={new} cannot be opened: aes_master: decryption failed\n"
