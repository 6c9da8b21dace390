"""``/authorize`` with a ticket: who may answer, and what a yes is worth (public API §6.4)."""

import re
from urllib.parse import urlsplit

import httpx2
import pytest

from authserver.authorization.consent_store import find_consent
from server.tests.wire.exchanging import Party, a_client, a_resource, exchange, user_token
from server.tests.wire.harness import ISSUER, PASSWORD, Wire, hidden_fields

pytestmark = pytest.mark.anyio

BOB = "bob@example.com"


async def a_refused_exchange(wire: Wire) -> tuple[Party, str, str]:
    """Return the agent, its subject token, and the path of the link that its refusal carries."""
    agent = await a_client(wire, "agent")
    await a_resource(wire, "mail", "mail:read", "mail:send")
    subject = await user_token(wire, agent, resource=None, scope="mail:read mail:send")
    refused = (await exchange(wire, agent, subject, resource="mail", scope="mail:read mail:send")).json()
    parts = urlsplit(refused["consent_url"])
    return agent, subject, f"{parts.path}?{parts.query}"


async def answer(wire: Wire, page: httpx2.Response, **form: object) -> httpx2.Response:
    shown = re.findall(r'name="scopes" value="([^"]*)"', page.text)
    ticket = re.search(r'name="ticket" value="([^"]*)"', page.text)
    assert ticket is not None
    base = {**hidden_fields(page), "ticket": ticket[1], "scopes": shown, "action": "allow"}
    base.pop("redirect", None)
    return await wire.http.post("/authorize", data=base | form)


async def test_a_yes_lets_the_exchange_through_and_sends_nobody_anywhere(wire: Wire) -> None:
    agent, subject, link = await a_refused_exchange(wire)
    page = await wire.http.get(link)
    assert page.status_code == 200
    assert re.findall(r'name="scopes" value="([^"]*)"', page.text) == ["mail:read", "mail:send"]
    done = await answer(wire, page, scopes=["mail:read"])
    assert done.status_code == 200
    assert "location" not in done.headers
    assert (await exchange(wire, agent, subject, resource="mail", scope="mail:read")).status_code == 200
    assert (await exchange(wire, agent, subject, resource="mail", scope="mail:send")).json()["cause"] == (
        "scope_insufficient"
    )
    assert [text for action, text in await wire.audit() if action == "consent.granted"][-1:] != []
    # It approved no redirect URI: an authorization request asks once more.
    asked = await wire.authorize(agent.id, resource="mail", scope="mail:read")
    assert asked.headers["location"].startswith("/consent")


async def test_a_no_writes_nothing(wire: Wire) -> None:
    agent, subject, link = await a_refused_exchange(wire)
    done = await answer(wire, await wire.http.get(link), action="deny")
    assert done.status_code == 200
    assert "consent.denied" in {action for action, _ in await wire.audit()}
    assert (await exchange(wire, agent, subject, resource="mail")).json()["error"] == "consent_required"


async def test_somebody_else_can_neither_see_nor_answer_it(wire: Wire, now: int) -> None:
    _, _, link = await a_refused_exchange(wire)
    page = await wire.http.get(link)
    bob = await wire.core.accounts.create_user(email=BOB, password=PASSWORD, name="Bob", now=now)
    browser = wire.http = wire.new_browser()
    signed_out = await browser.get(link)
    assert signed_out.status_code == 303
    assert signed_out.headers["location"].startswith("/login?redirect=%2Fauthorize%3Fticket%3D")
    await wire.sign_in(browser, email=BOB)
    seen = await browser.get(link)
    assert seen.status_code == 403
    assert "belongs to a different account" in seen.text
    assert 'action="logout"' in seen.text
    # With Ada's page in hand: it is not a form of Bob's browser.
    assert (await answer(wire, page)).status_code == 403
    resource = (await wire.core.db.fetch_all("SELECT id FROM resources WHERE slug = 'mail'"))[0]["id"]
    for user_id in (bob.id, wire.user.id):
        rows = await wire.core.db.fetch_all("SELECT client_id FROM consent_grants WHERE user_id = $1", user_id)
        for row in rows:
            found = await find_consent(wire.core.db, user_id=user_id, client_id=row["client_id"], resource_id=resource)
            assert found is None


@pytest.mark.parametrize("ticket", ["x", "x.y", "WzFd.x", "é.x", "." * 50])
async def test_a_made_up_ticket_is_an_expired_link(wire: Wire, ticket: str) -> None:
    seen = await wire.http.get("/authorize", params={"ticket": ticket})
    assert seen.status_code == 400
    assert "This link has expired" in seen.text


async def test_a_link_is_good_for_a_quarter_of_an_hour_and_its_form_too(wire: Wire) -> None:
    _, _, link = await a_refused_exchange(wire)
    page = await wire.http.get(link)
    wire.clock.seconds += 15 * 60
    assert (await wire.http.get(link)).status_code == 400
    assert (await answer(wire, page)).status_code == 400


async def test_an_altered_link_or_form_is_refused(wire: Wire) -> None:
    _, _, link = await a_refused_exchange(wire)
    page = await wire.http.get(link)
    assert (await answer(wire, page, csrf_token="x")).status_code == 403
    assert (await answer(wire, page, scopes=["notes:read"])).status_code == 400
    assert (await answer(wire, page, scopes=[])).status_code == 400
    assert (await answer(wire, page, action="maybe")).status_code == 400
    before, _, code = link.rpartition(".")
    other = "A" if code[0] != "A" else "B"
    assert (await wire.http.get(f"{before}.{other}{code[1:]}")).status_code == 400


async def test_a_resource_that_was_deleted_a_moment_ago_cannot_be_allowed(wire: Wire) -> None:
    _, _, link = await a_refused_exchange(wire)
    page = await wire.http.get(link)
    granted = [action for action, _ in await wire.audit()].count("consent.granted")
    (mail,) = await wire.core.db.fetch_all("SELECT id FROM resources WHERE slug = $1", "mail")
    await wire.core.resources.delete_resource(mail["id"], cascade=True, now=wire.clock.seconds)
    done = await answer(wire, page)
    assert (done.status_code, "is not there any more" in done.text) == (400, True)
    assert [action for action, _ in await wire.audit()].count("consent.granted") == granted


async def test_nor_can_it_on_the_page_before_a_redirect(wire: Wire) -> None:
    await wire.sign_in()
    asked = await wire.authorize((await wire.register())["client_id"])
    await wire.core.resources.delete_resource(wire.resource.id, cascade=True, now=wire.clock.seconds)
    done = await wire.allow(asked)
    assert (done.status_code, "is not there any more" in done.text) == (400, True)
    assert "consent.granted" not in [action for action, _ in await wire.audit()]


async def test_a_link_stays_short_however_many_scopes_there_are_and_leads_to_all_of_them(wire: Wire) -> None:
    agent = await a_client(wire, "agent")
    names = [f"mail:scope-number-{n}" for n in range(150)]
    await a_resource(wire, "mail", *names)
    subject = await user_token(wire, agent, resource=None, scope=" ".join(names))
    for _ in range(len(names)):
        refused = await exchange(wire, agent, subject, resource="mail", scope=" ".join(names))
        if refused.status_code == 200:
            break
        link = refused.json()["consent_url"]
        assert len(link) < 8000
        page = await wire.http.get(link.removeprefix(ISSUER))
        assert (await answer(wire, page)).status_code == 200
    assert sorted(refused.json()["scope"].split()) == sorted(names)
