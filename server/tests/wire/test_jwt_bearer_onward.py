"""What an identity assertion bought, exchanged onward: the provider stays innermost, and a key stays bound (T10 A5, C2)."""

import base64
import io
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from authserver.config.model import Config
from authserver.outbound.client import OutboundClient
from authserver.protocol.grant_types import JWT_BEARER, TOKEN_EXCHANGE
from authserver.telemetry.logs import flush_logs
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.exchanging import ACCESS_TOKEN, Party, a_client, a_link, a_resource, exchange, exchanged
from server.tests.wire.harness import ISSUER, Wire, claims_of
from server.tests.wire.xaa import Enterprise, new_client

pytestmark = pytest.mark.anyio


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


@pytest.fixture
def config(config: Config) -> Config:
    """A server whose chains have three actors at most: the provider and two gateways."""
    return replace(config, token_exchange=replace(config.token_exchange, max_chain_depth=3))


async def a_chain(wire: Wire, length: int) -> list[Party]:
    """Front each resource with the one before it; return the gateways, the first of which takes tokens of enterprises."""
    gateways = [await a_client(wire, f"gateway {n}", grants=(TOKEN_EXCHANGE,)) for n in range(length)]
    for number, gateway in enumerate(gateways):
        await a_resource(wire, f"hop{number}", "run", runtime=[gateway])
    await a_resource(wire, f"hop{length}", "run")
    for number in range(length):
        await a_link(wire, f"hop{number}", f"hop{number + 1}", {"run": ("run",)})
    return gateways


async def bought(acme: Enterprise, *, subject: str = "alice@acme", proof: str | None = None) -> str:
    """Return a token for the first resource of the chain."""
    acme.client, acme.secret = await new_client(acme.wire, scope="run")
    acme.provider.client_id = acme.client.id
    assertion = acme.assertion(sub=subject)
    return str((await acme.issued(assertion, resource="https://hop0.example.com", proof=proof))["access_token"])


async def test_the_provider_stays_innermost_until_the_chain_is_too_deep(wire: Wire, acme: Enterprise) -> None:
    gateways = await a_chain(wire, 3)
    token = await bought(acme)
    act: dict[str, object] = {"sub": acme.idp.issuer}
    for number, gateway in enumerate(gateways[:2]):
        token = (await exchanged(wire, gateway, token, resource=f"hop{number + 1}"))["access_token"]
        act = {"sub": f"hop{number}", "act": act}
        claims = claims_of(token)
        assert (claims["sub"], claims["act"]) == (f"{acme.idp.issuer}:alice@acme", act)
        assert (claims["client_id"], claims["aud"]) == (f"hop{number}", [f"https://hop{number + 1}.example.com"])
    answer = await exchange(wire, gateways[2], token, resource="hop3")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert ("token.exchange_denied", "reason=chain_too_deep") in await wire.audit()


async def test_what_was_exchanged_is_in_force_as_long_as_its_user_is(wire: Wire, acme: Enterprise) -> None:
    gateway, reader = await a_chain(wire, 2)
    await wire.core.subject_mappings.create(
        idp_id=acme.idp.id, idp_subject="ada", local_user_id=wire.user.id, now=acme.now
    )
    foreign, mapped = [
        (await exchanged(wire, gateway, await bought(acme, subject=subject), resource="hop1"))["access_token"]
        for subject in ("alice@acme", "ada")
    ]

    async def is_active(token: str) -> bool:
        answer = await wire.http.post("/oauth/introspect", data={"token": token}, auth=(reader.id, reader.secret))
        return bool(answer.json()["active"])

    assert await is_active(foreign)
    assert await is_active(mapped)
    await wire.core.accounts.disable_user(wire.user.id, now=acme.now)
    assert await is_active(foreign)
    assert not await is_active(mapped)


async def test_nobody_can_consent_for_a_subject_without_an_account(wire: Wire, acme: Enterprise) -> None:
    acme.client, acme.secret = await new_client(wire, grant_types=(JWT_BEARER, TOKEN_EXCHANGE))
    acme.provider.client_id = acme.client.id
    await a_resource(wire, "mail", "notes:read")
    subject = (await acme.issued(resource=None))["access_token"]
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": subject,
        "subject_token_type": ACCESS_TOKEN,
        "resource": "mail",
        "client_id": acme.client.id,
        "client_secret": acme.secret,
    }
    answer = await wire.http.post("/oauth/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, "consent_required")


async def test_a_bound_token_is_exchanged_into_one_bound_to_the_gateway_s_key(wire: Wire, acme: Enterprise) -> None:
    (gateway,) = await a_chain(wire, 1)
    prover = ProvingClient(url=f"{ISSUER}/oauth/token")
    token = await bought(acme, proof=prover.proof(now=acme.now))
    assert claims_of(token)["cnf"] == {"jkt": prover.jkt}
    form = {
        "grant_type": TOKEN_EXCHANGE,
        "subject_token": token,
        "subject_token_type": ACCESS_TOKEN,
        "resource": "hop1",
    }
    answer = await wire.http.post(
        "/oauth/token",
        data=form,
        auth=(gateway.id, gateway.secret),
        headers={"DPoP": prover.proof(now=acme.now)},
    )
    assert (answer.status_code, answer.json()["token_type"]) == (200, "DPoP"), answer.text
    claims = claims_of(answer.json()["access_token"])
    assert claims["cnf"] == {"jkt": prover.jkt}
    assert claims["act"] == {"sub": "hop0", "act": {"sub": acme.idp.issuer}}


async def test_no_row_log_line_or_link_on_the_way_names_the_user_by_an_e_mail_address(
    wire: Wire, acme: Enterprise, logged: io.BytesIO
) -> None:
    address = "alice@acme.example"
    (gateway,) = await a_chain(wire, 1)
    await a_resource(wire, "mail", "run", may_exchange=[gateway])
    token = await bought(acme, subject=address)
    onward = (await exchanged(wire, gateway, token, resource="hop1"))["access_token"]
    assert claims_of(onward)["sub"] == f"{acme.idp.issuer}:{address}"
    refused = (await exchange(wire, gateway, token, resource="mail")).json()
    ticket = parse_qs(urlsplit(refused["consent_url"]).query)["ticket"][0].partition(".")[0]
    assert b"sha256-" in base64.urlsafe_b64decode(ticket + "==")
    assert b"@" not in base64.urlsafe_b64decode(ticket + "==")
    await wire.core.issuances.revoke(claims_of(token)["jti"], cascade=True, now=wire.clock.seconds)
    flush_logs()
    assert b"token exchanged" in logged.getvalue()
    assert b"@acme.example" not in logged.getvalue()
    rows = await wire.core.db.fetch_all("SELECT action, actor_id, detail FROM audit_events")
    assert {"jwt_bearer.issued", "token.exchanged", "token.exchange_denied", "issuance.revoked_admin"} <= {
        row["action"] for row in rows
    }
    assert [row["action"] for row in rows if "@acme.example" in f"{row['actor_id']} {row['detail']}"] == []
