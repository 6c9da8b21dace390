"""A person with Chromium: every page that the server shows, and what the decisions on them lead to."""

import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from typing import Literal

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from e2e.harness.callback import Callback, callback_server
from e2e.harness.installation import ROOT, Account, Demo, Installation
from e2e.harness.metadata_document import Authority, metadata_document
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import answer_of

PICTURES = ROOT / "artifacts" / "pages"
NAMES = ("chromium", "chromium-browser", "google-chrome")
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
SCHEMES = ("light", "dark")
WAIT_MS = 10_000
FAILURES_UNTIL_LOCKED = 10


@pytest.fixture(scope="module", params=["sqlite"])
def installation(installation: Installation) -> Installation:
    """The pages do not know which database is below them."""
    return installation


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's browser, headless."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("Chromium is not installed: install the Debian package `chromium`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-background-networking", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def account(installation: Installation, demo: Demo) -> Account:
    return installation.create_user()


@pytest.fixture
def callback() -> Iterator[Callback]:
    with callback_server() as callback:
        yield callback


@pytest.fixture
def client(installation: Installation, demo: Demo, callback: Callback) -> OAuthClient:
    return OAuthClient(installation.issuer, resource=demo.url, redirect_uri=callback.url)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context()
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def sign_in(page: Page, account: Account, *, password: str | None = None) -> None:
    """Fill the login form and send it."""
    page.get_by_label("Email").fill(account.email)
    page.get_by_label("Password").fill(password or account.password)
    page.get_by_role("button", name=re.compile("sign in", re.IGNORECASE)).click()


def decide(page: Page, name: str) -> None:
    """Press a button of the consent page."""
    page.get_by_role("button", name=re.compile(f"^{name}", re.IGNORECASE)).click()


def test_login_and_consent_lead_back_to_the_client(
    page: Page, client: OAuthClient, callback: Callback, account: Account, demo: Demo
) -> None:
    verifier = secrets.token_urlsafe(32)
    page.goto(client.authorization_url(verifier, state="kept as it was"))
    sign_in(page, account)
    expect(page.get_by_text("Test client").first).to_be_visible()
    expect(page.get_by_text("Demo notes").first).to_be_visible()
    expect(page.get_by_text("127.0.0.1").first).to_be_visible()
    expect(page.get_by_text(account.email).first).to_be_visible()
    expect(page.get_by_text("See your notes").first).to_be_visible()
    assert page.get_by_role("checkbox", checked=True).count() == 2
    decide(page, "allow")
    answer = answer_of(callback.wait())
    assert answer["state"] == "kept as it was"
    assert answer["iss"] == client.issuer
    page.wait_for_url(f"{callback.url}?**")


def test_an_unticked_scope_is_not_granted(
    page: Page, client: OAuthClient, callback: Callback, account: Account
) -> None:
    verifier = secrets.token_urlsafe(32)
    page.goto(client.authorization_url(verifier))
    sign_in(page, account)
    page.get_by_label(re.compile("notes:write|Add notes")).first.uncheck()
    decide(page, "allow")
    answer = answer_of(callback.wait())
    form = {
        "grant_type": "authorization_code",
        "client_id": client.client_id,
        "code": answer["code"],
        "code_verifier": verifier,
    }
    assert client.request_token(form).json()["scope"] == "notes:read"


def test_deny_tells_the_client(page: Page, client: OAuthClient, callback: Callback, account: Account) -> None:
    page.goto(client.authorization_url(secrets.token_urlsafe(32), state="s"))
    sign_in(page, account)
    decide(page, "deny")
    answer = answer_of(callback.wait())
    assert (answer["error"], answer["state"], answer["iss"]) == ("access_denied", "s", client.issuer)
    assert "code" not in answer


def test_a_wrong_password_is_told_and_the_request_survives_it(
    page: Page, client: OAuthClient, callback: Callback, account: Account
) -> None:
    page.goto(client.authorization_url(secrets.token_urlsafe(32)))
    sign_in(page, account, password="wrong")
    expect(page.get_by_text("Invalid email or password")).to_be_visible()
    assert callback.is_untouched
    sign_in(page, account)
    decide(page, "allow")
    assert "code" in answer_of(callback.wait())


def test_a_request_that_is_gone_gets_a_page_and_not_a_redirect(
    context: BrowserContext, client: OAuthClient, callback: Callback, account: Account
) -> None:
    page = context.new_page()
    page.goto(client.authorization_url(secrets.token_urlsafe(32)))
    sign_in(page, account)
    expect(page.get_by_role("button", name=re.compile("^allow", re.IGNORECASE))).to_be_visible()
    elsewhere = context.new_page()
    elsewhere.goto(page.url)
    decide(elsewhere, "deny")
    assert answer_of(callback.wait())["error"] == "access_denied"
    with page.expect_response(lambda response: response.request.method == "POST") as posted:
        decide(page, "allow")
    assert posted.value.status == 400
    expect(page.get_by_role("heading").first).to_be_visible()
    assert callback.is_untouched


