"""The keys that clients sign assertions with: registered with the client, or fetched from where it says (public API, 3.1)."""

import hashlib
from collections import OrderedDict

from authserver.clients.fetched_keys import MAX_SETS, FetchedKeySets
from authserver.clients.records import Client
from authserver.clients.shared_fetches import DocumentUnavailable, FetchRules
from authserver.config.sections.clients import CimdConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.client_assertions import InvalidAssertion, UnverifiedAssertion
from authserver.protocol.jose import InvalidKey
from authserver.protocol.jwk import CLIENT_ALGORITHMS, MAX_KEY_SET_BYTES, KeySet, VerificationKey, parse_key_set
from authserver.telemetry.logs import get_logger

LEAST_TTL = 10

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
            operation="Client.FetchKeys",
        )
        self._fetched = FetchedKeySets(http, rules, CLIENT_ALGORITHMS)
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
                keys = await self._fetched.find(client.jwks_uri, alg=assertion.alg, kid=assertion.kid, now=now)
            else:
                raise InvalidAssertion("assertion_unexpected")
        except (DocumentUnavailable, InvalidKey) as exc:
            _log.info("keys of a client cannot be had", client_id=client.id, cause=str(exc))
            raise InvalidAssertion("assertion_keys_unavailable") from exc
        if not keys:
            raise InvalidAssertion("assertion_key_unknown")
        return keys

    def _read_inline(self, jwks: str) -> KeySet:
        digest = hashlib.sha256(jwks.encode()).digest()
        found = self._inline.get(digest)
        if found is not None:
            self._inline.move_to_end(digest)
            return found
        keys = self._inline[digest] = parse_key_set(jwks)
        if len(self._inline) > MAX_SETS:
            self._inline.popitem(last=False)
        return keys
