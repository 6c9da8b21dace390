import re
from collections.abc import Callable
from urllib.parse import quote, urlencode

import pytest

from authserver.login.routes import LoginPages, login_path
from authserver.login.site import Site, site_of
from authserver.storage.database import Database
from authserver.users.records import User, UserProvider, UserStatus
from authserver.web.pages import build_policy
from server.tests.login.builders import (
    FORM,
    PASSWORD,
    Browser,
    a_user,
    header,
    header_values,
    hidden_fields,
    insert,
)

pytestmark = pytest.mark.anyio

AUTHORIZE = "/oauth/authorize?" + urlencode(
    {"client_id": "c", "redirect_uri": "http://127.0.0.1:1234/cb", "state": "s"}
)


async def test_the_form_carries_its_token_and_where_to_go_on(browser: Browser) -> None:
    response = await browser.get("/login?" + urlencode({"redirect": AUTHORIZE}))
    assert response.status == 200
    assert header(response, b"content-type") == "text/html; charset=utf-8"
    assert header(response, b"cache-control") == "no-store"
    fields = hidden_fields(response)
    assert fields["redirect"] == AUTHORIZE
    assert len(fields["csrf_token"]) == 43
    assert "Use your account at <bdi>auth.example.com</bdi>" in response.body.decode()
    assert 'name="email" type="text" inputmode="email" autocomplete="username"' in response.body.decode()
    assert 'name="password" type="password" autocomplete="current-password"' in response.body.decode()


async def test_signing_in_goes_on_to_where_the_user_was_going(browser: Browser, user: User) -> None:
    response = await browser.sign_in(redirect=AUTHORIZE)
    assert response.status == 303
    assert header(response, b"location") == AUTHORIZE
    assert header(response, b"cache-control") == "no-store"
    assert browser.cookies["authserver_session"].startswith("user-1|0|")
    home = await browser.get("/")
    assert home.status == 200
    assert b"<bdi>ann@example.com</bdi>" in home.body


@pytest.mark.parametrize(
    "redirect",
    ["", "https://evil.example", "//evil.example", "/\\evil.example", "/a\r\nx: y", "javascript:alert(1)", "relative"],
)
async def test_nobody_is_sent_to_another_site(browser: Browser, user: User, redirect: str) -> None:
    shown = await browser.get("/login?" + urlencode({"redirect": redirect}))
    assert hidden_fields(shown)["redirect"] == ""
    fields = hidden_fields(shown) | {"redirect": redirect, "email": "ann@example.com", "password": PASSWORD}
    assert header(await browser.post("/login", fields), b"location") == "/"


async def test_each_login_gives_a_session_of_its_own(make_browser: Callable[[], Browser], user: User) -> None:
    first, second = make_browser(), make_browser()
    await first.sign_in()
    await first.post("/logout", {})
    await second.sign_in()
    assert "authserver_session" not in first.cookies
    assert "authserver_session" in second.cookies


async def test_wrong_credentials_get_the_form_again(browser: Browser, user: User) -> None:
    response = await browser.sign_in(password="wrong", redirect=AUTHORIZE)
    assert response.status == 422
    assert header(response, b"content-type") == "text/html; charset=utf-8"
    assert 'role="alert" id="error"><p>Invalid email or password</p>' in response.body.decode()
    assert response.body.decode().count('aria-invalid="true" aria-describedby="error"') == 2
    assert hidden_fields(response)["redirect"] == AUTHORIZE
    assert "authserver_session" not in browser.cookies
    assert b"ann@example.com" not in response.body
    again = hidden_fields(response) | {"email": "ann@example.com", "password": PASSWORD}
    assert (await browser.post("/login", again)).status == 303


