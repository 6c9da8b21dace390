"""Threats by clients and to them: impersonation, keys of one's own, addresses scanned, grants that are not served."""

import base64
import hashlib
import re
from dataclasses import replace

import bcrypt
import httpx2
import orjson
import pytest

from authserver.app import build_server
from authserver.clients.secrets import ClientSecrets
from authserver.config.model import Config
from authserver.config.sections.clients import CimdConfig
from authserver.protocol.jose import generate_signing_key
from authserver.storage.database import Writer
from server.tests.fakes.document_server import Answer as Document
from server.tests.fakes.document_server import document_server
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, REDIRECT, Answer, Wire, claims_of, query_of

pytestmark = pytest.mark.anyio

SAML = "urn:ietf:params:oauth:grant-type:saml2-bearer"


# T3


async def test_consent_to_one_client_never_lets_another_in(wire: Wire) -> None:
    first, second = (await wire.register())["client_id"], (await wire.register())["client_id"]
    await wire.code(first)
    assert "code" in query_of(await wire.authorize(first))

    asked = await wire.authorize(second)

    assert asked.headers["location"].startswith("/consent?")
    assert query_of(await wire.authorize(second, prompt="none"))["error"] == "consent_required"


async def test_a_suspended_client_is_refused_at_every_endpoint(wire: Wire, now: int) -> None:
    client = await wire.register(token_endpoint_auth_method="client_secret_post")
    client_id, secret = client["client_id"], client["client_secret"]
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, await wire.code(client_id), client_secret=secret)).json()
    await wire.core.clients.suspend(client_id, now=now)

    page = await wire.authorize(client_id)
    assert page.status_code == 403
    assert "location" not in page.headers
    proof = {"client_id": client_id, "client_secret": secret}
    for path, form in (
        ("/oauth/token", {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 43}),
        ("/oauth/token", {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}),
        ("/oauth/introspect", {"token": tokens["access_token"]}),
        ("/oauth/revoke", {"token": tokens["access_token"]}),
    ):
        answer = await wire.http.post(path, data={**form, **proof})
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        assert answer.json()["error_description"].startswith("client is suspended or revoked (ref_")
    assert await wire.introspect(tokens["access_token"]) == {"active": False}


@pytest.mark.parametrize("who", ["user", "client"])
@pytest.mark.parametrize("grant", ["code", "refresh"])
async def test_who_is_shut_out_while_an_old_secret_is_checked_gets_no_tokens(
    wire: Wire, now: int, monkeypatch: pytest.MonkeyPatch, grant: str, who: str
) -> None:
    client = await wire.register(token_endpoint_auth_method="client_secret_post")
    client_id, secret = client["client_id"], client["client_secret"]
    first, second = await wire.code(client_id), await wire.code(client_id)
    held = (await wire.redeem(client_id, first, client_secret=secret)).json()["refresh_token"]
    stored = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()

    async def age(tx: Writer) -> None:
        await tx.execute("UPDATE clients SET secret_hash = $2 WHERE id = $1", client_id, stored)

    await wire.core.db.write(age)
    is_right = ClientSecrets.is_right

    async def is_right_at_last(secrets: ClientSecrets, secret: str, secret_hash: str) -> bool:
        if who == "user":
            await wire.core.accounts.disable_user(wire.user.id, now=now)
        else:
            await wire.core.clients.suspend(client_id, now=now)
        return await is_right(secrets, secret, secret_hash)

    monkeypatch.setattr(ClientSecrets, "is_right", is_right_at_last)
    if grant == "code":
        answer = await wire.redeem(client_id, second, client_secret=secret)
    else:
        answer = await wire.refresh(client_id, held, client_secret=secret)

    refusal = {"user": (400, "invalid_grant"), "client": (401, "invalid_client")}[who]
    assert (answer.status_code, answer.json()["error"]) == refusal


