"""A clock that is stepped, forwards and backwards: nothing expired comes alive, nothing negative goes out (X13)."""

import pytest

from authserver.core import open_keys
from authserver.protocol.identifiers import parse_id
from server.tests.wire.harness import EMAIL, Wire, claims_of, hidden_fields

pytestmark = pytest.mark.anyio

HOUR = 3600
DAY = 24 * HOUR


async def _client(wire: Wire) -> str:
    return str((await wire.register())["client_id"])


async def test_a_token_of_the_future_is_served_without_a_negative_lifetime(wire: Wire) -> None:
    client_id = await _client(wire)
    tokens = await wire.tokens(client_id)
    wire.clock.seconds -= DAY
    # Issued by this server before its clock was set back: its signature and row say so.
    said = await wire.introspect(tokens["access_token"])
    assert said.get("active") in {True, False}
    answer = await wire.refresh(client_id, tokens["refresh_token"])
    assert answer.status_code == 200, answer.text
    assert answer.json()["expires_in"] > 0
    claims = claims_of(answer.json()["access_token"])
    assert claims["iat"] == wire.clock.seconds
    assert claims["exp"] > claims["iat"]
    assert (await wire.introspect(answer.json()["access_token"]))["active"] is True


async def test_a_spent_code_and_a_spent_refresh_token_stay_spent_when_the_clock_goes_back(wire: Wire) -> None:
    client_id = await _client(wire)
    code = await wire.code(client_id)
    tokens = (await wire.redeem(client_id, code)).json()
    successor = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    assert (await wire.refresh(client_id, successor["refresh_token"])).status_code == 200
    wire.clock.seconds -= DAY
    refused = await wire.refresh(client_id, tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    refused = await wire.redeem(client_id, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_what_was_revoked_stays_revoked_when_the_clock_goes_back(wire: Wire) -> None:
    client_id = await _client(wire)
    tokens = await wire.tokens(client_id)
    answer = await wire.http.post("/oauth/revoke", data={"token": tokens["refresh_token"], "client_id": client_id})
    assert answer.status_code == 200
    for step in (-DAY, 2 * DAY):
        wire.clock.seconds += step
        assert (await wire.introspect(tokens["access_token"]))["active"] is False
        refused = await wire.refresh(client_id, tokens["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_a_clock_that_jumps_ahead_ends_what_it_passed_and_nothing_else(wire: Wire) -> None:
    client_id = await _client(wire)
    code = await wire.code(client_id)
    tokens = await wire.tokens(client_id)
    wire.clock.seconds += DAY
    refused = await wire.redeem(client_id, code)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await wire.introspect(tokens["access_token"]))["active"] is False
    answer = await wire.refresh(client_id, tokens["refresh_token"])
    assert answer.status_code == 200, answer.text
    wire.clock.seconds += 30 * DAY
    refused = await wire.refresh(client_id, answer.json()["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_a_token_is_taken_for_thirty_seconds_longer_than_it_says_and_no_more(wire: Wire) -> None:
    token = (await wire.tokens(await _client(wire)))["access_token"]
    expires_at = claims_of(token)["exp"]
    for moment, is_active in ((expires_at + 29, True), (expires_at + 30, False)):
        wire.clock.seconds = moment
        assert (await wire.introspect(token))["active"] is is_active


async def test_ids_stay_unique_and_carry_the_time_they_were_made(wire: Wire) -> None:
    client_id = await _client(wire)
    newest = (await wire.tokens(client_id))["refresh_token"]
    made: list[bytes] = []
    for step in (0, HOUR, -2 * HOUR, HOUR, HOUR):
        wire.clock.seconds += step
        answer = await wire.refresh(client_id, newest)
        assert answer.status_code == 200, answer.text
        newest = answer.json()["refresh_token"]
        jti = parse_id(claims_of(answer.json()["access_token"])["jti"])
        assert jti is not None
        assert int.from_bytes(jti[:6], "big") == wire.clock.milliseconds()
        made.append(jti)
    assert len(set(made)) == len(made)


async def test_a_retry_does_not_come_alive_again_when_the_clock_goes_back(wire: Wire) -> None:
    client_id = await _client(wire)
    tokens = await wire.tokens(client_id)
    answer = await wire.refresh(client_id, tokens["refresh_token"])
    wire.clock.seconds -= 10
    assert (await wire.refresh(client_id, tokens["refresh_token"])).json() == answer.json()
    wire.clock.seconds -= DAY
    refused = await wire.refresh(client_id, tokens["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


async def test_a_lockout_is_not_ended_by_setting_the_clock(wire: Wire) -> None:
    statuses = []
    for step in (*[0] * 10, DAY, -2 * DAY):
        wire.clock.seconds += step
        form = hidden_fields(await wire.http.get("/login"))
        answer = await wire.http.post("/login", data={**form, "email": EMAIL, "password": "a guess"})
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) > 0
    assert statuses[-2:] == [429, 429]


async def test_a_key_rotated_before_the_clock_went_back_neither_gaps_nor_signs_unpublished(wire: Wire) -> None:
    client_id = await _client(wire)
    tokens = await wire.tokens(client_id)
    rotated = await wire.keys.rotate(now=wire.clock.seconds)
    newest = tokens["refresh_token"]
    for step in (-DAY, HOUR, DAY):
        wire.clock.seconds += step
        await wire.keyring.refresh(wire.clock.seconds)
        published = {key["kid"] for key in (await wire.http.get("/.well-known/jwks.json")).json()["keys"]}
        assert rotated.kid in published
        answer = await wire.refresh(client_id, newest)
        assert answer.status_code == 200, answer.text
        newest = answer.json()["refresh_token"]
        assert (await wire.introspect(answer.json()["access_token"]))["active"] is True
    # And a process that starts with the clock set back finds keys to sign with.
    await open_keys(wire.core.config, now=wire.clock.seconds - 10 * DAY)
