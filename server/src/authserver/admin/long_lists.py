"""Lists of any length, answered as they are read: a page in memory at a time, and everybody else's turn between two."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TypeVar

import orjson

from authserver.storage.database import StorageUnavailable
from authserver.telemetry.logs import get_logger
from authserver.web.http import JSON, NO_STORE, HttpResponse
from authserver.web.streaming import Rest, Stream

_log = get_logger("admin")

T = TypeVar("T")

_PAGE = 200
_WHOLE = 500
_HEADERS = (JSON, NO_STORE)

Pages = AsyncGenerator[Sequence[T], None]


async def read_pages(read: Callable[[int, T | None], Awaitable[Sequence[T]]], *, limit: int | None = None) -> Pages[T]:
    """Yield the pages of a list, none of them empty.

    Args:
        read: Returns a page: at most so many, behind the last one of the page before.
        limit: How many at most.
    """
    last: T | None = None
    while limit is None or limit > 0:
        size = _PAGE if limit is None else min(limit, _PAGE)
        page = await read(size, last)
        if page:
            yield page
        if len(page) < size:
            return
        last = page[-1]
        limit = None if limit is None else limit - size


async def answer_list(
    pages: Pages[T], build: Callable[[T], object], *, before: bytes = b"[", behind: bytes = b"]"
) -> HttpResponse:
    """Return a JSON array of what pages hold: in one piece when they are few.

    Args:
        pages: What is listed.
        build: Makes an object of one.
        before: What the body begins with, to the bracket.
        behind: What it ends with, from the bracket on.
    """
    parts: list[bytes] = []
    number = 0
    async for page in pages:
        parts.append(_spell(page, build))
        number += len(page)
        if number > _WHOLE:
            return HttpResponse(200, before + b",".join(parts), _HEADERS, Rest(_rest(pages, build, behind)))
    return HttpResponse(200, before + b",".join(parts) + behind, _HEADERS)


async def _rest(pages: Pages[T], build: Callable[[T], object], behind: bytes) -> Stream:
    """Yield the rest of an array; without its end when the database went away, so that nobody takes it for whole."""
    try:
        async for page in pages:
            yield b"," + _spell(page, build)
    except StorageUnavailable as exc:
        _log.error("database does not answer, a list was cut off", error=str(exc))
        return
    yield behind


def _spell(page: Sequence[T], build: Callable[[T], object]) -> bytes:
    return orjson.dumps([build(each) for each in page])[1:-1]
