"""The connections of one listener, and the answers that are waited for.

They are bounded in number. At the bound, the one that has kept the server waiting longest makes room: it rests between two
requests, or it takes its time over one.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Protocol

from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import CONNECTIONS_ENDED

_log = get_logger("http")

# Connections above the bound that are told so; further ones are closed without a word.
MAX_SURPLUS = 64
# A client that got its last answer has this long to read it.
LINGER_SECONDS = 2.0
# What was cancelled has as long to give back what it holds.
_CANCEL_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a client may take, in seconds; ``math.inf`` is without limit.

    Attributes:
        read: For a request, from its first byte to its last.
        write: From there until the answer is complete.
        idle: Between two requests.
    """

    read: float
    write: float
    idle: float


class Member(Protocol):
    """A connection, as the others see it."""

    def end(self, reason: str) -> None:
        """End it without an answer, for one of ``CONNECTION_ENDS``."""
        ...

    def end_if_late(self, now: float) -> None:
        """End it if it should be done by ``now``, the loop's time."""
        ...

    def drain(self) -> None:
        """End it after what was asked is answered."""
        ...

    def cut(self) -> None:
        """End it; nobody is to learn of it."""
        ...


@dataclass(slots=True, kw_only=True)
class Crowd:
    """The connections of one listener.

    Attributes:
        most: How many are served at once.
        date: The header of that name, as it is sent; to be set once a second.
        connections: Those that are open.
        waiting: Those from which the server waits for something, longest first.
        tasks: Answers that are waited for.
        empty: Set when there is neither a connection nor a task.
        is_draining: Whether the end has come: each is given one more answer at most.
        ended: Those that were ended without an answer and not reported yet, by reason: how many, and the last one's address.
    """

    most: int
    date: bytes = b""
    connections: set[Member] = field(default_factory=set)
    waiting: dict[Member, None] = field(default_factory=dict)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)
    is_draining: bool = False
    ended: dict[str, tuple[int, str]] = field(default_factory=dict)

    def enter(self, connection: Member) -> int:
        """Take a connection in; return how many there are."""
        self.connections.add(connection)
        self.waiting[connection] = None
        self.empty.clear()
        return len(self.connections)

    def leave(self, connection: Member) -> None:
        """Let a connection go."""
        self.connections.discard(connection)
        self.waiting.pop(connection, None)
        self._look_around()

    def wait_for(self, connection: Member) -> None:
        """Put a connection at the end of those from which the server waits for something."""
        self.waiting.pop(connection, None)
        self.waiting[connection] = None

    def attend(self, connection: Member) -> None:
        """Know that the server waits for nothing from a connection."""
        self.waiting.pop(connection, None)

    def begin(self, task: asyncio.Task[None]) -> None:
        """Keep a task until it is done."""
        self.tasks.add(task)
        self.empty.clear()
        task.add_done_callback(self._finish)

    async def settled(self) -> None:
        """Wait until nothing is left to be answered, and everybody is gone."""
        while self.connections or self.tasks:
            await self.empty.wait()

    async def give_up(self) -> None:
        """Cancel what is still being answered, and cut everybody off."""
        for task in tuple(self.tasks):
            task.cancel()
        for connection in tuple(self.connections):
            connection.cut()
        if self.tasks:
            await asyncio.wait(tuple(self.tasks), timeout=_CANCEL_SECONDS)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._look_around()

    def _look_around(self) -> None:
        if not self.connections and not self.tasks:
            self.empty.set()

    def note_end(self, reason: str, address: str) -> None:
        """Count a connection that is ended without an answer.

        Args:
            reason: One of ``CONNECTION_ENDS``.
            address: The client's.
        """
        CONNECTIONS_ENDED.inc(reason)
        self.ended[reason] = (self.ended.get(reason, (0, ""))[0] + 1, address)

    def report(self) -> None:
        """Log what ended since the last report: one line for each reason, however many there were."""
        for reason, (count, address) in self.ended.items():
            _log.info("connections ended", reason=reason, count=count, last_remote_addr=address)
        self.ended.clear()

    def make_room(self, newcomer: Member) -> bool:
        """End the connection that has kept us waiting longest; False when the newcomer is the only one that does."""
        longest = next(iter(self.waiting))
        if longest is newcomer:
            return False
        del self.waiting[longest]
        longest.end("room")
        return True
