"""``/admin/broker-providers``, broker resources and broker grants over HTTP (admin API, 6, 8 to 10; token vault, 2 to 4)."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import orjson
import pytest

from authserver.broker.grant_administration import credential_context
from authserver.broker.provider_secrets import secret_context
from authserver.broker.records import Sealed
from authserver.broker.store import find_grant, find_provider
from authserver.config.model import Config
from authserver.config.sections.storage import AesMasterConfig, DataEncryptionConfig
from authserver.core import Clock, Core, open_core
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.encryptor import EncryptionFailed, EncryptorUnavailable
from authserver.protocol.identifiers import parse_id
from authserver.protocol.operator_errors import OperatorError
from authserver.resources.administration import ResourceDraft
from authserver.storage.database import Row
from authserver.telemetry.logs import flush_logs
from server.tests.wire.exchanging import a_resource
from server.tests.wire.harness import PASSWORD, Wire, query_of
from server.tests.wire.operating import PEER, Admin, an_admin, check_shape, rows

pytestmark = pytest.mark.anyio

PROVIDERS = "/admin/broker-providers"
GRANTS = "/admin/grants/broker"
KEY_VARIABLE = "AUTHPLANE_TEST_MASTER_KEY"
SECRET = "upstream-client-secret-Zq8"
PEM = "-----BEGIN PRIVATE KEY-----\nZq8\n-----END PRIVATE KEY-----\n"
API_KEY = "users-upstream-key-Zq8"

GITHUB = {
    "slug": "GitHub",
    "display_name": "GitHub",
    "protocol": "oauth",
    "config_data": {
        "client_id": "abc",
        "client_secret_ref": "CONNECTOR_GITHUB_SECRET",
        "authorize_url": "https://github.com/login/oauth/authorize",
        "token_url": "https://github.com/login/oauth/access_token",
        "extra_auth_params": {"prompt": "consent"},
    },
}
SEARCH = {
    "slug": "search",
    "display_name": "Search",
    "protocol": "api_key",
    "config_data": {"header_name": "X-Api-Key"},
}
ROBOT = {
    "slug": "robot",
    "display_name": "Robot",
    "protocol": "service_account",
    "config_data": {"token_url": "https://robot.example/token", "sa_email": "robot@robot.example"},
}
REPOS = {
    "slug": "repos",
    "backend_kind": "broker",
    "scopes": [
        {"name": "read", "upstream": "repo:read"},
        {"name": "write", "upstream": "repo:write"},
        {"name": "bare"},
    ],
    "policy": {"connect": {"allowed_return_urls": ["https://app.example/done"]}},
}


@pytest.fixture
def encrypts() -> bool:
    """Whether ``data_encryption`` is configured."""
    return True


@pytest.fixture
def config(config: Config, *, encrypts: bool, monkeypatch: pytest.MonkeyPatch) -> Config:
    if not encrypts:
        return config
    monkeypatch.setenv(KEY_VARIABLE, "5e" * 32)
    encryption = DataEncryptionConfig(driver="aes_master", aes_master=AesMasterConfig(key_env=KEY_VARIABLE))
    return replace(config, data_encryption=encryption)


async def a_provider(admin: Admin, body: dict[str, Any] = GITHUB, **members: Any) -> dict[str, Any]:
    created = await admin.do("POST", PROVIDERS, expect=201, body=body | members)
    check_shape("POST", PROVIDERS, created)
    return dict(created)


async def a_broker_resource(admin: Admin, **members: Any) -> dict[str, Any]:
    return dict(await admin.do("POST", "/admin/resources", expect=201, body=REPOS | members))


async def stored(wire: Wire, provider_id: str) -> tuple[dict[str, Any], Sealed | None]:
    """Return what the database has of a provider: its configuration, and its sealed secret."""
    provider = await find_provider(wire.core.db, provider_id)
    assert provider is not None
    return dict(provider.config_data), provider.secret


async def opened(wire: Wire, sealed: Sealed | None, context: str) -> str:
    assert sealed is not None
    assert wire.core.encryptor is not None
    assert sealed.backend == "aes_master"
    return (await wire.core.encryptor.open(sealed.ciphertext, context=context)).decode()


# Providers


async def test_a_provider_is_created_shown_listed_changed_and_deleted(wire: Wire, admin: Admin) -> None:
    github = await a_provider(admin)
    assert github == GITHUB | {
        "id": github["id"],
        "slug": "github",
        "created_at": "2026-09-21T14:13:20Z",
        "updated_at": "2026-09-21T14:13:20Z",
    }
    path = f"{PROVIDERS}/{github['id']}"
    search = await a_provider(admin, {"slug": "a-search", "display_name": "Search", "protocol": "api_key"})
    assert search["config_data"] == {}
    assert await admin.do("GET", PROVIDERS) == [search, github]
    check_shape("GET", PROVIDERS, [search, github])
    assert await admin.do("GET", PROVIDERS, slug="github") == github  # an object, not an array
    assert await admin.do("GET", path) == github

    wire.clock.seconds += 60
    for nothing in ({"slug": None}, {"slug": "github"}, {"config_data": GITHUB["config_data"], "protocol": "oauth"}):
        assert await admin.do("PATCH", path, body=nothing) == github
    patched = await admin.do("PATCH", path, body={"display_name": "Git", "config_data": {"client_id": "d"}})
    assert patched == github | {
        "display_name": "Git",
        "config_data": {"client_id": "d"},
        "updated_at": "2026-09-21T14:14:20Z",
    }
    wire.clock.seconds += 60
    assert (await admin.do("PATCH", path, body={"slug": "HUB", "protocol": "api_key"}))["slug"] == "hub"
    await admin.do("DELETE", path, expect=204)
    assert await admin.do("GET", PROVIDERS) == [search]

    created = [row["detail"] for row in await rows(wire, "broker_provider.created")]
    assert sorted(created) == sorted(f"id={each['id']} slug={each['slug']}" for each in (github, search))
    assert [row["detail"] for row in await rows(wire, "broker_provider.patched")] == [
        f"id={github['id']} slug=github fields=display_name,config_data",
        f"id={github['id']} slug=hub fields=slug,protocol",
    ]
    (deleted,) = await rows(wire, "broker_provider.deleted")
    assert (deleted["actor_id"], deleted["ip"], deleted["detail"]) == ("admin", PEER, f"id={github['id']}")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"slug": "no slug"}, "slug must match"),
        ({"slug": None}, "slug must match"),
        ({"display_name": None}, "display_name must be"),
        ({"display_name": "  "}, "display_name must be"),
        ({"display_name": "é" * 128}, "display_name must be"),
        ({"display_name": "a\nb"}, "control characters"),
        ({"protocol": None}, "protocol must be one of oauth, api_key, service_account"),
        ({"protocol": "apikey"}, "protocol must be one of oauth, api_key, service_account"),
        ({"config_data": None}, "config_data"),
        ({"config_data": []}, "config_data"),
        ({"config_data": "{}"}, "config_data"),
        ({"config_data": 1}, "config_data"),
        ({"config_data": {"since": 2**64}}, "a number beyond 64 bits"),
        ({"id": "x"}, "id"),
        ({"kind": "oauth"}, "kind"),
    ],
)
async def test_what_is_no_provider_is_refused(admin: Admin, members: dict[str, Any], told: str) -> None:
    assert told in await admin.refused(400, "POST", PROVIDERS, body=GITHUB | members)
    github = await a_provider(admin, GITHUB)
    if next(iter(members.values())) is not None or "config_data" in members:
        assert told in await admin.refused(400, "PATCH", f"{PROVIDERS}/{github['id']}", body=members)


async def test_a_provider_that_is_not_there_is_not_found_and_a_slug_is_taken_once(admin: Admin) -> None:
    await a_provider(admin)
    search = await a_provider(admin, SEARCH)
    assert 'slug "github" is already in use' in await admin.refused(409, "POST", PROVIDERS, body=GITHUB)
    await admin.refused(409, "PATCH", f"{PROVIDERS}/{search['id']}", body={"slug": "github"})
    await admin.refused(404, "GET", PROVIDERS, slug="GitHub")
    for method in ("GET", "PATCH", "DELETE"):
        await admin.refused(404, method, f"{PROVIDERS}/nothing", body={})


# Their secrets


@pytest.mark.parametrize(
    ("body", "field", "secret"), [(GITHUB, "client_secret", SECRET), (ROBOT, "sa_key", PEM)], ids=["oauth", "account"]
)
async def test_a_secret_moves_between_its_column_and_a_reference(
    wire: Wire, admin: Admin, body: dict[str, Any], field: str, secret: str
) -> None:
    """Token vault, 2.2: a reference clears the column, a secret replaces either, and neither leaves what is there."""
    plain = {key: value for key, value in body["config_data"].items() if not key.endswith("_ref")}
    provider = await a_provider(admin, body, config_data=plain | {field: secret})
    assert provider["config_data"] == plain
    path, context = f"{PROVIDERS}/{provider['id']}", secret_context(provider["id"], field)
    kept, sealed = await stored(wire, provider["id"])
    assert (kept, await opened(wire, sealed, context)) == (plain, secret)

    patched = await admin.do("PATCH", path, body={"config_data": plain | {"more": 1, field: None}})
    assert patched["config_data"] == plain | {"more": 1}
    assert (await stored(wire, provider["id"]))[1] == sealed
    await admin.do("PATCH", path, body={"display_name": "Another"})
    assert (await stored(wire, provider["id"]))[1] == sealed

    for name in (f"{field}_ref", f"{field}_env"):  # the second as it was spelled of old; it is stored as the first
        patched = await admin.do("PATCH", path, body={"config_data": {name: "AUTHPLANE_VAULT_X"}})
        assert patched["config_data"] == {f"{field}_ref": "AUTHPLANE_VAULT_X"}
        assert await stored(wire, provider["id"]) == (patched["config_data"], None)
        await admin.do("PATCH", path, body={"config_data": {field: f"{secret}2"}})
        kept, sealed = await stored(wire, provider["id"])
        assert (kept, await opened(wire, sealed, context)) == ({}, f"{secret}2")


@pytest.mark.parametrize(
    ("protocol", "config_data", "told"),
    [
        ("oauth", {"client_secret": SECRET, "client_secret_ref": "CONNECTOR_A"}, "mutually exclusive"),
        ("oauth", {"client_secret": SECRET, "client_secret_env": "CONNECTOR_A"}, "mutually exclusive"),
        ("oauth", {"client_secret": [SECRET]}, "config_data.client_secret must be a text"),
        ("oauth", {"client_secret_ref": 1}, "config_data.client_secret_ref must be a text"),
        ("oauth", {"client_secret_ref": "PATH"}, "begins with CONNECTOR_ or AUTHPLANE_VAULT_"),
        ("oauth", {"client_secret_ref": "CONNECTOR_a"}, "begins with CONNECTOR_ or AUTHPLANE_VAULT_"),
        ("oauth", {"client_secret_env": "connector_A"}, "begins with CONNECTOR_ or AUTHPLANE_VAULT_"),
        ("service_account", {"sa_key": PEM, "sa_key_ref": "CONNECTOR_A"}, "mutually exclusive"),
        ("service_account", {"client_secret": SECRET}, "config_data.client_secret must not hold a secret"),
        ("oauth", {"sa_key": PEM}, "config_data.sa_key must not hold a secret"),
        ("oauth", {"Webhook_SECRET": SECRET}, "config_data.Webhook_SECRET must not hold a secret"),
        ("api_key", {"basic_password": SECRET}, "config_data.basic_password must not hold a secret"),
        ("api_key", {"Password": SECRET}, "config_data.Password must not hold a secret"),
        ("api_key", {"proxy_password": [SECRET]}, "config_data.proxy_password must not hold a secret"),
        ("oauth", {"extra_auth_params": {"client_secret": SECRET}}, "config_data.extra_auth_params.client_secret must"),
        ("oauth", {"hops": [{"sa_key": PEM}]}, "config_data.hops.0.sa_key must not hold a secret"),
    ],
)
async def test_a_secret_that_would_be_stored_in_clear_or_twice_is_refused(
    wire: Wire, admin: Admin, logged: io.BytesIO, protocol: str, config_data: dict[str, Any], told: str
) -> None:
    body = GITHUB | {"protocol": protocol, "config_data": config_data}
    sentence = await admin.refused(400, "POST", PROVIDERS, body=body)
    assert told in sentence
    provider = await a_provider(admin, GITHUB, protocol=protocol, config_data={})
    sentence += await admin.refused(400, "PATCH", f"{PROVIDERS}/{provider['id']}", body={"config_data": config_data})
    assert await stored(wire, provider["id"]) == ({}, None)
    flush_logs()
    assert "Zq8" not in sentence + logged.getvalue().decode() + str(await wire.audit())


@pytest.mark.parametrize("config_data", [{"client_secret": ""}, {"client_secret": None}, {"old_password": ""}, {}])
async def test_a_provider_without_a_secret_is_stored(admin: Admin, config_data: dict[str, Any]) -> None:
    provider = await a_provider(admin, config_data=config_data)
    assert provider["config_data"] == {key: value for key, value in config_data.items() if key != "client_secret"}


@pytest.mark.parametrize("encrypts", [False])
async def test_without_encryption_no_secret_and_no_credential_is_taken(wire: Wire, admin: Admin) -> None:
    told = await admin.refused(400, "POST", PROVIDERS, body=GITHUB | {"config_data": {"client_secret": SECRET}})
    assert "cannot be stored without data_encryption" in told
    github, search = await a_provider(admin), await a_provider(admin, SEARCH)
    path = f"{PROVIDERS}/{github['id']}"
    await admin.refused(400, "PATCH", path, body={"config_data": {"client_secret": SECRET}})
    assert await stored(wire, github["id"]) == (GITHUB["config_data"], None)
    body = {"user_id": wire.user.id, "broker_provider_id": search["id"], "credential": {"api_key": API_KEY}}
    assert "without data_encryption" in await admin.refused(400, "POST", GRANTS, body=body)


# Broker resources


async def test_a_broker_resource_names_its_provider_by_id_or_by_slug(admin: Admin) -> None:
    github, search = await a_provider(admin), await a_provider(admin, SEARCH)
    repos = await a_broker_resource(admin, broker_provider_slug="github")
    assert repos == repos | {
        "backend_kind": "broker",
        "broker_provider_id": github["id"],
        "scopes": REPOS["scopes"],
        "policy": {
            "exchange": {"allowed_client_ids": []},
            "runtime": {"client_ids": []},
            "connect": {"allowed_return_urls": ["https://app.example/done"]},
        },
    }
    more = await a_broker_resource(admin, slug="more", broker_provider_id=github["id"], broker_provider_slug="github")
    listed = await admin.do("GET", "/admin/resources", backend_kind="broker", broker_provider_id=github["id"])
    assert {each["id"] for each in listed} == {repos["id"], more["id"]}
    assert await admin.do("GET", "/admin/resources", broker_provider_id=search["id"]) == []

    path = f"/admin/resources/{more['id']}"
    moved = await admin.do("PATCH", path, body={"broker_provider_id": search["id"]})
    assert moved["broker_provider_id"] == search["id"]
    minted = await admin.do("PATCH", path, body={"backend_kind": "mint", "broker_provider_id": ""})
    assert (minted["backend_kind"], minted["broker_provider_id"]) == ("mint", "")
    assert "connect" not in minted["policy"]
    back = await admin.do("PATCH", path, body={"backend_kind": "broker", "broker_provider_id": search["id"]})
    assert back["broker_provider_id"] == search["id"]

    urls = "/admin/resources/repos/policy/connect/allowed-return-urls"
    assert await admin.do("POST", urls, body={"url": "http://localhost:*"}) == {
        "allowed_return_urls": ["https://app.example/done", "http://localhost:*"]
    }


@pytest.mark.parametrize(
    ("status", "members", "told"),
    [
        (400, {}, "broker_provider_id is required"),
        (400, {"broker_provider_id": ""}, "broker_provider_id is required"),
        (400, {"broker_provider_id": "nothing"}, "broker provider not found: nothing"),
        (404, {"broker_provider_slug": "nothing"}, "broker provider not found: nothing"),
        (404, {"broker_provider_slug": "GITHUB"}, "broker provider not found: GITHUB"),
        (400, {"broker_provider_slug": "github", "broker_provider_id": "x"}, "name different providers"),
        (400, {"broker_provider_slug": "github", "backend_kind": "mint"}, "must be empty for a mint resource"),
        (400, {"broker_provider_slug": "github", "scopes": [{"name": "a"}, {"name": "a"}]}, "given twice"),
        (409, {"broker_provider_slug": "github", "slug": "notes"}, "already in use"),
    ],
)
async def test_a_broker_resource_that_breaks_a_rule_is_refused(
    admin: Admin, status: int, members: dict[str, Any], told: str
) -> None:
    github = await a_provider(admin)
    assert told in await admin.refused(status, "POST", "/admin/resources", body=REPOS | members)
    repos = await a_broker_resource(admin, broker_provider_id=github["id"])
    path = f"/admin/resources/{repos['id']}"
    assert "backend_kind" not in await admin.refused(400, "PATCH", path, body={"broker_provider_id": ""})
    assert "not found" in await admin.refused(400, "PATCH", path, body={"broker_provider_id": "nothing"})
    assert "must be empty" in await admin.refused(400, "PATCH", path, body={"backend_kind": "mint"})
    assert "slug" in await admin.refused(400, "PATCH", path, body={"broker_provider_slug": "github"})


async def test_a_gateway_may_front_a_broker_resource_and_none_is_a_gateway(admin: Admin) -> None:
    github = await a_provider(admin)
    repos = await a_broker_resource(admin, broker_provider_id=github["id"])
    body = {"source": "notes", "target": "repos", "scope_map": {"notes:read": ["read"]}}
    turned = {"source": "repos", "target": "notes", "scope_map": {"read": ["notes:read"]}}
    assert "must be a mint resource" in await admin.refused(400, "POST", "/admin/fronting", body=turned)
    unknown = body | {"scope_map": {"notes:read": ["nothing"]}}
    assert "not a scope of the target" in await admin.refused(400, "POST", "/admin/fronting", body=unknown)
    await admin.do("POST", "/admin/fronting", expect=201, body=body)

    path = f"/admin/resources/{repos['id']}"
    turned = {"backend_kind": "mint", "broker_provider_id": ""}
    assert "backend_kind cannot change" in await admin.refused(400, "PATCH", path, body=turned)
    answer = await admin.ask("DELETE", path)
    assert (answer.status_code, len(answer.json()["dependents"])) == (409, 1)
    await admin.do("DELETE", path, expect=204, cascade="true")
    await admin.do("DELETE", f"{PROVIDERS}/{github['id']}", expect=204)


async def test_a_key_for_some_resources_gives_none_another_provider(wire: Wire, admin: Admin) -> None:
    github, search = await a_provider(admin), await a_provider(admin, SEARCH)
    repos = await a_broker_resource(admin, broker_provider_id=github["id"])
    new = {"name": "ada", "role": "operator", "resources": ["repos"]}
    key = (await admin.do("POST", "/admin/operators", expect=201, body=new))["key"]
    path = f"/admin/resources/{repos['id']}"
    async with an_admin(wire, key) as ada:
        assert (await ada.do("PATCH", path, body={"display_name": "Repos"}))["display_name"] == "Repos"
        told = await ada.refused(403, "PATCH", path, body={"broker_provider_id": search["id"]})
        await ada.refused(403, "GET", PROVIDERS)
    assert "another provider" in told


async def test_a_broker_resource_is_not_authorized_and_machines_and_assertions_get_no_token_for_it(
    wire: Wire, admin: Admin
) -> None:
    await a_provider(admin)
    await a_broker_resource(admin, broker_provider_slug="github", uri="https://repos.example.com")
    await wire.server.watcher.poll()
    client = await wire.register()
    answer = await wire.authorize(client["client_id"], resource="repos", scope="read")
    assert query_of(answer)["error"] == "invalid_target"
    body = {
        "client_name": "machine",
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "read",
    }
    machine = await admin.do("POST", "/admin/clients", expect=201, body=body)
    refused = await wire.token(
        grant_type="client_credentials",
        client_id=machine["client_id"],
        client_secret=machine["client_secret"],
        resource="https://repos.example.com",
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_target")


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


# Credentials


def credential_for(wire: Wire, provider: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {
        "user_id": wire.user.id,
        "broker_provider_id": provider["id"],
        "credential": {"api_key": API_KEY},
    } | members


async def a_grant(
    wire: Wire, admin: Admin, provider: dict[str, Any], *, expect: int = 201, **members: Any
) -> dict[str, Any]:
    grant = await admin.do("POST", GRANTS, expect=expect, body=credential_for(wire, provider, **members))
    check_shape("POST", GRANTS, grant)
    return dict(grant)


async def credential_of(wire: Wire, provider_id: str) -> str:
    grant = await find_grant(wire.core.db, user_id=wire.user.id, provider_id=provider_id)
    assert grant is not None
    return await opened(wire, grant.credential, credential_context(wire.user.id, provider_id))


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
