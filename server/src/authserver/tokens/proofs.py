"""Proofs of possession at the token endpoint (RFC 9449 §5): checked at the moment that each grant has for them, spent once.

A proof is spent by a row. It is written in the transaction in which the grant spends what it spends, so that a request costs
one commit; whatever else becomes of the request, it is written before the answer leaves (decision 0018).
"""

from collections.abc import Awaitable, Callable, Iterable
from functools import lru_cache
from typing import TypeVar, cast
from urllib.parse import urlsplit

from authserver.clients.records import Client
from authserver.config.durations import spell_duration
from authserver.config.issuer import is_localhost_issuer
from authserver.config.model import Config
from authserver.protocol.dpop import InvalidProof, Proof, fold_url, read_proof
from authserver.protocol.errors import InvalidDpopProof, InvalidRequest, OAuthError, UseDpopNonce
from authserver.protocol.identifiers import base64url, hash_token
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import Database, FirstUse, Writer
from authserver.telemetry.metrics import DPOP_PROOFS_REJECTED, DPOP_PROOFS_VALIDATED
from authserver.telemetry.notes import note
from authserver.tokens.dpop_nonces import DpopNonces
from authserver.tokens.records import TokenRequest

T = TypeVar("T")

_METHOD = "POST"
_INVALID = "DPoP proof is invalid"
_REPLAYED = "DPoP proof jti has already been used"
_NO_NONCE = "server nonce is required in DPoP proof"
_OTHER_NONCE = "DPoP proof nonce does not match server-issued nonce"
_KEPT_HOSTS = 32
_PROOFS = FirstUse(table="dpop_jtis", columns=("jkt", "jti"))


