"""``prompt``, ``max_age`` and ``login_hint`` (public API §4.1), consent given again (§6.2), unreadable parameters."""

import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from server.tests.wire.harness import EMAIL, ISSUER, PASSWORD, REDIRECT, Answer, Wire, hidden_fields, query_of

pytestmark = pytest.mark.anyio

SLOW = 10 * 60


async def sign_in_at(wire: Wire, to_login: Answer) -> Answer:
    """Fill in the login form that an answer leads to, and follow it to the authorization endpoint."""
    location = to_login.headers["location"]
    assert location.startswith("/login?redirect="), location
    form = hidden_fields(await wire.http.get(location))
    signed_in = await wire.http.post("/login", data={**form, "email": EMAIL, "password": PASSWORD})
    assert signed_in.status_code == 303, signed_in.text
    return await wire.http.get(signed_in.headers["location"])


async def a_client_with_consent(wire: Wire) -> str:
    """Return a client that the signed-in user allowed before, a minute ago."""
    client_id = str((await wire.register())["client_id"])
    await wire.code(client_id)
    wire.clock.seconds += 60
    assert "code" in query_of(await wire.authorize(client_id))
    return client_id


@pytest.mark.parametrize(
    "demand",
    [
        {"prompt": "login"},
        {"prompt": "select_account"},
        {"prompt": "login surprise"},
        {"max_age": "0"},
        {"max_age": "59"},
        {"max_age": "0", "prompt": "login"},
    ],
)
async def test_a_new_sign_in_is_demanded_once_however_long_it_takes(wire: Wire, demand: dict[str, str]) -> None:
    client_id = await a_client_with_consent(wire)
    asked = await wire.authorize(client_id, **demand)
    wire.clock.seconds += SLOW
    assert "code" in query_of(await sign_in_at(wire, asked))


@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "59"}])
async def test_a_new_sign_in_cannot_be_skipped_with_the_old_session(wire: Wire, demand: dict[str, str]) -> None:
    client_id = await a_client_with_consent(wire)
    asked = await wire.authorize(client_id, **demand)
    way_back = hidden_fields(await wire.http.get(asked.headers["location"]))["redirect"]
    again = await wire.http.get(way_back)
    assert again.headers["location"].startswith("/login?redirect=")
    assert "set-cookie" not in again.headers
    assert "code" in query_of(await sign_in_at(wire, again))


@pytest.mark.parametrize("max_age", ["60", "3600", "9999999999"])
async def test_a_session_that_is_young_enough_will_do(wire: Wire, max_age: str) -> None:
    client_id = await a_client_with_consent(wire)
    assert "code" in query_of(await wire.authorize(client_id, max_age=max_age))


@pytest.mark.parametrize("max_age", ["-1", "1.5", "soon", "+1", "99999999999", "٣"])
async def test_a_max_age_that_is_no_number_of_seconds_is_refused(wire: Wire, max_age: str) -> None:
    client_id = (await wire.register())["client_id"]
    query = query_of(await wire.authorize(client_id, max_age=max_age))
    assert (query["error"], query["state"], query["iss"]) == ("invalid_request", "a state", ISSUER)


@pytest.mark.parametrize("prompt", ["none login", "consent none", "none surprise"])
async def test_none_stands_alone(wire: Wire, prompt: str) -> None:
    client_id = await a_client_with_consent(wire)
    assert query_of(await wire.authorize(client_id, prompt=prompt))["error"] == "invalid_request"


async def test_without_asking_a_session_that_is_too_old_is_no_session(wire: Wire) -> None:
    client_id = await a_client_with_consent(wire)
    assert query_of(await wire.authorize(client_id, prompt="none", max_age="59"))["error"] == "login_required"
    assert "code" in query_of(await wire.authorize(client_id, prompt="none", max_age="60"))


async def test_words_of_prompt_that_mean_nothing_here_are_ignored(wire: Wire) -> None:
    client_id = await a_client_with_consent(wire)
    assert "code" in query_of(await wire.authorize(client_id, prompt="surprise create"))


@pytest.mark.parametrize("prompt", ["login consent", "consent select_account"])
async def test_a_new_sign_in_and_a_new_consent_can_be_asked_for_together(wire: Wire, prompt: str) -> None:
    client_id = await a_client_with_consent(wire)
    to_consent = await sign_in_at(wire, await wire.authorize(client_id, prompt=prompt))
    assert to_consent.headers["location"].startswith("/consent?session_id=")
    assert "code" in query_of(await wire.allow(to_consent))


def mark_of(to_login: Answer) -> str:
    """Return the mark that a request was sent to sign in with."""
    way_back = parse_qs(urlsplit(to_login.headers["location"]).query)["redirect"][0]
    return parse_qs(urlsplit(way_back).query)["sign_in_since"][0]


