"""Figures that are counted in the database, so that they survive restarts and agree on every instance (metrics.md §4)."""

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
)

_log = get_logger("metrics")

_FRESH_SECONDS = 30.0
# A database that hangs must not keep the other figures from Prometheus, which waits for ten seconds.
_WAIT_SECONDS = 1.0


@dataclass(slots=True, kw_only=True)
class Figures:
    """Sets the gauges.

    Attributes:
        destinations: Those of the audit trail that are configured.
        clock: Seconds since the epoch.
        monotonic: Seconds of a clock that never goes back.
    """

    db: Database
    destinations: frozenset[str]
    clock: Callable[[], int]
    monotonic: Callable[[], float]
    _fresh_until: float = field(default=-1.0, init=False)
    _counting: asyncio.Task[None] | None = field(default=None, init=False)

    async def run(self) -> None:
        """Keep them fresh, for whoever is told the metrics without asking."""
        while True:
            await self.refresh()
            await asyncio.sleep(_FRESH_SECONDS)

    async def refresh(self) -> None:
        """Count anew what is half a minute old, and wait for it a moment. What fails leaves the figures as they were."""
        if (self._counting is None or self._counting.done()) and self.monotonic() >= self._fresh_until:
            # Also after a failure: what cannot be counted must not be tried again and again.
            self._fresh_until = self.monotonic() + _FRESH_SECONDS
            self._counting = asyncio.create_task(self._count(), name="metrics-count")
        if self._counting is not None:
            # What takes longer is shown by the next scrape.
            await asyncio.wait({self._counting}, timeout=_WAIT_SECONDS)

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
