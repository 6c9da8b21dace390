"""A real Prometheus scrapes two workers on PostgreSQL, and shows what was sent: all of it, once, whoever is killed meanwhile."""

import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest

from e2e.harness.installation import ROOT, TWO_WORKERS, Account, Installation, Machine
from e2e.harness.oauth_client import OAuthClient
from e2e.harness.person import Person
from e2e.harness.processes import Process, wait_until
from e2e.harness.prometheus import JOB, SECONDS, Prometheus, running_prometheus
from e2e.harness.workers import lines, pinned, sign_in, wait_for_two

pytestmark = pytest.mark.parametrize("installation", [TWO_WORKERS], indirect=True, scope="module")

RESOURCE = "https://notes.example.com/mcp"
OURS = f'{{__name__=~"auth(server|plane)_.+", job="{JOB}"}}'
# What goes on by itself, or with the pages that a browser opens.
BY_ITSELF = ("authserver_audit_rows_sealed_total", "authserver_connections_ended_total")
SENT_TO = ('http_route="/oauth/token"', 'http_route="/oauth/introspect"', 'http_route="/oauth/revoke"')
MEASURED = ("authserver_token_issuance_duration_seconds", "authserver_introspection_duration_seconds")


@pytest.fixture(scope="module")
def server_environment(server_environment: dict[str, str], admin: str) -> dict[str, str]:
    return server_environment | {
        "AUTHPLANE_RATE_LIMIT_ENABLED": "false",
        "AUTHPLANE_CLIENT_CREDENTIALS_ENABLED": "true",
        "AUTHPLANE_ADMIN_ENABLED": "true",
        "AUTHPLANE_ADMIN_ADDRESS": admin,
    }


@pytest.fixture(scope="module")
def prometheus(server: Process, tmp_path_factory: pytest.TempPathFactory, admin: str) -> Iterator[Prometheus]:
    with running_prometheus(tmp_path_factory.mktemp("prometheus"), admin) as prometheus:
        yield prometheus


@pytest.fixture(scope="module")
def sender(installation: Installation, operator: None, server: Process, account: Account) -> "Sender":
    runtime = installation.create_resource_client()
    installation.create_resource(RESOURCE, runtime_client_id=runtime[0])
    client = OAuthClient(installation.issuer, resource=RESOURCE)
    sender = Sender(client, account, runtime, installation.create_machine("notes:read"))
    with contextlib.closing(Person(account, issuer=installation.issuer)) as person:
        client.get_code(person)  # what is asked once is asked now
    return sender


