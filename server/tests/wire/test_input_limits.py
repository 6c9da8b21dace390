"""How much a request may say: every field of every endpoint has a bound, and a refusal that names it."""

import asyncio
from collections.abc import Mapping

import pytest

from authserver.clients.routes import MAX_BODY_BYTES
from authserver.clients.shared_fetches import FETCHES_PER_HOST
from authserver.login.lockout import identity_of
from authserver.users import passwords
from authserver.web.forms import LONGEST, MAX_FORM_BYTES, MAX_PARAMETERS
from authserver.web.http import MAX_TARGET_BYTES
from server.tests.fakes.document_server import Answer as Document
from server.tests.fakes.document_server import document_server
from server.tests.wire.harness import EMAIL, PASSWORD, REDIRECT, Answer, Wire, hidden_fields, query_of

pytestmark = pytest.mark.anyio

FORM = {"content-type": "application/x-www-form-urlencoded"}
FORM_ROUTES = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")
# What is refused on a page of its own, before the redirect URI is known to be the client's.
UNTRUSTED = ("client_id", "redirect_uri")


def check_refusal(answer: Answer, *, says: str) -> None:
    assert answer.status_code == 400, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert body["error"] == "invalid_request"
    assert body["error_description"] == f"{says} ({body['reference']})"


async def test_a_parameter_longer_than_anybody_needs_is_refused_by_name(wire: Wire) -> None:
    for path in FORM_ROUTES:
        for name, longest in LONGEST.items():
            at_most = await wire.http.post(path, data={name: "x" * longest})
            too_long = await wire.http.post(path, data={name: "x" * (longest + 1)})

            check_refusal(too_long, says=f"{name} is longer than {longest} characters")
            assert "longer than" not in at_most.text


async def test_authorize_tells_the_client_which_parameter_was_too_long(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]

    for name in sorted(set(LONGEST).difference(UNTRUSTED)):
        answer = await wire.authorize(client_id, **{name: "x" * (LONGEST[name] + 1)})

        assert answer.status_code == 303
        assert answer.headers["location"].startswith(f"{REDIRECT}?")
        told = query_of(answer)
        assert told["error"] == "invalid_request"
        assert told["error_description"].startswith(f"{name} is longer than {LONGEST[name]} characters (ref_")
        assert told["iss"] == wire.core.config.server.issuer
        # A state that is too long is not sent about; any other comes back.
        assert told.get("state") == (None if name == "state" else "a state")


@pytest.mark.parametrize("name", UNTRUSTED)
async def test_a_client_or_redirect_uri_that_is_too_long_redirects_nobody(wire: Wire, name: str) -> None:
    request = wire.request((await wire.register())["client_id"])

    answer = await wire.http.get(
        "/oauth/authorize", params=request | {name: "https://client.example/" + "x" * LONGEST[name]}
    )

    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_a_state_at_its_limit_survives_sign_in_and_consent_byte_for_byte(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    state = ("s %&=+?#/é" * 1000)[: LONGEST["state"]]
    await wire.sign_in()

    answer = await wire.allow(await wire.authorize(client_id, state=state))

    assert query_of(answer)["state"] == state


async def test_a_request_that_would_not_fit_through_sign_in_is_refused_at_once(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]

    answer = await wire.authorize(client_id, **{f"unknown{n}": "%" * 2000 for n in range(4)})

    assert query_of(answer)["error"] == "invalid_request"
    assert query_of(answer)["error_description"].startswith("the request is too long to be kept through a sign-in")
    ordinary = await wire.authorize(client_id, state="%" * 1000)
    assert len(ordinary.headers["location"]) < MAX_TARGET_BYTES
    assert ordinary.headers["location"].startswith("/login?")


@pytest.mark.parametrize("path", FORM_ROUTES)
@pytest.mark.parametrize(
    "body",
    [b"a=" + b"x" * (MAX_FORM_BYTES - 1), b"&".join(b"%d=" % n for n in range(MAX_PARAMETERS + 1)), b"a=%", b"a=%zz"],
    ids=["64 KiB and a byte", "too many parameters", "half an escape", "no escape"],
)
async def test_a_form_beyond_the_limits_is_refused(wire: Wire, path: str, body: bytes) -> None:
    check_refusal(await wire.http.post(path, content=body, headers=FORM), says="invalid form body")


@pytest.mark.parametrize("path", ["/login", "/consent"])
async def test_a_page_does_not_read_more_than_64_kib(wire: Wire, path: str) -> None:
    await wire.sign_in()

    answer = await wire.http.post(path, content=b"a=" + b"x" * MAX_FORM_BYTES, headers=FORM)

    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


async def test_a_consent_link_with_an_endless_session_id_leads_nowhere(wire: Wire) -> None:
    answer = await wire.http.get("/consent", params={"session_id": "x" * 1000})

    assert answer.status_code == 400
    assert "location" not in answer.headers


async def test_a_login_form_leads_nowhere_that_could_not_be_read(wire: Wire) -> None:
    form = hidden_fields(await wire.http.get("/login"))

    answer = await wire.http.post(
        "/login", data={**form, "email": EMAIL, "password": PASSWORD, "redirect": "/" + "x" * MAX_TARGET_BYTES}
    )

    assert answer.headers["location"] == "/"


BIG = "x" * 3000


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"client_name": "n" * 256}, "invalid_client_metadata"),
        ({"client_name": "é" * 128}, "invalid_client_metadata"),
        ({"redirect_uris": [REDIRECT] * 11}, "invalid_client_metadata"),
        ({"redirect_uris": [f"https://client.example/{BIG}"]}, "invalid_redirect_uri"),
        ({"grant_types": [f"g{n}" for n in range(33)]}, "invalid_client_metadata"),
        ({"response_types": [BIG]}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": BIG}, "invalid_client_metadata"),
        ({"application_type": BIG}, "invalid_client_metadata"),
        ({"agent_description": "d" * 256}, "invalid_client_metadata"),
    ],
)
async def test_a_member_of_a_registration_beyond_its_bound_is_refused_by_name(
    wire: Wire, members: Mapping[str, object], error: str
) -> None:
    document = {"client_name": "Tests", "redirect_uris": [REDIRECT], **members}

    answer = await wire.http.post("/oauth/register", json=document)

    assert (answer.status_code, answer.json()["error"]) == (400, error)
    (name,) = members
    assert name.removesuffix("s") in answer.json()["error_description"]
    assert len(answer.content) < 4096


