"""The client credentials grant on the wire (public API §8.5), and what becomes of its tokens (§14, §15)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jwt
import pytest

from authserver.clients.administration import NewClient
from authserver.clients.registration import Registered
from authserver.config.model import Config
from authserver.config.sections.grants import ClientCredentialsConfig
from authserver.resources.administration import ResourceDraft
from authserver.resources.records import BackendKind, Resource, ResourceScope
from authserver.storage.database import Row
from authserver.telemetry.metrics import scrape
from authserver.tokens.grants.client_credentials import _kept_scopes
from server.tests.fakes.signing_client import SigningClient
from server.tests.wire.faults import inject
from server.tests.wire.harness import ISSUER, REDIRECT, RESOURCE, Answer, Wire, claims_of

pytestmark = pytest.mark.anyio

CLIENT_CREDENTIALS = "client_credentials"


async def machine(wire: Wire, **members: Any) -> Registered:
    """Create a machine client, as an operator."""
    new: dict[str, Any] = {
        "name": "cron",
        "grant_types": (CLIENT_CREDENTIALS,),
        "auth_method": "client_secret_basic",
        "scope": "notes:write notes:read other",
    }
    return await wire.core.clients.create(NewClient(**(new | members)), now=wire.clock.seconds)


async def resource(wire: Wire, slug: str, *scopes: str, uri: str, **members: Any) -> Resource:
    """Register a Resource, and let the server know."""
    draft = ResourceDraft(
        slug=slug,
        display_name=slug,
        uri=uri,
        scopes=tuple(ResourceScope(name=name) for name in scopes),
        **({"backend_kind": BackendKind.MINT} | members),
    )
    created = await wire.core.resources.create_resource(draft, now=wire.clock.seconds)
    await wire.server.watcher.poll()
    return created


async def ask(wire: Wire, client: Registered, **form: str | list[str] | None) -> Answer:
    """Ask for a token."""
    data = {name: value for name, value in ({"grant_type": CLIENT_CREDENTIALS} | form).items() if value is not None}
    return await wire.http.post("/oauth/token", data=data, auth=(client.client.id, client.client_secret or ""))


async def token(wire: Wire, client: Registered, **form: str | None) -> str:
    answer = await ask(wire, client, **form)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_token"])


async def introspect(wire: Wire, caller: Registered, token: str) -> dict[str, Any]:
    auth = (caller.client.id, caller.client_secret or "")
    answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=auth)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def issuances(wire: Wire) -> Sequence[Row]:
    return await wire.core.db.fetch_all("SELECT * FROM issuances ORDER BY id")


def counted(series: str) -> float:
    lines = scrape().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(series)), 0)


def refused(answer: Answer, status: int, error: str) -> None:
    """Check a refusal, header for header."""
    assert (answer.status_code, answer.json()["error"]) == (status, error), answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["reference"].startswith("ref_")
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def new_rows(wire: Wire) -> list[tuple[str, str]]:
    """Return what the trail says of tokens since this was asked last; rows of one moment have no order."""
    rows = [(action, text) for action, text in await wire.audit() if action.startswith(("client_cred", "token."))]
    await wire.core.db.write(lambda tx: tx.execute("DELETE FROM audit_rows"))
    return rows


# What it gives


async def test_a_machine_gets_a_token_about_itself_for_one_resource(wire: Wire, now: int) -> None:
    client = await machine(wire)
    answer = await ask(wire, client, resource=RESOURCE, scope="notes:read")

    assert answer.status_code == 200
    assert (answer.headers["cache-control"], answer.headers["pragma"]) == ("no-store", "no-cache")
    body = answer.json()
    access_token = body.pop("access_token")
    assert body == {"token_type": "Bearer", "expires_in": 3600, "scope": "notes:read"}
    claims = claims_of(access_token)
    assert len(claims.pop("jti")) == 22
    assert claims == {
        "iss": ISSUER,
        "sub": client.client.id,
        "aud": [RESOURCE],
        "client_id": client.client.id,
        "scope": "notes:read",
        "iat": now,
        "nbf": now,
        "exp": now + 3600,
    }
    (published,) = (await wire.http.get("/.well-known/jwks.json")).json()["keys"]
    token_of_others = jwt.decode_complete(
        access_token, jwt.PyJWK(published), algorithms=["ES256"], options={"verify_aud": False, "verify_exp": False}
    )
    assert token_of_others["header"] == {"typ": "at+jwt", "alg": "ES256", "kid": published["kid"]}


async def test_what_is_written_is_one_issuance_and_one_audit_row(wire: Wire, now: int) -> None:
    client = await machine(wire)
    jti = claims_of(await token(wire, client, resource=RESOURCE))["jti"]

    (row,) = await issuances(wire)
    told = {name: row[name] for name in ("kind", "subject", "client_id", "resource_id", "scopes", "expires_at")}
    assert told == {
        "kind": "machine",
        "subject": None,
        "client_id": client.client.id,
        "resource_id": wire.resource.id,
        "scopes": "notes:write notes:read",
        "expires_at": now + 3600,
    }
    unset = ("authorization_id", "consent_client_id", "parent_jti", "revoked_at", "dpop_jkt", "agent_id", "agent_chain")
    assert {name: row[name] for name in unset} == dict.fromkeys(unset)
    of_client = "SELECT actor_id, client_id FROM audit_events WHERE actor_id = $1"
    (by_client,) = await wire.core.db.fetch_all(of_client, client.client.id)
    assert by_client["client_id"] == client.client.id
    assert await new_rows(wire) == [("client_credentials.issued", f'jti={jti} scopes="notes:write notes:read"')]
    assert await wire.core.db.fetch_one("SELECT 1 AS found FROM consent_grants") is None


async def test_a_token_for_nobody_has_the_issuer_as_its_audience_and_is_recorded_too(wire: Wire) -> None:
    client = await machine(wire)
    answer = await ask(wire, client, resource="")
    assert answer.json()["scope"] == "notes:write notes:read other"
    assert claims_of(answer.json()["access_token"])["aud"] == [ISSUER]
    (row,) = await issuances(wire)
    assert row["resource_id"] is None
    assert (await introspect(wire, client, answer.json()["access_token"]))["active"] is True


@pytest.mark.parametrize(
    ("form", "scope"),
    [
        ({}, "notes:write notes:read"),
        ({"scope": " "}, "notes:write notes:read"),
        ({"scope": "notes:read notes:read"}, "notes:read"),
        ({"resource": None, "scope": "other"}, "other"),
    ],
)
async def test_scopes_are_the_ceiling_within_the_catalogue_or_what_is_asked_for(
    wire: Wire, form: dict[str, str | None], scope: str
) -> None:
    answer = await ask(wire, await machine(wire), **({"resource": RESOURCE} | form))
    assert (answer.status_code, answer.json()["scope"]) == (200, scope)
    assert claims_of(answer.json()["access_token"])["scope"] == scope


async def test_the_audience_is_the_registered_spelling(wire: Wire) -> None:
    client = await machine(wire)
    for spelling in ("HTTPS://MCP.example.com:443/mcp", RESOURCE):
        assert claims_of(await token(wire, client, resource=spelling))["aud"] == [RESOURCE]
    twice = await ask(wire, client, resource=[RESOURCE, RESOURCE])
    assert claims_of(twice.json()["access_token"])["aud"] == [RESOURCE]


async def test_a_client_with_other_grants_gets_no_refresh_token(wire: Wire) -> None:
    grants = ("authorization_code", "refresh_token", CLIENT_CREDENTIALS)
    answer = await ask(wire, await machine(wire, grant_types=grants, redirect_uris=(REDIRECT,)))
    assert set(answer.json()) == {"access_token", "token_type", "expires_in", "scope"}


async def test_every_way_to_prove_a_confidential_client_works(wire: Wire) -> None:
    posted = await machine(wire, auth_method="client_secret_post")
    form = {"grant_type": CLIENT_CREDENTIALS, "client_id": posted.client.id, "client_secret": posted.client_secret}
    assert (await wire.token(**form)).status_code == 200

    signs = SigningClient(audience=ISSUER)
    keyed = await machine(wire, auth_method="private_key_jwt", jwks=signs.jwks)
    signs.client_id = keyed.client.id
    proof = signs.proof(now=wire.clock.seconds)
    answer = await wire.token(grant_type=CLIENT_CREDENTIALS, **proof)
    assert claims_of(answer.json()["access_token"])["sub"] == keyed.client.id
    await new_rows(wire)
    refused(await wire.token(grant_type=CLIENT_CREDENTIALS, **proof), 401, "invalid_client")
    assert await new_rows(wire) == [("client_credentials.denied", "reason=assertion_replayed")]


async def test_the_lifetime_is_the_configured_one(wire: Wire, now: int) -> None:
    client = await machine(wire)
    body = (await ask(wire, client)).json()
    assert claims_of(body["access_token"])["exp"] == now + body["expires_in"] == now + 3600


async def test_what_is_issued_and_refused_is_counted(wire: Wire) -> None:
    client = await machine(wire)
    issued = 'authserver_tokens_issued_total{grant_type="client_credentials"}'
    of_agents = 'authplane_agent_tokens_issued_total{has_chain="false"}'
    denied = 'authplane_client_credentials_denied_total{reason="%s"}'
    took = 'authserver_token_issuance_duration_seconds_count{grant_type="client_credentials"}'
    series = (issued, "authplane_client_credentials_issued_total", took, denied % "scope_outside_ceiling")
    before = {name: counted(name) for name in (*series, of_agents, denied % "missing_client_secret")}

    await ask(wire, client)
    await ask(wire, client, scope="never")
    await wire.token(grant_type=CLIENT_CREDENTIALS, client_id=client.client.id)

    after = {name: counted(name) - value for name, value in before.items()}
    assert after == dict.fromkeys(series, 1) | {of_agents: 0, denied % "missing_client_secret": 1}


async def test_a_code_is_counted_as_what_it_is(wire: Wire) -> None:
    series = 'authserver_tokens_issued_total{grant_type="authorization_code"}'
    before = counted(series)
    await wire.tokens((await wire.register())["client_id"])
    assert counted(series) == before + 1


# What it refuses


async def test_callers_that_prove_nothing_get_nothing_and_leave_no_row(wire: Wire) -> None:
    public = (await wire.register())["client_id"]
    client = await machine(wire)
    before = len(await wire.audit())
    for form in ({}, {"client_id": "nobody"}, {"client_id": public}, {"client_id": client.client.id}):
        refused(await wire.token(grant_type=CLIENT_CREDENTIALS, **form), 401, "invalid_client")
    assert len(await wire.audit()) == before


async def test_a_wrong_secret_and_a_suspended_client_are_in_the_trail(wire: Wire, now: int) -> None:
    client = await machine(wire)
    refused(await ask(wire, replace(client, client_secret="wrong")), 401, "invalid_client")
    assert await new_rows(wire) == [("client_credentials.denied", "reason=invalid_client_secret")]
    await wire.core.clients.suspend(client.client.id, now=now)
    refused(await ask(wire, client), 401, "invalid_client")
    assert await new_rows(wire) == [("client_credentials.denied", "reason=client_not_active")]


async def test_a_rotated_secret_stops_the_old_one_at_once(wire: Wire, now: int) -> None:
    old = await machine(wire)
    new = await wire.core.clients.rotate_secret(old.client.id, now=now)
    refused(await ask(wire, old), 401, "invalid_client")
    assert (await ask(wire, new)).status_code == 200


async def test_a_client_without_scopes_gets_nothing_whatever_it_asks_for(wire: Wire) -> None:
    made = await machine(wire, scope="")
    own = await wire.register(grant_types=[CLIENT_CREDENTIALS], token_endpoint_auth_method="client_secret_basic")
    assert "scope" not in own
    client = await wire.core.db.fetch_one("SELECT scope FROM clients WHERE id = $1", own["client_id"])
    assert client is not None
    assert client["scope"] == ""
    itself = replace(made, client=replace(made.client, id=own["client_id"]), client_secret=own["client_secret"])
    for form in ({}, {"scope": "notes:read"}, {"resource": RESOURCE}, {"resource": RESOURCE, "scope": "notes:read"}):
        answer = await ask(wire, made, **form)
        refused(answer, 400, "invalid_scope")
        assert "PATCH /admin/clients/{id}" in answer.json()["error_description"]
        assert await new_rows(wire) == [("client_credentials.denied", "reason=client_without_scopes")]
        answer = await ask(wire, itself, **form)
        refused(answer, 400, "invalid_scope")
        assert "dynamic registration" in answer.json()["error_description"]
        assert "POST /admin/clients" in answer.json()["error_description"]
        assert await new_rows(wire) == [("client_credentials.denied", "reason=self_registered_machine")]
    assert await issuances(wire) == []


@pytest.mark.parametrize(
    ("form", "error", "reason"),
    [
        ({"resource": "https://elsewhere.example/"}, "invalid_target", "unknown_resource"),
        ({"resource": "notes"}, "invalid_target", "resource_named_by_slug"),
        ({"resource": RESOURCE + "/"}, "invalid_target", "unknown_resource"),
        ({"resource": RESOURCE + "#a"}, "invalid_target", "resource_has_fragment"),
        ({"resource": [RESOURCE, "https://empty.example/"]}, "invalid_target", "multiple_resources"),
        ({"resource": "https://twice.example/"}, "invalid_target", "ambiguous_resource"),
        ({"resource": RESOURCE, "scope": "notes:admin"}, "invalid_scope", "scope_outside_ceiling"),
        ({"resource": RESOURCE, "scope": "notes:read other"}, "invalid_scope", "scope_not_in_catalog"),
        ({"scope": "notes:admin"}, "invalid_scope", "scope_outside_ceiling"),
        ({"scope": 'notes:read "'}, "invalid_scope", "scope_malformed"),
        ({"resource": "https://empty.example/"}, "invalid_scope", "ceiling_excludes_all"),
        ({"resource": "https://foreign.example/"}, "invalid_scope", "ceiling_excludes_all"),
        ({"scope": ["notes:read", "notes:read"]}, "invalid_request", None),
    ],
)
async def test_a_request_beyond_a_bound_is_refused_and_never_narrowed(
    wire: Wire, form: dict[str, Any], error: str, reason: str | None
) -> None:
    client = await machine(wire)
    await resource(wire, "empty", uri="https://empty.example/")
    await resource(wire, "foreign", "mail:send", uri="https://foreign.example/")
    for slug in ("one", "two"):
        await resource(wire, slug, "notes:read", uri="https://twice.example/")

    refused(await ask(wire, client, **form), 400, error)

    assert await new_rows(wire) == ([("client_credentials.denied", f"reason={reason}")] if reason else [])
    assert await issuances(wire) == []


async def test_an_unregistered_grant_is_refused(wire: Wire) -> None:
    client = await machine(wire, grant_types=("authorization_code",), redirect_uris=(REDIRECT,))
    refused(await ask(wire, client), 400, "unauthorized_client")
    assert await new_rows(wire) == [("client_credentials.denied", "reason=grant_not_registered")]


NEIGHBOURS = [
    # Two neighbouring faults at once: the earlier one is reported.
    ("authentication before the grant", {"grant_types": ("authorization_code",)}, {"secret": "x"}, "invalid_client"),
    ("the grant before the ceiling", {"grant_types": ("authorization_code",), "scope": ""}, {}, "unauthorized_client"),
    ("the ceiling before the resource", {"scope": ""}, {"resource": "https://elsewhere.example/"}, "invalid_scope"),
    ("the resource before the scope", {}, {"resource": "https://elsewhere.example/", "scope": "x"}, "invalid_target"),
]


@pytest.mark.parametrize(("case", "members", "form", "error"), NEIGHBOURS, ids=[case[0] for case in NEIGHBOURS])
async def test_of_two_faults_the_earlier_one_is_reported(
    wire: Wire, case: str, members: dict[str, Any], form: dict[str, Any], error: str
) -> None:
    assert case
    client = await machine(wire, **({"redirect_uris": (REDIRECT,)} | members))
    secret = form.get("secret", client.client_secret)
    asked = {name: value for name, value in form.items() if name != "secret"}
    client = replace(client, client_secret=secret)
    refused(await ask(wire, client, **asked), 401 if error == "invalid_client" else 400, error)


# What becomes of its tokens


async def test_the_client_may_ask_about_its_own_token_and_so_may_its_resource(wire: Wire, now: int) -> None:
    client = await machine(wire)
    access_token = await token(wire, client, resource=RESOURCE)
    for caller in (client, wire.runtime):
        answer = await introspect(wire, caller, access_token)
        assert len(answer.pop("jti")) == 22
        assert answer == {
            "active": True,
            "scope": "notes:write notes:read",
            "client_id": client.client.id,
            "sub": client.client.id,
            "iss": ISSUER,
            "aud": RESOURCE,
            "exp": now + 3600,
            "iat": now,
            "nbf": now,
            "token_type": "Bearer",
        }
    assert await introspect(wire, await machine(wire), access_token) == {"active": False}


async def test_only_the_client_itself_revokes_its_token(wire: Wire) -> None:
    client, stranger = await machine(wire), await machine(wire)
    access_token = await token(wire, client, resource=RESOURCE)
    jti = claims_of(access_token)["jti"]
    series = 'authserver_tokens_revoked_total{reason="explicit_machine"}'
    before = counted(series)
    for caller in (stranger, wire.runtime):
        auth = (caller.client.id, caller.client_secret or "")
        assert (await wire.http.post("/oauth/revoke", data={"token": access_token}, auth=auth)).status_code == 200
        assert (await introspect(wire, client, access_token))["active"] is True

    for _ in range(2):
        auth = (client.client.id, client.client_secret or "")
        answer = await wire.http.post("/oauth/revoke", data={"token": access_token}, auth=auth)
        assert (answer.status_code, answer.content) == (200, b"")

    assert await introspect(wire, wire.runtime, access_token) == {"active": False}
    assert counted(series) == before + 1
    rows = await wire.audit()
    assert rows.count(("token.revoked", f"machine_token jti={jti}")) == 1
    assert ("token.introspect_denied", f"reason=machine_token_revoked jti={jti}") in rows


async def test_a_token_ends_with_its_client(wire: Wire, now: int) -> None:
    client = await machine(wire)
    access_token = await token(wire, client, resource=RESOURCE)
    await wire.core.clients.suspend(client.client.id, now=now)
    await new_rows(wire)
    assert await introspect(wire, wire.runtime, access_token) == {"active": False}
    ((action, text),) = await new_rows(wire)
    assert (action, text.partition(" ")[0]) == ("token.introspect_denied", "reason=issuing_client_inactive")
    await wire.core.clients.reactivate(client.client.id, now=now)
    assert (await introspect(wire, wire.runtime, access_token))["active"] is True
    await wire.core.clients.delete(client.client.id, force=True, now=now)
    assert await introspect(wire, wire.runtime, access_token) == {"active": False}
    (row,) = await issuances(wire)
    assert row["revoked_at"] == now


async def test_a_token_expires(wire: Wire) -> None:
    client = await machine(wire)
    access_token = await token(wire, client, resource=RESOURCE)
    wire.clock.seconds += 3600 + 30
    assert await introspect(wire, client, access_token) == {"active": False}


# What it costs


async def test_a_request_reads_its_client_and_commits_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await machine(wire)
    await ask(wire, client, resource=RESOURCE)
    injected = inject(wire.core.db, monkeypatch)
    injected.begin(0)
    assert (await ask(wire, client, resource=RESOURCE)).status_code == 200
    # The client is read; the issuance and the audit row are written in one transaction.
    assert injected.seen == 3


# The switch


class TestSwitchedOff:
    """With ``client_credentials.enabled: false``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, client_credentials=ClientCredentialsConfig(enabled=False))

    async def test_the_refusal_names_the_key(self, wire: Wire) -> None:
        answer = await wire.http.post(
            "/oauth/token",
            data={"grant_type": CLIENT_CREDENTIALS},
            auth=(wire.runtime.client.id, wire.runtime.client_secret or ""),
        )
        refused(answer, 400, "unsupported_grant_type")
        text = "feature client_credentials is disabled (set client_credentials.enabled=true to enable)"
        assert answer.json()["error_description"].startswith(text)

    async def test_nothing_advertises_it_and_nobody_registers_for_it(self, wire: Wire) -> None:
        metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
        assert CLIENT_CREDENTIALS not in metadata["grant_types_supported"]
        document = {"client_name": "n", "redirect_uris": [REDIRECT], "grant_types": [CLIENT_CREDENTIALS]}
        answer = await wire.http.post("/oauth/register", json=document)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
        assert "AUTHPLANE_CLIENT_CREDENTIALS_ENABLED" in answer.json()["error_description"]


async def test_metadata_advertises_it(wire: Wire) -> None:
    metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
    granted = metadata["grant_types_supported"]
    assert granted[:3] == ["authorization_code", "refresh_token", CLIENT_CREDENTIALS]
    assert {"private_key_jwt", "client_secret_basic"} <= set(metadata["token_endpoint_auth_methods_supported"])


async def test_a_choice_among_many_scopes_is_not_kept(wire: Wire) -> None:
    names = [f"notes:{number}" for number in range(200)]
    client = await machine(wire, scope=" ".join(names))
    before = _kept_scopes.cache_info()
    for _ in range(2):
        for scope in (None, names[7], " ".join(names)):
            assert claims_of(await token(wire, client, scope=scope))["scope"] == (scope or " ".join(names))
    assert _kept_scopes.cache_info() == before