@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "0"}, {"max_age": "59"}])
@pytest.mark.parametrize(
    "forged", ["1", "{now}", "{later}", "{now}..", "{now}..{code}", "another request's", "altered"]
)
async def test_a_mark_that_is_not_ours_skips_no_sign_in_and_ends_no_users_way(
    wire: Wire, demand: dict[str, str], forged: str
) -> None:
    client_id = await a_client_with_consent(wire)
    forged = forged.format(now=wire.clock.seconds, later=wire.clock.seconds + 3600, code="A" * 43)
    stranger = wire.new_browser()
    given = await stranger.get("/oauth/authorize", params=wire.request(client_id, **demand, state="another"))
    if forged == "another request's":
        forged = mark_of(given)
    elif forged == "altered":
        since, seen, code = mark_of(given).split(".")
        forged = f"{int(since) - 3600}.{seen}.{code}"
    asked = await wire.authorize(client_id, **demand, sign_in_since=forged)
    assert "code" in query_of(await sign_in_at(wire, asked))
    await stranger.aclose()


@pytest.mark.parametrize("demand", [{"prompt": "login"}, {"max_age": "0"}])
async def test_the_way_back_alone_is_no_sign_in_however_young_the_session(wire: Wire, demand: dict[str, str]) -> None:
    client_id = str((await wire.register())["client_id"])
    await wire.code(client_id)
    asked = await wire.authorize(client_id, **demand)
    again = await wire.http.get(hidden_fields(await wire.http.get(asked.headers["location"]))["redirect"])
    # All this happens within a second: the sign-in that follows is told from the one before all the same.
    assert "code" in query_of(await sign_in_at(wire, again))


async def test_an_answered_mark_is_no_sign_in_later_on(wire: Wire) -> None:
    client_id = await a_client_with_consent(wire)
    asked = await wire.authorize(client_id, prompt="login")
    way_back = hidden_fields(await wire.http.get(asked.headers["location"]))["redirect"]
    assert "code" in query_of(await sign_in_at(wire, asked))
    wire.clock.seconds += SLOW
    assert (await wire.http.get(way_back)).headers["location"].startswith("/login?redirect=")


async def test_a_way_back_that_the_browser_escaped_anew_is_known(wire: Wire) -> None:
    client_id = await a_client_with_consent(wire)
    query = urlencode(wire.request(client_id, prompt="login", state="it's")).replace("%27", "'").replace("%3A", ":")
    asked = await wire.http.get(f"/oauth/authorize?{query}&empty=&empty2")
    form = hidden_fields(await wire.http.get(asked.headers["location"]))
    await wire.http.post("/login", data={**form, "email": EMAIL, "password": PASSWORD})
    back = form["redirect"].replace("'", "%27").replace(":", "%3a")
    assert query_of(await wire.http.get(back))["state"] == "it's"
    assert "code" in query_of(await wire.http.get(back))


@pytest.mark.parametrize("more", [{}, {"sign_in_since": "1"}])
async def test_without_asking_nobody_can_sign_in_anew(wire: Wire, more: dict[str, str]) -> None:
    client_id = await a_client_with_consent(wire)
    answer = await wire.authorize(client_id, prompt="none", max_age="0", **more)
    assert query_of(answer)["error"] == "login_required"


async def test_the_login_hint_is_filled_in_and_nothing_else(wire: Wire, capfd: pytest.CaptureFixture[str]) -> None:
    client_id = (await wire.register())["client_id"]
    hint = 'zaphod"><b>@example.com'
    page = await wire.http.get((await wire.authorize(client_id, login_hint=hint)).headers["location"])
    field = re.search(r'<input id="email"[^>]*>', page.text)
    assert field is not None
    assert 'value="zaphod&#34;&gt;&lt;b&gt;@example.com"' in field[0]
    assert "<b>" not in page.text
    logged = "".join(capfd.readouterr())
    assert "its requests are not bounded" in logged
    assert "zaphod" not in logged


@pytest.mark.parametrize("hint", ["a" * 250 + "@b.example", "ann\r\n@example.com", ""])
async def test_a_login_hint_that_can_be_no_address_is_left_out(wire: Wire, hint: str) -> None:
    client_id = (await wire.register())["client_id"]
    asked = await wire.authorize(client_id, login_hint=hint)
    page = await wire.http.get(asked.headers["location"])
    assert 'spellcheck="false" value=""' in page.text


