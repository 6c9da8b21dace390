"""Client ID Metadata Documents: fetched, checked and kept for a while (public API, 12; threat T19).

Anybody can make the server fetch by naming a URL at the authorization endpoint, so fetches of one URL are shared, failures
are remembered, and only so many are under way at once. All of it is per process.
"""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

import orjson

from authserver.clients.document_cache import ExpiringCache, find_lifetime
from authserver.clients.served import ServedMetadata
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient, OutboundError, OutboundRefused, OutboundResponse
from authserver.protocol.client_id_urls import check_client_id_url
from authserver.protocol.client_metadata import ClientMetadata, parse_metadata_document
from authserver.protocol.errors import OAuthError
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import CIMD_FETCH_DURATION, CIMD_FETCH_SUPPRESSED

FAILURE_TTL = 30
FETCHES_AT_ONCE = 16
SLOT_WAIT = 2.0
_MOST_WAITING = 256

_MAX_ENTRIES = 1024
_OK = 200

_log = get_logger("cimd")


class DocumentUnavailable(Exception):  # noqa: N818  an outcome that callers turn into one of their own
    """A document could not be had, or says what it may not; the cause is for the log."""


class NoFetchSlot(DocumentUnavailable):
    """Too many fetches are under way. Says nothing about the document, so it is not remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataDocument:
    """What a document said when it was read."""

    metadata: ClientMetadata
    fetched_at: int


class MetadataDocuments:
    """Gets documents by the URL that is the client's identifier.

    Args:
        http: Fetches them.
        config: The section ``cimd``.
        served: What a document may ask for.
    """

    def __init__(self, http: OutboundClient, config: CimdConfig, served: ServedMetadata) -> None:
        self._http = http
        self._config = config
        self._served = served
        # The address policy, which is part of the key by the specification, is one per process.
        self._documents = ExpiringCache[MetadataDocument](_MAX_ENTRIES)
        self._failures = ExpiringCache[str](_MAX_ENTRIES)
        self._fetches: dict[str, asyncio.Task[MetadataDocument]] = {}
        self._slots = asyncio.Semaphore(FETCHES_AT_ONCE)

    async def get(self, url: str, *, held_grants: Collection[str] | None = None, now: int) -> MetadataDocument:
        """Return what the document says, fetched or remembered.

        A caller that goes away does not end the fetch, as others may wait for it.

        Args:
            url: The client identifier.
            held_grants: When a stored client is refreshed, the grants it has.
            now: The time.

        Raises:
            DocumentUnavailable: It cannot be had or does not pass.
            NoFetchSlot: As many are being fetched as may be.
        """
        try:
            check_client_id_url(url, require_https=self._config.require_https)
        except OAuthError as exc:
            raise DocumentUnavailable(exc.description) from exc
        if (document := self._documents.find(url, now=now)) is not None:
            return document
        if (failure := self._failures.find(url, now=now)) is not None:
            CIMD_FETCH_SUPPRESSED.inc("negative_cache")
            raise DocumentUnavailable(failure)
        fetch = self._fetches.get(url)
        if fetch is None:
            if len(self._fetches) >= _MOST_WAITING:
                CIMD_FETCH_SUPPRESSED.inc("capacity")
                raise NoFetchSlot("too many fetches are waited for")
            fetch = self._start(url, held_grants, now)
        else:
            CIMD_FETCH_SUPPRESSED.inc("single_flight")
        return await asyncio.shield(fetch)

    def _start(self, url: str, held_grants: Collection[str] | None, now: int) -> asyncio.Task[MetadataDocument]:
        task = asyncio.create_task(self._fetch_shared(url, held_grants, now))
        self._fetches[url] = task
        task.add_done_callback(lambda done: self._finish(url, done))
        return task

    def _finish(self, url: str, task: asyncio.Task[MetadataDocument]) -> None:
        del self._fetches[url]
        if not task.cancelled():
            task.exception()  # seen, also when every caller went away

    async def _fetch_shared(self, url: str, held_grants: Collection[str] | None, now: int) -> MetadataDocument:
        try:
            async with asyncio.timeout(SLOT_WAIT):
                await self._slots.acquire()
        except TimeoutError as exc:
            CIMD_FETCH_SUPPRESSED.inc("capacity")
            raise NoFetchSlot("too many fetches are under way") from exc
        try:
            return await self._fetch(url, held_grants, now)
        except DocumentUnavailable as exc:
            self._failures.put(url, str(exc), expires_at=now + FAILURE_TTL, now=now)
            _log.debug("client metadata document refused", url=url, cause=str(exc))
            raise
        finally:
            self._slots.release()

    async def _fetch(self, url: str, held_grants: Collection[str] | None, now: int) -> MetadataDocument:
        response = await self._request(url)
        _check_answer(response)
        try:
            metadata = parse_metadata_document(
                orjson.loads(response.body),
                url=url,
                served_grants=self._served.grant_types,
                served_auth_methods=self._served.auth_methods,
                held_grants=held_grants,
            )
            self._served.check(metadata)
        except orjson.JSONDecodeError as exc:
            raise DocumentUnavailable("it is not JSON") from exc
        except OAuthError as exc:
            raise DocumentUnavailable(exc.description) from exc
        lifetime = find_lifetime(response.headers, most=self._config.cache_ttl, now=now)
        document = MetadataDocument(metadata=metadata, fetched_at=now)
        self._documents.put(url, document, expires_at=now + lifetime, now=now)
        return document

    async def _request(self, url: str) -> OutboundResponse:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            response = await self._http.get(
                url,
                accept="application/json",
                max_bytes=self._config.max_document_bytes,
                timeout=self._config.fetch_timeout,
                allow_private=self._config.allow_private_addresses,
                require_https=self._config.require_https,
            )
        except OutboundRefused as exc:
            raise DocumentUnavailable(f"fetch refused: {exc.cause}") from exc
        except OutboundError as exc:
            CIMD_FETCH_DURATION.observe(clock() - began)
            raise DocumentUnavailable(f"fetch failed: {exc.cause}") from exc
        CIMD_FETCH_DURATION.observe(clock() - began)
        return response


def _check_answer(response: OutboundResponse) -> None:
    if response.status != _OK:
        raise DocumentUnavailable(f"it was answered with status {response.status}")
    media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    top, _, sub = media_type.partition("/")
    if top != "application" or not (sub == "json" or sub.endswith("+json")):
        raise DocumentUnavailable("its content type is not JSON")