async def test_a_hostile_name_is_shown_inert(wire: Wire) -> None:
    name = "<script>alert(1)</script>\u202e\"'&Trusted"
    client_id = (await wire.register(client_name=name))["client_id"]
    await wire.sign_in()

    page = await wire.http.get((await wire.authorize(client_id)).headers["location"])

    assert "<script" not in page.text
    assert "\u202e" not in page.text
    assert re.search(r"<bdi[^>]*>&lt;script&gt;alert\(1\)&lt;/script&gt;&#34;&#39;&amp;Trusted</bdi>", page.text)


# T7, T9, T15: keys


def segment(members: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(members)).rstrip(b"=").decode()


async def test_a_token_that_brings_its_own_key_is_inactive(wire: Wire, now: int) -> None:
    tokens = await wire.tokens((await wire.register())["client_id"])
    claims = claims_of(tokens["access_token"])
    key = generate_signing_key("ES256", kid="attacker")
    ours = wire.keyring.current(now).kid
    own_key = dict(key.public.jwk)
    for header in (
        {"jwk": own_key},
        {"jku": "https://evil.example/jwks", "kid": ours},
        {"x5u": "https://evil.example/cert", "kid": ours},
        {"x5c": ["MIIB"], "kid": ours},
        {"kid": ours},
        {"kid": ours, "alg": "none"},
        {"kid": ours, "alg": "HS256"},
        {"kid": ours, "crit": ["exp"]},
    ):
        signing_input = f"{segment({'typ': 'at+jwt', 'alg': 'ES256', **header})}.{segment(claims)}"
        hashed = hashlib.sha256(signing_input.encode()).digest()
        signature = base64.urlsafe_b64encode(key._sign(hashed)).rstrip(b"=").decode()
        for forged in (f"{signing_input}.{signature}", f"{signing_input}."):
            assert await wire.introspect(forged) == {"active": False}
    assert (await wire.introspect(tokens["access_token"]))["active"] is True


# T8


async def test_a_token_from_when_the_server_had_another_name_is_inactive(wire: Wire, config: Config) -> None:
    token = (await wire.tokens((await wire.register())["client_id"]))["access_token"]
    renamed = replace(config, server=replace(config.server, issuer="http://127.0.0.1:9000"))
    server = await build_server(replace(wire.core, config=renamed), wire.keyring)
    secret = wire.runtime.client_secret or ""
    transport = DirectTransport(server.public, peer="192.0.2.9")
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:9000") as http:
        answer = await http.post("/oauth/introspect", data={"token": token}, auth=(wire.runtime.client.id, secret))
    await server.traces.close()
    assert (answer.status_code, answer.json()) == (200, {"active": False})
    assert (await wire.introspect(token))["active"] is True


async def test_each_listener_serves_its_own_routes_and_no_other(wire: Wire) -> None:
    for path in ("/admin", "/admin/clients", "/admin/users", "/admin/keys", "/metrics"):
        for method in ("GET", "POST"):
            assert (await wire.http.request(method, path)).status_code == 404
    public = wire.server.public
    wire.server = replace(wire.server, public=wire.server.admin)
    async with wire.new_browser() as operator:
        for path in ("/oauth/token", "/oauth/authorize", "/oauth/register", "/login", "/.well-known/jwks.json"):
            for method in ("GET", "POST"):
                answer = await operator.request(method, path, headers={"origin": "https://evil.example"})
                assert answer.status_code == 404
                assert "access-control-allow-origin" not in answer.headers
    wire.server = replace(wire.server, public=public)


# T12, T14, T16, T17, T18: what this surface does not serve


@pytest.mark.parametrize("grant_type", [SAML, "password", "implicit"])
async def test_a_grant_that_is_not_served_gives_nobody_a_token(wire: Wire, grant_type: str) -> None:
    own = await wire.register(token_endpoint_auth_method="client_secret_post")
    stolen = (await wire.tokens((await wire.register())["client_id"]))["access_token"]
    form = {
        "grant_type": grant_type,
        "client_id": own["client_id"],
        "client_secret": own["client_secret"],
        "subject_token": stolen,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "assertion": stolen,
        "scope": "notes:read",
        "resource": "notes",
    }

    answer = await wire.http.post("/oauth/token", data=form)

    assert (answer.status_code, answer.json()["error"]) == (400, "unsupported_grant_type")
    assert "access_token" not in answer.json()
    metadata = (await wire.http.get("/.well-known/oauth-authorization-server")).json()
    assert grant_type not in metadata["grant_types_supported"]
    refused = await wire.http.post(
        "/oauth/register", json={"client_name": "n", "redirect_uris": [REDIRECT], "grant_types": [grant_type]}
    )
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")