async def test_a_login_hint_too_long_to_carry_is_refused(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    assert query_of(await wire.authorize(client_id, login_hint="a" * 513))["error"] == "invalid_request"


async def test_a_second_consent_says_what_is_new_and_keeps_what_it_does_not_show(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.tokens(client_id, scope="notes:read")
    asked = await wire.authorize(client_id, scope="notes:write")
    page = (await wire.http.get(asked.headers["location"])).text
    assert re.search(r"Change your notes.*?New", page, re.DOTALL)
    assert "It also keeps what you allowed before: <bdi>Read your notes</bdi>." in page
    assert "code" in query_of(await wire.allow(asked))
    assert "code" in query_of(await wire.authorize(client_id, scope="notes:read notes:write"))


async def test_a_scope_shown_and_unticked_is_taken_back(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.tokens(client_id, scope="notes:read")
    asked = await wire.authorize(client_id, scope="notes:read notes:write")
    page = (await wire.http.get(asked.headers["location"])).text
    assert re.search(r"Read your notes.*?You allowed this before", page, re.DOTALL)
    assert "It also keeps" not in page
    assert "code" in query_of(await wire.allow(asked, scopes=["notes:write"]))
    assert "code" in query_of(await wire.authorize(client_id, scope="notes:write"))
    assert (await wire.authorize(client_id, scope="notes:read")).headers["location"].startswith("/consent")


async def test_a_first_consent_has_nothing_that_is_new(wire: Wire) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.sign_in()
    page = (await wire.http.get((await wire.authorize(client_id)).headers["location"])).text
    assert ">New<" not in page
    assert "allowed this before" not in page


async def test_another_account_is_asked_the_same(wire: Wire, now: int) -> None:
    await wire.core.accounts.create_user(email="eve@example.com", password=PASSWORD, now=now)
    client_id = (await wire.register())["client_id"]
    to_consent = await sign_in_at(wire, await wire.authorize(client_id, prompt="login", login_hint=EMAIL))
    page = await wire.http.get(to_consent.headers["location"])
    signed_out = await wire.http.post("/logout", data={"redirect": hidden_fields(page)["redirect"]})
    form = hidden_fields(await wire.http.get(signed_out.headers["location"]))
    signed_in = await wire.http.post("/login", data={**form, "email": "eve@example.com", "password": PASSWORD})
    answer = await wire.allow(await wire.http.get(signed_in.headers["location"]))
    query = query_of(answer)
    assert (answer.headers["location"].partition("?")[0], query["state"]) == (REDIRECT, "a state")
    granted = await wire.core.db.fetch_all("SELECT user_id FROM consent_grants")
    assert [row["user_id"] for row in granted] != [wire.user.id]


async def test_another_account_is_asked_even_if_it_agreed_before(wire: Wire, now: int) -> None:
    await wire.core.accounts.create_user(email="eve@example.com", password=PASSWORD, now=now)
    client_id = (await wire.register())["client_id"]
    await wire.sign_in(email="eve@example.com")
    await wire.allow(await wire.authorize(client_id))
    assert "code" in query_of(await wire.authorize(client_id))

    await wire.sign_in()
    page = await wire.http.get((await wire.authorize(client_id, prompt="consent")).headers["location"])
    signed_out = await wire.http.post("/logout", data={"redirect": hidden_fields(page)["redirect"]})
    form = hidden_fields(await wire.http.get(signed_out.headers["location"]))
    signed_in = await wire.http.post("/login", data={**form, "email": "eve@example.com", "password": PASSWORD})
    asked = await wire.http.get(signed_in.headers["location"])

    assert asked.headers["location"].startswith("/consent?session_id=")
    assert "code" in query_of(await wire.allow(asked))


@pytest.mark.parametrize("part", ["surprise=100%", "%zz=1", "state=%ff", "scope=a%00b", "login_hint=%e2%28%a1"])
async def test_what_cannot_be_read_is_refused_at_the_client(wire: Wire, part: str) -> None:
    client_id = (await wire.register())["client_id"]
    parameters = {key: value for key, value in wire.request(client_id).items() if not part.startswith(key)}
    answer = await wire.http.get(f"/oauth/authorize?{urlencode(parameters)}&{part}")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(REDIRECT + "?")
    found = query_of(answer)
    assert (found["error"], found["iss"]) == ("invalid_request", ISSUER)
    assert ("state" in found) == (not part.startswith("state"))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_what_cannot_be_read_stays_here_when_it_says_where_to_go(wire: Wire, name: str) -> None:
    client_id = (await wire.register())["client_id"]
    parameters = {key: value for key, value in wire.request(client_id).items() if key != name}
    answer = await wire.http.get(f"/oauth/authorize?{urlencode(parameters)}&{name}=%zz")
    assert (answer.status_code, "location" in answer.headers) == (400, False)
