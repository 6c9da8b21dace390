"""Devices in hostile hands, and devices whose ground is taken away while they wait (RFC 8628 §5)."""

import asyncio
import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from authserver.clients.administration import NewClient
from authserver.config.model import Config
from authserver.protocol.grant_types import DEVICE_CODE, REFRESH_TOKEN
from server.tests.fakes.proving_client import ProvingClient
from server.tests.fakes.signing_client import SigningClient
from server.tests.wire.harness import ISSUER, RESOURCE, Wire, claims_of
from server.tests.wire.test_device import GRANTS, TOKEN_URL, a_device, allowed, started, told

pytestmark = pytest.mark.anyio


async def test_a_client_with_keys_proves_itself_anew_at_each_request(wire: Wire, now: int) -> None:
    signer = SigningClient(audience=ISSUER)
    new = NewClient(name="Kiosk", grant_types=GRANTS, auth_method="private_key_jwt", jwks=signer.jwks)
    signer.client_id = (await wire.core.clients.create(new, now=now)).client.id
    asked, proof = {"scope": "notes:read", "resource": RESOURCE}, signer.proof(now=now)
    answer = await wire.http.post("/oauth/device_authorization", data=asked | proof)
    assert answer.status_code == 200, answer.text
    device = answer.json()
    again = await wire.http.post("/oauth/device_authorization", data=asked | proof)
    assert told(again) == (401, "invalid_client")
    assert told(await wire.start_device(signer.client_id)) == (401, "invalid_client")
    await wire.answer_device(await wire.enter_code(device["user_code"]))
    poll = {"grant_type": DEVICE_CODE, "device_code": device["device_code"]}
    assert told(await wire.http.post("/oauth/token", data=poll | proof)) == (401, "invalid_client")
    assert told(await wire.poll(signer.client_id, device["device_code"])) == (401, "invalid_client")
    tokens = await wire.http.post("/oauth/token", data=poll | signer.proof(now=now))
    assert (tokens.status_code, tokens.json()["scope"]) == (200, "notes:read")


async def test_a_resource_that_was_deleted_a_moment_ago_cannot_be_allowed(wire: Wire, now: int) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    question = await wire.enter_code(device["user_code"])
    await wire.core.resources.delete_resource(wire.resource.id, cascade=True, now=now)
    page = await wire.answer_device(question)
    assert (page.status_code, "is not there any more" in page.text) == (400, True)
    assert told(await wire.poll(client_id, device["device_code"])) == (400, "authorization_pending")
    assert "consent.granted" not in [action for action, _ in await wire.audit()]


async def test_of_a_yes_and_a_no_at_once_one_holds(wire: Wire) -> None:
    client_id = await a_device(wire)
    device = await started(wire, client_id)
    question = await wire.enter_code(device["user_code"])
    yes, no = await asyncio.gather(wire.answer_device(question), wire.answer_device(question, action="deny"))
    assert sorted((yes.status_code, no.status_code)) == [200, 400]
    polled = await wire.poll(client_id, device["device_code"])
    assert polled.status_code == (200 if yes.status_code == 200 else 400)
    assert "error" not in polled.json() or polled.json()["error"] == "access_denied"
    assert len([action for action, _ in await wire.audit() if action.startswith("consent.")]) == 1


async def test_a_name_that_wants_to_be_markup_or_another_is_shown_as_text(wire: Wire) -> None:
    client_id = await a_device(wire, client_name='"><script>alert(1)</script></title>')
    question = await wire.enter_code((await started(wire, client_id))["user_code"])
    assert question.status_code == 200
    assert "<script" not in question.text
    assert "&lt;script&gt;" in question.text
    assert "nobody has checked it" in question.text
    assert re.search("<title>([^<]*)</title>", question.text)[1].startswith("Connect a device")  # type: ignore[index]


@pytest.mark.parametrize(
    "given", ["https://evil.example/", "//evil.example", "BCDF-GHJK&redirect=//evil.example", "BCDF\r\nx: y", "%ff", ""]
)
async def test_a_link_brings_a_code_or_nothing(wire: Wire, given: str) -> None:
    sent = await wire.new_browser().get("/device", params={"user_code": given})
    assert (sent.status_code, sent.headers["location"]) == (303, "/login?redirect=%2Fdevice")


async def test_no_page_of_it_is_framed_kept_or_told_of(wire: Wire) -> None:
    device = await started(wire, await a_device(wire))
    question = await wire.enter_code(device["user_code"])
    pages = [await wire.http.get("/device", params={"user_code": device["user_code"]}), question]
    pages.append(await wire.answer_device(question, action="deny"))
    for page in pages:
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert "form-action 'self'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["x-frame-options"] == "DENY"


async def test_a_client_bound_to_keys_needs_a_proof_for_each_poll_that_gets_tokens(wire: Wire, now: int) -> None:
    client_id = await a_device(wire, dpop_bound_access_tokens=True)
    prover = ProvingClient(url=TOKEN_URL)
    code = await allowed(wire, client_id)
    assert told(await wire.poll(client_id, code)) == (400, "invalid_request")
    tokens = (await wire.poll(client_id, code, proof=prover.proof(now=now))).json()
    assert (tokens["token_type"], claims_of(tokens["access_token"])["cnf"]) == ("DPoP", {"jkt": prover.jkt})
    # The refresh token of a public client belongs to the same key.
    thief = ProvingClient(url=TOKEN_URL, key=ec.generate_private_key(ec.SECP256R1()))
    refused = await wire.refresh(client_id, tokens["refresh_token"], proof=thief.proof(now=now))
    assert refused.status_code == 400
    assert (await wire.refresh(client_id, tokens["refresh_token"], proof=prover.proof(now=now))).status_code == 200


async def test_an_agent_is_named_in_the_token_of_its_device(wire: Wire, now: int) -> None:
    new = NewClient(name="Helper", grant_types=GRANTS, auth_method="none", is_agent=True)
    client_id = (await wire.core.clients.create(new, now=now)).client.id
    tokens = (await wire.poll(client_id, await allowed(wire, client_id))).json()
    assert claims_of(tokens["access_token"])["agent_id"] == client_id


async def test_who_asks_for_no_scope_is_offered_what_the_resource_has(wire: Wire) -> None:
    client_id = await a_device(wire)
    tokens = (await wire.poll(client_id, await allowed(wire, client_id, scope=None))).json()
    assert set(tokens["scope"].split()) == {"notes:read", "notes:write"}


class TestWithStrictRules:
    """With ``oauth.require_scope`` and ``oauth.default_resource``."""

    @pytest.fixture
    def config(self, config: Config) -> Config:
        return replace(config, oauth=replace(config.oauth, require_scope=True, default_resource="notes"))

    async def test_a_scope_must_be_named_and_a_resource_need_not_be(self, wire: Wire) -> None:
        client_id = await a_device(wire, grant_types=[DEVICE_CODE, REFRESH_TOKEN])
        assert told(await wire.start_device(client_id, scope=None)) == (400, "invalid_scope")
        code = await allowed(wire, client_id, scope="notes:read", resource=None)
        tokens = (await wire.poll(client_id, code)).json()
        assert claims_of(tokens["access_token"])["aud"] == [RESOURCE]
