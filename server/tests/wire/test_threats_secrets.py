"""Threats to secrets: what is guessed, derived, told apart, or found where it should not be (T5, X6, X8, X10)."""

import asyncio
import io
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import cast

import pytest

from authserver.app import build_server
from authserver.telemetry import logs
from authserver.telemetry.metrics import scrape
from authserver.telemetry.otlp.resource import build_resource, build_scope
from authserver.telemetry.otlp.span_messages import encode_spans
from authserver.telemetry.spans import Span
from authserver.telemetry.tracing import Tracer
from authserver.users.passwords import Passwords
from server.tests.wire.harness import EMAIL, PASSWORD, VERIFIER, Answer, Wire, hidden_fields

pytestmark = pytest.mark.anyio


@pytest.fixture
def derivations(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every password that is run through the slow hash, in order."""
    derived: list[bytes] = []
    verify = Passwords._verify

    def counting(self: Passwords, password: bytes, stored: str) -> bool:
        derived.append(password)
        return verify(self, password, stored)

    monkeypatch.setattr(Passwords, "_verify", counting)
    return derived


async def sign_in(wire: Wire, email: str, password: str) -> Answer:
    form = hidden_fields(await wire.http.get("/login"))
    return await wire.http.post("/login", data={**form, "email": email, "password": password})


async def test_a_sign_in_costs_one_derivation_whoever_is_tried_and_whatever_is_wrong(
    wire: Wire, derivations: list[bytes], now: int
) -> None:
    disabled = await wire.core.accounts.create_user(email="off@example.com", password=PASSWORD, name="Off", now=now)
    await wire.core.accounts.disable_user(disabled.id, now=now)
    pages = set()
    for email, password in (
        ("nobody@example.com", "wrong password"),
        ("nobody@example.com", PASSWORD),
        ("off@example.com", PASSWORD),
        ("off@example.com", "wrong password"),
        (EMAIL, "wrong password"),
        (EMAIL, "x" * 2000),
    ):
        derivations.clear()
        answer = await sign_in(wire, email, password)
        assert derivations == [password.encode()]
        assert answer.status_code == 422
        token = hidden_fields(answer)["csrf_token"]
        text = answer.text.replace(token, "").replace(email, "")
        pages.add(re.sub(r"ref_[a-z2-7]{20}", "REF", text).replace(answer.headers["x-request-id"], "ID"))
    assert len(pages) == 1
    derivations.clear()
    assert (await sign_in(wire, EMAIL, PASSWORD)).status_code == 303
    assert derivations == [PASSWORD.encode()]


async def test_the_eleventh_attempt_derives_nothing_even_with_the_right_password(
    wire: Wire, derivations: list[bytes]
) -> None:
    for _ in range(10):
        assert (await sign_in(wire, EMAIL, "wrong")).status_code == 422
    derivations.clear()
    answer = await sign_in(wire, EMAIL, PASSWORD)
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "900")
    assert derivations == []
    # Nobody else, and no other route, is affected.
    assert (await sign_in(wire, "nobody@example.com", "wrong")).status_code == 422
    assert (await wire.http.get("/.well-known/jwks.json")).status_code == 200


async def test_wrong_client_secrets_cost_no_slow_hash_and_no_thread(
    wire: Wire, derivations: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = await wire.register(token_endpoint_auth_method="client_secret_basic")
    threads: list[object] = []
    to_thread = asyncio.to_thread

    async def counting(work: Callable[..., object], *args: object) -> object:
        threads.append(work)
        return await to_thread(work, *args)

    monkeypatch.setattr(asyncio, "to_thread", counting)
    for client_id in (client["client_id"], "nobody", wire.runtime.client.id):
        for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
            form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
            answer = await wire.http.post(path, data=form, auth=(client_id, "wrong"))
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
    assert (derivations, threads) == ([], [])


# What must look the same (errors.md §13, no. 4)


def told(answer: Answer) -> tuple[object, ...]:
    """Return what an answer says, without what differs each time."""
    passing = {"x-request-id", "date", "set-cookie"}
    headers = sorted((name, value) for name, value in answer.headers.items() if name not in passing)
    text = answer.text.replace(answer.headers["x-request-id"], "ID")
    if "reference" in text:
        text = text.replace(answer.json()["reference"], "REF")
    return answer.status_code, headers, text


async def test_an_unknown_and_a_foreign_token_cannot_be_told_apart(wire: Wire) -> None:
    owner, stranger = (await wire.register())["client_id"], (await wire.register())["client_id"]
    tokens = await wire.tokens(owner)
    unknown = {"access_token": tokens["access_token"][:-8] + "A" * 8, "refresh_token": "x" * 43}

    async def revoke(token: str) -> Answer:
        return await wire.http.post("/oauth/revoke", data={"client_id": stranger, "token": token})

    for kind in ("access_token", "refresh_token"):
        assert told(await revoke(tokens[kind])) == told(await revoke(unknown[kind]))
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
    other = await wire.register(token_endpoint_auth_method="client_secret_basic")

    async def introspect(token: str) -> Answer:
        return await wire.http.post(
            "/oauth/introspect", data={"token": token}, auth=(other["client_id"], other["client_secret"])
        )

    for kind in ("access_token", "refresh_token"):
        assert told(await introspect(tokens[kind])) == told(await introspect(unknown[kind]))


async def test_an_unknown_a_foreign_and_an_expired_grant_cannot_be_told_apart(wire: Wire) -> None:
    owner, stranger = (await wire.register())["client_id"], (await wire.register())["client_id"]
    code, tokens = await wire.code(owner), await wire.tokens(owner)
    assert told(await wire.redeem(stranger, code)) == told(await wire.redeem(stranger, "x" * 43))
    foreign = await wire.refresh(stranger, tokens["refresh_token"])
    assert told(foreign) == told(await wire.refresh(stranger, "x" * 43))
    wire.clock.seconds += 10**7
    assert told(foreign) == told(await wire.refresh(owner, tokens["refresh_token"]))


async def test_an_unknown_client_and_a_wrong_secret_cannot_be_told_apart(wire: Wire) -> None:
    client_id = (await wire.register(token_endpoint_auth_method="client_secret_basic"))["client_id"]
    form = {"grant_type": "refresh_token", "refresh_token": "x", "token": "x"}
    for path in ("/oauth/token", "/oauth/introspect", "/oauth/revoke"):
        answers = [await wire.http.post(path, data=form, auth=(name, "wrong")) for name in (client_id, "nobody")]
        assert told(answers[0]) == told(answers[1])


async def test_a_disabled_and_a_deleted_user_cannot_be_told_apart_by_a_client(wire: Wire, now: int) -> None:
    client_id = (await wire.register())["client_id"]
    first, second = await wire.tokens(client_id), await wire.code(client_id)
    await wire.core.accounts.disable_user(wire.user.id, now=now)
    refused = await wire.refresh(client_id, first["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert told(refused) == told(await wire.refresh(client_id, "x" * 43))
    assert told(await wire.redeem(client_id, second)) == told(await wire.redeem(client_id, "x" * 43))


# Where no secret may be found (X10)


@pytest.fixture
def every_line() -> Iterator[io.BytesIO]:
    """All that is logged, at the level that says most."""
    stream, output = io.BytesIO(), logs._output
    before = (output.level, output.stream)
    output.level, output.stream = logging.DEBUG, stream
    yield stream
    output.level, output.stream = before


async def test_no_secret_is_found_in_log_audit_metrics_or_answers(wire: Wire, every_line: io.BytesIO) -> None:
    spans: list[Span] = []
    tracer = Tracer(sample_rate=1, put=spans.append, monotonic=time.monotonic)
    wire.server = await build_server(wire.core, wire.keyring, tracer=tracer)
    wire.http = wire.new_browser()
    client = await wire.register(token_endpoint_auth_method="client_secret_post")
    client_id, secret = client["client_id"], client["client_secret"]
    state = "canary-of-the-state"
    code = await wire.code(client_id, state=state)
    tokens = (await wire.redeem(client_id, code, client_secret=secret)).json()
    refreshed = (await wire.refresh(client_id, tokens["refresh_token"], client_secret=secret)).json()
    cookies = [cookie.value for cookie in wire.http.cookies.jar if cookie.value]
    canaries = [code, secret, tokens["access_token"], tokens["refresh_token"], refreshed["refresh_token"], *cookies]
    canaries += [VERIFIER, PASSWORD, state, wire.runtime.client_secret or ""]
    posts: list[Callable[[str], Awaitable[Answer]]] = [
        lambda value: wire.redeem(client_id, value, client_secret=secret),
        lambda value: wire.redeem(client_id, code, client_secret=value),
        lambda value: wire.redeem(client_id, code, client_secret=secret, code_verifier=value),
        lambda value: wire.refresh(client_id, value, client_secret=secret),
        lambda value: wire.http.post("/oauth/token", headers={"authorization": f"Bearer {value}", "dpop": value}),
        lambda value: wire.http.post("/oauth/introspect", data={"token": value}, auth=(client_id, secret)),
        lambda value: wire.http.post("/oauth/revoke", data={"token": value}, auth=(client_id, value)),
        lambda value: wire.http.post(f"/oauth/token?client_secret={value}&code={value}"),
        lambda value: wire.http.post("/login", data={"email": "a@b", "password": value, "csrf_token": value}),
        lambda value: wire.http.post("/consent", data={"session_id": value, "csrf_token": value}),
        lambda value: wire.http.get("/consent", params={"session_id": value[:60]}),
        lambda value: wire.http.get("/oauth/authorize", params={"client_id": client_id, "state": value}),
    ]
    for canary in canaries:
        for post in posts:
            answer = await post(canary[:1000])
            assert canary not in answer.text
    await sign_in(wire, EMAIL, PASSWORD + "x")
    await wire.core.trail.flush()
    await wire.server.traces.close()

    sinks = every_line.getvalue().decode() + scrape().decode()
    for row in await wire.core.db.fetch_all("SELECT * FROM audit_events"):
        sinks += repr(dict(cast("Mapping[str, object]", row)))
    assert len(spans) > 300
    sinks += encode_spans(spans, build_resource("a server", 0), build_scope()).decode("latin-1")
    assert len(sinks) > 20_000
    assert [canary for canary in canaries if canary in sinks] == []
