"""The operators' listener can be limited, too: every path of it, by the peer's address alone."""

from dataclasses import replace

import httpx2
import pytest

from authserver.config.model import Config
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, Wire

pytestmark = pytest.mark.anyio

ON = (0.001, 3)
FORWARDED = {"x-forwarded-for": "198.51.100.1"}


@pytest.fixture
def config(config: Config, rates: tuple[float, int]) -> Config:
    rate, burst = rates
    server = replace(config.server, trusted_proxies=("192.0.2.0/24",))
    return replace(config, server=server, admin=replace(config.admin, requests_per_second=rate, burst=burst))


def an_operator(wire: Wire, address: str) -> httpx2.AsyncClient:
    transport = DirectTransport(wire.server.admin, peer=address)
    return httpx2.AsyncClient(transport=transport, base_url=ISSUER)


@pytest.mark.parametrize("rates", [ON])
async def test_a_peer_of_the_admin_listener_asks_as_often_as_it_may(wire: Wire) -> None:
    async with an_operator(wire, "192.0.2.7") as one, an_operator(wire, "192.0.2.8") as other:
        answers = [await one.get(path, headers=FORWARDED) for path in ("/metrics", "/nowhere", "/metrics", "/metrics")]
        refused = await one.get("/nowhere")
        elsewhere = await other.get("/metrics", headers=FORWARDED)

    assert [answer.status_code for answer in answers] == [200, 404, 200, 429]
    assert (refused.status_code, refused.json()["error"]) == (429, "slow_down")
    assert 1 <= int(refused.headers["retry-after"]) <= 1000
    assert refused.json()["error_description"].startswith("rate limit exceeded")
    assert elsewhere.status_code == 200


@pytest.mark.parametrize("rates", [(0.0, 3), (0.001, 0), (-1.0, -1)])
async def test_the_admin_listener_is_limited_only_by_both_figures(wire: Wire) -> None:
    async with an_operator(wire, "192.0.2.7") as one:
        assert {(await one.get("/metrics")).status_code for _ in range(10)} == {200}


@pytest.mark.parametrize("rates", [ON])
async def test_the_public_listener_is_not_limited_by_the_figures_of_the_other(wire: Wire) -> None:
    assert {(await wire.http.get("/.well-known/jwks.json")).status_code for _ in range(10)} == {200}
