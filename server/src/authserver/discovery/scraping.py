"""``GET /metrics`` on the operators' listener: what all workers counted, and figures from the database (metrics.md §4)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from authserver.audit.delivery.batches import measure_lag
from authserver.audit.delivery.store import list_deliveries
from authserver.authorization.store import count_active_families
from authserver.clients.store import count_active_clients
from authserver.storage.database import Database
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import (
    ACTIVE_CLIENTS,
    ACTIVE_TOKEN_FAMILIES,
    AUDIT_DELIVERY_LAG,
    AUDIT_DELIVERY_PENDING,
    CONTENT_TYPE,
    scrape,
)
from authserver.web.http import NO_STORE, HttpRequest, HttpResponse, Route

_log = get_logger("metrics")

_FRESH_SECONDS = 30.0
# A database that hangs must not keep the other figures from Prometheus, which waits for ten seconds.
_WAIT_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class ScrapeRoutes:
    """The page that Prometheus reads.

    Attributes:
        path: Where.
        clock: Seconds since the epoch.
        monotonic: Seconds of a clock that never goes back.
    """

    db: Database
    path: str
    destinations: frozenset[str]
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    _fresh_until: float = field(default=-1.0, init=False)
    _counting: asyncio.Task[None] | None = field(default=None, init=False)

    def routes(self) -> list[Route]:
        """Mount it under the throughput limit: every scrape adds up what all processes counted."""
        return [Route(path=self.path, endpoints={"GET": self.metrics})]

    async def metrics(self, _request: HttpRequest) -> HttpResponse:
        """Serve all metrics as text. A database that is away leaves the figures from it as they were."""
        if (self._counting is None or self._counting.done()) and self.monotonic() >= self._fresh_until:
            # Also after a failure: what cannot be counted must not be tried again and again.
            self._fresh_until = self.monotonic() + _FRESH_SECONDS
            self._counting = asyncio.create_task(self._count(), name="metrics-count")
        if self._counting is not None:
            # What takes longer is shown by the next scrape.
            await asyncio.wait({self._counting}, timeout=_WAIT_SECONDS)
        return HttpResponse(200, scrape(), ((b"content-type", CONTENT_TYPE.encode("ascii")), NO_STORE))

    async def _count(self) -> None:
        try:
            ACTIVE_CLIENTS.set(await self.db.survey(count_active_clients))
            ACTIVE_TOKEN_FAMILIES.set(await self.db.survey(count_active_families))
            for delivery in await list_deliveries(self.db):
                if delivery.destination not in self.destinations:
                    continue  # configured no more: it only falls behind
                lag = await measure_lag(self.db, delivery, now=self.clock())
                AUDIT_DELIVERY_PENDING.set(lag.pending, delivery.destination)
                AUDIT_DELIVERY_LAG.set(lag.seconds, delivery.destination)
        except Exception as exc:  # noqa: BLE001  a figure that cannot be had hides none of the others
            _log.warning("figures from the database not counted", error=repr(exc))