class Sender:
    """Sends known numbers of requests, and says what must be counted for them."""

    def __init__(self, client: OAuthClient, account: Account, runtime: tuple[str, str], machine: Machine) -> None:
        self.client = client
        self.account = account
        self.runtime = runtime
        self.machine = machine

    def send(self, http: httpx2.Client) -> Counter[str]:
        """Send each kind of request over a connection."""
        counted: Counter[str] = Counter()
        with contextlib.closing(Person(self.account, issuer=self.client.issuer)) as person:
            codes = [self.client.get_code(person) for _ in range(3)]
        counted['authserver_login_attempts_total{result="success"}'] += 1

        def ask(path: str, status: int, form: dict[str, str], auth: tuple[str, str] | None = None) -> httpx2.Response:
            answer = http.post(path, data=form, auth=auth or httpx2.USE_CLIENT_DEFAULT)
            assert answer.status_code == status, answer.text
            labels = f'http_method="POST",http_route="{path}",http_status_code="{status}"'
            counted[f"authserver_http_requests_total{{{labels}}}"] += 1
            counted[f"authserver_http_request_duration_seconds_count{{{labels}}}"] += 1
            return answer

        def token(status: int, form: dict[str, str], auth: tuple[str, str] | None = None) -> dict[str, str]:
            return dict(ask("/oauth/token", status, form, auth).json())

        def count(name: str, n: int = 1, **labels: str) -> None:
            counted[
                name + ("{" + ",".join(f'{key}="{labels[key]}"' for key in sorted(labels)) + "}" if labels else "")
            ] += n

        # A family that grows, is watched, and ends with the reuse of its first refresh token.
        first = token(200, self.client.redemption(codes[0]))
        second = token(200, self.client.refresh(first["refresh_token"]))
        token(200, self.client.refresh(second["refresh_token"]))
        ask("/oauth/introspect", 200, {"token": second["access_token"]}, self.runtime)
        token(400, self.client.refresh(first["refresh_token"]))
        ask("/oauth/introspect", 200, {"token": second["access_token"]}, self.runtime)
        ask("/oauth/introspect", 401, {"token": second["access_token"]}, (self.runtime[0], "wrong"))
        count("authserver_refresh_token_reuse_total")
        count("authserver_tokens_revoked_total", reason="family_revocation")
        for result in ("active", "inactive", "error"):
            count("authserver_introspection_total", result=result)
        count("authserver_introspection_duration_seconds_count", 2)

        # A code that comes back from its client.
        token(200, self.client.redemption(codes[1]))
        token(400, self.client.redemption(codes[1]))
        count("authserver_auth_code_reuse_total", verifier="valid")
        count("authserver_tokens_revoked_total", reason="code_reuse")

        # One that comes back from somebody else, a refresh whose answer was lost, and an orderly end.
        third = token(200, self.client.redemption(codes[2]))
        token(400, self.client.redemption(codes[2]) | {"code_verifier": "x" * 43})
        lost = token(200, self.client.refresh(third["refresh_token"]))
        assert token(200, self.client.refresh(third["refresh_token"])) == lost
        ask("/oauth/revoke", 200, {"token": lost["refresh_token"], "client_id": self.client.client_id})
        count("authserver_auth_code_reuse_total", verifier="invalid")
        count("authserver_refresh_token_retries_total")
        count("authserver_tokens_revoked_total", reason="explicit")

        # A machine that asks for what it may have, and for more.
        machine = (self.machine.client_id, self.machine.secret or "")
        token(200, {"grant_type": "client_credentials", "scope": "notes:read"}, machine)
        token(400, {"grant_type": "client_credentials", "scope": "notes:write"}, machine)
        count("authplane_client_credentials_issued_total")
        count("authplane_client_credentials_denied_total", reason="scope_outside_ceiling")

        # Somebody who guesses.
        assert sign_in(http, self.account.email, "wrong").status_code == 422
        count("authserver_login_attempts_total", result="failure")
        count("authserver_auth_denied_total", reason="invalid_credentials")

        count("authserver_tokens_refreshed_total", 3)
        for grant, issued in (("authorization_code", 3), ("client_credentials", 1)):
            count("authserver_tokens_issued_total", issued, grant_type=grant)
            count("authserver_token_issuance_duration_seconds_count", issued, grant_type=grant)
        count("authserver_token_issuance_duration_seconds_count", 4, grant_type="refresh_token")
        return counted


def counters(prometheus: Prometheus) -> Counter[str]:
    """Return the counters of what a test sends."""

    def is_sent(series: str) -> bool:
        name = series.partition("{")[0]
        if name.startswith("authserver_http_request"):
            return any(label in series for label in SENT_TO) and name.endswith(("_total", "_count"))
        if name.endswith("_count"):
            return name.removesuffix("_count") in MEASURED
        return name.endswith("_total") and name not in BY_ITSELF

    return Counter({series: int(value) for series, value in prometheus.series(OURS).items() if is_sent(series)})


def counted_so_far(prometheus: Prometheus) -> Counter[str]:
    """Return what was counted up to now. A scrape that takes too long shows nothing: the next one does."""
    found: Counter[str] = Counter()

    def is_shown() -> bool:
        prometheus.wait_for_scrape()
        found.update(counters(prometheus))
        return bool(found)

    wait_until(is_shown, seconds=SECONDS, what="counters are shown")
    return found


def check_counted(prometheus: Prometheus, before: Counter[str], sent: Counter[str]) -> None:
    """Check that exactly what was sent comes to be shown, nothing else, and stays."""
    shown: dict[str, int] = {}

    def is_shown() -> bool:
        shown.clear()
        after = counters(prometheus)
        shown.update({series: after[series] - before[series] for series in after if after[series] != before[series]})
        return shown == dict(sent)

    for _ in range(2):
        prometheus.wait_for_scrape()
        with contextlib.suppress(AssertionError):
            wait_until(is_shown, seconds=SECONDS, what="what was sent is shown")
        assert shown == dict(sent)


