"""Each thing that is counted, done once: what it counts is counted once, and nothing else (metrics.md §2 and §3)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import httpx2
import pytest

from authserver.app import build_server
from authserver.config.model import Config
from authserver.config.sections.grants import DpopConfig, XaaConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.grant_types import DEVICE_CODE, JWT_BEARER
from authserver.telemetry import metrics
from server.tests.fakes.document_server import DocumentServer, document_server
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.fakes.proving_client import ProvingClient
from server.tests.web.direct import DirectTransport
from server.tests.wire.counting import Counting, grown_since, totals
from server.tests.wire.exchanging import a_client, a_link, a_resource, exchange, exchanged, user_token
from server.tests.wire.faults import MOST_STATEMENTS, inject
from server.tests.wire.harness import EMAIL, ISSUER, Answer, Wire, hidden_fields
from server.tests.wire.operating import Admin
from server.tests.wire.proving import ask, machine
from server.tests.wire.xaa import Enterprise

pytestmark = pytest.mark.anyio


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
def config(config: Config) -> Config:
    return replace(config, dpop=DpopConfig(), xaa=XaaConfig(enabled=True))


@pytest.fixture
async def documents() -> AsyncIterator[DocumentServer]:
    async with document_server() as server:
        yield server


def issued(grant_type: str, *, durations: str | None = None) -> tuple[str, str]:
    """Return what a token counts."""
    return (
        f"authserver_tokens_issued{{grant_type={grant_type}}}",
        f"authserver_token_issuance_duration_seconds_count{{grant_type={durations or grant_type}}}",
    )


REFRESHED = "authserver_token_issuance_duration_seconds_count{grant_type=refresh_token}"
FLOW = "authserver_auth_flow_duration_seconds_count"
SIGNED_IN = "authserver_login_attempts{result=success}"
ALLOWED = "authserver_consent_decisions{decision=granted}"


async def test_registrations_are_counted_by_their_source(wire: Wire, admin: Admin, documents: DocumentServer) -> None:
    counting = Counting()
    await wire.register()
    counting.check("authserver_clients_registered{source=dcr}")
    body = {"client_name": "by an operator", "redirect_uris": ["https://client.example/cb"]}
    await admin.do("POST", "/admin/clients", expect=201, body=body)
    counting.check("authserver_clients_registered{source=admin}")
    client_id = documents.document("/client")
    for _ in range(2):
        await wire.authorize(client_id, redirect_uri="http://127.0.0.1:5173/callback")
    counting.check("authserver_clients_registered{source=cimd}", "authserver_cimd_fetch_duration_seconds_count")
    missing = documents.url("/missing")
    for _ in range(2):
        await wire.authorize(missing, redirect_uri="http://127.0.0.1:5173/callback")
    counting.check(
        "authserver_cimd_fetch_duration_seconds_count", "authserver_cimd_fetch_suppressed{reason=negative_cache}"
    )


async def test_a_flow_counts_its_login_its_consent_and_its_token(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    counting = Counting()
    await wire.sign_in()
    counting.check(SIGNED_IN)
    await wire.allow(await wire.authorize(client_id), action="deny")
    counting.check("authserver_consent_decisions{decision=denied}")
    code = await wire.code(client_id)
    counting.check(ALLOWED, FLOW)
    tokens = (await wire.redeem(client_id, code)).json()
    counting.check(*issued("authorization_code"))
    await wire.code(client_id)
    counting.check(FLOW)

    again = await wire.refresh(client_id, tokens["refresh_token"])
    counting.check("authserver_tokens_refreshed", REFRESHED)
    await wire.refresh(client_id, tokens["refresh_token"])
    counting.check("authserver_refresh_token_retries", REFRESHED)
    newest = await wire.refresh(client_id, again.json()["refresh_token"])
    counting.check("authserver_tokens_refreshed", REFRESHED)
    await wire.introspect(newest.json()["access_token"])
    measured = "authserver_introspection_duration_seconds_count"
    counting.check("authserver_introspection{result=active}", measured)
    await wire.refresh(client_id, tokens["refresh_token"])
    counting.check("authserver_refresh_token_reuse", "authserver_tokens_revoked{reason=family_revocation}")
    await wire.refresh(client_id, tokens["refresh_token"])
    counting.check()  # the family is at an end, whatever its tokens were
    await wire.introspect(newest.json()["access_token"])
    counting.check("authserver_introspection{result=inactive}", measured)
    answer = await wire.http.post("/oauth/introspect", data={"token": "x"}, auth=(wire.runtime.client.id, "wrong"))
    assert answer.status_code == 401
    counting.check("authserver_introspection{result=error}")


async def test_a_code_that_comes_back_is_counted_each_time_and_revokes_once(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    await wire.redeem(client_id, code)
    counting = Counting()
    await wire.redeem(client_id, code, code_verifier="w" * 43)
    counting.check("authserver_auth_code_reuse{verifier=invalid}")
    await wire.redeem(client_id, code)
    counting.check("authserver_auth_code_reuse{verifier=valid}", "authserver_tokens_revoked{reason=code_reuse}")
    await wire.redeem(client_id, code)
    counting.check("authserver_auth_code_reuse{verifier=valid}")


async def test_a_revocation_that_changes_something_is_counted(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id)
    own = await machine(wire)
    token = (await ask(wire.http, own)).json()["access_token"]
    counting = Counting()
    for _ in range(2):
        await wire.http.post("/oauth/revoke", data={"token": tokens["refresh_token"], "client_id": client_id})
    counting.check("authserver_tokens_revoked{reason=explicit}")
    for _ in range(2):
        auth = (own.client.id, own.client_secret or "")
        await wire.http.post("/oauth/revoke", data={"token": token}, auth=auth)
    counting.check("authserver_tokens_revoked{reason=explicit_machine}")


async def test_refused_sign_ins_are_counted_by_their_reason(wire: Wire, now: int) -> None:
    async def sign_in(email: str, password: str) -> None:
        form = hidden_fields(await wire.http.get("/login"))
        answer = await wire.http.post("/login", data={**form, "email": email, "password": password})
        assert answer.status_code == 422

    def refused(reason: str) -> tuple[str, str]:
        return f"authserver_auth_denied{{reason={reason}}}", "authserver_login_attempts{result=failure}"

    counting = Counting()
    await sign_in("nobody@example.com", "wrong")
    counting.check(*refused("user_not_found"))
    await sign_in(EMAIL, "wrong")
    counting.check(*refused("invalid_credentials"))
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    await sign_in(EMAIL, "wrong")
    counting.check(*refused("user_disabled"))


async def test_machines_are_counted_beside_all_tokens(wire: Wire) -> None:
    client = await machine(wire)
    counting = Counting()
    assert (await ask(wire.http, client)).status_code == 200
    counting.check("authplane_client_credentials_issued", *issued("client_credentials"))
    assert (await ask(wire.http, client, scope="notes:write")).status_code == 400
    counting.check("authplane_client_credentials_denied{reason=scope_outside_ceiling}")
    agent = await machine(wire, is_agent=True)
    counting.check("authserver_clients_registered{source=admin}")
    await ask(wire.http, agent)
    counting.check(
        "authplane_client_credentials_issued",
        "authplane_agent_tokens_issued{has_chain=false}",
        *issued("client_credentials"),
    )


async def test_proofs_are_counted_by_what_became_of_them(
    wire: Wire, config: Config, prover: ProvingClient, now: int
) -> None:
    client = await machine(wire)
    counting = Counting()
    proof = prover.proof(now=now)
    token = ("authplane_client_credentials_issued", *issued("client_credentials"))
    denied = "authplane_client_credentials_denied{reason=invalid_dpop_proof}"
    await ask(wire.http, client, proof)
    counting.check("authplane_dpop_proofs_validated{result=valid}", *token)
    await ask(wire.http, client, proof)
    counting.check("authplane_dpop_proofs_rejected{reason=replay}", denied)
    await ask(wire.http, client, prover.proof(now=now, htm="GET"))
    counting.check("authplane_dpop_proofs_rejected{reason=invalid_proof}", denied)

    demanding = replace(wire.core, config=replace(config, dpop=DpopConfig(require_nonce=True)))
    server = await build_server(demanding, wire.keyring)
    async with httpx2.AsyncClient(transport=DirectTransport(server.public, peer="192.0.2.9"), base_url=ISSUER) as http:
        await ask(http, client, prover.proof(now=now))
        counting.check("authplane_dpop_proofs_rejected{reason=nonce_required}", denied)
        await ask(http, client, prover.proof(now=now, nonce="invented"))
        counting.check("authplane_dpop_proofs_rejected{reason=nonce_mismatch}", denied)
    await server.traces.close()


async def test_an_exchange_counts_once_with_all_its_labels(wire: Wire) -> None:
    agent = await a_client(wire, "agent", is_agent=True)
    gateway = await a_client(wire, "gateway", is_agent=True)
    await a_resource(wire, "mail", "mail:read")
    await a_resource(wire, "gw", "mail:read", runtime=[gateway])
    await a_link(wire, "gw", "mail", {"mail:read": ("mail:read",)})
    await user_token(wire, agent, resource="mail", scope="mail:read")
    subject = await user_token(wire, agent, resource=None, scope="mail:read")
    for_gateway = await user_token(wire, agent, resource="gw", scope="mail:read")
    counting = Counting()
    await exchanged(wire, agent, subject, resource="mail")
    counting.check(
        "authplane_token_exchange{type=mint_dispatch,kind=direct,source=,target=mail}",
        "authplane_agent_tokens_issued{has_chain=false}",
        *issued("token_exchange"),
    )
    await exchanged(wire, gateway, for_gateway, resource="mail", scope="mail:read")
    counting.check(
        "authplane_token_exchange{type=mint_dispatch,kind=fronted,source=gw,target=mail}",
        "authplane_agent_tokens_issued{has_chain=true}",
        *issued("token_exchange"),
    )
    answer = await exchange(wire, agent, subject, resource="mail", scope="mail:write")
    assert answer.status_code == 400
    counting.check("authplane_token_exchange_denied{reason=scope_not_in_catalog}")


async def test_assertions_count_their_policy_and_their_subject(wire: Wire, acme: Enterprise) -> None:
    counting = Counting()
    token = issued(JWT_BEARER)
    await acme.issued()
    allowed = "authplane_xaa_policy_evaluation{result=allowed}"
    counting.check(allowed, "authplane_xaa_subject_resolutions{result=auto_map}", *token)
    await wire.core.subject_mappings.create(
        idp_id=acme.idp.id, idp_subject="alice@acme", local_user_id=wire.user.id, now=acme.now
    )
    await acme.issued()
    counting.check(allowed, "authplane_xaa_subject_resolutions{result=mapped}", *token)
    await wire.core.accounts.disable_user(wire.user.id, now=acme.now)
    assert (await acme.trade()).status_code == 400
    counting.check(allowed, "authplane_xaa_subject_resolutions{result=denied}")
    await wire.core.xaa_policies.delete(acme.policy.id, now=acme.now)
    await acme.reload()
    assert (await acme.trade()).status_code == 403
    counting.check("authplane_xaa_policy_evaluation{result=denied}")


async def test_a_device_counts_as_a_flow(wire: Wire) -> None:
    client_id = (await wire.register(grant_types=[DEVICE_CODE, "refresh_token"], redirect_uris=[]))["client_id"]
    await wire.sign_in()
    started = (await wire.start_device(client_id)).json()
    counting = Counting()
    await wire.answer_device(await wire.enter_code(started["user_code"]))
    counting.check(ALLOWED, FLOW)
    assert (await wire.poll(client_id, started["device_code"])).status_code == 200
    counting.check(*issued(DEVICE_CODE))


async def test_what_operators_do_is_counted(
    wire: Wire, admin: Admin, provided: tuple[IdentityProvider, object]
) -> None:
    counting = Counting()

    async def does(operation: Awaitable[object], *counted: str) -> None:
        await operation
        counting.check(*counted)

    def resources(op: str) -> str:
        return f"authplane_resource_server_ops{{op={op}}}"

    def lists(op: str) -> str:
        return f"authplane_allowlist_ops{{op={op}}}"

    body = {"slug": "files", "backend_kind": "mint", "uri": "https://files.example.com"}
    created = await admin.do("POST", "/admin/resources", expect=201, body=body)
    counting.check(resources("create"))
    path = f"/admin/resources/{created['id']}"
    await does(admin.do("GET", path), resources("get"))
    await does(admin.do("GET", "/admin/resources", slug="files"), resources("get"))
    await does(admin.do("GET", "/admin/resources"), resources("list"))
    await does(admin.do("PATCH", path, body={"display_name": "Files"}), resources("update"))
    listed = "/admin/resources/files/policy/runtime/client-ids"
    client_id = wire.runtime.client.id
    await does(admin.do("POST", listed, body={"client_id": client_id}), lists("add"))
    await does(admin.do("GET", listed), lists("list"))
    await does(admin.do("DELETE", f"{listed}/{client_id}"), lists("remove"))
    await does(admin.do("DELETE", path, expect=204), resources("delete"))
    await does(admin.refused(404, "GET", path))

    idp = {"name": "Acme", "issuer": provided[0].issuer, "jwks_uri": provided[0].jwks_uri}
    registered = await admin.do("POST", "/admin/idps", expect=201, body=idp)
    counting.check("authplane_xaa_idp_operations{operation=register}")
    await does(
        admin.do("DELETE", f"/admin/idps/{registered['id']}", expect=204),
        "authplane_xaa_idp_operations{operation=delete}",
    )
    await does(admin.do("POST", "/admin/keys/rotate", expect=200), "authserver_key_rotation")


async def test_what_fails_of_an_answer_to_reuse_is_counted_by_its_half(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    faults = inject(wire.core.db, monkeypatch)
    lost: list[str] = []
    for number in range(1, MOST_STATEMENTS):
        code = await wire.code(client_id)
        await wire.redeem(client_id, code)
        before = totals()
        faults.begin(number, ZeroDivisionError("a mistake of ours"))
        await wire.redeem(client_id, code)
        seen = faults.seen
        faults.begin(0)
        if seen < number:
            break
        lost += [series for series in grown_since(before, totals()) if "failures" in series or "dropped" in series]
    halves = {f"authserver_revocation_failures{{path=code_reuse,half={half}}}" for half in ("family", "jti")}
    actions = ("auth_code.reused", "family.revoked", "token.issue_denied")
    assert set(lost) == halves | {f"authserver_audit_events_dropped{{action={action}}}" for action in actions}


async def test_keys_that_are_read_anew_and_rows_that_are_sealed_are_counted(wire: Wire) -> None:
    def value(name: str) -> float:
        return metrics.REGISTRY.get_sample_value(name) or 0

    reloads, sealed = "authserver_key_reload_duration_seconds_count", "authserver_audit_rows_sealed_total"
    before = {name: value(name) for name in (reloads, sealed)}
    await wire.keyring.reload(wire.clock.seconds)
    assert value(reloads) == before[reloads] + 1
    await wire.register()
    rows = len(await wire.audit())
    wire.clock.seconds += 60
    await wire.server.sealer.seal()
    assert value(sealed) == before[sealed] + rows


async def test_requests_are_counted_by_route_and_never_by_path(wire: Wire, admin: Admin) -> None:
    def requests(method: str, route: str, status: int) -> float:
        labels = {"http_method": method, "http_route": route, "http_status_code": str(status)}
        counted = metrics.REGISTRY.get_sample_value("authserver_http_requests_total", labels) or 0
        measured = metrics.REGISTRY.get_sample_value("authserver_http_request_duration_seconds_count", labels) or 0
        assert counted == measured
        return counted

    cases: list[tuple[Callable[[], Awaitable[Answer]], tuple[str, str, int]]] = [
        (lambda: wire.http.get("/.well-known/jwks.json"), ("GET", "/.well-known/jwks.json", 200)),
        (lambda: wire.http.head("/.well-known/jwks.json"), ("HEAD", "/.well-known/jwks.json", 200)),
        (lambda: wire.http.get("/nothing/here"), ("GET", "unmatched", 404)),
        (lambda: wire.http.request("BREW", "/livez"), ("other", "/livez", 405)),
        (lambda: admin.ask("GET", f"/admin/clients/{wire.runtime.client.id}"), ("GET", "/admin/clients/{id}", 200)),
        (lambda: admin.ask("GET", "/metrics"), ("GET", "/metrics", 200)),
    ]
    for send, labels in cases:
        before = requests(*labels)
        answer = await send()
        assert answer.status_code == labels[2]
        assert requests(*labels) == before + 1, labels
