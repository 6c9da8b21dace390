"""What clients publish and the server fetches: fetched once for all who wait, kept for a while, few at once.

Anybody can make the server fetch: by naming a URL at the authorization endpoint, or by registering one for keys and
naming the client at the token endpoint. So fetches of one URL are shared, failures are remembered, only so many are under
way at once, and one slow host cannot take all their places, whatever names it goes by (public API, 12.3 and 12.4; threat
T19). All of it is per process.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlsplit

from authserver.clients.document_cache import ExpiringCache, find_lifetime
from authserver.outbound.client import Admission, OutboundClient, OutboundError, OutboundRefused, OutboundResponse
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import CIMD_FETCH_DURATION, CIMD_FETCH_SUPPRESSED
from authserver.telemetry.notes import note
from authserver.telemetry.spans import call_span
from authserver.web.limits import address_key

FAILURE_TTL = 30
FETCHES_AT_ONCE = 16
FETCHES_PER_HOST = 4
SLOT_WAIT = 2.0

_MAX_ENTRIES = 1024
_MOST_WAITING = 256
_OK = 200

_log = get_logger("cimd")

T = TypeVar("T")


class DocumentUnavailable(Exception):  # noqa: N818  an outcome that callers turn into one of their own
    """A document could not be had, or says what it may not; the cause is for the log."""


class NoFetchSlot(DocumentUnavailable):
    """Too many fetches are under way. Says nothing about the document, so it is not remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """What a fetch must keep to.

    Attributes:
        max_bytes: The largest body taken.
        timeout: Seconds for everything together.
        cache_ttl: How long something is kept at most.
        least_ttl: How long it is kept at least, whatever its answer and ``cache_ttl`` say.
        needs_json_type: Whether an answer of another media type than JSON's is refused.
        what: What is fetched, in words of the log and of traces.
        is_counted: Whether the metrics of client metadata documents count it; keys are none.
        operation: What spans call it.
    """

    max_bytes: int
    timeout: float
    cache_ttl: int
    allow_private: bool
    require_https: bool
    least_ttl: int = 0
    needs_json_type: bool = True
    what: str = "client document"
    is_counted: bool = False
    operation: str = "CIMD.Fetch"


class SharedFetches(Generic[T]):
    """Gets things of one kind by their URL.

    Args:
        http: Fetches them.
        rules: What a fetch must keep to. They are one per process, so the URL alone is the key of what is kept.
        max_entries: How many are kept, and how many failures.
    """

    def __init__(self, http: OutboundClient, rules: FetchRules, *, max_entries: int = _MAX_ENTRIES) -> None:
        self._http = http
        self._rules = rules
        self._kept = ExpiringCache[T](max_entries)
        self._failures = ExpiringCache[str](max_entries)
        self._fetches: dict[str, asyncio.Task[T]] = {}
        self._slots = _FetchSlots()

    def find(self, url: str, *, now: int) -> T | None:
        """Return what is kept."""
        return self._kept.find(url, now=now)

    def find_stale(self, url: str) -> T | None:
        """Return what is kept or was kept until lately, however old."""
        return self._kept.find_stale(url)

    def forget(self, url: str) -> None:
        """Drop what is kept of a URL, a failure included; what is under way is not kept, and joined by nobody more."""
        self._kept.drop(url)
        self._failures.drop(url)
        self._fetches.pop(url, None)

    def is_under_way(self, url: str) -> bool:
        """Tell whether a fetch of this URL can be joined."""
        return url in self._fetches

    async def get(self, url: str, read: Callable[[bytes], T], *, now: int) -> T:
        """Return what is kept, or what ``renew`` brings."""
        kept = self._kept.find(url, now=now)
        if kept is None:
            return await self.renew(url, read, now=now)
        note(f"{self._rules.what} looked for", found="in the cache")
        return kept

    async def renew(self, url: str, read: Callable[[bytes], T], *, now: int) -> T:
        """Fetch, or wait with others that do, or fail as the last fetch did a moment ago.

        A caller that goes away does not end the fetch, as others may wait for it.

        Args:
            url: What to fetch.
            read: Makes of the body what is kept; raises DocumentUnavailable when it cannot. The first caller's is used.
            now: The time.

        Raises:
            DocumentUnavailable: It cannot be had or does not pass.
            NoFetchSlot: As many are being fetched as may be.
        """
        if (failure := self._failures.find(url, now=now)) is not None:
            self._count_suppressed("negative_cache")
            note(f"{self._rules.what} looked for", found=f"a failure that is remembered for {FAILURE_TTL} s")
            raise DocumentUnavailable(failure)
        fetch = self._fetches.get(url)
        if fetch is not None:
            self._count_suppressed("single_flight")
        elif len(self._fetches) >= _MOST_WAITING:
            self._count_suppressed("capacity")
            raise NoFetchSlot("too many fetches are waited for")
        else:
            fetch = self._start(url, read, now)
        note(f"{self._rules.what} looked for", found="not in the cache, so it is fetched")
        return await asyncio.shield(fetch)

    def _start(self, url: str, read: Callable[[bytes], T], now: int) -> asyncio.Task[T]:
        task = asyncio.create_task(self._fetch_in_turn(url, read, now))
        self._fetches[url] = task
        task.add_done_callback(lambda done: self._finish(url, done))
        return task

    def _finish(self, url: str, task: asyncio.Task[T]) -> None:
        if self._fetches.get(url) is task:
            del self._fetches[url]
        # Looked at also when every caller went away.
        if not task.cancelled() and isinstance(task.exception(), NoFetchSlot):
            self._count_suppressed("capacity")

    def _count_suppressed(self, reason: str) -> None:
        if self._rules.is_counted:
            CIMD_FETCH_SUPPRESSED.inc(reason)

    async def _fetch_in_turn(self, url: str, read: Callable[[bytes], T], now: int) -> T:
        async with self._slots.taken(urlsplit(url).hostname or "") as admission:
            try:
                response = await self._request(url, admission)
                _check_answer(response, needs_json_type=self._rules.needs_json_type)
                value = read(response.body)
            except NoFetchSlot:
                raise
            except DocumentUnavailable as exc:
                if not self._is_current(url):
                    raise
                self._failures.put(url, str(exc), expires_at=now + FAILURE_TTL, now=now)
                _log.debug(f"{self._rules.what} refused", url=url, cause=str(exc))
                raise
        if self._is_current(url):
            lifetime = find_lifetime(response.headers, most=self._rules.cache_ttl, now=now)
            self._kept.put(url, value, expires_at=now + max(lifetime, self._rules.least_ttl), now=now)
        return value

    def _is_current(self, url: str) -> bool:
        """Tell whether the fetch that asks is still the one for its URL; not when somebody said to forget it."""
        return self._fetches.get(url) is asyncio.current_task()

    async def _request(self, url: str, admission: Admission) -> OutboundResponse:
        rules = self._rules
        clock = asyncio.get_running_loop().time
        began = clock()

        @asynccontextmanager
        async def admitted(address: str) -> AsyncIterator[None]:
            nonlocal began
            asked = clock()
            async with admission(address):
                began += clock() - asked
                yield

        try:
            with call_span(rules.operation) as fetching:
                response = await self._http.get(
                    url,
                    accept="application/json",
                    max_bytes=rules.max_bytes,
                    timeout=rules.timeout,
                    allow_private=rules.allow_private,
                    require_https=rules.require_https,
                    admission=admitted,
                )
                fetching.set("http.status_code", response.status)
        except OutboundRefused as exc:
            raise DocumentUnavailable(f"fetch refused: {exc.cause}") from exc
        except OutboundError as exc:
            self._measure(clock() - began)
            raise DocumentUnavailable(f"fetch failed: {exc.cause}") from exc
        self._measure(clock() - began)
        return response

    def _measure(self, seconds: float) -> None:
        if self._rules.is_counted:
            CIMD_FETCH_DURATION.observe(seconds)