async def test_whatever_is_wrong_with_credentials_looks_the_same(
    browser: Browser, db: Database, user: User, password_hash: str
) -> None:
    await insert(
        db,
        a_user(id="2", email="disabled@example.com", status=UserStatus.DISABLED, password_hash=password_hash),
        a_user(id="3", email="federated@example.com", provider=UserProvider.OIDC, provider_sub="up"),
    )
    responses = [
        await browser.sign_in(email, password)
        for email, password in [
            ("ann@example.com", "wrong"),
            ("nobody@example.com", PASSWORD),
            ("disabled@example.com", PASSWORD),
            ("federated@example.com", PASSWORD),
            ("", ""),
            ("a" * 300, PASSWORD),
        ]
    ]
    references = [re.findall(rb"ref_[a-z2-7]{20}", response.body) for response in responses]
    assert [len(found) for found in references] == [1] * len(responses)
    assert len({found[0] for found in references}) == len(responses)
    bodies = [response.body.replace(found[0], b"") for response, found in zip(responses, references, strict=True)]
    assert len({(r.status, body, r.headers) for r, body in zip(responses, bodies, strict=True)}) == 1


async def test_an_address_that_is_too_long_leaves_no_trace(browser: Browser, db: Database) -> None:
    for _ in range(12):
        assert (await browser.sign_in("ü" * 128, PASSWORD)).status == 422
    assert not await db.fetch_all("SELECT id FROM audit_events")


async def test_who_is_locked_out_is_told_for_how_long(browser: Browser, user: User) -> None:
    for _ in range(10):
        assert (await browser.sign_in(password="wrong")).status == 422
    response = await browser.sign_in()
    assert response.status == 429
    assert header(response, b"retry-after") == "900"
    assert b"Too many failed attempts. Please try again later." in response.body
    assert hidden_fields(response)["csrf_token"]
    assert (await browser.get("/login")).status == 200


async def test_a_form_without_its_browser_is_refused(
    browser: Browser, make_browser: Callable[[], Browser], user: User
) -> None:
    fields = hidden_fields(await make_browser().get("/login")) | {"email": "ann@example.com", "password": PASSWORD}
    await browser.get("/login")
    for sent in (fields, fields | {"csrf_token": ""}, {"email": "ann@example.com", "password": PASSWORD}):
        response = await browser.post("/login", sent)
        assert response.status == 422
        assert b"Invalid request. Please try again." in response.body
        assert b'aria-invalid="true"' not in response.body
    assert "authserver_session" not in browser.cookies


@pytest.mark.parametrize(
    "forged", [(b"origin", b"https://evil.example"), (b"sec-fetch-site", b"cross-site")], ids=["origin", "fetch-site"]
)
async def test_a_form_of_another_site_is_refused(browser: Browser, user: User, forged: tuple[bytes, bytes]) -> None:
    fields = hidden_fields(await browser.get("/login")) | {"email": "ann@example.com", "password": PASSWORD}
    assert (await browser.post("/login", fields, forged)).status == 422
    own = (b"origin", b"null"), (b"sec-fetch-site", b"same-origin")
    assert (await browser.post("/login", fields, *own)).status == 303


@pytest.mark.parametrize("body", [b"email=%ff", b"a=1&a=2", b"x" * 65537], ids=["utf-8", "repeated", "too long"])
async def test_a_form_that_cannot_be_read_is_refused(browser: Browser, body: bytes) -> None:
    response = await browser.send("POST", "/login", body=body, headers=(FORM,))
    assert response.status == 422
    assert b"Invalid form data" in response.body


async def test_a_body_of_another_type_is_not_read(browser: Browser, user: User) -> None:
    fields = hidden_fields(await browser.get("/login")) | {"email": "ann@example.com", "password": PASSWORD}
    headers = ((b"content-type", b"text/plain"),)
    response = await browser.send("POST", "/login", body=urlencode(fields).encode(), headers=headers)
    assert response.status == 422
    assert b"Invalid request. Please try again." in response.body


async def test_an_unreadable_form_comes_before_a_forged_one_and_that_before_the_password(
    browser: Browser, user: User, db: Database
) -> None:
    both = await browser.send("POST", "/login", body=b"a=1&a=2&csrf_token=forged", headers=(FORM,))
    assert b"Invalid form data" in both.body
    forged = await browser.post("/login", {"csrf_token": "forged", "email": "x" * 300, "password": "wrong"})
    assert b"Invalid request" in forged.body
    assert not await db.fetch_all("SELECT id FROM audit_events")