@pytest.mark.parametrize(
    "body",
    [
        b'{"client_name":"' + b"x" * MAX_BODY_BYTES + b'"}',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"jwks":' + b'{"a":' * 2000 + b"1" + b"}" * 2001,
        b'{"client_name": "\\ud800"}',
        b'{"client_name": "a\xff"}',
        b"\xef\xbb\xbf{}",
        b"1e999",
        b"",
    ],
    ids=["1 MiB", "deep list", "deep object", "deep jwks", "surrogate", "latin-1", "mark", "infinite", "empty"],
)
async def test_a_registration_that_is_no_reasonable_json_is_refused(wire: Wire, body: bytes) -> None:
    answer = await wire.http.post("/oauth/register", content=body)

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"


async def test_what_a_registration_says_beyond_the_known_members_is_kept_nowhere(wire: Wire) -> None:
    client_id = (await wire.register(contacts=["c" * 100_000], logo_uri=BIG, scope=BIG, unknown={"deep": [BIG]}))[
        "client_id"
    ]

    row = await wire.core.db.fetch_one("SELECT * FROM clients WHERE id = $1", client_id)

    assert row is not None
    assert BIG not in repr(dict(row))  # type: ignore[call-overload]  # rows of both drivers are mappings


async def test_a_basic_header_of_any_size_is_refused_without_a_fault(wire: Wire) -> None:
    for user in ("x" * 30_000, "é" * 5000, "%00", "a%2", ""):
        answer = await wire.http.post(
            "/oauth/token", data={"grant_type": "refresh_token", "refresh_token": "x"}, auth=(user, "x" * 9000)
        )
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


async def test_a_token_of_any_size_is_inactive_and_revoked_in_vain(wire: Wire) -> None:
    secret = wire.runtime.client_secret or ""
    for token in ("x" * 60_000, "." * 60_000, "a.b." + "c" * 60_000, "e30.e30.", "é.ü.ß"):
        assert await wire.introspect(token) == {"active": False}
        answer = await wire.http.post("/oauth/revoke", data={"token": token}, auth=(wire.runtime.client.id, secret))
        assert (answer.status_code, answer.content) == (200, b"")


# Queues that are full


async def test_when_too_many_sign_in_at_once_the_others_are_told_to_wait(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "_MOST_WAITING", 2)
    browsers = [wire.new_browser() for _ in range(12)]
    forms = [hidden_fields(await browser.get("/login")) for browser in browsers]

    answers = await asyncio.gather(
        *(
            browser.post("/login", data={**form, "email": f"nobody{n}@example.com", "password": "wrong"})
            for n, (browser, form) in enumerate(zip(browsers, forms, strict=True))
        )
    )
    for browser in browsers:
        await browser.aclose()

    waited = [answer for answer in answers if answer.status_code == 429]
    assert len(waited) == 10
    assert {answer.headers["retry-after"] for answer in waited} == {"2"}
    assert {answer.status_code for answer in answers} == {422, 429}
    # Who was not looked at has not failed, and nothing stands in the trail of it.
    assert [action for action, _ in await wire.audit()].count("user.login_failed") == 2
    assert (await wire.sign_in()).status_code == 303


async def test_when_no_document_can_be_fetched_any_more_newcomers_are_told_to_wait(wire: Wire) -> None:
    async with document_server() as documents:
        gate = asyncio.Event()
        documents.fallback = lambda _path: Document(status=404, gate=gate)
        asked = [asyncio.create_task(wire.authorize(documents.url(f"/{n}"))) for n in range(20)]
        await documents.wait_for_requests(FETCHES_PER_HOST)
        done, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 20 - FETCHES_PER_HOST:
            more, _ = await asyncio.wait(set(asked) - done, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        gate.set()
        answers = await asyncio.gather(*asked)

    told = [answer for answer in answers if answer.status_code == 429]
    assert len(told) == 20 - FETCHES_PER_HOST
    assert {answer.headers["retry-after"] for answer in told} == {"2"}
    assert documents.most_in_flight == FETCHES_PER_HOST
    assert all("location" not in answer.headers for answer in answers)


def test_every_identity_of_the_lockout_takes_the_same_room() -> None:
    assert {len(identity_of(email, address)) for email in ("a", "x" * 100_000) for address in ("::1", "192.0.2.1")} == {
        16
    }


def test_the_table_of_bounds_names_what_the_endpoints_read() -> None:
    assert set(LONGEST) >= {
        *("client_id", "redirect_uri", "state", "scope", "resource", "code", "code_verifier", "refresh_token"),
        *("client_secret", "grant_type", "response_type", "code_challenge", "prompt"),
    }
    assert max(LONGEST.values()) < MAX_FORM_BYTES