def test_signing_out_forgets_the_browser(page: Page, client: OAuthClient, account: Account) -> None:
    page.goto(client.authorization_url(secrets.token_urlsafe(32)))
    sign_in(page, account)
    page.get_by_role("button", name=re.compile("sign out|switch|another account|not you", re.IGNORECASE)).first.click()
    expect(page.get_by_label("Password")).to_be_visible()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_page_is_shown_well(
    chromium: Browser,
    client: OAuthClient,
    authority: Authority,
    installation: Installation,
    demo: Demo,
    scheme: Literal["light", "dark"],
    size: str,
) -> None:
    width, height = SIZES[size]
    context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    device_client = installation.create_device_client()
    # Somebody new each time: a person may enter only so many codes of devices.
    account = installation.create_user()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if "Security Policy" in message.text else None)

    def keep(name: str) -> None:
        check_page(page, width)
        page.screenshot(path=PICTURES / f"{name}-{scheme}-{size}.png", full_page=True)

    def ask(**changes: str) -> None:
        page.goto(client.authorization_url(secrets.token_urlsafe(32), **changes))

    try:
        ask()
        keep("login")
        for _ in range(FAILURES_UNTIL_LOCKED):
            sign_in(page, Account(f"{scheme}-{size}@example.com", "wrong"))
        expect(page.get_by_text("Invalid email or password")).to_be_visible()
        keep("login-wrong-password")
        sign_in(page, Account(f"{scheme}-{size}@example.com", "wrong"))
        expect(page.get_by_text("Too many failed attempts")).to_be_visible()
        keep("login-locked-out")
        sign_in(page, account)
        expect(page.get_by_role("button", name=re.compile("^allow", re.IGNORECASE))).to_be_visible()
        keep("consent")
        for box in page.get_by_role("checkbox").all():
            box.uncheck()
        decide(page, "allow")
        keep("error-nothing-allowed")
        with metadata_document(authority, redirect_uris=["https://client.example/back"], name="Notes app") as url:
            ask(client_id=url, redirect_uri="https://client.example/back")
            expect(page.get_by_text("Notes app").first).to_be_visible()
            keep("consent-metadata-document")
        ask(scope="notes:read")
        decide(page, "allow")
        page.wait_for_url(f"{client.redirect_uri}?**")
        ask(scope="notes:write")
        expect(page.get_by_text("It now asks to")).to_be_visible()
        expect(page.get_by_text("It also keeps what you allowed before")).to_be_visible()
        keep("consent-for-more")
        connect_a_device(page, client.issuer, device_client, demo, keep)
        ask(client_id="unknown")
        keep("error-unknown-client")
        ask(redirect_uri="https://elsewhere.example/")
        keep("error-redirect-uri")
        page.goto(f"{client.issuer}/consent?session_id=gone")
        keep("error-expired-request")
        page.goto(f"{client.issuer}/")
        keep("signed-in")
    finally:
        context.close()
    assert complaints == []


def connect_a_device(page: Page, issuer: str, client_id: str, demo: Demo, keep: Callable[[str], None]) -> None:
    """Allow one device and deny another, keeping each page."""
    for answer in ("allow", "deny"):
        started = httpx2.post(
            f"{issuer}/oauth/device_authorization", data={"client_id": client_id, "resource": demo.url}
        ).json()
        page.goto(started["verification_uri"] if answer == "allow" else started["verification_uri_complete"])
        if answer == "allow":
            keep("device-code")
            page.get_by_label("Code").fill("BBBB-BBBB")
            page.get_by_role("button", name="Continue").click()
            expect(page.get_by_text("No device waits with this code")).to_be_visible()
            keep("device-code-unknown")
            page.get_by_label("Code").fill(started["user_code"].lower())
        else:
            keep("device-code-given")
        page.get_by_role("button", name="Continue").click()
        expect(page.get_by_text(started["user_code"])).to_be_visible()
        expect(page.get_by_text("Continue only if you have just started this yourself")).to_be_visible()
        if answer == "allow":
            keep("device-consent")
        decide(page, answer)
        expect(
            page.get_by_text("You may return to your device" if answer == "allow" else "Nothing was allowed")
        ).to_be_visible()
        keep(f"device-{answer}")


def check_page(page: Page, width: int) -> None:
    """Check what every page owes its reader."""
    assert page.title()
    assert page.evaluate("document.documentElement.lang")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    assert page.locator("script").count() == 0
    assert page.get_by_role("heading", level=1).count() == 1
    unlabelled = page.evaluate(
        "[...document.querySelectorAll('input:not([type=hidden])')].filter(i => !i.labels.length).map(i => i.name)"
    )
    assert unlabelled == []
