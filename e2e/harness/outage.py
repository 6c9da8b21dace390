"""Load while something that the server needs is away: how it must refuse, and that it recovers by itself."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import httpx2

from e2e.harness.load import PATIENCE_SECONDS, Load
from e2e.harness.person import answer_of
from e2e.harness.site import Site

NOTICED_SECONDS = 60
"""A server that is frozen is noticed after twenty-five: a statement and a connection have their time first."""
_WARM = 30


def check_refusal(answer: httpx2.Response) -> None:
    """Check that a refusal says what a database that is away must: come again, nothing was spent."""
    if answer.is_redirect:
        assert answer_of(answer.headers["location"])["error"] == "temporarily_unavailable", answer.headers["location"]
        return
    assert answer.status_code == 503, f"{answer.status_code}: {answer.text}"
    assert int(answer.headers["retry-after"]) >= 1
    if "json" in answer.headers["content-type"]:
        assert answer.json()["error"] == "server_error"
        assert answer.json()["request_id"]


async def wait_for(condition: Callable[[], bool], *, what: str) -> None:
    deadline = time.monotonic() + NOTICED_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {NOTICED_SECONDS} seconds"
        await asyncio.sleep(0.02)


class Probes:
    """What a load balancer and the protected servers ask all the time."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self.health: list[int] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Probes"]:
        """Probe; what needs no database must be answered each time."""
        tasks = [asyncio.create_task(self._probe_health()), asyncio.create_task(self._probe_memory())]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [outcome for outcome in outcomes if not isinstance(outcome, asyncio.CancelledError)] == []

    async def _probe_health(self) -> None:
        async with httpx2.AsyncClient(timeout=PATIENCE_SECONDS, verify=False) as http:
            while True:
                answer = await http.get(f"{self._issuer}/health")
                assert answer.json()["db"] == {200: "ok", 503: "error"}[answer.status_code]
                self.health.append(answer.status_code)
                await asyncio.sleep(0.05)

    async def _probe_memory(self) -> None:
        async with httpx2.AsyncClient(timeout=5, verify=False) as http:
            while True:
                for path in ("/livez", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server"):
                    answer = await http.get(f"{self._issuer}{path}")
                    assert answer.status_code == 200, f"{path}: {answer.text}"
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def under_load(site: Site, *, clients: int) -> AsyncIterator[tuple[Load, Probes]]:
    """Keep clients at work; after the block they must be served again, and nothing may have been lost."""
    load = Load(site.client, site.person, tolerates=check_refusal)
    async with Probes(site.client.issuer).running() as probes:
        working = asyncio.create_task(load.run(clients))
        try:
            await wait_for(lambda: load.answered >= _WARM or working.done(), what="the load is on")
            yield load, probes
            answered = load.answered
            await wait_for(lambda: load.answered >= answered + _WARM or working.done(), what="clients are served again")
            await wait_for(lambda: probes.health[-1:] == [200], what="health is restored")
        finally:
            load.stop()
            await working
    await site.check(load.sessions)
