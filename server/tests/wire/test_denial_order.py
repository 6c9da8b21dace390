"""Which of two neighbouring faults is told, for pairs that the tables of single grants do not have: client credentials
(public API §8.5), identity assertions (XAA §5) and devices (RFC 8628; ruling R44).
"""

from typing import Any

import pytest

from authserver.clients.administration import NewClient
from authserver.outbound.client import OutboundClient
from authserver.protocol.grant_types import CLIENT_CREDENTIALS, DEVICE_CODE
from server.tests.fakes.identity_provider import IdentityProvider
from server.tests.fakes.proving_client import ProvingClient
from server.tests.wire.harness import REDIRECT, RESOURCE, Answer, Wire
from server.tests.wire.xaa import Enterprise, new_client

pytestmark = pytest.mark.anyio


@pytest.fixture
def outbound(provided: tuple[IdentityProvider, OutboundClient]) -> OutboundClient:
    return provided[1]


def told(answer: Answer) -> tuple[int, str]:
    """Return status and error."""
    return answer.status_code, answer.json()["error"]


async def test_a_machine_s_scope_is_told_before_its_proof(wire: Wire, prover: ProvingClient, now: int) -> None:
    new = NewClient(
        name="cron", grant_types=(CLIENT_CREDENTIALS,), auth_method="client_secret_basic", scope="notes:read"
    )
    machine = await wire.core.clients.create(new, now=now)
    auth = (machine.client.id, machine.client_secret or "")
    proof = {"DPoP": prover.proof(now=now, htm="GET")}
    for scope, expected in (("notes:write", "invalid_scope"), ("notes:read", "invalid_dpop_proof")):
        form = {"grant_type": CLIENT_CREDENTIALS, "scope": scope, "resource": RESOURCE}
        assert told(await wire.http.post("/oauth/token", data=form, auth=auth, headers=proof)) == (400, expected)


async def test_who_presents_an_assertion_is_told_before_what_it_presents(wire: Wire, acme: Enterprise) -> None:
    other, secret = await new_client(wire, grant_types=(CLIENT_CREDENTIALS,))
    # 1 and 2, 2 and 3, 3 and 9.
    await acme.refused(
        "", client_id=other.id, client_secret="wrong", error="invalid_client", reason="invalid_client", status=401
    )
    form: dict[str, Any] = {"client_id": other.id, "client_secret": secret}
    await acme.refused("", **form, error="unauthorized_client", reason="unauthorized_client")
    await acme.refused("", resource=["a", "b"], error="invalid_grant", reason="missing_assertion")


async def test_a_disabled_provider_is_told_before_its_keys_and_those_before_what_it_signed(
    wire: Wire, acme: Enterprise
) -> None:
    acme.provider.fall()
    wrong = acme.provider.sign(acme.provider.claims(now=acme.now, aud="https://else.example"), typ="JWT")
    await wire.core.idps.update(acme.idp.id, enabled=False, now=acme.now)
    await acme.reload()
    await acme.refused(wrong, error="invalid_grant", reason="idp_disabled")
    await wire.core.idps.update(acme.idp.id, enabled=True, now=acme.now)
    await acme.reload()
    await acme.refused(wrong, error="server_error", reason="jwks_fetch_failed", status=500)
    acme.provider.publish()
    acme.wire.clock.seconds += 30
    await acme.refused(wrong, error="invalid_grant", reason="type")


async def a_device_client(wire: Wire, **members: Any) -> str:
    document: dict[str, Any] = {"grant_types": [DEVICE_CODE], "redirect_uris": []}
    return str((await wire.register(**(document | members)))["client_id"])


async def test_what_is_wrong_with_a_device_that_starts_is_told_in_the_order_of_authorize(wire: Wire) -> None:
    client_id = await a_device_client(wire)
    without = await a_device_client(wire, grant_types=["authorization_code"], redirect_uris=[REDIRECT])
    nowhere = "https://nowhere.example"
    for caller, form, expected in (
        ("nobody", {"resource": nowhere, "scope": "none"}, (401, "invalid_client")),
        (without, {"resource": nowhere, "scope": "none"}, (400, "unauthorized_client")),
        (client_id, {"resource": nowhere, "scope": "none"}, (400, "invalid_target")),
        (client_id, {"resource": RESOURCE, "scope": "none"}, (400, "invalid_scope")),
    ):
        assert told(await wire.start_device(caller, **form)) == expected
    assert await wire.core.db.fetch_all("SELECT client_id FROM device_requests") == []


async def test_what_is_wrong_with_a_device_that_asks_is_told_in_its_order(wire: Wire) -> None:
    await wire.sign_in()
    client_id, stranger = await a_device_client(wire), await a_device_client(wire)
    without = await a_device_client(wire, grant_types=["authorization_code"], redirect_uris=[REDIRECT])
    waiting, denied = [(await wire.start_device(client_id)).json() for _ in range(2)]
    await wire.answer_device(await wire.enter_code(denied["user_code"]), action="deny")
    # The grant before the code, whether it is known before whose it is.
    assert told(await wire.poll(without, "x")) == (400, "unauthorized_client")
    assert told(await wire.poll(stranger, "x")) == (400, "invalid_grant")
    # Too early before nothing: the first poll waits, the second comes too soon.
    assert told(await wire.poll(client_id, waiting["device_code"])) == (400, "authorization_pending")
    assert told(await wire.poll(client_id, waiting["device_code"])) == (400, "slow_down")
    wire.clock.seconds += 600
    # Whose it is before how it ended; denied before expired; expired before too soon.
    assert told(await wire.poll(stranger, denied["device_code"])) == (400, "invalid_grant")
    assert told(await wire.poll(stranger, waiting["device_code"])) == (400, "invalid_grant")
    assert told(await wire.poll(client_id, denied["device_code"])) == (400, "access_denied")
    for _ in range(2):
        assert told(await wire.poll(client_id, waiting["device_code"])) == (400, "expired_token")
