"""Reading what was kept of refusals, no older than ``traces.max_age``."""

import asyncio
from dataclasses import dataclass

from authserver.config.sections.traces import TracesConfig
from authserver.protocol.operator_errors import NotFound
from authserver.storage.database import Database
from authserver.traces.records import RefusalTrace
from authserver.traces.store import find_trace, list_traces

_TRIES, _PAUSE_SECONDS = 4, 0.25


@dataclass(frozen=True, slots=True)
class TraceReading:
    """Finds refusals."""

    db: Database
    config: TracesConfig

    async def find(self, reference: str, *, now: int) -> RefusalTrace:
        """Return a refusal.

        Args:
            reference: Its reference id.
            now: Seconds since the epoch.

        Raises:
            NotFound: It is not kept; the sentence tells why that may be.
        """
        # A refusal is written down a moment after it was answered.
        for attempt in range(_TRIES):
            trace = await find_trace(self.db, reference)
            if trace is not None or attempt + 1 == _TRIES:
                break
            await asyncio.sleep(_PAUSE_SECONDS)
        if trace is None or trace.created_at < now - self.config.max_age:
            raise NotFound(self._why_missing(reference))
        return trace

    async def newest(self, *, limit: int, client_id: str, error: str, now: int) -> list[RefusalTrace]:
        """Return the newest refusals, newest first: of one client, with one error, unless these are empty."""
        since = now - self.config.max_age
        return await list_traces(self.db, limit=limit, since=since, client_id=client_id, error=error)

    def _why_missing(self, reference: str) -> str:
        if not self.config.enabled:
            return f"no trace of {reference}: traces.enabled is false"
        return (
            f"no trace of {reference}: it is older than traces.max_age ({self.config.max_age} s), more than traces.max"
            f" ({self.config.max}) refusals came since, it was dropped in a flood, or it is another installation's"
        )
