"""The keys that trusted providers sign with (XAA, sections 4.3 and 8): fetched, kept, and kept longer than long in need."""

from authserver.clients.document_cache import ExpiringCache
from authserver.clients.fetched_keys import MAX_SETS, FetchedKeySets
from authserver.clients.shared_fetches import DocumentUnavailable, FetchRules
from authserver.outbound.client import OutboundClient
from authserver.protocol.id_jag import UnverifiedIdJag
from authserver.protocol.jwk import SIGNATURE_ALGORITHMS, VerificationKey
from authserver.telemetry.logs import get_logger
from authserver.xaa.records import TrustedIdp

MAX_KEY_SET_BYTES = 512 * 1024
FETCH_SECONDS = 10.0

_FOR_EVER = 1 << 62

_log = get_logger("xaa")


class ProviderKeys:
    """Finds the keys of providers. Key sets are parsed once and kept, per process.

    Args:
        http: Fetches key sets; it refuses addresses that are not public.
        cache_ttl: Seconds that a set is kept, whatever its answer says.
    """

    def __init__(self, http: OutboundClient, *, cache_ttl: int) -> None:
        rules = FetchRules(
            max_bytes=MAX_KEY_SET_BYTES,
            timeout=FETCH_SECONDS,
            cache_ttl=cache_ttl,
            least_ttl=cache_ttl,
            allow_private=False,
            require_https=True,
            needs_json_type=False,
            what="provider keys",
            operation="IdP.FetchKeys",
        )
        self._sets = FetchedKeySets(http, rules, SIGNATURE_ALGORITHMS)
        self._stale = ExpiringCache[bool](MAX_SETS)
        self._versions = ExpiringCache[tuple[str, int]](MAX_SETS)

    async def find(self, idp: TrustedIdp, assertion: UnverifiedIdJag, *, now: int) -> tuple[VerificationKey, ...]:
        """Return the keys of a provider that may have signed an assertion; none when it names a key that is not there.

        Raises:
            DocumentUnavailable: The keys cannot be had, and none are kept.
        """
        self._obey(idp, now=now)
        try:
            keys = await self._sets.find(idp.jwks_uri, alg=assertion.alg, kid=assertion.kid, now=now)
        except DocumentUnavailable as exc:
            stale = self._sets.find_stale(idp.jwks_uri)
            if stale is None:
                raise
            self._tell_stale(idp, exc, now=now)
            return stale.fitting(assertion.alg, assertion.kid)
        self._stale.drop(idp.issuer)
        return keys

    async def fetch(self, idp: TrustedIdp, *, now: int) -> None:
        """Fetch the keys of a provider now.

        Raises:
            DocumentUnavailable: They cannot be had.
        """
        self._sets.forget(idp.jwks_uri)
        await self._sets.fetch(idp.jwks_uri, now=now)

    def _tell_stale(self, idp: TrustedIdp, exc: DocumentUnavailable, *, now: int) -> None:
        """Log that old keys are used: once until they can be had again, not with each assertion."""
        if self._stale.find(idp.issuer, now=now) is None:
            self._stale.put(idp.issuer, value=True, expires_at=_FOR_EVER, now=now)
            _log.warning("serving stale cache", issuer=idp.issuer, cause=str(exc))

    def _obey(self, idp: TrustedIdp, *, now: int) -> None:
        """Forget keys that were kept for an earlier version of the provider, or for another under the same issuer."""
        version = (idp.id, idp.keys_version)
        if self._versions.find(idp.issuer, now=now) != version:
            self._sets.forget(idp.jwks_uri)
            self._versions.put(idp.issuer, version, expires_at=_FOR_EVER, now=now)
