"""``/admin/keys`` over HTTP (admin API, 12)."""

import shutil
from pathlib import Path

import pytest

from server.tests.wire.harness import Wire
from server.tests.wire.operating import PEER, Admin, check_shape, rows

pytestmark = pytest.mark.anyio

KEYS = "/admin/keys"


async def published(wire: Wire) -> list[str]:
    return [key["kid"] for key in (await wire.http.get("/.well-known/jwks.json")).json()["keys"]]


def break_store(directory: Path) -> None:
    """Put a file where the directory of the keys was."""
    shutil.rmtree(directory)
    directory.write_text("no directory")


async def test_a_rotated_key_is_published_and_the_one_before_is_kept(wire: Wire, admin: Admin) -> None:
    (first,) = (await admin.do("GET", KEYS))["keys"]
    assert (first["use"], first["status"], first["store"]) == ("sig", "current", "keyfile")
    rotated = await admin.do("POST", f"{KEYS}/rotate")
    check_shape("POST", f"{KEYS}/rotate", rotated)
    listed = await admin.do("GET", KEYS)
    check_shape("GET", KEYS, listed)
    assert [(key["kid"], key["status"]) for key in listed["keys"]] == [
        (rotated["kid"], "current"),
        (first["kid"], "previous"),
    ]
    assert sorted(await published(wire)) == sorted([rotated["kid"], first["kid"]])
    (row,) = await rows(wire, "key.rotated")
    assert row["detail"] == f"admin rotated signing key: kid={rotated['kid']}"
    assert (row["actor_id"], row["ip"]) == ("admin", PEER)


async def test_a_retired_key_is_published_no_more_and_the_current_one_stays(wire: Wire, admin: Admin) -> None:
    (first,) = (await admin.do("GET", KEYS))["keys"]
    await admin.refused(409, "POST", f"{KEYS}/{first['kid']}/retire")
    await admin.refused(404, "POST", f"{KEYS}/nothing/retire")
    rotated = await admin.do("POST", f"{KEYS}/rotate")
    answer = await admin.ask("POST", f"{KEYS}/{first['kid']}/retire")
    assert (answer.status_code, answer.json()["retry_after"]) == (409, 3)
    wire.clock.seconds += 60
    await admin.do("POST", f"{KEYS}/{first['kid']}/retire", expect=204)
    assert await published(wire) == [rotated["kid"]]
    (row,) = await rows(wire, "key.retired")
    assert (row["actor_id"], row["ip"]) == ("admin", PEER)


async def test_a_rotation_that_fails_tells_nothing_of_the_store(wire: Wire, admin: Admin) -> None:
    (first,) = (await admin.do("GET", KEYS))["keys"]
    break_store(Path(wire.core.config.signing.key_path))
    assert await admin.refused(500, "POST", f"{KEYS}/rotate") == "key rotation failed"
    assert [key["kid"] for key in (await admin.do("GET", KEYS))["keys"]] == [first["kid"]]
    assert await rows(wire, "key.rotated") == []
