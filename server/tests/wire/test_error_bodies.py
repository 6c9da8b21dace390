"""Each code of the OAuth endpoints, as it goes over the wire (errors.md §2), and nothing that breaks out of it."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import urlencode

import pytest

from authserver.storage.database import StorageUnavailable
from server.tests.wire.faults import inject
from server.tests.wire.harness import REDIRECT, Answer, Wire, query_of

pytestmark = pytest.mark.anyio

MEMBERS = {"error", "error_description", "type", "title", "detail", "status", "reference"}
ACCEPTS = {
    "": "application/problem+json",
    "application/json": "application/json",
    "*/*": "application/problem+json",
    "application/json, application/problem+json": "application/problem+json",
}
TITLES = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
TITLES |= {500: "Internal Server Error", 503: "Service Unavailable"}
CODES = (
    *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
    *("invalid_scope", "invalid_target", "invalid_redirect_uri", "invalid_client_metadata", "access_denied"),
    *("slow_down", "server_error 500", "server_error 503"),
)
FORM = "application/x-www-form-urlencoded"

Post = Callable[[], Awaitable[Answer]]


async def another_clients_family(wire: Wire, client_id: str) -> Answer:
    """Refresh as a client that has a family, and not the grant any more."""
    token = (await wire.tokens(client_id))["refresh_token"]
    other = (await wire.register(grant_types=["authorization_code"]))["client_id"]
    move = "UPDATE authorizations SET client_id = $1 WHERE client_id = $2"
    await wire.core.db.write(lambda tx: tx.execute(move, other, client_id))
    return await wire.refresh(other, token)


async def closed(wire: Wire) -> Answer:
    """Register while only operators may."""
    await wire.core.mode.set("admin_only", actor_id="admin", now=wire.clock.seconds)
    answer = await register(wire, redirect_uris=[REDIRECT])
    await wire.core.mode.set("open", actor_id="admin", now=wire.clock.seconds)
    return answer


async def too_often(wire: Wire) -> Answer:
    """Register more often than one may."""
    answers = await asyncio.gather(*(wire.http.post("/oauth/register", content=b"") for _ in range(300)))
    return next(answer for answer in answers if answer.status_code == 429)


async def register(wire: Wire, **members: object) -> Answer:
    return await wire.http.post("/oauth/register", json=members)


def requests(wire: Wire, client_id: str) -> Mapping[str, Post]:
    """Return what is answered with each code."""
    return {
        "invalid_request": lambda: wire.token(client_id=client_id),
        "invalid_client": lambda: wire.redeem("nobody", "x"),
        "invalid_grant": lambda: wire.redeem(client_id, "x" * 43),
        "unauthorized_client": lambda: another_clients_family(wire, client_id),
        "unsupported_grant_type": lambda: wire.token(grant_type="password", client_id=client_id),
        "invalid_scope": lambda: narrowed(wire, client_id),
        "invalid_target": lambda: aimed_elsewhere(wire, client_id),
        "invalid_redirect_uri": lambda: register(wire, client_name="n", redirect_uris=["http://evil.example/"]),
        "invalid_client_metadata": lambda: register(wire, redirect_uris=[REDIRECT]),
        "access_denied": lambda: closed(wire),
        "server_error 500": lambda: wire.redeem(client_id, "x" * 43),
        "server_error 503": lambda: wire.redeem(client_id, "x" * 43),
        # Last: after it nobody may register.
        "slow_down": lambda: too_often(wire),
    }


async def narrowed(wire: Wire, client_id: str) -> Answer:
    return await wire.refresh(client_id, (await wire.tokens(client_id))["refresh_token"], scope="notes:write")


async def aimed_elsewhere(wire: Wire, client_id: str) -> Answer:
    return await wire.redeem(client_id, await wire.code(client_id), resource="https://other.example/")


async def failing_request(wire: Wire, code: str, accept: str, monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Return an answer with this code, to a request with this ``Accept``."""
    wire.http.headers["accept"] = accept
    client_id = "" if code == "slow_down" else (await wire.register())["client_id"]
    if code.startswith("server_error"):
        error = ZeroDivisionError() if code.endswith("500") else StorageUnavailable("away")
        inject(wire.core.db, monkeypatch).begin(1, error)
    return await requests(wire, client_id)[code]()