class _FetchSlots:
    """Places for fetches: sixteen in all, four of them for one host and for one address at most.

    Names are looked up in sixteen places of their own, as only then it is known whether many names are one server.
    """

    def __init__(self) -> None:
        self._lookups = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._fetches = asyncio.Semaphore(FETCHES_AT_ONCE)
        self._hosts = _Shares()
        self._addresses = _Shares()

    @asynccontextmanager
    async def taken(self, host: str) -> AsyncIterator[Admission]:
        """Wait for a place, in the order of the callers, and hold it. Yields what waits for a place at an address.

        Raises:
            NoFetchSlot: There was none for two seconds; of the latter, too.
        """
        # The share first, here and below: whoever waits for a slow host holds no place that others could use.
        with self._hosts.lent(host) as share:
            async with _places(share), AsyncExitStack() as lookup:
                await lookup.enter_async_context(_places(self._lookups))

                @asynccontextmanager
                async def admission(address: str) -> AsyncIterator[None]:
                    await lookup.aclose()
                    with self._addresses.lent(address_key(address)) as at_address:
                        async with _places(at_address, self._fetches):
                            yield

                yield admission


@asynccontextmanager
async def _places(*semaphores: asyncio.Semaphore) -> AsyncIterator[None]:
    async with AsyncExitStack() as held:
        try:
            async with asyncio.timeout(SLOT_WAIT):
                for semaphore in semaphores:
                    await held.enter_async_context(semaphore)
        except TimeoutError as exc:
            raise NoFetchSlot("too many fetches are under way") from exc
        yield


class _Shares:
    """What one host or address may have of the places. Each is there as long as somebody uses it."""

    def __init__(self) -> None:
        self._shares: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextmanager
    def lent(self, key: str) -> Iterator[asyncio.Semaphore]:
        """Lend the semaphore of a host or an address."""
        share, users = self._shares.get(key) or (asyncio.Semaphore(FETCHES_PER_HOST), 0)
        self._shares[key] = (share, users + 1)
        try:
            yield share
        finally:
            share, users = self._shares[key]
            if users > 1:
                self._shares[key] = (share, users - 1)
            else:
                del self._shares[key]


def _check_answer(response: OutboundResponse, *, needs_json_type: bool) -> None:
    if response.status != _OK:
        raise DocumentUnavailable(f"it was answered with status {response.status}")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    top, _, sub = media_type.partition("/")
    if needs_json_type and (top != "application" or not (sub == "json" or sub.endswith("+json"))):
        raise DocumentUnavailable("its content type is not JSON")
