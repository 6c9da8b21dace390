"""Client ID Metadata Documents: fetched, checked and kept for a while (public API, 12; threat T19)."""

from collections.abc import Collection
from dataclasses import dataclass

import orjson

from authserver.clients.served import ServedMetadata
from authserver.clients.shared_fetches import DocumentUnavailable, FetchRules, SharedFetches
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.client_id_urls import check_client_id_url
from authserver.protocol.client_metadata import ClientMetadata, parse_metadata_document
from authserver.protocol.errors import OAuthError


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
        self._require_https = config.require_https
        self._served = served
        rules = FetchRules(
            max_bytes=config.max_document_bytes,
            timeout=config.fetch_timeout,
            cache_ttl=config.cache_ttl,
            allow_private=config.allow_private_addresses,
            require_https=config.require_https,
            is_counted=True,
        )
        self._fetches = SharedFetches[MetadataDocument](http, rules)

    async def get(self, url: str, *, held_grants: Collection[str] | None = None, now: int) -> MetadataDocument:
        """Return what the document says, fetched or remembered.

        Args:
            url: The client identifier.
            held_grants: When a stored client is refreshed, the grants it has.
            now: The time.

        Raises:
            DocumentUnavailable: It cannot be had or does not pass.
            NoFetchSlot: As many are being fetched as may be.
        """
        try:
            check_client_id_url(url, require_https=self._require_https)
        except OAuthError as exc:
            raise DocumentUnavailable(exc.description) from exc

        def read(body: bytes) -> MetadataDocument:
            return MetadataDocument(metadata=self._parse(body, url, held_grants), fetched_at=now)

        return await self._fetches.get(url, read, now=now)

    def _parse(self, body: bytes, url: str, held_grants: Collection[str] | None) -> ClientMetadata:
        try:
            metadata = parse_metadata_document(
                orjson.loads(body),
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
        return metadata
