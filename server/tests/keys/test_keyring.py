import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keyring import Keyring, open_keyring
from authserver.keys.keystore import KeyStoreError
from authserver.keys.records import KeyStatus
from authserver.keys.snapshot import SIGNS_AFTER_SECONDS
from authserver.protocol.jose import PublicKey, sign_jwt

NOW = 1_790_000_000
RETENTION = 4200
LIFETIME = 3600
ISSUER = "https://as.example"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

pytestmark = pytest.mark.anyio

OpenStore = Callable[..., KeyfileStore]


def published(keyring: Keyring, now: int) -> list[str]:
    return [key["kid"] for key in json.loads(keyring.snapshot(now).jwks)["keys"]]


def issue(keyring: Keyring, now: int) -> str:
    claims = {"iss": ISSUER, "sub": "u", "aud": ["r"], "client_id": "c", "jti": "j", "iat": now, "exp": now + LIFETIME}
    return sign_jwt(keyring.current(now), claims)


def verify(token: str, key: PublicKey) -> None:
    """Check a signature as others do, with the key as it is published."""
    jwt.decode(token, jwt.PyJWK(dict(key.jwk)), algorithms=[key.alg], audience="r", options={"verify_exp": False})


class Verifier:
    """A resource server that keeps the published keys and reads them anew once when it meets an unknown one."""

    def __init__(self, publisher: Keyring) -> None:
        self._publisher = publisher
        self._keys: dict[str, PublicKey] = {}

    def verify(self, token: str, now: int) -> None:
        unverified_kid = jwt.get_unverified_header(token)["kid"]
        if unverified_kid not in self._keys:
            self._keys = dict(self._publisher.snapshot(now).public_keys)
        verify(token, self._keys[unverified_kid])


