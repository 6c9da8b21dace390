"""The refresh token grant, with rotation, reuse detection and one retry of a lost answer (public API §10)."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.records import Authorization, KeptAnswer, RefreshToken
from authserver.authorization.store import (
    consume_refresh_token,
    find_refresh_token,
    find_refresh_token_and_client,
    find_spent_refresh_token,
    insert_refresh_token,
    rotate_family,
)
from authserver.clients.records import Client
from authserver.encryption.sealing import open_sealed, seal
from authserver.protocol.errors import InvalidGrant, OAuthError, UnauthorizedClient
from authserver.protocol.grant_types import REFRESH_TOKEN
from authserver.protocol.identifiers import TokenHash, hash_token, new_secret, spell_id
from authserver.protocol.scopes import choose_refresh_scopes
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import REFRESH_TOKEN_RETRIES, REFRESH_TOKEN_REUSE, TOKENS_REFRESHED, Counter
from authserver.telemetry.notes import note
from authserver.tokens.families import Families, ReusePath
from authserver.tokens.grants.entry import GrantEntry, GrantParts
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, TokenRequest, TokenResponse
from authserver.tokens.responses import build_token_response, parse_token_response
from authserver.tokens.store import append_issuance
from authserver.tokens.targets import check_target
from authserver.web.forms import Form

_log = get_logger("token")

_KEPT_DIGESTS = 64
_REVOKED = "token family revoked due to reuse detection"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTokenGrant:
    """Trades a refresh token for its successor and a new access token.

    Attributes:
        token_lifetime: Seconds, of access tokens.
        refresh_lifetime: Seconds, of one refresh token; each rotation starts anew.
        grace: Seconds within which a just-rotated token gets the same answer again; 0 is strict.
        max_lifetime: Seconds a family may live from the redemption of its code; 0 is without end.
    """

    allows_public_clients: ClassVar[bool] = True
    needs_registration: ClassVar[bool] = False
    denied: ClassVar[Action] = Action.TOKEN_REFRESH_DENIED
    denied_total: ClassVar[Counter | None] = None

    db: Database
    issuer: TokenIssuer
    catalog: ResourceCatalog
    families: Families
    proofs: ProofChecker
    trail: AuditTrail
    token_lifetime: int
    refresh_lifetime: int
    grace: int
    max_lifetime: int

    def check_form(self, form: Form) -> None:
        """Check that the request has what the grant needs (step 1)."""
        form.required("refresh_token")

    async def find_client(self, request: TokenRequest, client_id: str) -> Client | None:
        """Look the client up, and in the same read the refresh token."""
        token_hash = hash_token(request.form.required("refresh_token"))
        request.refresh_token, client = await find_refresh_token_and_client(self.db, token_hash, client_id)
        request.is_read_with_client = True
        return client

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Rotate the refresh token of the request (steps 3 to 14)."""
        request = await self.proofs.check(request, client=client, now=now)  # 3
        presented = request.form.required("refresh_token")
        token = request.refresh_token
        if not request.is_read_with_client:
            token = await find_refresh_token(self.db, hash_token(presented))
        if token is None:  # 4
            note("refresh token looked up", found="no such token")
            raise InvalidGrant(reason="refresh_token_unknown", audited=not client.is_public)
        if token.expires_at <= now:
            note("refresh token looked up", found="expired", seconds=now - token.expires_at)
            raise InvalidGrant(reason="refresh_token_unknown")
        family = token.family
        self._note_state(token, now=now)
        if family.client_id != client.id:  # 5
            raise InvalidGrant(reason="client_mismatch")
        self._check_family(family, now=now)  # 6
        if not client.has_grant(REFRESH_TOKEN):  # 7
            raise UnauthorizedClient(
                "client is not authorized for this grant type: the client is not registered for the refresh_token grant",
                reason="grant_not_registered",
            )
        if token.consumed_at is not None:  # 8
            return await self._spent(token.token_hash, presented, request, now=now)
        if family.dpop_jkt is not None and family.dpop_jkt != request.jkt:  # 9
            raise InvalidGrant(reason="dpop_key_mismatch")
        await check_target(request.form, family, catalog=self.catalog)  # 10
        requested = request.form.get("scope")  # 11
        note("scope compared", requested=requested, expected=family.scope, ceiling=client.scope)
        scopes = choose_refresh_scopes(requested, family=family.scopes, ceiling=client.scopes)
        if not token.user_is_active:  # 12
            raise InvalidGrant(reason="user_inactive")
        return await self._rotate(token, presented, request, scopes, client=client, now=now)  # 13, 14

    def _note_state(self, token: RefreshToken, *, now: int) -> None:
        family = token.family
        note(
            "refresh token looked up",
            found=_describe(token),
            expected=family.client_id,
            user_id=family.user_id,
            seconds=now - token.consumed_at if token.consumed_at is not None else token.expires_at - now,
        )

    def _check_family(self, family: Authorization, *, now: int) -> None:
        if family.revoked_at is not None:
            raise InvalidGrant(_REVOKED, reason="family_revoked")
        if self.max_lifetime and now >= (family.consumed_at or 0) + self.max_lifetime:
            raise InvalidGrant(reason="family_lifetime_passed")

    async def _rotate(
        self,
        token: RefreshToken,
        presented: str,
        request: TokenRequest,
        scopes: tuple[str, ...],
        *,
        client: Client,
        now: int,
    ) -> TokenResponse:
        """Sign, then spend the token, and write the successor and the sealed answer in the same transaction."""
        family = token.family
        spec = TokenSpec(
            kind=IssuanceKind.USER,
            subject=family.user_id,
            client=client,
            scopes=scopes,
            resource_id=family.resource_id,
            resource=family.resource,
            lifetime=self.token_lifetime,
            jkt=request.jkt,
            authorization_id=family.id,
            consent_client_id=client.id,
            sign_in=family.sign_in,
        )
        minted = await self.issuer.mint(spec, now=now)
        successor = new_secret()
        response = TokenResponse(
            access_token=minted.access_token,
            token_type=minted.token_type,
            expires_in=minted.expires_in,
            scope=" ".join(scopes),
            refresh_token=successor,
        )
        sealed = seal(presented, token.token_hash, build_token_response(response)) if self.grace else None
        retry_request = _digest(request) if self.grace else None
        event = AuditEvent(
            Action.TOKEN_REFRESHED, actor_id=family.user_id, client_id=client.id, detail=detail(family=family.id)
        )

        async def rotate(tx: Writer) -> bool:
            if not await consume_refresh_token(tx, token.token_hash, now=now):
                return False
            if not await rotate_family(
                tx,
                family.id,
                spent=token.token_hash,
                retry_request=retry_request,
                retry_response=sealed,
                now=now,
            ):
                return False
            await insert_refresh_token(
                tx, hash_token(successor), family_id=family.id, now=now, expires_at=self._expiry(family, now=now)
            )
            await append_issuance(tx, minted.issuance)
            await self.trail.append(tx, event, now=now)
            return True

        if not await self.proofs.write(request, rotate, now=now):
            return await self._spent(token.token_hash, presented, request, now=now)
        TOKENS_REFRESHED.inc()
        note_agent(minted)
        self._log("tokens refreshed", family, token_type=minted.token_type)
        return response

    def _expiry(self, family: Authorization, *, now: int) -> int:
        expires_at = now + self.refresh_lifetime
        if self.max_lifetime:
            expires_at = min(expires_at, (family.consumed_at or now) + self.max_lifetime)
        return expires_at

    async def _spent(self, token_hash: TokenHash, presented: str, request: TokenRequest, *, now: int) -> TokenResponse:
        """Answer for a token that was spent: long ago, or while this request was served.

        It is read once more, with what its family keeps; and a revocation can have come in between.
        """
        found = await find_spent_refresh_token(self.db, token_hash)
        if found is None:
            raise InvalidGrant(reason="refresh_token_unknown")
        token, kept = found
        self._check_family(token.family, now=now)
        return await self._repeat(token, kept, presented, request, now=now)

    async def _repeat(
        self, token: RefreshToken, kept: KeptAnswer, presented: str, request: TokenRequest, *, now: int
    ) -> TokenResponse:
        """Answer for a token that was spent: the same answer to a retry, the end of the family to anything else.

        Raises:
            InvalidGrant: It is reuse; so is a retry for a user who may no longer act.
        """
        await self.proofs.settle(request, now=now)
        note("retry looked for", setting=f"oauth.refresh_grace={self.grace}s")
        answer = self._open(kept, token, presented, request, now=now)
        if answer is None or not token.user_is_active:
            raise await self._reused(token, now=now)
        REFRESH_TOKEN_RETRIES.inc()
        event = AuditEvent(
            Action.TOKEN_REFRESH_RETRIED,
            actor_id=token.family.user_id,
            client_id=token.family.client_id,
            detail=detail(family=token.family.id),
        )
        await self.trail.record(event, now=now)
        self._log("refresh token retried — same answer repeated", token.family)
        return answer

    def _open(
        self, kept: KeptAnswer, token: RefreshToken, presented: str, request: TokenRequest, *, now: int
    ) -> TokenResponse | None:
        """Return the stored answer if this is a retry (storage.md §4.1), else None.

        The family keeps the answer of its last rotation alone, so a token whose successor was used finds none.
        """
        if kept.token_hash != token.token_hash or kept.response is None or kept.rotated_at is None:
            return None
        # Either way: a clock that was set back must not prolong it.
        if abs(now - kept.rotated_at) > self.grace or kept.request != _digest(request):
            return None
        body = open_sealed(presented, token.token_hash, kept.response)
        return parse_token_response(body) if body is not None else None

    async def _reused(self, token: RefreshToken, *, now: int) -> OAuthError:
        REFRESH_TOKEN_REUSE.inc()
        await self.families.revoke_after_reuse(token.family, ReusePath.REFRESH, now=now, token_hash=token.token_hash)
        return InvalidGrant(_REVOKED, reason="refresh_token_reused")

    def _log(self, event: str, family: Authorization, **fields: str) -> None:
        _log.info(event, client_id=family.client_id, user_id=family.user_id, family_id=spell_id(family.id), **fields)


