"""Users' credentials over HTTP: ``/admin/grants/broker``, and what keeps a provider (admin API, 9, 10; token vault, 4)."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from authserver.broker.grant_administration import credential_context
from authserver.broker.provider_secrets import secret_context
from authserver.broker.store import find_grant
from authserver.config.model import Config
from authserver.core import Clock, Core, open_core
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.encryptor import EncryptionFailed, EncryptorUnavailable
from authserver.protocol.identifiers import parse_id
from authserver.protocol.operator_errors import OperatorError
from authserver.resources.administration import ResourceDraft
from authserver.storage.database import Row
from authserver.telemetry.logs import flush_logs
from server.tests.wire.brokering import (
    API_KEY,
    GITHUB,
    GRANTS,
    PEM,
    PROVIDERS,
    ROBOT,
    SEARCH,
    SECRET,
    a_broker_resource,
    a_grant,
    a_provider,
    credential_for,
    credential_of,
    encrypting,
    opened,
)
from server.tests.wire.exchanging import a_resource
from server.tests.wire.harness import PASSWORD, Wire
from server.tests.wire.operating import PEER, Admin, check_shape, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    return encrypting(config, monkeypatch)


async def test_a_credential_is_given_replaced_revoked_and_revived_in_one_row(wire: Wire, admin: Admin) -> None:
    search = await a_provider(admin, SEARCH)
    await a_broker_resource(admin, broker_provider_id=search["id"])
    await a_broker_resource(
        admin, slug="more", broker_provider_id=search["id"], scopes=[{"name": "x", "upstream": "repo:write"}]
    )
    grant = await a_grant(wire, admin, search)
    assert sorted(grant["scopes_granted"]) == ["repo:read", "repo:write"]  # all that are declared now, each once
    assert grant == {
        "id": grant["id"],
        "user_id": wire.user.id,
        "broker_provider_id": search["id"],
        "scopes_granted": grant["scopes_granted"],
        "enc_backend": "aes_master",
        "version": 1,
        "created_at": "2026-09-21T14:13:20Z",
        "updated_at": "2026-09-21T14:13:20Z",
    }
    assert await credential_of(wire, search["id"]) == f'{{"api_key":"{API_KEY}"}}'
    listed = await admin.do("GET", f"/admin/users/{wire.user.id}/grants")
    check_shape("GET", "/admin/users/{id}/grants", listed)
    assert listed == {"consent_grants": [], "broker_grants": [grant]}
    assert (await admin.do("GET", "/admin/stats"))["connections"] == 1

    wire.clock.seconds += 60
    again = await a_grant(
        wire,
        admin,
        search,
        expect=200,
        broker_provider_id=None,
        broker_provider_slug="search",
        credential={"api_key": f"{API_KEY}2"},
        scopes_granted=["a", "b", "a"],
    )
    assert again == grant | {"scopes_granted": ["a", "b"], "version": 2, "updated_at": "2026-09-21T14:14:20Z"}
    assert await credential_of(wire, search["id"]) == f'{{"api_key":"{API_KEY}2"}}'

    for _ in range(2):
        await admin.do("DELETE", f"{GRANTS}/{grant['id']}", expect=204)
    for unknown in ("unknown", "A" * 22):
        await admin.do("DELETE", f"{GRANTS}/{unknown}", expect=204)
    (revoked,) = (await admin.do("GET", f"/admin/users/{wire.user.id}/grants"))["broker_grants"]
    assert revoked == again | {"revoked_at": "2026-09-21T14:14:20Z"}
    assert (await admin.do("GET", "/admin/stats"))["connections"] == 0

    revived = await a_grant(wire, admin, search, expect=200, scopes_granted=[])
    assert (revived["id"], revived["version"], revived["scopes_granted"]) == (grant["id"], 3, [])
    assert "revoked_at" not in revived

    told = await rows(wire, "broker_grant.created_admin")
    about = f"id={grant['id']} user_id={wire.user.id} broker_provider_id={search['id']}"
    assert sorted(row["detail"] for row in told) == [f"{about} version={version}" for version in (1, 2, 3)]
    assert {(row["actor_id"], row["ip"]) for row in told} == {("admin", PEER)}
    assert [row["detail"] for row in await rows(wire, "broker_grant.revoked_admin")] == [about]
    assert parse_id(grant["id"]) is not None


async def test_a_service_account_has_whom_it_stands_for(wire: Wire, admin: Admin) -> None:
    robot = await a_provider(admin, ROBOT)
    await a_grant(wire, admin, robot, credential={"impersonate_sub": "ada@robot.example"}, scopes_granted=[])
    assert await credential_of(wire, robot["id"]) == '{"impersonate_sub":"ada@robot.example"}'


@pytest.mark.parametrize(
    ("status", "members", "told"),
    [
        (400, {"user_id": None}, "user_id is required"),
        (404, {"user_id": "nobody"}, "user not found: nobody"),
        (400, {"broker_provider_id": None}, "exactly one of"),
        (400, {"broker_provider_slug": "search"}, "exactly one of"),
        (404, {"broker_provider_id": "nothing"}, "broker provider not found: nothing"),
        (404, {"broker_provider_id": None, "broker_provider_slug": "nothing"}, "broker provider not found: nothing"),
        (400, {"broker_provider_id": None, "broker_provider_slug": "github"}, "by themselves, in the browser"),
        (400, {"credential": None}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": {}}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": {"api_key": ""}}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": {"api_key": [API_KEY]}}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": {"api_key": API_KEY, "more": "x"}}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": {"impersonate_sub": API_KEY}}, 'credential must be {"api_key": "…"}'),
        (400, {"credential": API_KEY}, "credential"),
        (400, {"credential": {"api_key": "x" * 65_536}}, "credential must be at most 65536 bytes"),
        (400, {"scopes_granted": ["a b"]}, "without blanks"),
        (400, {"scopes_granted": [""]}, "without blanks"),
        (400, {"scopes_granted": ["x" * 1025]}, "without blanks"),
        (400, {"scopes_granted": [str(number) for number in range(1001)]}, "1000 entries at most"),
        (400, {"scopes_granted": "a"}, "scopes_granted"),
        (400, {"version": 1}, "version"),
    ],
)
async def test_what_is_no_credential_is_refused_and_never_repeated(
    wire: Wire, admin: Admin, status: int, members: dict[str, Any], told: str
) -> None:
    search = await a_provider(admin, SEARCH)
    await a_provider(admin)
    sentence = await admin.refused(status, "POST", GRANTS, body=credential_for(wire, search, **members))
    assert told in sentence
    assert "Zq8" not in sentence
    assert (await admin.do("GET", f"/admin/users/{wire.user.id}/grants"))["broker_grants"] == []
    assert await rows(wire, "broker_grant.created_admin") == []


async def test_a_disabled_user_gets_no_credential_and_a_deleted_one_loses_all(wire: Wire, admin: Admin) -> None:
    search = await a_provider(admin, SEARCH)
    await a_grant(wire, admin, search)
    await admin.do("PATCH", f"/admin/users/{wire.user.id}/disable")
    told = await admin.refused(400, "POST", GRANTS, body=credential_for(wire, search))
    assert told == "user is disabled"
    await admin.do("DELETE", f"/admin/users/{wire.user.id}", expect=204, force="true")
    assert await wire.core.db.fetch_all("SELECT id FROM broker_grants") == []
    assert await admin.do("GET", f"/admin/users/{wire.user.id}/grants") == {"consent_grants": [], "broker_grants": []}


async def test_of_many_credentials_given_at_once_one_row_comes_with_a_version_for_each(
    wire: Wire, admin: Admin
) -> None:
    search = await a_provider(admin, SEARCH)
    answers = await asyncio.gather(*(admin.ask("POST", GRANTS, json=credential_for(wire, search)) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert sorted(answer.json()["version"] for answer in answers) == list(range(1, 9))
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_a_credential_opens_for_its_user_and_provider_alone(wire: Wire, admin: Admin) -> None:
    search = await a_provider(admin, SEARCH)
    other = await a_provider(admin, SEARCH, slug="other")
    await a_grant(wire, admin, search)
    grant = await find_grant(wire.core.db, user_id=wire.user.id, provider_id=search["id"])
    assert grant is not None
    for context in (
        credential_context(wire.user.id, other["id"]),
        credential_context("another", search["id"]),
        secret_context(search["id"], "client_secret"),
    ):
        with pytest.raises(EncryptionFailed):
            await opened(wire, grant.credential, context)


# Nowhere


def every_value(row: Row) -> list[object]:
    return list(row[:50])


async def test_no_secret_and_no_credential_is_in_any_answer_row_or_log_line(
    wire: Wire, admin: Admin, logged: io.BytesIO
) -> None:
    """The regression test of admin API, 10 and 20.12: what was given stands nowhere but under its seal."""
    user = await wire.core.accounts.create_user(
        email="bea@example.com", password=PASSWORD, name="Bea", now=wire.clock.seconds
    )
    await a_resource(wire, "gw", "A")
    github = await a_provider(admin, config_data={"client_id": "abc", "client_secret": SECRET})
    robot = await a_provider(admin, ROBOT, config_data={"sa_key": PEM})
    search = await a_provider(admin, SEARCH)
    resource = await a_broker_resource(admin, broker_provider_id=github["id"])
    grant = await a_grant(wire, admin, search, user_id=user.id)
    await a_grant(wire, admin, robot, user_id=user.id, credential={"impersonate_sub": f"{API_KEY}@x"})
    answers: list[Any] = [github, robot, search, resource, grant]
    paths = (
        PROVIDERS,
        *(f"{PROVIDERS}/{each['id']}" for each in (github, robot, search)),
        "/admin/resources",
        f"/admin/users/{user.id}/grants",
        f"/admin/users/{user.id}",
        "/admin/audit",
        "/admin/stats",
        "/admin/system/status",
        "/admin/system/config",
    )
    answers += [await admin.do("GET", path) for path in paths]
    answers.append(await admin.do("PATCH", f"{PROVIDERS}/{github['id']}", body={"display_name": "x"}))
    answers.append(await admin.ask("PATCH", f"{PROVIDERS}/{github['id']}", json={"config_data": SECRET}))
    answers.append(await admin.ask("POST", GRANTS, content=b'{"credential": {"api_key": "%s"' % API_KEY.encode()))
    texts = [each.text if hasattr(each, "text") else orjson.dumps(each).decode() for each in answers]
    await wire.core.trail.flush()
    flush_logs()
    kept = []
    for table in ("broker_providers", "broker_grants", "resources", "audit_events", "refusal_traces"):
        kept += [every_value(row) for row in await wire.core.db.fetch_all(f"SELECT * FROM {table}")]
    for place in (*texts, str(kept), logged.getvalue().decode(), str(wire.core.config), str(user)):
        assert "Zq8" not in place
        assert "BEGIN PRIVATE KEY" not in place
        assert "credential_data" not in place
        assert "enc_secret" not in place


async def test_what_cannot_be_encrypted_now_is_not_stored_and_told_without_a_word_of_it(
    wire: Wire, admin: Admin, logged: io.BytesIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = await a_provider(admin, SEARCH)
    before = await wire.audit()

    async def fail(_self: AesMaster, _plaintext: bytes, *, context: str) -> bytes:
        raise EncryptorUnavailable(f"away, for {len(context)}", error_type="vault_request")

    monkeypatch.setattr(AesMaster, "seal", fail)
    told = await admin.refused(500, "POST", PROVIDERS, body=GITHUB | {"config_data": {"client_secret": SECRET}})
    told += await admin.refused(500, "POST", GRANTS, body=credential_for(wire, search))
    assert await admin.do("GET", PROVIDERS) == [search]
    assert (await admin.do("GET", f"/admin/users/{wire.user.id}/grants"))["broker_grants"] == []
    assert await wire.audit() == before
    flush_logs()
    assert "could not be encrypted" in told
    assert "away, for" not in told
    assert "away, for" in logged.getvalue().decode()
    assert "Zq8" not in told + logged.getvalue().decode()


# What refers to a provider


async def test_a_provider_stays_as_long_as_a_resource_or_a_credential_even_a_revoked_one_names_it(
    wire: Wire, admin: Admin
) -> None:
    search = await a_provider(admin, SEARCH)
    path = f"{PROVIDERS}/{search['id']}"
    resource = await a_broker_resource(admin, broker_provider_id=search["id"])
    told = "broker provider has references and cannot be deleted"
    assert await admin.refused(409, "DELETE", path) == told
    grant = await a_grant(wire, admin, search)
    await admin.do("DELETE", f"/admin/resources/{resource['id']}", expect=204)
    assert await admin.refused(409, "DELETE", path) == told
    await admin.do("DELETE", f"{GRANTS}/{grant['id']}", expect=204)
    assert await admin.refused(409, "DELETE", path) == told
    assert await rows(wire, "broker_provider.deleted") == []

    await admin.do("DELETE", f"/admin/users/{wire.user.id}", expect=204, force="true")
    await admin.do("DELETE", path, expect=204)


async def test_a_deletion_takes_the_connects_that_wait_with_it(wire: Wire, admin: Admin) -> None:
    search = await a_provider(admin, SEARCH)
    await wire.core.db.write(
        lambda tx: tx.execute(
            "INSERT INTO connect_pending_states VALUES ('s', $1, $2, $3, 'v', 'https://app.example', '[]', $4)",
            wire.user.id,
            search["id"],
            wire.resource.id,
            wire.clock.seconds + 600,
        )
    )
    await admin.do("DELETE", f"{PROVIDERS}/{search['id']}", expect=204)
    assert await wire.core.db.fetch_all("SELECT id FROM connect_pending_states") == []


@pytest.fixture
async def elsewhere(wire: Wire, config: Config) -> AsyncIterator[Core]:
    """What operators may do in another process."""
    core = await open_core(config, clock=Clock(milliseconds=wire.clock.milliseconds), migrate=False)
    yield core
    await core.close()


async def test_no_resource_and_no_credential_outlives_its_provider_whoever_is_faster(
    wire: Wire, admin: Admin, elsewhere: Core
) -> None:
    """In two processes at once: either the deletion is refused, or whoever would refer to the provider is."""
    outcomes = set()
    for number in range(12):
        search = await a_provider(admin, SEARCH, slug=f"search-{number}")
        draft = ResourceDraft(slug=f"r{number}", backend_kind="broker", broker_provider_id=search["id"])

        async def delete(provider_id: str = search["id"]) -> bool:
            with contextlib.suppress(OperatorError):
                await elsewhere.broker_providers.delete(provider_id, now=wire.clock.seconds)
                return True
            return False

        async def create(draft: ResourceDraft = draft) -> bool:
            with contextlib.suppress(OperatorError):
                await wire.core.resources.create_resource(draft, now=wire.clock.seconds)
                return True
            return False

        async def give(provider: dict[str, Any] = search) -> bool:
            answer = await admin.ask("POST", GRANTS, json=credential_for(wire, provider))
            assert answer.status_code in {201, 404}, answer.text
            return answer.status_code == 201

        if number % 2:
            deleted, created, given = await asyncio.gather(delete(), create(), give())
        else:
            given, created, deleted = await asyncio.gather(give(), create(), delete())
        assert deleted is not (created or given)
        outcomes.add(deleted)
    dangling = await wire.core.db.fetch_all(
        "SELECT id FROM resources WHERE broker_provider_id IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM broker_providers p WHERE p.id = broker_provider_id)"
    )
    assert dangling == []
    assert outcomes
