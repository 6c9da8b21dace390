"""The authorization code grant (RFC 6749 §4.1.3, OAuth 2.1 §4.1.3)."""

from dataclasses import dataclass
from typing import ClassVar

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.records import Authorization, IssuedCode
from authserver.authorization.store import consume_code, find_code, insert_refresh_token
from authserver.clients.records import Client
from authserver.protocol.errors import InvalidGrant, InvalidRequest, InvalidScope, OAuthError
from authserver.protocol.grant_types import AUTHORIZATION_CODE, REFRESH_TOKEN
from authserver.protocol.identifiers import TokenHash, hash_token, new_secret, spell_id
from authserver.protocol.pkce import check_code_verifier
from authserver.protocol.scopes import find_outside
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AUTH_CODE_REUSE, TOKENS_ISSUED, Counter
from authserver.telemetry.notes import note
from authserver.tokens.families import Families, ReusePath
from authserver.tokens.grants.entry import GrantEntry, GrantParts
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, Minted, TokenRequest, TokenResponse
from authserver.tokens.store import append_issuance
from authserver.tokens.targets import check_target
from authserver.web.forms import Form

_log = get_logger("token")

_SPENT = "authorization code has already been used"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCodeGrant:
    """Trades an authorization code for tokens, once.

    Attributes:
        token_lifetime: Seconds, of access tokens.
        refresh_lifetime: Seconds, of one refresh token.
    """

    allows_public_clients: ClassVar[bool] = True
    needs_registration: ClassVar[bool] = False
    denied: ClassVar[Action] = Action.TOKEN_ISSUE_DENIED
    denied_total: ClassVar[Counter | None] = None

    db: Database
    issuer: TokenIssuer
    catalog: ResourceCatalog
    families: Families
    proofs: ProofChecker
    trail: AuditTrail
    token_lifetime: int
    refresh_lifetime: int

    def check_form(self, form: Form) -> None:
        """Check that the request has what the grant needs (step 1)."""
        form.required("code")
        form.required("code_verifier")

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Redeem the code of the request (public API §8.2, steps 3 to 11)."""
        request = await self.proofs.check(request, client=client, now=now)  # 3
        code_hash = hash_token(request.form.required("code"))
        issued = await find_code(self.db, code_hash)  # 4
        if issued is None:
            note("code looked up", found="no such code")
            raise InvalidGrant(reason="code_unknown", audited=not client.is_public)
        if issued.authorization.consumed_at is not None:
            raise await self._replayed(issued.authorization, request, client=client, now=now)
        await self._check(issued, request, client=client, now=now)  # 5 to 10
        return await self._redeem(issued.authorization, code_hash, request, client=client, now=now)  # 11

    async def _check(self, issued: IssuedCode, request: TokenRequest, *, client: Client, now: int) -> None:
        """Check everything that needs no write; a refusal leaves the code usable (ruling R3)."""
        code, form = issued.authorization, request.form
        note(
            "code looked up",
            found="not used yet",
            expected=code.client_id,
            user_id=code.user_id,
            seconds=(code.expires_at or 0) - now,
        )
        if code.expires_at is None or code.expires_at <= now:  # 5
            raise InvalidGrant("authorization session has expired", reason="code_expired")
        if code.client_id != client.id:
            raise InvalidGrant(reason="client_mismatch")
        if code.revoked_at is not None:
            raise InvalidGrant(reason="code_revoked")
        redirect_uri = form.get("redirect_uri")
        note("redirect URI compared", redirect_uri=redirect_uri, expected=code.redirect_uri)
        if redirect_uri is not None and redirect_uri != code.redirect_uri:
            raise InvalidGrant(reason="redirect_uri_changed")
        check_code_verifier(form.get("code_verifier"), code_challenge=code.code_challenge)  # 6
        if code.dpop_jkt is not None and code.dpop_jkt != request.jkt:  # 7
            raise InvalidGrant(reason="dpop_key_mismatch")
        await check_target(form, code, catalog=self.catalog)  # 8
        if not issued.user_is_active:  # 9
            raise InvalidGrant(reason="user_inactive")
        if not issued.consent_is_active:  # 10
            raise InvalidGrant(reason="consent_revoked")
        if client.scopes and find_outside(code.scopes, bound=client.scopes):
            note("scope compared", requested=code.scopes, ceiling=client.scope)
            raise InvalidScope(
                "the granted scope is outside the client's registered scope (its ceiling)",
                reason="scope_outside_ceiling",
            )

    async def _redeem(
        self, code: Authorization, code_hash: TokenHash, request: TokenRequest, *, client: Client, now: int
    ) -> TokenResponse:
        """Sign, then claim the code and write everything that comes of it in one transaction (ruling R36)."""
        minted = self._mint(code, request, client=client, now=now)
        refresh_token = new_secret() if client.has_grant(REFRESH_TOKEN) else None
        event = AuditEvent(
            Action.TOKEN_ISSUED, actor_id=code.user_id, client_id=client.id, detail=detail(family=code.id)
        )

        async def redeem(tx: Writer) -> bool:
            jkt = request.jkt if client.is_public else None
            if not await consume_code(tx, code_hash, jkt=jkt, now=now):
                return False
            if refresh_token is not None:
                await insert_refresh_token(
                    tx,
                    hash_token(refresh_token),
                    family_id=code.id,
                    now=now,
                    expires_at=now + self.refresh_lifetime,
                )
            await append_issuance(tx, minted.issuance)
            await self.trail.append(tx, event, now=now)
            return True

        if not await self.proofs.write(request, redeem, now=now):
            raise await self._lost(code_hash, request, client=client, now=now)
        TOKENS_ISSUED.inc(AUTHORIZATION_CODE)
        note_agent(minted)
        self._log_issued(code, minted)
        return TokenResponse(
            access_token=minted.access_token,
            token_type=minted.token_type,
            expires_in=minted.expires_in,
            scope=code.scope,
            refresh_token=refresh_token,
        )

    def _mint(self, code: Authorization, request: TokenRequest, *, client: Client, now: int) -> Minted:
        spec = TokenSpec(
            kind=IssuanceKind.USER,
            subject=code.user_id,
            client=client,
            scopes=code.scopes,
            resource_id=code.resource_id,
            resource=code.resource,
            lifetime=self.token_lifetime,
            jkt=request.jkt,
            authorization_id=code.id,
            consent_client_id=client.id,
        )
        return self.issuer.mint(spec, now=now)

    async def _lost(self, code_hash: TokenHash, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        """Return the refusal for a code that could be claimed a moment ago and cannot now."""
        issued = await find_code(self.db, code_hash)
        if issued is None or issued.authorization.consumed_at is None:
            return InvalidGrant(reason="consent_revoked")
        return await self._replayed(issued.authorization, request, client=client, now=now)

    async def _replayed(self, code: Authorization, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        """Answer a second use of a code; withdraw what the first bought if this caller could have bought it too.

        A stranger who finds a spent code in a log cannot sign its owner out with it (public API §8.3).
        """
        await self.proofs.settle(request, now=now)
        verifier_ok = _is_verifier_of(code, request)
        is_credentialed = verifier_ok and code.client_id == client.id
        verdict = "valid" if is_credentialed else "invalid"
        note(
            "code looked up",
            found="used before; " + ("its family is revoked" if is_credentialed else "by another client or verifier"),
            expected=code.client_id,
            user_id=code.user_id,
            seconds=now - (code.consumed_at or now),
        )
        AUTH_CODE_REUSE.inc(verdict)
        event = AuditEvent(
            Action.AUTH_CODE_REUSED,
            actor_id=code.user_id,
            client_id=code.client_id,
            detail=detail("code_reuse", session=code.id, verifier=verdict),
        )
        await self.trail.record(event, now=now)
        if is_credentialed:
            await self.families.revoke_after_reuse(code, ReusePath.CODE, now=now)
        else:
            _log.warning(
                "authorization code reuse detected — replayer not credentialed, nothing revoked",
                session_id=spell_id(code.id),
                client_id=code.client_id,
                verifier_ok=verifier_ok,
                client_ok=code.client_id == client.id,
            )
        return InvalidGrant(_SPENT, reason="code_reused")

    def _log_issued(self, code: Authorization, minted: Minted) -> None:
        family_id = spell_id(code.id)
        _log.info(
            "tokens issued",
            client_id=code.client_id,
            user_id=code.user_id,
            family_id=family_id,
            auth_session_id=family_id,
            token_type=minted.token_type,
        )


def _is_verifier_of(code: Authorization, request: TokenRequest) -> bool:
    try:
        check_code_verifier(request.form.get("code_verifier"), code_challenge=code.code_challenge)
    except (InvalidRequest, InvalidGrant):
        return False
    return True


def _build(parts: GrantParts) -> AuthorizationCodeGrant:
    return AuthorizationCodeGrant(
        db=parts.db,
        issuer=parts.issuer,
        catalog=parts.catalog,
        families=parts.families,
        proofs=parts.proofs,
        trail=parts.trail,
        token_lifetime=parts.config.dcr.default_token_expiry,
        refresh_lifetime=parts.config.dcr.default_refresh_expiry,
    )


ENTRY = GrantEntry(grant_type=AUTHORIZATION_CODE, build=_build)
