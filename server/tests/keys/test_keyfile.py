import asyncio
import multiprocessing
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from authserver.keys.directory import LOCK_FILE
from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keystore import Change, KeyStoreError, retention_seconds
from authserver.keys.records import StoredKeys
from authserver.protocol.jose import Algorithm, generate_signing_key

NOW = 1_790_000_000
RETENTION = 4200

pytestmark = pytest.mark.anyio

OpenStore = Callable[..., KeyfileStore]
TRIO = ("pem", "kid", "alg")


async def unrecorded(kid: str, change: Change | None = None) -> None:
    """Nothing of a directory stands in the database."""
    assert change is None


def files(path: Path) -> set[str]:
    return {entry.name for entry in path.iterdir()} - {LOCK_FILE}


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def trio(stem: str) -> set[str]:
    return {f"{stem}.{suffix}" for suffix in TRIO}


def write_reference_trio(path: Path, stem: str, alg: Algorithm) -> None:
    path.mkdir(mode=0o700, exist_ok=True)
    pem = path / f"{stem}.pem"
    pem.write_bytes(generate_signing_key(alg, kid="unused").dump_pem())
    pem.chmod(0o600)
    os.utime(pem, (NOW, NOW))
    (path / f"{stem}.kid").write_text(f"{stem}/kid")
    (path / f"{stem}.alg").write_text(alg)


def pairs(stored: StoredKeys) -> dict[str, str]:
    """Each kid with the public half of the key it is published with."""
    return {key.kid: str(sorted(key.signing_key.public.jwk.items())) for key in stored.keys}


def kids(stored: StoredKeys) -> list[str]:
    return [key.kid for key in stored.keys]


