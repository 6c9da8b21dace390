"""Families and machine tokens, listed one kind behind the other, or as one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from authserver.admin.long_lists import Pages, read_pages
from authserver.authorization.family_store import Family, counted_families, find_family_position, list_families
from authserver.storage.database import Database, Reader
from authserver.storage.totals import Counted
from authserver.tokens.machine_store import (
    MachineToken,
    counted_machine_tokens,
    find_machine_position,
    list_machine_tokens,
)

Token = Family | MachineToken
_Read = Callable[[int, bytes | None], Awaitable[Sequence[Token]]]


@dataclass(frozen=True, slots=True)
class Listed:
    """What passes a filter; machines have no user, so that none of theirs passes one of a user."""

    db: Database
    client_id: str | None
    user_id: str | None

    @property
    def counted(self) -> tuple[Counted, ...]:
        """What to count."""
        families = counted_families(user_id=self.user_id, client_id=self.client_id)
        return (families,) if self.user_id is not None else (families, counted_machine_tokens(client_id=self.client_id))

    async def apart(self, limit: int, *, offset: int) -> Pages[Token]:
        """Yield so many families behind so many others, and then as many machine tokens, each newest first."""
        for find, read in ((self._pass_families, self._families), (self._pass_machines, self._machines)):
            position = await find(offset) if offset else None
            if position is not None or not offset:
                async for page in read_pages(_behind(read, position), limit=limit):
                    yield page

    async def together(self, limit: int, *, after: bytes | None) -> Pages[Token]:
        """Yield so many of both behind the one of an id, newest first."""

        async def read(size: int, last: Token | None) -> list[Token]:
            before = after if last is None else last.id
            both: list[Token] = [*await self._families(size, before), *await self._machines(size, before)]
            return sorted(both, key=lambda token: token.id, reverse=True)[:size]

        async for page in read_pages(read, limit=limit):
            yield page

    async def _families(self, size: int, before: bytes | None) -> list[Family]:
        return await list_families(self.db, limit=size, before=before, user_id=self.user_id, client_id=self.client_id)

    async def _machines(self, size: int, before: bytes | None) -> list[MachineToken]:
        if self.user_id is not None:
            return []

        async def read(reader: Reader) -> list[MachineToken]:
            return await list_machine_tokens(reader, limit=size, before=before, client_id=self.client_id)

        # Of one client much may be passed over.
        return await read(self.db) if self.client_id is None else await self.db.survey(read)

    async def _pass_families(self, number: int) -> bytes | None:
        return await self.db.survey(
            lambda reader: find_family_position(
                reader, passed_over=number, user_id=self.user_id, client_id=self.client_id
            )
        )

    async def _pass_machines(self, number: int) -> bytes | None:
        if self.user_id is not None:
            return None
        return await self.db.survey(
            lambda reader: find_machine_position(reader, passed_over=number, client_id=self.client_id)
        )


def _behind(read: _Read, first: bytes | None) -> Callable[[int, Token | None], Awaitable[Sequence[Token]]]:
    """Return what reads the pages behind the one of an id, each behind the last of the page before."""

    async def read_page(size: int, last: Token | None) -> Sequence[Token]:
        return await read(size, first if last is None else last.id)

    return read_page
