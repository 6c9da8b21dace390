import asyncio
from collections.abc import Awaitable, Callable

import pytest

from authserver.clients.store import insert_client
from authserver.discovery.figures import Figures
from authserver.discovery.scraping import ScrapeRoutes
from authserver.storage.database import Database, Reader
from server.tests.clients.builders import a_client
from server.tests.web.builders import a_request, answer_of

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def scrape_routes(db: Database, clock: Clock) -> ScrapeRoutes:
    figures = Figures(db=db, destinations=frozenset(), clock=lambda: 0, monotonic=clock)
    return ScrapeRoutes(figures=figures, path="/metrics")


async def scraped(routes: ScrapeRoutes) -> list[str]:
    (route,) = routes.routes()
    assert (route.path, route.is_limited) == ("/metrics", True)
    answer = await answer_of(route.endpoints["GET"], a_request(method="GET"))
    assert answer.status == 200
    assert dict(answer.headers)[b"content-type"].startswith(b"text/plain; version=")
    return answer.body.decode().splitlines()


async def test_clients_are_counted_in_the_database_every_half_minute(db: Database) -> None:
    clock = Clock()
    routes = scrape_routes(db, clock)
    assert "authserver_active_clients 0.0" in await scraped(routes)
    await db.write(lambda tx: insert_client(tx, a_client(id="one")))
    assert "authserver_active_clients 0.0" in await scraped(routes)
    clock.seconds += 30
    lines = await scraped(routes)
    assert "authserver_active_clients 1.0" in lines
    assert "authserver_active_token_families 0.0" in lines
    assert "# TYPE authserver_http_requests_total counter" in lines


async def test_a_database_that_is_away_leaves_the_figures_as_they_were(db: Database) -> None:
    clock = Clock()
    routes = scrape_routes(db, clock)
    await db.write(lambda tx: insert_client(tx, a_client(id="one")))
    assert "authserver_active_clients 1.0" in await scraped(routes)
    await db.close()
    clock.seconds += 30
    assert "authserver_active_clients 1.0" in await scraped(routes)


async def test_a_database_that_hangs_holds_up_no_scrape(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    routes = scrape_routes(db, clock)
    assert "authserver_active_clients 0.0" in await scraped(routes)
    await db.write(lambda tx: insert_client(tx, a_client(id="one")))
    clock.seconds += 30
    answers, survey = asyncio.Event(), db.survey

    async def hanging(query: Callable[[Reader], Awaitable[int]]) -> int:
        await answers.wait()
        return await survey(query)

    monkeypatch.setattr(db, "survey", hanging)
    assert "authserver_active_clients 0.0" in await scraped(routes)
    clock.seconds += 30
    assert "authserver_active_clients 0.0" in await scraped(routes)
    answers.set()
    assert "authserver_active_clients 1.0" in await scraped(routes)
