"""Two workers of one server on PostgreSQL: one port, one supervisor, killed and replaced under load."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from e2e.harness.installation import TWO_WORKERS, Demo, Installation
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port, is_alive, wait_until

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("installation", [TWO_WORKERS], indirect=True, scope="module"),
]

SECONDS = 10
ADMIN_PORT = free_port()
ADMIN = f"http://127.0.0.1:{ADMIN_PORT}"


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str]) -> dict[str, str]:
    """All load comes from one address here; the operators' listener is open."""
    return server_environment | {
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": f"127.0.0.1:{ADMIN_PORT}",
    }


@pytest.fixture
def client(installation: Installation, demo: Demo) -> OAuthClient:
    return OAuthClient(installation.issuer, resource=demo.url)


def lines(process: Process) -> list[dict[str, Any]]:
    """Return the log so far."""
    return [json.loads(line) for line in process.output.splitlines(keepends=True) if line.endswith("\n")]


def wait_for_two(process: Process, *, without: int = 0) -> None:
    """Wait until two workers serve, none of them a dead one."""

    def two_serve() -> bool:
        serving = {line["pid"] for line in lines(process) if line["msg"] == "worker serves"}
        alive = [pid for pid in process.workers if pid in serving]
        return len(alive) == 2 and without not in alive

    wait_until(two_serve, seconds=SECONDS, what="two workers serve")


def scraped(series: str) -> float:
    """Return the value of a series, 0 when it is not there."""
    text = httpx2.get(f"{ADMIN}/metrics", timeout=SECONDS).text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_flow_is_served_by_whoever_takes_each_of_its_requests(
    server: Process, client: OAuthClient, person: Person
) -> None:
    wait_for_two(server)
    begin = len(lines(server))

    def both_served_tokens() -> bool:
        tokens = client.request_token(client.redemption(client.get_code(person))).json()
        answer = client.request_token(client.refresh(tokens["refresh_token"]))
        assert answer.status_code == 200, answer.text
        said = [line for line in lines(server)[begin:] if line["msg"] == "http request"]
        assert {line["status"] for line in said} <= {200, 201, 303}
        # The browser keeps its connection, so its pages come from one worker; each token request has a new connection.
        takers = {(line["path"], line["worker"]) for line in said}
        return {("/oauth/token", 0), ("/oauth/token", 1)} <= takers

    wait_until(both_served_tokens, seconds=SECONDS, what="both workers served the token endpoint")


async def test_a_worker_killed_under_load_is_replaced_while_the_other_serves(
    server: Process, client: OAuthClient, person: Person
) -> None:
    wait_for_two(server)
    sent = 'authserver_http_requests_total{http_method="GET",http_route="/livez",http_status_code="200"}'
    before = scraped(sent)
    victim = next(
        line["pid"] for line in reversed(lines(server)) if line["msg"] == "worker serves" and line["worker"] == 0
    )
    tokens = client.request_token(client.redemption(client.get_code(person))).json()
    outcomes: Counter[str] = Counter()

    async def ask(http: httpx2.AsyncClient) -> None:
        try:
            answer = await http.get(f"{client.issuer}/livez", headers={"connection": "close"})
        except httpx2.HTTPError:
            outcomes["cut off"] += 1  # the victim held it
        else:
            assert answer.status_code == 200
            outcomes["answered"] += 1

    async with httpx2.AsyncClient(timeout=SECONDS) as http:
        for n in range(20):
            await asyncio.gather(*(ask(http) for _ in range(10)))
            if n == 5:
                os.kill(victim, signal.SIGKILL)
    assert outcomes["answered"] >= 180
    wait_for_two(server, without=victim)
    died = [line for line in lines(server) if line["msg"] == "worker died"][-1]
    assert (died["pid"], died["ended"], died["level"]) == (victim, "signal 9", "ERROR")
    # The operators' listener lived in the victim; its successor has it, and what the victim counted.
    assert outcomes["answered"] <= scraped(sent) - before <= 200
    assert client.request_token(client.refresh(tokens["refresh_token"])).status_code == 200


def test_a_hangup_reaches_every_worker(server: Process) -> None:
    wait_for_two(server)
    begin = len(lines(server))
    os.kill(server.pid, signal.SIGHUP)

    def all_reloaded() -> bool:
        return {line["pid"] for line in lines(server)[begin:] if line["msg"] == "signing keys reloaded"} == set(
            server.workers
        )

    wait_until(all_reloaded, seconds=SECONDS, what="all workers reload")


@pytest.fixture
def second(installation: Installation) -> Iterator[Process]:
    """A second server beside the first, to be ended by the test."""
    installation.environment["AUTHPLANE_ADMIN_ENABLED"] = "false"
    try:
        with installation.serve(port=free_port()) as process:
            wait_for_two(process)
            yield process
    finally:
        installation.environment["AUTHPLANE_ADMIN_ENABLED"] = "true"


def test_no_worker_outlives_a_killed_supervisor(second: Process) -> None:
    workers = second.workers
    second.kill()
    wait_until(lambda: not any(map(is_alive, workers)), seconds=SECONDS, what="the workers end")
    assert {line["pid"] for line in lines(second) if line["msg"] == "the supervisor is gone, shutting down"} == set(
        workers
    )


def test_a_terminated_supervisor_lets_all_workers_drain(second: Process) -> None:
    workers = second.workers
    assert second.stop() == 0
    assert not any(map(is_alive, workers))
    said = lines(second)
    assert {line.get("pid") for line in said if line["msg"] == "shutting down"} == {None, *workers}
    assert said[-1]["msg"] == "stopped gracefully"
