"""The list of agents that the public key set carries when ``agents.enable_jwks_listing`` is on (public API §18)."""

import asyncio

import orjson

from authserver.clients.store import list_agents
from authserver.storage.database import Database, StorageUnavailable
from authserver.telemetry.logs import get_logger

TOPIC = "clients"
MOST_AGENTS = 1000
MOST_BYTES = 48 * 1024
"""Verifiers read 64 KiB of a key set; the keys need a few of them."""

_log = get_logger("clients")


class AgentListing:
    """The active agents, oldest first, as JSON. Register ``refresh`` for ``TOPIC``.

    Bounded: whoever floods the registration with agents takes nobody's place, because the oldest stay.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._json: bytes | None = None
        self._loading = asyncio.Lock()

    @property
    def json(self) -> bytes | None:
        """The list, the same object until it changes; empty when there are no agents, None when it was never read."""
        return self._json

    async def try_refresh(self) -> None:
        """Read the agents anew if that can be done now."""
        try:
            await self.refresh()
        except StorageUnavailable as exc:
            _log.warning("agents not listed", error=str(exc))

    async def refresh(self) -> None:
        """Read the agents anew.

        Raises:
            StorageUnavailable: They cannot be read; what was known stays.
        """
        # One reading at a time: what is kept last was read last.
        async with self._loading:
            agents = await self._db.survey(lambda reader: list_agents(reader, limit=MOST_AGENTS + 1))
            entries, room = [], MOST_BYTES
            for client_id, description in agents[:MOST_AGENTS]:
                entry = orjson.dumps({"client_id": client_id} | ({"description": description} if description else {}))
                room -= len(entry) + 1
                if room < 0:
                    break
                entries.append(entry)
            if len(entries) < len(agents):
                _log.warning(
                    "more agents than the key set has room for: the newest are not listed", listed=len(entries)
                )
            self._json = b"[" + b",".join(entries) + b"]" if entries else b""