@pytest.mark.parametrize(
    ("redirect_uri", "source"),
    [
        ("http://127.0.0.1:1234/cb", "http://127.0.0.1:1234"),
        ("http://localhost:1234/cb", "http://localhost:1234"),
        ("http://[::1]:1234/cb", "http:"),
        ("https://client.example/cb?x=1", "https://client.example"),
        ("cursor://anysphere.cursor-retrieval/cb", "cursor:"),
        ("com.example.app:/cb", "com.example.app:"),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("http://client.example/cb", None),
        ("https://a.example;script-src *", None),
        ("https://a.example\r\nx-injected: 1", None),
        ("https://*.example/", None),
        ("*", None),
        ("", None),
    ],
)
async def test_the_form_may_lead_on_to_the_pending_redirect_uri(
    browser: Browser, redirect_uri: str, source: str | None
) -> None:
    for path in ("/oauth/authorize", "/authorize"):
        redirect = path + "?" + urlencode({"client_id": "c", "redirect_uri": redirect_uri})
        response = await browser.get("/login?" + urlencode({"redirect": redirect}))
        assert header(response, b"content-security-policy").encode() == build_policy(source)


@pytest.mark.parametrize(
    "redirect", ["/", "/consent?redirect_uri=https://a.example", "/oauth/authorize?redirect_uri=%ff"]
)
async def test_other_redirects_leave_the_policy_alone(browser: Browser, redirect: str) -> None:
    response = await browser.get("/login?redirect=" + quote(redirect, safe=""))
    assert header(response, b"content-security-policy").encode() == build_policy()


async def test_the_form_after_a_failure_may_lead_on_too(browser: Browser, user: User) -> None:
    response = await browser.sign_in(password="wrong", redirect=AUTHORIZE)
    assert header(response, b"content-security-policy").endswith(" form-action 'self' http://127.0.0.1:1234")


async def test_signing_out_forgets_the_session_and_the_nonce(browser: Browser, user: User) -> None:
    await browser.sign_in()
    response = await browser.post("/logout", {})
    assert response.status == 303
    assert header(response, b"location") == "/login"
    assert browser.cookies == {}
    home = await browser.get("/")
    assert (home.status, header(home, b"location")) == (303, "/login")


async def test_signing_out_to_use_another_account_comes_back(browser: Browser, user: User) -> None:
    await browser.sign_in()
    response = await browser.post("/logout", {"redirect": AUTHORIZE})
    location = header(response, b"location")
    assert location == "/login?redirect=" + quote(AUTHORIZE, safe="")
    assert hidden_fields(await browser.get(location))["redirect"] == AUTHORIZE
    hostile = await browser.post("/logout", {"redirect": "https://evil.example"})
    assert header(hostile, b"location") == "/login"


async def test_nobody_is_signed_out_by_another_site(browser: Browser, user: User) -> None:
    await browser.sign_in()
    response = await browser.post("/logout", {}, (b"sec-fetch-site", b"cross-site"))
    assert response.status == 403
    assert b"<h1>Invalid Request</h1>" in response.body
    assert b"ref_" in response.body
    assert b"r-1" in response.body
    assert header_values(response, b"set-cookie") == []
    assert (await browser.get("/")).status == 200


async def test_a_session_that_is_no_longer_good_is_taken_back(browser: Browser, user: User) -> None:
    for target in ("/login", "/"):
        browser.cookies["authserver_session"] = "old"
        await browser.get(target)
        assert "authserver_session" not in browser.cookies


async def test_showing_the_form_does_not_sign_anybody_out(browser: Browser, user: User) -> None:
    await browser.sign_in()
    assert (await browser.get("/login")).status == 200
    assert (await browser.get("/")).status == 200


async def test_below_a_path_everything_stays_below_it(make_pages: Callable[[Site], LoginPages], user: User) -> None:
    site = site_of("https://example.com/auth")
    browser = Browser(make_pages(site))
    assert header(await browser.sign_in(), b"location") == "/auth/"
    assert header(await browser.post("/logout", {}), b"location") == "/auth/login"
    authorize = "/auth/oauth/authorize?redirect_uri=https%3A%2F%2Fclient.example%2F"
    assert login_path(site, authorize) == "/auth/login?redirect=" + quote(authorize, safe="")
    response = await browser.get("/login?" + urlencode({"redirect": authorize}))
    assert header(response, b"content-security-policy").endswith(" https://client.example")