@pytest.mark.parametrize("code", CODES)
async def test_a_refusal_goes_out_in_the_envelope_and_the_type_asked_for(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    for accept, content_type in ACCEPTS.items():
        with monkeypatch.context() as patch:
            answer = await failing_request(wire, code, accept, patch)
        error, _, status = code.partition(" ")
        body = answer.json()
        assert body["error"] == error, body
        assert answer.headers["content-type"] == content_type
        assert answer.headers["cache-control"] == "no-store"
        assert answer.status_code == body["status"]
        assert not status or body["status"] == int(status)
        assert body["title"] == TITLES[answer.status_code]
        assert body["type"] == f"https://docs.authplane.ai/errors/{error}"
        assert body["detail"] == body["error_description"]
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", body["error_description"])
        expected = MEMBERS | {"request_id"} if answer.status_code >= 500 else MEMBERS
        assert body.keys() | {"reference"} == expected
        assert ("www-authenticate" in answer.headers) == (answer.status_code == 401)
        assert ("retry-after" in answer.headers) == (answer.status_code in {429, 503})


# What breaks out of a header, a description or a page

HOSTILE = (
    "a\r\nSet-Cookie: owned=1",
    "a\nLocation: https://evil.example/",
    "a\"b\\c'd",
    "</title><script>alert(1)</script>",
    "\u2028\u2029\x85",
    "é😀\u202e",
    "%0d%0aX-Owned: 1",
)


def check_unbroken(answer: Answer) -> None:
    """Check that nothing that was sent became a header, and nothing in a description may not stand there."""
    assert "owned" not in {name.lower() for name in answer.headers} | set(answer.cookies)
    assert "x-owned" not in answer.headers
    for name, value in answer.headers.multi_items():
        assert re.fullmatch(r"[\x20-\x7e]*", value), (name, value)
    kind = answer.headers.get("content-type", "")
    if "json" in kind and answer.status_code >= 400:
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", answer.json()["error_description"])
    if "html" in kind:
        assert "<script" not in answer.text
    if "location" in answer.headers and "error_description" in answer.headers["location"]:
        told = query_of(answer)
        assert re.fullmatch(r"[\x20\x21\x23-\x5b\x5d-\x7e]+", told["error_description"])
        assert set(told) <= {"error", "error_description", "state", "iss"}


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_no_reflected_value_breaks_out_of_where_it_is_put(wire: Wire, hostile: str) -> None:
    client_id = (await wire.register())["client_id"]
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "", hostile)

    async def stated(name: str, value: object) -> Answer:
        return await register(wire, **{"client_name": "n", "redirect_uris": [REDIRECT], name: value})

    answers = [
        *[
            await wire.token(grant_type="refresh_token", client_id=client_id, **{n: hostile})
            for n in ("refresh_token",)
        ],
        await wire.token(grant_type=hostile, client_id=client_id),
        await wire.http.post("/oauth/token", content=b"a%0d%0ab=1&a%0d%0ab=2", headers={"content-type": FORM}),
        await wire.http.post(
            "/oauth/token", content=urlencode([(hostile, 1), (hostile, 2)]), headers={"content-type": FORM}
        ),
        await wire.refresh(client_id, "x", scope=hostile, resource=hostile),
        await stated("redirect_uris", [hostile]),
        await stated("grant_types", [hostile]),
        await stated("response_types", [hostile]),
        await stated("token_endpoint_auth_method", hostile),
        await stated("client_name", hostile),
        await wire.http.get("/login", params={"redirect": "/" + hostile}),
        await wire.http.get("/consent", params={"session_id": hostile}),
        await wire.http.get(f"/.well-known/oauth-protected-resource/{plain}"),
        await wire.http.get("/livez", headers={b"x-request-id": plain.encode("utf-8")}),
    ]
    for name in (
        "client_id",
        "redirect_uri",
        "state",
        "scope",
        "resource",
        "response_type",
        "code_challenge",
        "prompt",
    ):
        asked = wire.request(client_id) | {name: hostile}
        check_unbroken(await wire.http.get("/oauth/authorize", params=asked))
    for answer in answers:
        check_unbroken(answer)

    refused = await wire.authorize(client_id, state=hostile, response_type="x")
    assert query_of(refused)["state"] == hostile
    await wire.sign_in()
    allowed = await wire.allow(await wire.authorize(client_id, state=hostile))
    check_unbroken(allowed)
    assert query_of(allowed)["state"] == hostile
