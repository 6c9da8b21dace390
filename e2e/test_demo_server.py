"""What the demo MCP server lets in and what it refuses, over plain HTTP."""

import base64
import json
import subprocess

import httpx2
import pytest

from e2e.harness.installation import AUTHSERVER, Demo, Installation
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person, answer_of
from e2e.harness.processes import clean_environment

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call"}
ADD = {**CALL, "params": {"name": "add_note", "arguments": {"text": "buy milk"}}}
READ = {**CALL, "params": {"name": "list_notes", "arguments": {}}}


@pytest.fixture(scope="module", params=["sqlite"])
def installation(installation: Installation) -> Installation:
    """The demo server does not know which database its issuer has."""
    return installation


@pytest.fixture
def client(installation: Installation, demo: Demo) -> OAuthClient:
    return OAuthClient(installation.issuer, resource=demo.url)


@pytest.fixture
def token(client: OAuthClient, person: Person) -> str:
    return str(client.request_token(client.redemption(client.get_code(person))).json()["access_token"])


def post(demo: Demo, message: object, token: str | None = None, *, scheme: str = "Bearer") -> httpx2.Response:
    headers = {"accept": "application/json, text/event-stream"}
    if token is not None:
        headers["authorization"] = f"{scheme} {token}"
    return httpx2.post(demo.url, json=message, headers=headers)


def segments(token: str) -> list[dict[str, object]]:
    """Return header and claims, believed for the test only."""
    return [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2]]


def encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def assert_challenged(answer: httpx2.Response, demo: Demo) -> None:
    """Check a 401 and where it leads."""
    assert answer.status_code == 401
    challenge = answer.headers["www-authenticate"]
    assert challenge.startswith("Bearer ")
    document_url = challenge.partition('resource_metadata="')[2].partition('"')[0]
    document = httpx2.get(document_url).json()
    assert document["resource"] == demo.url
    assert document["scopes_supported"] == ["notes:read", "notes:write"]


def test_without_a_token_the_client_is_told_where_to_get_one(demo: Demo) -> None:
    assert_challenged(post(demo, READ), demo)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_opens_it_however_the_scheme_is_spelled(demo: Demo, token: str, scheme: str) -> None:
    assert post(demo, READ, token, scheme=scheme).status_code == 200


def test_a_token_in_the_query_is_none(demo: Demo, token: str) -> None:
    answer = httpx2.post(f"{demo.url}?access_token={token}", json=READ)
    assert answer.status_code == 401


def test_changed_claims_are_noticed(demo: Demo, token: str) -> None:
    header, _, signature = token.split(".")
    claims = encoded({**segments(token)[1], "scope": "notes:read notes:write admin"})
    assert_challenged(post(demo, READ, f"{header}.{claims}.{signature}"), demo)


@pytest.mark.parametrize(
    "changes", [{"alg": "none"}, {"alg": "HS256"}, {"typ": "JWT"}, {"kid": "unknown"}, {"kid": ""}, {"alg": "RS256"}]
)
def test_another_header_is_refused(demo: Demo, token: str, changes: dict[str, object]) -> None:
    _, claims, signature = token.split(".")
    header = encoded({**segments(token)[0], **changes})
    assert_challenged(post(demo, READ, f"{header}.{claims}.{signature}"), demo)


@pytest.mark.parametrize("garbage", ["x", "a.b.c", "....", "%00", "e30.e30.e30"])
def test_garbage_is_refused(demo: Demo, garbage: str) -> None:
    assert_challenged(post(demo, READ, garbage), demo)


def test_a_refresh_token_is_no_access_token(demo: Demo, client: OAuthClient, person: Person) -> None:
    tokens = client.request_token(client.redemption(client.get_code(person))).json()
    assert_challenged(post(demo, READ, tokens["refresh_token"]), demo)


def test_a_token_for_another_server_is_refused(installation: Installation, demo: Demo, person: Person) -> None:
    installation.create_resource("https://other.example/mcp", runtime_client_id=demo.client_id)
    other = OAuthClient(installation.issuer, resource="https://other.example/mcp")
    tokens = other.request_token(other.redemption(other.get_code(person))).json()
    assert_challenged(post(demo, READ, tokens["access_token"]), demo)


@pytest.mark.parametrize("message", [ADD, [READ, ADD]], ids=["alone", "in a batch"])
def test_a_tool_whose_scope_was_not_allowed_is_refused_with_its_name(
    demo: Demo, client: OAuthClient, person: Person, message: object
) -> None:
    verifier = "v" * 43
    answer = answer_of(person.allow(client.authorization_url(verifier), only={"notes:read"}))
    form = {"grant_type": "authorization_code", "client_id": client.client_id, "code_verifier": verifier}
    token = client.request_token({**form, "code": answer["code"]}).json()["access_token"]
    assert post(demo, READ, token).status_code == 200
    refused = post(demo, message, token)
    assert refused.status_code == 403
    challenge = refused.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="notes:write"' in challenge
    assert "resource_metadata=" in challenge


def test_the_doctor_has_nothing_to_say_but_that_no_web_page_is_let_in(
    installation: Installation, demo: Demo, token: str
) -> None:
    done = subprocess.run(
        [AUTHSERVER, "doctor", demo.url, "--json", "--token-stdin", "--timeout=30s"],
        input=token,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=clean_environment(),
        cwd=installation.directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert [found["code"] for found in told["findings"]] == ["cors-mcp"]
    assert set(told["layers"].values()) == {"ok", "warning"}
    assert not any(part in done.stdout for part in token.split("."))
