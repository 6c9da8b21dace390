"""Two workers of one server on PostgreSQL: one port, one supervisor, killed and replaced under load."""

import asyncio
import contextlib
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest

from e2e.harness.installation import TWO_WORKERS, Demo, Installation
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, free_port, is_alive, wait_until
from e2e.harness.workers import lines, pinned, sign_in, wait_for_two

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("installation", [TWO_WORKERS], indirect=True, scope="module"),
]

SECONDS = 20


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str], admin: str) -> dict[str, str]:
    """All load comes from one address here; the operators' listener is open."""
    return server_environment | {
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": admin,
    }


@pytest.fixture
def client(installation: Installation, demo: Demo) -> OAuthClient:
    return OAuthClient(installation.issuer, resource=demo.url)


def scraped(admin: str, series: str) -> float:
    """Return the value of a series, 0 when it is not there."""
    text = httpx2.get(f"http://{admin}/metrics", timeout=SECONDS).text
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
        # Lines of what came before may still be on their way; the person's pages are looked at by the person.
        assert {line["status"] for line in said if line["path"] == "/oauth/token"} <= {200}
        # The browser keeps its connection, so its pages come from one worker; each token request has a new connection.
        takers = {(line["path"], line["worker"]) for line in said}
        return {("/oauth/token", 0), ("/oauth/token", 1)} <= takers

    wait_until(both_served_tokens, seconds=SECONDS, what="both workers served the token endpoint")


async def test_a_worker_killed_under_load_is_replaced_while_the_other_serves(
    server: Process, client: OAuthClient, person: Person, admin: str
) -> None:
    wait_for_two(server)
    sent = 'authserver_http_requests_total{http_method="GET",http_route="/livez",http_status_code="200"}'
    before = scraped(admin, sent)
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
    assert outcomes["answered"] <= scraped(admin, sent) - before <= 200
    assert scraped(admin, "authserver_active_token_families") >= 1
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


def test_guesses_are_counted_together_and_the_eleventh_is_not_looked_at(
    installation: Installation, server: Process
) -> None:
    wait_for_two(server)
    account = installation.create_user()
    with pinned(server, installation.issuer) as workers:
        guesses = [sign_in(workers[n % 2], account.email, "wrong").status_code for n in range(10)]
        assert guesses == [422] * 10
        for http in workers:
            refused = sign_in(http, account.email, account.password)
            assert refused.status_code == 429
            assert 800 < int(refused.headers["retry-after"]) <= 900


def series_of(admin: str) -> set[str]:
    """Return what is shown, without values; not of requests, whose series begin with the first of each kind."""
    lines = httpx2.get(f"http://{admin}/metrics", timeout=SECONDS).text.splitlines()
    series = {line if line.startswith("#") else line.rpartition(" ")[0] for line in lines}
    return {each for each in series if not each.startswith("authserver_http_request")}


def test_metrics_are_the_totals_of_all_workers(
    installation: Installation, server: Process, client: OAuthClient, person: Person, admin: str
) -> None:
    wait_for_two(server)
    account = installation.create_user()
    expected = {
        'authserver_tokens_issued_total{grant_type="authorization_code"}': 4,
        "authserver_tokens_refreshed_total": 4,
        'authserver_tokens_revoked_total{reason="explicit"}': 4,
        'authserver_login_attempts_total{result="failure"}': 4,
        'authserver_login_attempts_total{result="success"}': 1,
        'authserver_consent_decisions_total{decision="granted"}': 1,
        'authserver_introspection_total{result="error"}': 4,
        'authserver_token_issuance_duration_seconds_count{grant_type="refresh_token"}': 4,
    }
    first = client.get_code(person)
    codes = [first, *(client.get_code(person) for _ in range(3))]
    before = {series: scraped(admin, series) for series in expected}
    with pinned(server, installation.issuer) as workers:
        another = OAuthClient(client.issuer, resource=client.resource)
        with contextlib.closing(Person(account, issuer=installation.issuer)) as other_person:
            another.get_code(other_person)
        for n, code in enumerate(codes):
            http = workers[n % 2]
            assert sign_in(http, account.email, "wrong").status_code == 422
            tokens = http.post("/oauth/token", data=client.redemption(code)).json()
            tokens = http.post("/oauth/token", data=client.refresh(tokens["refresh_token"])).json()
            form = {"token": tokens["refresh_token"], "client_id": client.client_id}
            assert http.post("/oauth/introspect", data=form).status_code == 401
            assert http.post("/oauth/revoke", data=form).status_code == 200
    assert {series: scraped(admin, series) - before[series] for series in expected} == expected
    measured = 'authserver_db_operation_duration_seconds_count{operation="%s",store="postgres"}'
    assert all(scraped(admin, measured % operation) > 0 for operation in ("units_commit", "rows_read"))


def test_workers_that_have_counted_nothing_show_what_one_process_shows(installation: Installation) -> None:
    def shown_by(workers: int) -> set[str]:
        admin = f"127.0.0.1:{free_port()}"
        changes = {"AUTHPLANE_SERVER_WORKERS": str(workers), "AUTHPLANE_ADMIN_ADDRESS": admin}
        with installation.serve(port=free_port(), environment=changes):
            return series_of(admin)

    alone = shown_by(1)
    assert "authserver_tokens_refreshed_total" in alone
    assert shown_by(2) == alone


def test_rates_hold_for_all_workers_together(installation: Installation, demo: Demo) -> None:
    other_id, other_secret = installation.create_resource_client()
    limits = {
        "AUTHPLANE_ADMIN_ENABLED": "false",
        "AUTHPLANE_RATE_LIMIT_ENABLED": "true",
        "AUTHPLANE_RATE_LIMIT_RPS": "0.001",
        "AUTHPLANE_RATE_LIMIT_BURST": "30",
        "AUTHPLANE_RATE_LIMIT_CLIENT_RPS": "0.02",
        "AUTHPLANE_RATE_LIMIT_CLIENT_BURST": "5",
    }
    port = free_port()
    serving = installation.serve(port=port, environment=limits)
    with serving as process, pinned(process, f"http://127.0.0.1:{port}") as workers:

        def introspect(n: int, client: tuple[str, str]) -> httpx2.Response:
            return workers[n % 2].post("/oauth/introspect", data={"token": "x"}, auth=client)

        mine = [introspect(n, (demo.client_id, demo.client_secret)) for n in range(8)]
        assert [answer.status_code for answer in mine] == [200] * 5 + [429] * 3
        assert mine[-1].json()["error"] == "slow_down"
        assert mine[-1].json()["reference"].startswith("ref_")
        assert 1 < int(mine[-1].headers["retry-after"]) <= 50
        assert introspect(0, (other_id, other_secret)).status_code == 200
        assert introspect(1, (other_id, "wrong")).status_code == 401
        # Ten of the address's thirty are spent.
        documents = [workers[n % 2].get("/.well-known/jwks.json") for n in range(24)]
        assert [answer.status_code for answer in documents] == [200] * 20 + [429] * 4
        assert 1 < int(documents[-1].headers["retry-after"]) <= 1000
        assert [http.get("/ready").status_code for http in workers] == [200, 200]


@pytest.fixture
def second(installation: Installation) -> Iterator[Process]:
    """A second server beside the first, to be ended by the test."""
    with installation.serve(port=free_port(), environment={"AUTHPLANE_ADMIN_ENABLED": "false"}) as process:
        wait_for_two(process)
        yield process


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
