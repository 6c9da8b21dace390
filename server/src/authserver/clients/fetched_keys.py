"""Key sets of others by their URL: fetched, kept, and fetched anew for a key that is not in them."""

from functools import partial

from authserver.clients.document_cache import ExpiringCache
from authserver.clients.shared_fetches import DocumentUnavailable, FetchRules, SharedFetches
from authserver.outbound.client import OutboundClient
from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import MAX_TRIED_KEYS, KeySet, SignatureAlgorithm, VerificationKey, parse_key_set
from authserver.telemetry.logs import get_logger

RENEWAL_INTERVAL = 60
MAX_SETS = 512

_log = get_logger("keys")


class FetchedKeySets:
    """Finds keys in sets that are fetched. Sets are parsed once and kept, per process.

    Args:
        http: Fetches them.
        rules: What a fetch must keep to.
        algorithms: What keys are for; others are left out.
    """

    def __init__(self, http: OutboundClient, rules: FetchRules, algorithms: tuple[SignatureAlgorithm, ...]) -> None:
        self._fetches = SharedFetches[KeySet](http, rules, max_entries=MAX_SETS)
        self._renewed = ExpiringCache[bool](MAX_SETS)
        self._algorithms = algorithms

    async def find(
        self, url: str, *, alg: SignatureAlgorithm, kid: str | None, now: int
    ) -> tuple[VerificationKey, ...]:
        """Return the fitting keys of a set; one that lacks the name is fetched anew, once a minute at most.

        Raises:
            DocumentUnavailable: The set cannot be had.
        """
        kept = self._fetches.find(url, now=now)
        if kept is None:
            return (await self._fetches.get(url, partial(self._read, url), now=now)).fitting(alg, kid)
        keys = kept.fitting(alg, kid)
        if keys or kid is None or not self._may_renew(url, now=now):
            return keys
        return (await self.fetch(url, now=now)).fitting(alg, kid)

    def find_stale(self, url: str) -> KeySet | None:
        """Return a set that was fetched, however long ago."""
        return self._fetches.find_stale(url)

    def forget(self, url: str) -> None:
        """Have the next search fetch the set."""
        self._fetches.forget(url)
        self._renewed.drop(url)

    async def fetch(self, url: str, *, now: int) -> KeySet:
        """Fetch a set now.

        Raises:
            DocumentUnavailable: It cannot be had.
        """
        return await self._fetches.renew(url, partial(self._read, url), now=now)

    def _may_renew(self, url: str, *, now: int) -> bool:
        if self._fetches.is_under_way(url):
            return True
        if self._renewed.find(url, now=now):
            return False
        self._renewed.put(url, value=True, expires_at=now + RENEWAL_INTERVAL, now=now)
        return True

    def _read(self, url: str, body: bytes) -> KeySet:
        try:
            keys = parse_key_set(body, algorithms=self._algorithms)
        except InvalidKey as exc:
            raise DocumentUnavailable(str(exc)) from exc
        if len(keys.keys) > MAX_TRIED_KEYS:
            _log.warning("key set is so large that keys need names", url=url, keys=len(keys.keys), tried=MAX_TRIED_KEYS)
        return keys
