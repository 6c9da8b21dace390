"""Thousands of hostile requests to a real server: nothing breaks, nothing is kept, and it still serves people."""

import random
import subprocess

import pytest

from e2e.harness.hostile import Bytes, Known, Sender, Storm
from e2e.harness.installation import EVERYWHERE, TWO_WORKERS, Demo, Installation
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(300),
    pytest.mark.parametrize("installation", EVERYWHERE, indirect=True, scope="module"),
]

SEED = 20_261_125
REQUESTS = 10_000
# Of several workers each gets its share.
REQUESTS_TO_WORKERS = 3_000
# Until allocator, caches and statement plans have what they will have.
WARM_UP = 4_000
GROWTH = 1.10
ADMIN_EVERY = 20


@pytest.fixture(scope="module")
def admin_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str], admin_port: int) -> dict[str, str]:
    """All of it comes from one address here, and goes to both listeners."""
    return server_environment | {
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_DCR_RATE_LIMIT": "0",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": f"127.0.0.1:{admin_port}",
        "AUTHPLANE_CIMD_FETCH_TIMEOUT": "1s",
    }


def resident_kib(process: Process) -> int:
    """Return how much memory a server holds; what its processes share is counted for each."""
    pids = ",".join(map(str, [process.pid, *process.workers]))
    listed = subprocess.run(["ps", "-o", "rss=", "-p", pids], capture_output=True, check=True).stdout
    return sum(map(int, listed.split()))


def spend(client: OAuthClient, person: Person) -> Known:
    """Get tokens, use them up, and return what is left of them."""
    code = client.get_code(person)
    first = client.request_token(client.redemption(code)).json()
    second = client.request_token(client.refresh(first["refresh_token"])).json()
    third = client.request_token(client.refresh(second["refresh_token"])).json()
    client.revoke(third["refresh_token"])
    spent = (code.value, first["refresh_token"], second["refresh_token"], third["access_token"])
    return Known(client.client_id, client.redirect_uri, spent, code.verifier)


async def test_thousands_of_hostile_requests_break_nothing_and_leave_nothing(
    installation: Installation,
    server: Process,
    demo: Demo,
    person: Person,
    admin_port: int,
    request: pytest.FixtureRequest,
) -> None:
    has_workers = request.node.callspec.params["installation"] == TWO_WORKERS
    number = REQUESTS_TO_WORKERS if has_workers else REQUESTS
    client = OAuthClient(installation.issuer, resource=demo.url)
    storm = Storm(spend(client, person), random.Random(SEED))
    public, admin = Sender(installation.port), Sender(admin_port)

    async def send(number: int) -> None:
        drawn: list[Bytes] = [storm.draw() for _ in range(number)]
        await public.send([request for n, request in enumerate(drawn) if n % ADMIN_EVERY])
        await admin.send(drawn[::ADMIN_EVERY])

    await send(WARM_UP)
    before = resident_kib(server)
    processes = set(server.workers)
    await send(number)
    after = resident_kib(server)

    print(f"statuses: {sorted(public.statuses.items())}; resident: {before} -> {after} KiB")
    assert (public.faults, admin.faults) == ([], [])
    assert sum(public.statuses.values()) + sum(admin.statuses.values()) > (WARM_UP + number) * 0.95
    assert {200, 201, 303, 400, 401, 404, 405, 414, 431} <= set(public.statuses)
    assert after < before * GROWTH, f"{before} KiB before, {after} KiB after"
    log = server.output
    assert "Traceback" not in log
    assert '"level":"ERROR"' not in log
    assert server.is_running
    assert (set(server.workers), len(processes)) == (processes, 2 if has_workers else 0), "none was replaced"
    assert '"msg":"worker died"' not in log
    tokens = client.request_token(client.redemption(client.get_code(person))).json()
    assert tokens["token_type"] == "Bearer"
    # What was spent before stays spent.
    for spent in storm.known.spent[1:3]:
        refused = client.request_token(client.refresh(spent))
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