async def test_an_empty_directory_gets_a_first_key(
    path: Path, open_store: OpenStore, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    stored = await open_store().prepare(now=NOW)
    assert files(path) == trio("current")
    (key,) = stored.keys
    assert (key.created_at, key.rotated_at, key.retires_at) == (NOW, None, None)
    (line,) = log_lines()
    assert (line["level"], line["kid"], line["path"]) == ("WARN", key.kid, str(path))


async def test_files_are_for_their_owner_only(path: Path, open_store: OpenStore) -> None:
    before = os.umask(0)
    try:
        await open_store().prepare(now=NOW)
        await open_store().rotate(now=NOW, record=unrecorded)
    finally:
        os.umask(before)
    assert mode(path) == 0o700
    assert {mode(path / name) for name in files(path) | {LOCK_FILE}} == {0o600}


async def test_a_second_start_finds_the_same_key(open_store: OpenStore) -> None:
    first = await open_store().prepare(now=NOW)
    second = await open_store("RS256").prepare(now=NOW + 5)
    assert second == first


async def test_kid_and_algorithm_are_one_line_of_text(path: Path, open_store: OpenStore) -> None:
    (key,) = (await open_store().prepare(now=NOW)).keys
    assert (path / "current.kid").read_text() == f"{key.kid}\n"
    assert (path / "current.alg").read_text() == "ES256\n"
    assert len(key.kid) == 22


async def test_rotation_moves_current_to_previous(path: Path, open_store: OpenStore) -> None:
    first = (await open_store().prepare(now=NOW)).keys[0]
    current, previous = (await open_store().rotate(now=NOW + 60, record=unrecorded)).keys
    assert files(path) == trio("current") | trio("previous")
    assert previous.kid == first.kid
    assert previous.signing_key.public == first.signing_key.public
    assert (previous.created_at, previous.rotated_at, previous.retires_at) == (NOW, NOW + 60, NOW + 60 + RETENTION)
    assert (current.created_at, current.rotated_at) == (NOW + 60, None)


async def test_three_rotations_within_a_minute_keep_every_key(path: Path, open_store: OpenStore) -> None:
    made = kids(await open_store().prepare(now=NOW))
    for second in (20, 40, 60):
        made.insert(0, (await open_store().rotate(now=NOW + second, record=unrecorded)).keys[0].kid)
    stored = await open_store().load(now=NOW + 60)
    assert kids(stored) == made
    assert [key.rotated_at for key in stored.keys] == [None, NOW + 60, NOW + 40, NOW + 20]
    assert files(path) == (
        trio("current")
        | trio("previous")
        | trio(f"rotated-{NOW + 40}-{made[2]}")
        | trio(f"rotated-{NOW + 20}-{made[3]}")
    )


async def test_two_rotations_in_one_second_keep_every_key(open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    for _ in range(3):
        stored = await open_store().rotate(now=NOW, record=unrecorded)
    assert len(set(kids(stored))) == 4


async def test_a_previous_key_is_deleted_when_its_retention_has_passed(path: Path, open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    await open_store().rotate(now=NOW, record=unrecorded)
    await open_store().rotate(now=NOW + 10, record=unrecorded)
    assert len(kids(await open_store().load(now=NOW + RETENTION - 1))) == 3
    assert len(kids(await open_store().load(now=NOW + RETENTION))) == 2
    assert len(files(path)) == 6
    assert len(kids(await open_store().load(now=NOW + RETENTION + 10))) == 1
    assert files(path) == trio("current")


async def test_the_current_key_never_retires(open_store: OpenStore) -> None:
    first = await open_store().prepare(now=NOW)
    assert kids(await open_store().load(now=NOW * 2)) == kids(first)


async def test_a_rotation_drops_what_has_retired(path: Path, open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    await open_store().rotate(now=NOW, record=unrecorded)
    stored = await open_store().rotate(now=NOW + RETENTION, record=unrecorded)
    assert len(stored.keys) == 2
    assert files(path) == trio("current") | trio("previous")


async def test_a_new_algorithm_comes_with_the_next_rotation(open_store: OpenStore) -> None:
    await open_store("ES256").prepare(now=NOW)
    restarted = open_store("RS256")
    assert [key.signing_key.alg for key in (await restarted.prepare(now=NOW + 1)).keys] == ["ES256"]
    assert [key.signing_key.alg for key in (await restarted.rotate(now=NOW + 2, record=unrecorded)).keys] == [
        "RS256",
        "ES256",
    ]


async def test_a_directory_of_the_reference_is_read(path: Path, open_store: OpenStore) -> None:
    write_reference_trio(path, "current", "ES256")
    write_reference_trio(path, "previous", "RS256")
    stored = await open_store().prepare(now=NOW + 60)
    assert [(key.kid, key.signing_key.alg) for key in stored.keys] == [
        ("current/kid", "ES256"),
        ("previous/kid", "RS256"),
    ]
    await open_store().rotate(now=NOW + 61, record=unrecorded)
    assert kids(await open_store().rotate(now=NOW + 62, record=unrecorded))[2:] == ["current/kid", "previous/kid"]
    assert f"rotated-{NOW}-previous%2Fkid.pem" in files(path)


async def test_a_missing_algorithm_is_inferred(path: Path, open_store: OpenStore) -> None:
    before = await open_store().prepare(now=NOW)
    (path / "current.alg").unlink()
    assert pairs(await open_store().prepare(now=NOW)) == pairs(before)


@pytest.mark.parametrize("stem", ["current", "previous"])
async def test_a_missing_kid_is_an_error_that_names_the_file(path: Path, open_store: OpenStore, stem: str) -> None:
    await open_store().prepare(now=NOW)
    await open_store().rotate(now=NOW, record=unrecorded)
    (path / f"{stem}.kid").unlink()
    with pytest.raises(KeyStoreError, match=rf"{stem}\.kid: missing"):
        await open_store().prepare(now=NOW)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("current.pem", b"nonsense"),
        ("current.pem", b""),
        ("current.kid", b""),
        ("current.kid", b"two words"),
        ("current.kid", b"\xff"),
        ("current.alg", b"RS256"),
        ("current.alg", b"none"),
    ],
)
async def test_a_damaged_file_is_an_error_and_stays(
    path: Path, open_store: OpenStore, name: str, content: bytes
) -> None:
    await open_store().prepare(now=NOW)
    (path / name).write_bytes(content)
    for attempt in (open_store().prepare, open_store().load, partial(open_store().rotate, record=unrecorded)):
        with pytest.raises(KeyStoreError, match=str(path)) as refused:
            await attempt(now=NOW)
        assert "PRIVATE" not in str(refused.value)
    assert (path / name).read_bytes() == content


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o660])
async def test_a_pem_that_others_may_read_is_warned_of(
    path: Path, open_store: OpenStore, log_lines: Callable[[], list[dict[str, Any]]], bits: int
) -> None:
    await open_store().prepare(now=NOW)
    (path / "current.pem").chmod(bits)
    await open_store().prepare(now=NOW)
    warned = [line for line in log_lines() if line.get("file") == str(path / "current.pem")]
    assert [line["level"] for line in warned] == ["WARN"]


async def test_a_directory_that_cannot_be_made_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyStoreError, match=str(tmp_path / "file" / "keys")):
        await KeyfileStore(tmp_path / "file" / "keys", algorithm="ES256", retention=0).prepare(now=NOW)


async def test_a_directory_that_has_gone_is_an_error(path: Path, open_store: OpenStore) -> None:
    stored = await open_store().prepare(now=NOW)
    shutil.rmtree(path)
    assert open_store().may_have_changed(stored, now=NOW)
    with pytest.raises(KeyStoreError, match=str(path)):
        await open_store().load(now=NOW)