async def test_no_route_connects_an_upstream_provider(wire: Wire) -> None:
    await wire.sign_in()
    for path in ("/connect/github", "/connect/github/callback?state=x&code=y", "/connections", "/oidc/start"):
        assert (await wire.http.get(path)).status_code == 404


# T19


async def fetched(wire: Wire, url: str) -> tuple[int, str]:
    """Return what the page of a client says, without what differs each time."""
    answer = await wire.authorize(url)
    assert "location" not in answer.headers
    text = answer.text.replace(answer.headers["x-request-id"], "ID")
    return answer.status_code, re.sub(r"ref_[a-z2-7]{20}", "REF", text)


async def test_the_page_tells_nothing_of_what_a_client_identifier_led_to(wire: Wire) -> None:
    async with document_server() as gone:
        closed_port = [gone.url("/x"), "http://127.0.0.1:1/x", "http://no-such-host.invalid/x"]
    async with document_server() as documents:
        documents.answers["/404"] = Document(status=404)
        documents.answers["/redirect"] = Document(status=302, headers={"Location": "http://169.254.169.254/"})
        documents.answers["/html"] = Document(body=b"<p>secret of the inside", headers={"Content-Type": "text/html"})
        documents.answers["/large"] = Document(body=b"x" * 100_000, headers={"Content-Type": "application/json"})
        open_port = [documents.url(path) for path in documents.answers]
        pages = {await fetched(wire, url) for url in (*open_port, *closed_port, "http://[::1]:1/x", "https://a@b/c")}

    assert len(pages) == 1
    status, text = pages.pop()
    assert status == 400
    assert "secret of the inside" not in text
    assert "127.0.0.1" not in text


class TestAddresses:
    """With the configuration of a server that others can reach."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, cimd=CimdConfig(require_https=False))

    async def test_an_address_of_the_inside_is_never_asked_and_looks_like_any_other(self, wire: Wire) -> None:
        async with document_server() as documents:
            inside = [documents.url("/x"), documents.url("/x", host="localhost"), "http://169.254.169.254/latest"]
            inside += [f"http://[::ffff:127.0.0.1]:{documents.port}/x", "http://100.64.0.1/x", "http://10.0.0.1/x"]
            pages = {await fetched(wire, url) for url in (*inside, "https://no-such-host.invalid/x")}

        assert documents.requests == []
        assert len(pages) == 1


# X1


class TestPathIssuer:
    """An issuer with a path stays what it is, in every answer."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, server=replace(config.server, issuer=f"{ISSUER}/tenant"))

    async def test_every_outcome_names_the_issuer_as_the_metadata_spells_it(self, wire: Wire) -> None:
        client_id = (await wire.register())["client_id"]
        announced = (await wire.http.get("/.well-known/oauth-authorization-server/tenant")).json()["issuer"]

        answers: list[Answer] = [
            await wire.authorize(client_id, scope="unknown"),
            await wire.authorize(client_id, resource="https://unknown.example/"),
            await wire.authorize(client_id, response_type="token"),
            await wire.authorize(client_id, code_challenge_method="plain"),
            await wire.authorize(client_id, prompt="none"),
        ]

        assert announced == f"{ISSUER}/tenant"
        assert [query_of(answer)["iss"] for answer in answers] == [announced] * len(answers)
        assert {query_of(answer)["error"] for answer in answers} == {
            *("invalid_scope", "invalid_target", "unsupported_response_type", "invalid_request", "login_required")
        }
