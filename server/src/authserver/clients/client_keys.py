"""The keys that clients sign assertions with: registered with the client, or fetched from where it says (public API, 3.1)."""

import hashlib
from collections import OrderedDict

from authserver.clients.document_cache import ExpiringCache
from authserver.clients.records import Client
from authserver.clients.shared_fetches import DocumentUnavailable, FetchRules, SharedFetches
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.client_assertions import InvalidAssertion, UnverifiedAssertion
from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import MAX_KEY_SET_BYTES, KeySet, VerificationKey, parse_key_set
from authserver.telemetry.logs import get_logger

RENEWAL_INTERVAL = 60
LEAST_TTL = 10

_MAX_SETS = 512

_log = get_logger("clients")


class ClientKeys:
    """Finds the keys that may have signed an assertion. Key sets are parsed once and kept, per process.

    Args:
        http: Fetches key sets.
        config: The section ``cimd``, whose rules hold for key sets, too.
    """

    def __init__(self, http: OutboundClient, config: CimdConfig) -> None:
        rules = FetchRules(
            max_bytes=MAX_KEY_SET_BYTES,
            timeout=config.fetch_timeout,
            cache_ttl=config.cache_ttl,
            # Only while documents are on is the switch kept off in production.
            allow_private=config.enabled and config.allow_private_addresses,
            require_https=True,
            # Keys are fetched before anything is proved: a set that is never kept would be fetched by every stranger.
            least_ttl=LEAST_TTL,
        )
        self._fetches = SharedFetches[KeySet](http, rules, max_entries=_MAX_SETS)
        self._renewed = ExpiringCache[bool](_MAX_SETS)
        self._inline = OrderedDict[bytes, KeySet]()

    async def find(self, client: Client, assertion: UnverifiedAssertion, *, now: int) -> tuple[VerificationKey, ...]:
        """Return the keys of the client that may have signed the assertion.

        Raises:
            InvalidAssertion: There is none, or the key set cannot be had.
        """
        try:
            if client.jwks is not None:
                keys = self._read_inline(client.jwks).fitting(assertion.alg, assertion.kid)
            elif client.jwks_uri is not None:
                keys = await self._fetch(client.jwks_uri, assertion, now=now)
            else:
                raise InvalidAssertion("assertion_unexpected")
        except (DocumentUnavailable, InvalidKey) as exc:
            _log.info("keys of a client cannot be had", client_id=client.id, cause=str(exc))
            raise InvalidAssertion("assertion_keys_unavailable") from exc
        if not keys:
            raise InvalidAssertion("assertion_key_unknown")
        return keys

    async def _fetch(self, url: str, assertion: UnverifiedAssertion, *, now: int) -> tuple[VerificationKey, ...]:
        """Return the fitting keys of a set; one that lacks the name is fetched anew, once a minute at most."""
        kept = self._fetches.find(url, now=now)
        if kept is None:
            return (await self._fetches.get(url, _read, now=now)).fitting(assertion.alg, assertion.kid)
        keys = kept.fitting(assertion.alg, assertion.kid)
        if keys or assertion.kid is None or not self._may_renew(url, now=now):
            return keys
        return (await self._fetches.renew(url, _read, now=now)).fitting(assertion.alg, assertion.kid)

    def _may_renew(self, url: str, *, now: int) -> bool:
        if self._fetches.is_under_way(url):
            return True
        if self._renewed.find(url, now=now):
            return False
        self._renewed.put(url, value=True, expires_at=now + RENEWAL_INTERVAL, now=now)
        return True

    def _read_inline(self, jwks: str) -> KeySet:
        digest = hashlib.sha256(jwks.encode()).digest()
        found = self._inline.get(digest)
        if found is not None:
            self._inline.move_to_end(digest)
            return found
        keys = self._inline[digest] = parse_key_set(jwks)
        if len(self._inline) > _MAX_SETS:
            self._inline.popitem(last=False)
        return keys


def _read(body: bytes) -> KeySet:
    try:
        return parse_key_set(body)
    except InvalidKey as exc:
        raise DocumentUnavailable(str(exc)) from exc