async def test_every_change_is_seen_and_nothing_else(path: Path, open_store: OpenStore) -> None:
    store = open_store()
    stored = await store.prepare(now=NOW)
    assert stored.version == (await open_store().load(now=NOW)).version
    assert not store.may_have_changed(stored, now=NOW)
    rotated = await open_store().rotate(now=NOW, record=unrecorded)
    assert store.may_have_changed(stored, now=NOW)
    assert not store.may_have_changed(rotated, now=NOW)
    (path / "previous.pem").touch()
    assert store.may_have_changed(rotated, now=NOW)


async def test_other_files_in_the_directory_are_left_alone(path: Path, open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    (path / "README").write_text("hands off")
    (path / "spare.pem").write_bytes(generate_signing_key("ES256", kid="spare").dump_pem())
    await open_store().rotate(now=NOW + RETENTION, record=unrecorded)
    assert {"README", "spare.pem"} < files(path)


async def test_a_rotation_killed_at_any_step_loses_no_key_and_mixes_none(
    path: Path, open_store: OpenStore, tmp_path: Path
) -> None:
    for moment in (0, 1, 2):
        change = partial(open_store().rotate, record=unrecorded) if moment else open_store().prepare
        before = await change(now=NOW + moment)
    copies = tmp_path / "copies"
    copies.mkdir()
    program = Path(__file__).with_name("killed_rotations.py")
    command = [sys.executable, str(program), str(path), str(copies), str(NOW + 3)]
    await asyncio.to_thread(subprocess.run, command, check=True, timeout=60)

    published = []
    for copy in copies.iterdir():
        restarted = KeyfileStore(copy, algorithm="ES256", retention=RETENTION)
        restarted_keys = await restarted.prepare(now=NOW + 4)
        found = pairs(restarted_keys)
        assert pairs(before).items() <= found.items(), copy.name
        # No key stands under the name of another.
        members = [{**key.signing_key.public.jwk, "kid": ""} for key in restarted_keys.keys]
        assert all(members.count(one) == 1 for one in members), copy.name
        # And it goes on from there as if nothing had been.
        again = await restarted.rotate(now=NOW + 5, record=unrecorded)
        assert found.items() < pairs(again).items(), copy.name
        assert not [name for name in files(copy) if name.endswith(".tmp")], copy.name
        published.append(len(found))
    assert len(published) > 25
    assert set(published) == {3, 4}


async def test_a_temporary_file_of_a_killed_writer_is_removed(path: Path, open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    (path / ".current.pem.tmp").write_bytes(b"half a key")
    await open_store().rotate(now=NOW, record=unrecorded)
    assert files(path) == trio("current") | trio("previous")


def _rotate(path: str, times: int) -> list[tuple[str, str]]:
    """Rotate in a process of its own; return what each rotation put in front."""
    store = KeyfileStore(Path(path), algorithm="ES256", retention=RETENTION)
    made = []
    for _ in range(times):
        stored = asyncio.run(store.rotate(now=NOW + 1, record=unrecorded))
        made.append((stored.keys[0].kid, pairs(stored)[stored.keys[0].kid]))
    return made


def _prepare(path: str) -> str:
    store = KeyfileStore(Path(path), algorithm="ES256", retention=RETENTION)
    return asyncio.run(store.prepare(now=NOW)).keys[0].kid


async def test_two_processes_that_rotate_at_once_orphan_no_key(path: Path, open_store: OpenStore) -> None:
    first = pairs(await open_store().prepare(now=NOW))

    def both() -> dict[str, str]:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            made = pool.starmap(_rotate, [(str(path), 5), (str(path), 5)], chunksize=1)
            return {kid: jwk for of_one in made for kid, jwk in of_one}

    made = await asyncio.to_thread(both)
    assert len(made) == 10
    assert pairs(await open_store().load(now=NOW + 1)) == first | made


async def test_two_processes_that_start_at_once_make_one_key(path: Path, open_store: OpenStore) -> None:
    def both() -> list[str]:
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            return pool.map(_prepare, [str(path)] * 4, chunksize=1)

    assert len(set(await asyncio.to_thread(both))) == 1
    assert len(kids(await open_store().load(now=NOW))) == 1


async def test_a_lock_that_is_never_released_is_an_error(
    path: Path, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_store().prepare(now=NOW)
    monkeypatch.setattr("authserver.keys.directory._LOCK_TIMEOUT_SECONDS", 0.05)
    with open_store()._directory.locked(), pytest.raises(KeyStoreError, match="held by another process"):
        await open_store().rotate(now=NOW, record=unrecorded)


async def test_a_slow_wait_for_the_lock_does_not_make_the_new_key_look_old(path: Path, open_store: OpenStore) -> None:
    await open_store().prepare(now=NOW)
    with open_store()._directory.locked():
        rotation = asyncio.create_task(open_store().rotate(now=NOW, record=unrecorded))
        await asyncio.sleep(0.8)
    assert (await rotation).keys[0].created_at == NOW + 1


def test_retention_covers_the_longest_token_the_cache_and_the_skew() -> None:
    assert retention_seconds(900, 3600, 60) == 3600 + 300 + 300
