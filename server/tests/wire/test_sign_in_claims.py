"""``auth_time`` and ``amr``: when and how the user signed in who answered (tokens.md §2; RFC 9068 §2.2.1)."""

from dataclasses import replace
from typing import Any

import pytest

from authserver.config.model import Config
from authserver.protocol.grant_types import AUTHORIZATION_CODE, DEVICE_CODE, REFRESH_TOKEN, TOKEN_EXCHANGE
from server.tests.wire.exchanging import a_client, exchanged, user_token
from server.tests.wire.harness import RESOURCE, Wire, claims_of
from server.tests.wire.test_sign_in_demands import sign_in_at
from server.tests.wire.test_token_client_credentials import machine, token

pytestmark = pytest.mark.anyio

HOUR = 3600


@pytest.fixture
def config(config: Config) -> Config:
    """A server that lets a client exchange its own token, for no Resource either."""
    return replace(config, token_exchange=replace(config.token_exchange, allow_self_exchange=True))


def sign_in_of(access_token: str) -> tuple[Any, Any]:
    """Return what a token says of the sign-in."""
    claims = claims_of(access_token)
    return claims.get("auth_time"), claims.get("amr")


async def signed_in(wire: Wire) -> int:
    """Have the user sign in; return when, some seconds ago."""
    await wire.sign_in()
    moment = int(wire.clock.seconds)
    wire.clock.seconds += 90
    return moment


async def test_tokens_of_a_code_say_when_and_how_its_user_signed_in(wire: Wire) -> None:
    client_id = str((await wire.register())["client_id"])
    moment = await signed_in(wire)
    asked = await wire.tokens(client_id)
    wire.clock.seconds += 60
    remembered = await wire.tokens(client_id)
    for tokens in (asked, remembered):
        assert sign_in_of(tokens["access_token"]) == (moment, ["pwd"])
        said = await wire.introspect(tokens["access_token"])
        assert (said["auth_time"], said["amr"]) == (moment, ["pwd"])


async def test_refreshed_tokens_say_when_the_user_signed_in_and_not_when_they_were_refreshed(wire: Wire) -> None:
    client_id = str((await wire.register())["client_id"])
    moment = await signed_in(wire)
    tokens = await wire.tokens(client_id)
    for _ in range(3):
        wire.clock.seconds += HOUR
        # Whatever the user does meanwhile in that browser.
        await wire.sign_in()
        tokens = (await wire.refresh(client_id, tokens["refresh_token"])).json()
        assert sign_in_of(tokens["access_token"]) == (moment, ["pwd"])
        assert (await wire.introspect(tokens["access_token"]))["auth_time"] == moment


@pytest.mark.parametrize("demand", [{"max_age": "60"}, {"prompt": "login"}])
async def test_a_new_sign_in_that_was_demanded_is_the_one_that_tokens_tell(wire: Wire, demand: dict[str, str]) -> None:
    client_id = str((await wire.register())["client_id"])
    first = await signed_in(wire)
    old = await wire.tokens(client_id)
    wire.clock.seconds += HOUR
    answer = await sign_in_at(wire, await wire.authorize(client_id, **demand))
    second = int(wire.clock.seconds)
    code = answer.headers["location"].partition("code=")[2].partition("&")[0]
    new = (await wire.redeem(client_id, code)).json()
    assert sign_in_of(new["access_token"]) == (second, ["pwd"])
    old = (await wire.refresh(client_id, old["refresh_token"])).json()
    assert sign_in_of(old["access_token"]) == (first, ["pwd"])


async def test_of_two_sign_ins_the_one_that_answers_the_consent_page_counts(wire: Wire) -> None:
    client_id = str((await wire.register())["client_id"])
    await signed_in(wire)
    asked = await wire.authorize(client_id)
    await wire.sign_in()
    moment = int(wire.clock.seconds)
    wire.clock.seconds += 30
    code = (await wire.allow(asked)).headers["location"].partition("code=")[2].partition("&")[0]
    tokens = (await wire.redeem(client_id, code)).json()
    assert sign_in_of(tokens["access_token"]) == (moment, ["pwd"])


async def test_a_device_is_told_of_the_sign_in_of_the_browser_that_allowed_it(wire: Wire) -> None:
    device = await wire.register(grant_types=[DEVICE_CODE, REFRESH_TOKEN], redirect_uris=[])
    started = (await wire.start_device(device["client_id"])).json()
    moment = await signed_in(wire)
    await wire.answer_device(await wire.enter_code(started["user_code"]))
    wire.clock.seconds += 10
    tokens = (await wire.poll(device["client_id"], started["device_code"])).json()
    assert sign_in_of(tokens["access_token"]) == (moment, ["pwd"])
    wire.clock.seconds += HOUR
    tokens = (await wire.refresh(device["client_id"], tokens["refresh_token"])).json()
    assert sign_in_of(tokens["access_token"]) == (moment, ["pwd"])


async def test_tokens_that_no_sign_in_answers_for_tell_of_none(wire: Wire) -> None:
    agent = await a_client(wire, "agent", grants=(AUTHORIZATION_CODE, TOKEN_EXCHANGE))
    subject = await user_token(wire, agent, resource=RESOURCE, scope="notes:read")
    assert sign_in_of(subject)[1] == ["pwd"]
    # The table of an exchanged token's claims has neither (token exchange §12), with a Resource or without.
    for form in ({}, {"resource": RESOURCE}):
        own = await exchanged(wire, agent, subject, **form)
        assert sign_in_of(own["access_token"]) == (None, None)
    machines = await token(wire, await machine(wire), resource=RESOURCE)
    assert sign_in_of(machines) == (None, None)
    said = await wire.introspect(machines)
    assert said["active"] is True
    assert said.keys().isdisjoint({"auth_time", "amr"})


async def test_a_family_from_before_the_time_was_kept_tells_of_none(wire: Wire) -> None:
    client_id = str((await wire.register())["client_id"])
    tokens = await wire.tokens(client_id)
    await wire.core.db.write(lambda tx: tx.execute("UPDATE authorizations SET authenticated_at = NULL"))
    tokens = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    assert sign_in_of(tokens["access_token"]) == (None, None)
    assert (await wire.introspect(tokens["access_token"]))["active"] is True