def _describe(token: RefreshToken) -> str:
    """Return the state of a token in words."""
    if token.family.revoked_at is not None:
        return "its family is revoked"
    return "in force" if token.consumed_at is None else "used before"


def _digest(request: TokenRequest) -> bytes:
    """Return what makes two refresh requests the same: scopes, resource and key (ruling R2)."""
    return _digest_of(request.form.get("scope") or "", tuple(request.form.values("resource")), request.jkt or "")


@lru_cache(maxsize=_KEPT_DIGESTS)
def _digest_of(scope: str, resources: tuple[str, ...], jkt: str) -> bytes:
    # Most requests say nothing of all this, and those of a client the same each time.
    scopes, resource = " ".join(sorted(set(scope.split()))), "\n".join(sorted(set(resources)))
    return hashlib.sha256(f"{scopes}\0{resource}\0{jkt}".encode()).digest()


def _build(parts: GrantParts) -> RefreshTokenGrant:
    return RefreshTokenGrant(
        db=parts.db,
        issuer=parts.issuer,
        catalog=parts.catalog,
        families=parts.families,
        proofs=parts.proofs,
        trail=parts.trail,
        token_lifetime=parts.config.dcr.default_token_expiry,
        refresh_lifetime=parts.config.dcr.default_refresh_expiry,
        grace=parts.config.oauth.refresh_grace,
        max_lifetime=parts.config.oauth.refresh_max_lifetime,
    )


ENTRY = GrantEntry(grant_type=REFRESH_TOKEN, operation="TokenService.RefreshToken", build=_build)
