"""The keys of identity providers: kept, rotated, lost, and never fetched from where they may not be (XAA §4.3, §8; T19)."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.outbound.client import OutboundClient
from authserver.protocol.operator_errors import Unreachable
from authserver.telemetry.logs import flush_logs
from authserver.xaa.administration import IdpDraft
from authserver.xaa.provider_keys import MAX_KEY_SET_BYTES
from server.tests.fakes.document_server import Answer
from server.tests.fakes.identity_provider import IdentityProvider, identity_provider
from server.tests.fakes.signing_client import public_jwk
from server.tests.wire.harness import ISSUER, Wire
from server.tests.wire.xaa import Enterprise

pytestmark = pytest.mark.anyio

TTL = 3600
SECOND_HOST = "second.idp.test"


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


def rotate(acme: Enterprise) -> None:
    """Have the provider sign with a new key under a new name, and publish that one alone."""
    acme.provider.key, acme.provider.kid = ec.generate_private_key(ec.SECP256R1()), "key-2"
    acme.provider.publish()


async def no_keys(acme: Enterprise) -> None:
    await acme.refused(error="server_error", reason="jwks_fetch_failed", status=500)


async def test_keys_are_fetched_once_and_kept(acme: Enterprise) -> None:
    for _ in range(3):
        await acme.issued()
    assert acme.provider.fetches == 1
    acme.wire.clock.seconds += TTL
    await acme.issued()
    assert acme.provider.fetches == 2


async def test_many_that_need_the_keys_at_once_wait_for_one_fetch(acme: Enterprise) -> None:
    gate = asyncio.Event()
    acme.provider.web.answers["/jwks"].gate = gate
    waiting = [asyncio.create_task(acme.trade()) for _ in range(10)]
    await acme.provider.web.wait_for_requests(1)
    gate.set()
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {200}
    assert acme.provider.fetches == 1


async def test_a_new_key_is_found_once_a_minute(acme: Enterprise) -> None:
    await acme.issued()
    acme.provider.kid = "not there"
    await acme.refused(error="invalid_grant", reason="invalid")
    assert acme.provider.fetches == 2
    rotate(acme)
    await acme.refused(error="invalid_grant", reason="invalid")
    assert acme.provider.fetches == 2
    acme.wire.clock.seconds += 60
    await acme.issued()
    assert acme.provider.fetches == 3


async def test_an_outage_is_survived_with_the_keys_that_are_kept(acme: Enterprise) -> None:
    await acme.issued()
    acme.provider.fall()
    acme.wire.clock.seconds += TTL
    await acme.issued()
    assert acme.provider.fetches == 2
    acme.wire.clock.seconds += 10 * TTL
    await acme.issued()
    acme.provider.kid = "key-2"
    await acme.refused(error="invalid_grant", reason="invalid")
    acme.wire.clock.seconds += 30
    rotate(acme)
    await acme.issued()


async def test_an_outage_is_told_once_and_again_when_there_is_another(acme: Enterprise, logged: io.BytesIO) -> None:
    def told() -> int:
        flush_logs()
        return logged.getvalue().count(b'"serving stale cache"')

    await acme.issued()
    acme.wire.clock.seconds += TTL
    acme.provider.fall()
    for _ in range(3):
        await acme.issued()
        acme.wire.clock.seconds += 31
    assert told() == 1
    acme.provider.publish()
    await acme.issued()
    acme.wire.clock.seconds += TTL
    acme.provider.fall()
    await acme.issued()
    assert told() == 2


async def test_a_set_so_large_that_keys_need_names_is_told_and_a_named_key_found(
    acme: Enterprise, logged: io.BytesIO
) -> None:
    others = [public_jwk(ec.generate_private_key(ec.SECP256R1()), kid=f"other-{n}") for n in range(25)]
    acme.provider.publish(*others, public_jwk(acme.provider.key, kid="key-1"))
    await acme.issued()
    flush_logs()
    assert logged.getvalue().count(b'"key set is so large that keys need names"') == 1
    acme.provider.kid = None
    await acme.refused(error="invalid_grant", reason="invalid")


async def test_an_outage_with_nothing_kept_is_a_fault_that_spends_nothing(acme: Enterprise) -> None:
    acme.provider.fall()
    assertion = acme.assertion()
    await acme.refused(assertion, error="server_error", reason="jwks_fetch_failed", status=500)
    acme.provider.publish()
    await no_keys(acme)
    assert acme.provider.fetches == 1
    acme.wire.clock.seconds += 30
    await acme.issued(assertion)


async def test_keys_that_operators_refresh_are_forgotten_by_a_running_server(acme: Enterprise) -> None:
    await acme.issued()
    rotate(acme)
    acme.provider.kid = None
    await acme.refused(error="invalid_grant", reason="invalid")
    await acme.wire.core.idps.refresh_keys(acme.idp.id, now=acme.now)
    await acme.reload()
    await acme.issued()
    acme.provider.fall()
    with pytest.raises(Unreachable, match="cannot be had: it was answered with status 500"):
        await acme.wire.core.idps.refresh_keys(acme.idp.id, now=acme.now)
    await acme.reload()
    await no_keys(acme)


async def test_a_provider_that_is_registered_again_does_not_keep_the_old_one_s_keys(acme: Enterprise) -> None:
    await acme.issued()
    core, provider = acme.wire.core, acme.provider
    await core.idps.delete(acme.idp.id, now=acme.now)
    draft = IdpDraft(name="Acme", issuer=provider.issuer, jwks_uri=provider.jwks_uri)
    acme.idp = await core.idps.register(draft, now=acme.now)
    await core.xaa_policies.create(name="again", idp_id=acme.idp.id, now=acme.now)
    provider.fall()
    await acme.reload()
    await no_keys(acme)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 302, "headers": {"Location": "https://acme.idp.test/elsewhere"}},
        {"status": 404},
        {"status": 200, "body": b"no json"},
        {"status": 200, "body": b'{"keys": 1}'},
        {"status": 200, "body": b'{"keys": []}' + b" " * MAX_KEY_SET_BYTES, "chunked": True},
        {"status": 200, "body": b"{}", "headers": {"Content-Encoding": "gzip"}},
    ],
)
async def test_no_redirect_is_followed_and_no_other_answer_taken(acme: Enterprise, answer: dict[str, Any]) -> None:
    acme.provider.fall(**answer)
    await no_keys(acme)
    assert acme.provider.web.paths() == ["/jwks"]


async def test_a_large_set_of_any_media_type_is_read(acme: Enterprise) -> None:
    body = acme.provider.web.answers["/jwks"].body
    filled = body + b" " * (MAX_KEY_SET_BYTES - len(body))
    acme.provider.web.answers["/jwks"] = Answer(body=filled, headers={"Content-Type": "text/plain"})
    await acme.issued()


async def test_a_slow_provider_is_given_up(acme: Enterprise, monkeypatch: pytest.MonkeyPatch) -> None:
    get = OutboundClient.get

    async def impatient(self: OutboundClient, url: str, **options: Any) -> Any:
        assert options["timeout"] == 10
        return await get(self, url, **(options | {"timeout": 0.2}))

    monkeypatch.setattr(OutboundClient, "get", impatient)
    acme.provider.web.answers["/jwks"].gate = asyncio.Event()
    await no_keys(acme)


async def test_a_private_key_in_the_set_verifies_nothing(acme: Enterprise) -> None:
    acme.provider.publish(public_jwk(acme.provider.key, kid="key-1", d="AAAA"))
    await acme.refused(error="invalid_grant", reason="invalid")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "fe80::1",
        "224.0.0.1",
    ],
)
async def test_keys_are_not_fetched_from_an_address_that_is_not_public(
    acme: Enterprise, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    async def resolver(_host: str, _port: int) -> list[str]:
        return ["93.184.216.34", address]

    guarded = OutboundClient(resolver=resolver, tls=acme.provider.tls)
    http = acme.wire.core.http
    monkeypatch.setattr(http, "_resolver", resolver)
    monkeypatch.setattr(http, "_is_forbidden", guarded._is_forbidden)
    await no_keys(acme)
    assert acme.provider.web.requests == []


async def test_two_providers_may_choose_the_same_id(acme: Enterprise, wire: Wire, tmp_path: Path) -> None:
    second = IdentityProvider(web=acme.provider.web, tls=acme.provider.tls, audience=ISSUER, host=SECOND_HOST)
    draft = IdpDraft(name="Second", issuer=second.issuer, jwks_uri=acme.provider.jwks_uri)
    idp = await wire.core.idps.register(draft, now=acme.now)
    await wire.core.xaa_policies.create(name="second", idp_id=idp.id, now=acme.now)
    await acme.reload()
    second.client_id = acme.client.id
    await acme.issued(acme.assertion(jti="same"))
    await acme.issued(second.assertion(now=acme.now, jti="same"))
    await acme.refused(second.assertion(now=acme.now, jti="same"), error="invalid_grant", reason="replay")


async def test_a_provider_s_key_does_not_vouch_for_another(acme: Enterprise, wire: Wire, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    async with identity_provider(tmp_path / "second", ISSUER, host=SECOND_HOST) as (second, _):
        second.key = ec.generate_private_key(ec.SECP256R1())
        draft = IdpDraft(name="Second", issuer=second.issuer, jwks_uri=second.jwks_uri)
        await wire.core.idps.register(draft, now=acme.now)
        await acme.reload()
        second.client_id = acme.client.id
        forged = second.assertion(now=acme.now, iss=acme.provider.issuer)
        await acme.refused(forged, error="invalid_grant", reason="invalid")
