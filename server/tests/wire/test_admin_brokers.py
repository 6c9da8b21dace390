"""``/admin/broker-providers`` and broker resources over HTTP (admin API, 6, 8, 9; token vault, 2 to 4)."""

import io
from typing import Any

import pytest

from authserver.broker.provider_secrets import secret_context
from authserver.config.model import Config
from authserver.telemetry.logs import flush_logs
from server.tests.wire.brokering import (
    API_KEY,
    GITHUB,
    GRANTS,
    PEM,
    PROVIDERS,
    REPOS,
    ROBOT,
    SEARCH,
    SECRET,
    a_broker_resource,
    a_provider,
    encrypting,
    opened,
    stored,
)
from server.tests.wire.harness import Wire, query_of
from server.tests.wire.operating import PEER, Admin, an_admin, check_shape, rows

pytestmark = pytest.mark.anyio


@pytest.fixture
def encrypts() -> bool:
    """Whether ``data_encryption`` is configured."""
    return True


@pytest.fixture
def config(config: Config, *, encrypts: bool, monkeypatch: pytest.MonkeyPatch) -> Config:
    return encrypting(config, monkeypatch) if encrypts else config


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