async def test_the_first_key_of_an_empty_store_signs_at_once(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    assert [keyring.current(NOW).kid] == published(keyring, NOW)


async def test_a_new_key_is_published_at_once_and_signs_later(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    old = keyring.current(NOW).kid
    new = (await keyring.rotate(NOW + 60)).kid
    assert published(keyring, NOW + 60) == [new, old]
    assert keyring.current(NOW + 60 + SIGNS_AFTER_SECONDS - 1).kid == old
    assert keyring.current(NOW + 60 + SIGNS_AFTER_SECONDS).kid == new


async def test_a_process_that_starts_during_the_wait_waits_as_well(open_store: OpenStore) -> None:
    first = await open_keyring(open_store(), now=NOW)
    await first.rotate(NOW + 60)
    started = await open_keyring(open_store(), now=NOW + 61)
    for moment in range(NOW + 61, NOW + 66):
        assert started.current(moment).kid == first.current(moment).kid


async def test_while_all_keys_are_young_the_first_one_signs(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    first = keyring.current(NOW).kid
    await keyring.rotate(NOW)
    second = (await keyring.rotate(NOW + 1)).kid
    assert keyring.current(NOW + 1).kid == first
    assert keyring.current(NOW + 4).kid == second


async def test_what_another_process_did_arrives_with_the_next_refresh(open_store: OpenStore) -> None:
    server = await open_keyring(open_store(), now=NOW)
    command = await open_keyring(open_store(), now=NOW + 60)
    new = (await command.rotate(NOW + 60)).kid
    assert new not in published(server, NOW + 60)
    await server.refresh(NOW + 61)
    assert server.snapshot(NOW + 61) == command.snapshot(NOW + 61)
    assert published(server, NOW + 61)[0] == new


async def test_a_refresh_without_a_change_keeps_the_snapshot(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    snapshot = keyring.snapshot(NOW)
    await keyring.refresh(NOW + 1)
    assert keyring.snapshot(NOW + 1) is snapshot


async def test_rotations_under_load_never_meet_a_verifier_that_cannot_verify(open_store: OpenStore) -> None:
    """Each second both processes issue; the server polls once a second, the command rotates beside it."""
    server = await open_keyring(open_store(), now=NOW)
    beside = await open_keyring(open_store(), now=NOW)
    verifiers = [Verifier(server), Verifier(beside)]
    outstanding: list[tuple[str, int]] = []
    for moment in range(NOW, NOW + 60):
        if moment % 7 == 0:
            await beside.rotate(moment)
        for keyring in (server, beside):
            token = issue(keyring, moment)
            outstanding.append((token, moment + LIFETIME))
            for verifier in verifiers:
                verifier.verify(token, moment)
        await server.refresh(moment)
        await beside.refresh(moment)
    for token, expires_at in outstanding:
        for verifier in verifiers:
            verifier.verify(token, expires_at - 1)
    assert len({token.split(".")[0] for token, _ in outstanding}) == 9


async def test_tokens_before_between_and_after_three_rotations_verify_until_they_expire(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    tokens = []
    for second in (0, 15, 30, 45):
        tokens.append((issue(keyring, NOW + second), NOW + second + LIFETIME))
        await keyring.rotate(NOW + second)
    tokens.append((issue(keyring, NOW + 60), NOW + 60 + LIFETIME))
    restarted = await open_keyring(open_store(), now=NOW + 61)
    for token, expires_at in tokens:
        for held in (keyring, restarted):
            keys = held.snapshot(expires_at - 1).public_keys
            verify(token, keys[jwt.get_unverified_header(token)["kid"]])


async def test_a_previous_key_leaves_the_document_by_time_alone(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    old = published(keyring, NOW)
    new = (await keyring.rotate(NOW)).kid
    before = keyring.snapshot(NOW + RETENTION - 1)
    assert published(keyring, NOW + RETENTION - 1) == [new, *old]
    after = keyring.snapshot(NOW + RETENTION)
    assert published(keyring, NOW + RETENTION) == [new]
    assert list(after.public_keys) == [new]
    assert before.etag != after.etag


async def test_a_refresh_deletes_the_files_of_a_retired_key_once(path: Path, open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    await keyring.rotate(NOW)
    await keyring.refresh(NOW + RETENTION)
    assert not (path / "previous.pem").exists()
    snapshot = keyring.snapshot(NOW + RETENTION)
    await keyring.refresh(NOW + RETENTION + 1)
    assert keyring.snapshot(NOW + RETENTION + 1) is snapshot


async def test_old_and_new_tokens_verify_after_a_change_of_algorithm(open_store: OpenStore) -> None:
    before = await open_keyring(open_store("ES256"), now=NOW)
    old_token = issue(before, NOW)
    keyring = await open_keyring(open_store("RS256"), now=NOW + 1)
    assert keyring.current(NOW + 1).alg == "ES256"
    await keyring.rotate(NOW + 2)
    new_token = issue(keyring, NOW + 10)
    keys = keyring.snapshot(NOW + 10).public_keys
    assert [key.alg for key in keys.values()] == ["RS256", "ES256"]
    for token in (old_token, new_token):
        verify(token, keys[jwt.get_unverified_header(token)["kid"]])


async def test_the_document_has_the_public_members_only(open_store: OpenStore) -> None:
    await open_keyring(open_store("ES256"), now=NOW)
    keyring = await open_keyring(open_store("RS256"), now=NOW)
    await keyring.rotate(NOW)
    document = json.loads(keyring.snapshot(NOW).jwks)
    assert set(document) == {"keys"}
    rsa, ec = document["keys"]
    assert set(rsa) == {"kty", "kid", "use", "alg", "n", "e"}
    assert set(ec) == {"kty", "kid", "use", "alg", "crv", "x", "y"}
    assert not PRIVATE_MEMBERS & (set(rsa) | set(ec))


async def test_listing_shows_current_first_and_when_the_others_retire(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    rotated = await keyring.rotate(NOW + 10)
    current, previous = keyring.list_keys(NOW + 10)
    assert current == rotated
    assert (current.status, current.created_at, current.rotated_at, current.retires_at) == (
        KeyStatus.CURRENT,
        NOW + 10,
        None,
        None,
    )
    assert (previous.status, previous.rotated_at, previous.retires_at) == (
        KeyStatus.PREVIOUS,
        NOW + 10,
        NOW + 10 + RETENTION,
    )
    assert len(keyring.list_keys(NOW + 10 + RETENTION)) == 1


async def test_unreadable_files_leave_the_last_keys_in_use(
    path: Path, open_store: OpenStore, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good, pem = keyring.snapshot(NOW), (path / "current.pem").read_bytes()
    (path / "current.pem").write_bytes(b"nonsense")
    for second in (1, 2, 3):
        await keyring.refresh(NOW + second)
        assert keyring.snapshot(NOW + second) is good
    errors = [line for line in log_lines() if line["level"] == "ERROR"]
    assert len(errors) == 1
    assert str(path / "current.pem") in errors[0]["error"]

    (path / "current.pem").write_bytes(pem)
    await keyring.refresh(NOW + 4)
    assert keyring.snapshot(NOW + 4).jwks == good.jwks


async def test_a_lost_current_file_is_no_reason_to_invent_a_key_while_running(
    path: Path, open_store: OpenStore
) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good = keyring.snapshot(NOW)
    (path / "current.pem").unlink()
    await keyring.refresh(NOW + 1)
    assert keyring.snapshot(NOW + 1) is good
    assert not (path / "current.pem").exists()


async def test_a_rotation_that_cannot_be_written_changes_nothing(path: Path, open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    good = keyring.snapshot(NOW)
    (path / "current.kid").unlink()
    with pytest.raises(KeyStoreError):
        await keyring.rotate(NOW + 1)
    assert keyring.snapshot(NOW + 1) is good


async def test_a_full_reload_reads_even_what_looks_unchanged(open_store: OpenStore) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    before = keyring.snapshot(NOW)
    await keyring.reload(NOW)
    assert keyring.snapshot(NOW) is not before
    assert keyring.snapshot(NOW) == before


async def test_no_log_line_holds_a_private_key(
    path: Path, open_store: OpenStore, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    keyring = await open_keyring(open_store(), now=NOW)
    await keyring.rotate(NOW)
    await keyring.reload(NOW)
    logged = json.dumps(log_lines())
    assert "signing key rotated" in logged
    for name in ("current.pem", "previous.pem"):
        for line in (path / name).read_text().splitlines():
            assert line not in logged
