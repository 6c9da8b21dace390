"""What a command left behind: on the terminal and in the audit trail."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from authserver.audit.records import AuditRecord
from authserver.audit.store import list_events
from server.tests.conftest import open_target


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict[str, str]:
        """The ``key=value`` words of its output."""
        return dict(word.split("=", 1) for word in self.out.split() if "=" in word)


Command = Callable[..., Done]


def audited(target: str) -> list[AuditRecord]:
    """Return the audit trail, oldest first."""

    async def read() -> list[AuditRecord]:
        db = await open_target(target)
        try:
            return (await list_events(db, limit=100))[::-1]
        finally:
            await db.close()

    return asyncio.run(read())
