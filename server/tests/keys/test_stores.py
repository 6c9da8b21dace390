"""What every store of signing keys does, on each of them."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from authserver.audit.store import list_events
from authserver.keys.keystore import KeyInUse, UnknownKey
from authserver.keys.records import SIGNS_AFTER_SECONDS, KeyStatus
from authserver.telemetry.spans import Span, leave, within
from authserver.telemetry.tracing import Tracer
from server.tests.keys.laboratory import (
    LIFETIME,
    NOW,
    RETENTION,
    KeyProcess,
    Laboratory,
    UnpublishedError,
    keyfile,
    kid_of,
    laboratory,
    postgres_key,
    vault_transit,
)

PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
STORES = ["keyfile", "postgres_key", "vault_transit"]

pytestmark = pytest.mark.anyio


@pytest.fixture(params=STORES)
async def lab(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Laboratory]:
    """One store of each kind."""
    match request.param:
        case "keyfile":
            target, open_store = str(request.getfixturevalue("sqlite_target")), keyfile(tmp_path / "keys")
        case "postgres_key":
            target, open_store = str(request.getfixturevalue("postgres_target")), postgres_key
        case _:
            openbao = request.getfixturevalue("openbao")
            target = str(request.getfixturevalue("postgres_target"))
            open_store = vault_transit(openbao.address, f"signing-{uuid.uuid4().hex[:8]}")
    async with laboratory(request.param, target, open_store) as lab:
        yield lab


class Verifier:
    """A resource server that keeps the published keys and reads them anew once when it meets an unknown one."""

    def __init__(self, publisher: KeyProcess) -> None:
        self._publisher = publisher
        self._known: set[str] = set()

    def verify(self, token: str, now: int) -> None:
        if kid_of(token) not in self._known:
            self._known = set(self._publisher.published(now))
        assert kid_of(token) in self._known
        self._publisher.verify(token, now)


async def test_the_first_key_of_an_empty_store_signs_at_once(lab: Laboratory) -> None:
    process = await lab.start()
    assert [kid_of(await process.issue(NOW))] == process.published(NOW)
    assert process.keyring.is_new


async def test_who_starts_later_finds_the_same_key(lab: Laboratory) -> None:
    first, second = await lab.start(), await lab.start(NOW + 5, algorithm="RS256")
    assert first.keyring.snapshot(NOW + 5) == second.keyring.snapshot(NOW + 5)
    assert not second.keyring.is_new


async def test_of_many_that_start_at_once_one_makes_the_key_for_all(lab: Laboratory) -> None:
    processes = await asyncio.gather(*(lab.start() for _ in range(5)))
    assert len({tuple(process.published(NOW)) for process in processes}) == 1
    assert sum(process.keyring.is_new for process in processes) == 1


async def test_a_new_key_is_published_at_once_and_signs_later(lab: Laboratory) -> None:
    process = await lab.start()
    old = kid_of(await process.issue(NOW))
    new = await process.rotate(NOW + 60)
    assert process.published(NOW + 60) == [new, old]
    signs_at = process.signs_at(NOW + 60)
    assert signs_at >= NOW + 60 + SIGNS_AFTER_SECONDS
    assert kid_of(await process.issue(signs_at - 1)) == old
    assert kid_of(await process.issue(signs_at)) == new


async def test_a_process_that_starts_during_the_wait_waits_as_well(lab: Laboratory) -> None:
    first = await lab.start()
    await first.rotate(NOW + 60)
    started = await lab.start(NOW + 61)
    for moment in range(NOW + 61, NOW + 66):
        assert started.keyring.current(moment).kid == first.keyring.current(moment).kid


async def test_while_all_keys_are_young_the_first_one_signs(lab: Laboratory) -> None:
    process = await lab.start()
    first = process.keyring.current(NOW).kid
    await process.rotate(NOW)
    second = await process.rotate(NOW + 1)
    assert process.keyring.current(NOW + 1).kid == first
    assert process.keyring.current(process.signs_at(NOW + 1)).kid == second


async def test_what_another_process_did_arrives_with_the_next_poll(lab: Laboratory) -> None:
    server, command = await lab.start(), await lab.start(NOW + 60)
    new = await command.rotate(NOW + 60)
    assert new not in server.published(NOW + 60)
    await server.poll(NOW + 61)
    assert server.keyring.snapshot(NOW + 61) == command.keyring.snapshot(NOW + 61)
    assert server.published(NOW + 61)[0] == new


async def test_a_poll_without_a_change_keeps_the_snapshot(lab: Laboratory) -> None:
    process = await lab.start()
    snapshot = process.keyring.snapshot(NOW)
    await process.poll(NOW + 1)
    assert process.keyring.snapshot(NOW + 1) is snapshot


async def test_rotations_under_load_never_meet_a_verifier_that_cannot_verify(lab: Laboratory) -> None:
    """Each second both processes issue; both poll once a second, one of them rotates."""
    server, beside = await lab.start(), await lab.start()
    verifiers = [Verifier(server), Verifier(beside)]
    outstanding: list[tuple[str, int]] = []
    for moment in range(NOW, NOW + 60):
        if moment % 7 == 0:
            await beside.rotate(moment)
        for process in (server, beside):
            token = await process.issue(moment)
            outstanding.append((token, moment + LIFETIME))
            for verifier in verifiers:
                verifier.verify(token, moment)
        await server.poll(moment)
        await beside.poll(moment)
    for token, expires_at in outstanding:
        for verifier in verifiers:
            verifier.verify(token, expires_at - 1)
    assert len({kid_of(token) for token, _ in outstanding}) == 9


async def test_two_rotations_at_once_are_two_orderly_rotations(lab: Laboratory) -> None:
    first, second = await lab.start(), await lab.start()
    old = first.published(NOW)
    made = await asyncio.gather(first.rotate(NOW + 1), second.rotate(NOW + 1))
    await first.poll(NOW + 2)
    await second.poll(NOW + 2)
    assert first.published(NOW + 2) == second.published(NOW + 2)
    published = set(first.published(NOW + 2))
    assert published >= {*made, *old}
    # OpenBao counts a rotation that it refused, as another one wrote the key at the same time, and the next try as well.
    assert len(published) == 3 or (lab.name == "vault_transit" and len(published) == 4)
    assert first.published(NOW + 2)[0] in made


async def test_tokens_before_between_and_after_three_rotations_verify_until_they_expire(lab: Laboratory) -> None:
    process = await lab.start()
    tokens = []
    for second in (0, 15, 30, 45):
        tokens.append((await process.issue(NOW + second), NOW + second + LIFETIME))
        await process.rotate(NOW + second)
    tokens.append((await process.issue(NOW + 60), NOW + 60 + LIFETIME))
    restarted = await lab.start(NOW + 61)
    assert len({kid_of(token) for token, _ in tokens}) == 5
    for token, expires_at in tokens:
        process.verify(token, expires_at - 1)
        restarted.verify(token, expires_at - 1)


async def test_a_previous_key_leaves_the_document_by_time_alone(lab: Laboratory) -> None:
    process = await lab.start()
    old = process.published(NOW)
    new = await process.rotate(NOW)
    retires_at = process.keyring.snapshot(NOW).keys[1].retires_at
    assert retires_at is not None
    before = process.keyring.snapshot(retires_at - 1)
    assert process.published(retires_at - 1) == [new, *old]
    after = process.keyring.snapshot(retires_at)
    assert process.published(retires_at) == [new]
    assert list(after.public_keys) == [new]
    assert before.etag != after.etag


async def test_what_has_retired_is_read_no_more(lab: Laboratory) -> None:
    process = await lab.start()
    new = await process.rotate(NOW)
    later = NOW + 2 * RETENTION
    await process.poll(later)
    snapshot = process.keyring.snapshot(later)
    await process.poll(later + 1)
    assert process.keyring.snapshot(later + 1) is snapshot
    assert (await lab.start(later)).published(later) == [new]


async def test_old_and_new_tokens_verify_after_a_change_of_algorithm(lab: Laboratory) -> None:
    before = await lab.start()
    old_token = await before.issue(NOW)
    process = await lab.start(NOW + 1, algorithm="RS256")
    assert process.keyring.current(NOW + 1).alg == "ES256"
    await process.rotate(NOW + 2)
    new_token = await process.issue(NOW + 10)
    await before.poll(NOW + 10)
    for each in (process, before):
        assert [key.alg for key in each.keyring.snapshot(NOW + 10).public_keys.values()] == ["RS256", "ES256"]
        for token in (old_token, new_token):
            each.verify(token, NOW + 10)
    assert kid_of(new_token) != kid_of(old_token)


async def test_after_a_change_of_algorithm_and_back_the_newest_key_signs(lab: Laboratory) -> None:
    for moment, algorithm in ((NOW, "RS256"), (NOW + 10, "ES256"), (NOW + 20, "RS256")):
        process = await lab.start(moment, algorithm=algorithm)  # type: ignore[arg-type]  # a tuple forgets the literals
        new = await process.rotate(moment)
        assert process.published(moment)[0] == new
        assert process.keyring.current(process.signs_at(moment)).alg == algorithm
        assert kid_of(await process.issue(process.signs_at(moment))) == new


async def test_the_document_has_the_public_members_only(lab: Laboratory) -> None:
    await lab.start()
    process = await lab.start(algorithm="RS256")
    await process.rotate(NOW)
    document = json.loads(process.keyring.snapshot(NOW).jwks)
    assert set(document) == {"keys"}
    rsa, ec = document["keys"]
    assert set(rsa) == {"kty", "kid", "use", "alg", "n", "e"}
    assert set(ec) == {"kty", "kid", "use", "alg", "crv", "x", "y"}
    assert not PRIVATE_MEMBERS & (set(rsa) | set(ec))


async def test_listing_shows_current_first_and_when_the_others_retire(lab: Laboratory) -> None:
    process = await lab.start()
    rotated = await process.administration.rotate(now=NOW + 10)
    current, previous = process.administration.list_keys(now=NOW + 10)
    assert current == rotated
    assert current.created_at >= NOW + 10
    assert (current.status, current.rotated_at, current.retires_at, current.store) == (
        KeyStatus.CURRENT,
        None,
        None,
        lab.name,
    )
    assert (previous.status, previous.rotated_at, previous.retires_at) == (
        KeyStatus.PREVIOUS,
        current.created_at,
        current.created_at + RETENTION,
    )
    assert len(process.administration.list_keys(now=current.created_at + RETENTION)) == 1


async def test_a_retired_key_is_gone_everywhere_with_the_next_poll(lab: Laboratory) -> None:
    process, other = await lab.start(), await lab.start()
    stolen = await process.issue(NOW)
    new = await process.rotate(NOW + 10)
    await other.poll(NOW + 11)
    retired_at = process.signs_at(NOW + 10)
    await process.administration.retire(kid_of(stolen), now=retired_at)
    await other.poll(retired_at + 1)
    for each in (process, other, await lab.start(retired_at + 1)):
        assert each.published(retired_at + 1) == [new]
        with pytest.raises(UnpublishedError):
            each.verify(stolen, retired_at + 1)
        assert kid_of(await each.issue(retired_at + 1)) == new


async def test_a_key_in_the_middle_is_retired_and_its_neighbours_stay(lab: Laboratory) -> None:
    process = await lab.start()
    oldest = await process.issue(NOW)
    middle = await process.rotate(NOW + 10)
    newest = await process.rotate(NOW + 20)
    await process.administration.retire(middle, now=NOW + 30)
    assert process.published(NOW + 30) == [newest, kid_of(oldest)]
    process.verify(oldest, NOW + 30)
    assert (await lab.start(NOW + 30)).published(NOW + 30) == [newest, kid_of(oldest)]


async def test_the_current_key_cannot_be_retired(lab: Laboratory) -> None:
    process = await lab.start()
    (kid,) = process.published(NOW)
    with pytest.raises(KeyInUse, match="rotate first") as caught:
        await process.administration.retire(kid, now=NOW + 10)
    assert caught.value.seconds is None
    assert process.published(NOW + 10) == [kid]


async def test_a_key_that_signs_until_its_successor_is_known_cannot_be_retired_yet(lab: Laboratory) -> None:
    process = await lab.start()
    (old,) = process.published(NOW)
    await process.rotate(NOW + 10)
    with pytest.raises(KeyInUse, match=r"signs for \d+ more seconds") as caught:
        await process.administration.retire(old, now=NOW + 11)
    assert caught.value.seconds == process.signs_at(NOW + 11) - (NOW + 11)
    assert old in process.published(NOW + 11)


async def test_a_key_that_is_not_published_cannot_be_retired(lab: Laboratory) -> None:
    process = await lab.start()
    with pytest.raises(UnknownKey):
        await process.administration.retire("nothing", now=NOW)


async def test_rotation_and_retirement_leave_one_audit_row_each(lab: Laboratory) -> None:
    process = await lab.start()
    (old,) = process.published(NOW)
    listing = await process.administration.rotate(now=NOW + 10, operator="ada")
    await process.administration.retire(old, now=NOW + 20, operator="bob")
    retired, rotated = (await list_events(lab.databases[0], limit=10))[:2]
    assert (rotated.action, rotated.actor_id, rotated.detail) == (
        "key.rotated",
        "ada",
        f"admin rotated signing key: kid={listing.kid}",
    )
    assert (retired.action, retired.actor_id, retired.detail) == ("key.retired", "bob", f"kid={old}")
    assert len(await list_events(lab.databases[0], limit=10)) == 2


async def test_a_full_reload_reads_even_what_looks_unchanged(lab: Laboratory) -> None:
    process = await lab.start()
    before = process.keyring.snapshot(NOW)
    await process.keyring.reload(NOW)
    assert process.keyring.snapshot(NOW) is not before
    assert process.keyring.snapshot(NOW) == before


async def test_no_log_line_and_no_audit_row_holds_a_private_key(
    lab: Laboratory, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    process = await lab.start()
    await process.rotate(NOW)
    await process.keyring.reload(NOW)
    (old,) = process.published(NOW)[1:]
    await process.administration.retire(old, now=NOW + 10)
    said = json.dumps(log_lines()) + str(await list_events(lab.databases[0], limit=10))
    assert "signing key rotated" in said
    assert "signing key retired" in said
    assert "PRIVATE" not in said
    assert "MIG" not in said  # how PKCS#8 begins in base64


async def test_a_rotation_within_a_traced_request_has_the_spans_of_its_store(lab: Laboratory) -> None:
    process = await lab.start()
    spans: list[Span] = []
    tracer = Tracer(sample_rate=1, put=spans.append, monotonic=lambda: 0.0)
    request = tracer.start("POST /admin/keys/rotate", tracer.begin())
    assert request is not None
    before = within(request)
    kid = await process.rotate(NOW + 60)
    leave(before)
    expected = {
        "keyfile": {"Postgres.KeyAdministrationRecord", "SQLite.KeyAdministrationRecord"},
        "postgres_key": {"AESMaster.Encrypt", "HAKeyStore.Save"},
        "vault_transit": {"VaultTransit.Save", "VaultClient.ReadKey", "VaultClient.RotateKey"},
    }[lab.name]
    named = {span.name: span for span in spans}
    assert expected & set(named) if lab.name == "keyfile" else expected <= set(named), sorted(named)
    assert {span.context.trace_id for span in spans} == {request.context.trace_id}
    if lab.name == "postgres_key":
        assert named["HAKeyStore.Save"].attributes == {"kid": kid, "algorithm": "ES256"}
        assert named["AESMaster.Encrypt"].attributes == {"driver": "aes_master"}
        assert named["Postgres.KeyAdministrationRecord"].parent_id == named["HAKeyStore.Save"].span_id