def victim_of(server: Process, number: int) -> int:
    """Return the process id of a worker."""
    served = [line for line in lines(server) if line["msg"] == "worker serves" and line["worker"] == number]
    return int(served[-1]["pid"])


def panels() -> Iterator[tuple[str, str]]:
    """Yield what each panel asks, with what Grafana puts in the place of its variables."""
    for path in sorted((ROOT / "deploy" / "grafana").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", ()):
                yield panel["title"], target["expr"].replace("$__rate_interval", "1m").replace("$job", JOB)


def test_prometheus_shows_exactly_what_was_sent_to_both_workers(
    installation: Installation, server: Process, prometheus: Prometheus, sender: Sender
) -> None:
    wait_for_two(server)
    before = counted_so_far(prometheus)
    sent: Counter[str] = Counter()
    with pinned(server, installation.issuer) as workers:
        for http in (*workers, workers[0]):
            sent += sender.send(http)
    check_counted(prometheus, before, sent)
    by_grant = prometheus.query("sum by (grant_type) (authserver_tokens_issued_total)")
    assert {"authorization_code", "client_credentials"} <= {each["metric"]["grant_type"] for each in by_grant}


def test_a_killed_worker_takes_nothing_of_what_it_counted_along(
    installation: Installation, server: Process, prometheus: Prometheus, sender: Sender
) -> None:
    wait_for_two(server)
    before = counted_so_far(prometheus)
    sent: Counter[str] = Counter()
    for number in (0, 1):
        with pinned(server, installation.issuer) as workers:
            sent += sender.send(workers[number])
            check_counted(prometheus, before, sent)
        victim = victim_of(server, number)
        os.kill(victim, signal.SIGKILL)
        wait_for_two(server, without=victim)
        check_counted(prometheus, before, sent)
    # Counted anew by who took the place of the worker that was scraped: a resource's, a machine's, and one that registered.
    clients = "authserver_active_clients"
    wait_until(lambda: prometheus.series(clients) == {clients: 3}, seconds=SECONDS, what="three clients are shown")
    with pinned(server, installation.issuer) as workers:
        for http in workers:
            sent += sender.send(http)
    check_counted(prometheus, before, sent)
    history = prometheus.history(OURS.replace("_.+", "_.+_(total|count|sum|bucket)"))
    assert len(history) > 300
    assert [series for series, values in history.items() if values != sorted(values)] == []


def test_a_reuse_raises_the_alert_that_is_shipped(
    installation: Installation, server: Process, prometheus: Prometheus, sender: Sender
) -> None:
    prometheus.wait_for_scrape()
    with httpx2.Client(base_url=installation.issuer, timeout=SECONDS) as http:
        sender.send(http)

    def firing() -> set[tuple[str, str]]:
        alerts = prometheus.query('ALERTS{alertstate="firing"}')
        return {(each["metric"]["alertname"], each["metric"]["severity"]) for each in alerts}

    expected = {("RefreshTokenReuse", "critical"), ("AuthCodeReuse", "critical"), ("AuthCodeReuse", "warning")}
    wait_until(lambda: firing() == expected, seconds=SECONDS, what=f"exactly {expected} fire")


def test_prometheus_answers_what_the_dashboards_ask(
    installation: Installation, server: Process, prometheus: Prometheus, sender: Sender
) -> None:
    with httpx2.Client(base_url=installation.issuer, timeout=SECONDS) as http:
        sender.send(http)
    # What has to happen once for its labels to be known, and the deliveries of this server, which has none.
    expected = {
        "Audit events not delivered yet",
        "Age of the first event not delivered",
        "Exchanges by type",
        "Fronted exchanges",
        "Upstream connections",
        "Upstream credentials refreshed",
        "Upstream tokens",
    }
    empty: set[str] = set()

    def is_answered() -> bool:
        prometheus.wait_for_scrape()
        empty.clear()
        empty.update(title for title, expr in panels() if not prometheus.query(expr))
        return empty == expected

    with contextlib.suppress(AssertionError):
        wait_until(is_answered, seconds=SECONDS, what="the dashboards are filled")
    assert empty == expected