class ProofChecker:
    """Checks the proof that comes with a token request, and spends it."""

    def __init__(self, db: Database, catalog: ResourceCatalog, config: Config) -> None:
        """Take where spent proofs are remembered, the Resources, and the configuration.

        Raises:
            ValueError: Proofs are served, and the session secret is empty.
        """
        self._db = db
        self._catalog = catalog
        self._require_nonce = config.dpop.require_nonce
        self._lifetime = config.dpop.proof_lifetime
        self._nonces: DpopNonces | None = None
        if config.dpop.enabled:
            self._nonces = DpopNonces(config.session.secret.reveal().encode(), lifetime=config.dpop.nonce_ttl)
        self._endpoint = f"{config.server.issuer}/oauth/token"
        path = urlsplit(config.server.issuer).path
        paths = {f"{path}/oauth/token"}
        if config.server.root_aliases:
            # Who ignores the metadata signs what it calls (ruling R43).
            paths |= {f"{path}/token", "/token"}
        origin = config.server.issuer.removesuffix(path)
        self._urls = _folded(f"{origin}{path}" for path in paths)
        # A developer's own machine has more names than its issuer tells.
        self._local_paths = frozenset(paths if is_localhost_issuer(config.server.issuer) else ())

    def fresh_nonce(self, now: int) -> str | None:
        """Return the nonce for the answer to a request with a proof; None when proofs are not served."""
        return self._nonces.new(now) if self._nonces is not None else None

    async def check(self, request: TokenRequest, *, client: Client, now: int) -> TokenRequest:
        """Check the proof, if any, and return the request with the key that it proves to hold (tokens.md §6.3).

        It is not spent yet: that happens in ``write``, or in ``settle`` when the grant has nothing to write, or acts on what
        a replay must not reach.

        Raises:
            InvalidDpopProof: The proof does not hold.
            UseDpopNonce: It must carry a nonce of this server that is still good.
            InvalidRequest: There is none, and the client registered to send one with every request.
            StorageUnavailable: What the Resources demand cannot be read.
        """
        await self._catalog.load()
        if self._nonces is None or not request.proofs:
            self._check_demand(client)
            return request
        # Whoever says to be a public client can send any proof.
        is_audited = not client.is_public
        proof = self._read(request, is_audited=is_audited, now=now)
        self._check_nonce(self._nonces, proof, is_audited=is_audited, now=now)
        # Hashed, so that a row has a length that every index takes, whatever a client chooses.
        request.proof_key = (proof.jkt, base64url(hash_token(proof.jti)))
        request.proof_expires_at = now + 2 * self._lifetime
        request.jkt = proof.jkt
        return request

    def write(self, request: TokenRequest, transaction: Callable[[Writer], Awaitable[T]], *, now: int) -> Awaitable[T]:
        """Run what a grant writes, as ``Database.write``, and spend the proof before it in the same commit.

        Raises:
            InvalidDpopProof: The proof was spent before; nothing was written.
            StorageUnavailable: Nothing was spent or written.
        """
        key = request.proof_key
        if key is None or request.is_proof_spent:
            return self._db.write(transaction)
        return self._spend_and_write(request, key, transaction, now=now)

    async def _spend_and_write(
        self, request: TokenRequest, key: tuple[str, ...], transaction: Callable[[Writer], Awaitable[T]], *, now: int
    ) -> T:
        # The annotation is a text, or each request would make the type.
        async def spend(tx: Writer) -> "tuple[bool, T | None]":
            if not await tx.claim(_PROOFS, *key, request.proof_expires_at, now):
                return False, None
            return True, await transaction(tx)

        # What is done is what the grant does.
        spend.__qualname__ = getattr(transaction, "__qualname__", spend.__qualname__)
        is_new, result = await self._db.write(spend)
        self._close(request, is_new=is_new)
        return cast("T", result)

    async def settle(self, request: TokenRequest, *, now: int) -> None:
        """Spend the proof, if there is one that was checked and is not spent.

        Raises:
            InvalidDpopProof: It was spent before.
            StorageUnavailable: Whether it was cannot be told.
        """
        if request.proof_key is not None and not request.is_proof_spent:
            await self.write(request, _write_nothing, now=now)

    async def settle_refused(self, request: TokenRequest, refusal: OAuthError, *, now: int) -> OAuthError:
        """Spend the proof of a request that was refused after its proof was checked; return the refusal to answer with.

        That of the proof comes first, as its check does. What anybody can send for free leaves no row of a proof either
        (threat X7): nothing was had with it.
        """
        key = request.proof_key
        if key is None or request.is_proof_spent:
            return refusal
        try:
            if refusal.audited:
                await self.settle(request, now=now)
            else:
                sql = "SELECT 1 AS found FROM dpop_jtis WHERE jkt = $1 AND jti = $2 AND expires_at >= $3"
                self._close(request, is_new=await self._db.fetch_one(sql, *key, now) is None)
        except InvalidDpopProof as exc:
            exc.audited = refusal.audited
            return exc
        return refusal

    def _read(self, request: TokenRequest, *, is_audited: bool, now: int) -> Proof:
        urls = self._urls
        if self._local_paths and request.host:
            urls |= _at_host(request.host, self._local_paths)
        try:
            return read_proof(request.proofs, method=_METHOD, urls=urls, lifetime=self._lifetime, now=now)
        except InvalidProof as exc:
            note(
                "proof of possession read",
                requested=exc.named,
                expected=self._endpoint,
                seconds=exc.age,
                setting=f"dpop.proof_lifetime={spell_duration(self._lifetime)}",
            )
            DPOP_PROOFS_REJECTED.inc("invalid_proof")
            raise InvalidDpopProof(_INVALID, reason=exc.reason, audited=is_audited) from exc

    def _check_nonce(self, nonces: DpopNonces, proof: Proof, *, is_audited: bool, now: int) -> None:
        if not self._require_nonce:
            return
        if not proof.nonce:
            DPOP_PROOFS_REJECTED.inc("nonce_required")
            raise UseDpopNonce(_NO_NONCE, reason="dpop_nonce_missing", audited=is_audited)
        if not nonces.is_live(proof.nonce, now):
            DPOP_PROOFS_REJECTED.inc("nonce_mismatch")
            raise UseDpopNonce(_OTHER_NONCE, reason="dpop_nonce_unknown", audited=is_audited)

    def _check_demand(self, client: Client) -> None:
        """Refuse to hand an unbound token to a client that registered for bound ones (RFC 9449 §5.2)."""
        if not client.dpop_bound_access_tokens:
            return
        if self._nonces is None:
            note("proofs of possession are switched off", client_id=client.id, setting="dpop.enabled=false")
        raise InvalidRequest(
            "the client is registered with dpop_bound_access_tokens: a DPoP proof is required",
            reason="dpop_proof_missing",
            audited=not client.is_public,
        )

    def _close(self, request: TokenRequest, *, is_new: bool) -> None:
        request.is_proof_spent = True
        if not is_new:
            DPOP_PROOFS_REJECTED.inc("replay")
            raise InvalidDpopProof(_REPLAYED, reason="dpop_replayed")
        DPOP_PROOFS_VALIDATED.inc("valid")


async def _write_nothing(_tx: Writer) -> None:
    """Leave it at the proof, which is spent in the same commit."""


@lru_cache(maxsize=_KEPT_HOSTS)
def _at_host(host: str, paths: frozenset[str]) -> frozenset[str]:
    return _folded(f"http://{host}{path}" for path in paths)


def _folded(urls: Iterable[str]) -> frozenset[str]:
    return frozenset(folded for url in urls if (folded := fold_url(url)) is not None)
