"""What a code becomes, once, whichever grant it came by: a family, an access token, perhaps a refresh token."""

from dataclasses import dataclass

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail, detail
from authserver.authorization.records import Authorization, IssuedCode
from authserver.authorization.store import consume_code, find_code, insert_refresh_token
from authserver.clients.records import Client
from authserver.protocol.errors import InvalidGrant, InvalidScope, OAuthError
from authserver.protocol.grant_types import REFRESH_TOKEN
from authserver.protocol.identifiers import TokenHash, hash_token, new_secret, spell_id
from authserver.protocol.scopes import find_outside
from authserver.resources.catalog import ResourceCatalog
from authserver.storage.database import Database, Writer
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AUTH_CODE_REUSE, TOKENS_ISSUED
from authserver.telemetry.notes import note
from authserver.tokens.families import Families, ReusePath
from authserver.tokens.issuing import TokenIssuer, TokenSpec, note_agent
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import IssuanceKind, Minted, TokenRequest, TokenResponse
from authserver.tokens.store import append_issuance
from authserver.tokens.targets import check_target

_log = get_logger("token")


@dataclass(frozen=True, slots=True, kw_only=True)
class Redemption:
    """Checks what a code rests on, and trades it for tokens, once.

    Attributes:
        token_lifetime: Seconds, of access tokens.
        refresh_lifetime: Seconds, of one refresh token.
    """

    db: Database
    issuer: TokenIssuer
    catalog: ResourceCatalog
    families: Families
    proofs: ProofChecker
    trail: AuditTrail
    token_lifetime: int
    refresh_lifetime: int

    async def check(self, issued: IssuedCode, request: TokenRequest, *, client: Client) -> None:
        """Check what needs no write, in the order of public API §8.2, steps 7 to 10; a refusal leaves the code usable.

        Raises:
            OAuthError: The key, the resource, the user, the consent or the client's ceiling forbids it.
        """
        code = issued.authorization
        if code.dpop_jkt is not None and code.dpop_jkt != request.jkt:  # 7
            raise InvalidGrant(reason="dpop_key_mismatch")
        await check_target(request.form, code, catalog=self.catalog)  # 8
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

    async def redeem(
        self, issued: IssuedCode, request: TokenRequest, *, client: Client, now: int
    ) -> TokenResponse | None:
        """Sign, then claim the code and write everything that comes of it in one transaction (ruling R36).

        Returns:
            The answer; None when the code was spent, or what it rests on revoked, a moment before. Nothing was written.
        """
        code = issued.authorization
        minted = await self._mint(code, request, client=client, now=now)
        refresh_token = new_secret() if client.has_grant(REFRESH_TOKEN) else None
        event = AuditEvent(
            Action.TOKEN_ISSUED, actor_id=code.user_id, client_id=client.id, detail=detail(family=code.id)
        )

        async def redeem(tx: Writer) -> bool:
            # Who may choose proved itself here, and whoever has its refresh token need not (RFC 9449 §5).
            jkt = request.jkt if client.needs_no_proof else None
            if not await consume_code(tx, issued.code_hash, jkt=jkt, now=now):
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
            return None
        TOKENS_ISSUED.inc(request.grant_type)
        note_agent(minted)
        _log_issued(code, minted)
        return TokenResponse(
            access_token=minted.access_token,
            token_type=minted.token_type,
            expires_in=minted.expires_in,
            scope=code.scope,
            refresh_token=refresh_token,
        )

    async def find_spent(self, code_hash: TokenHash) -> IssuedCode | None:
        """Return what a code that could not be claimed has become; None when it was not spent, but revoked."""
        issued = await find_code(self.db, code_hash)
        return None if issued is None or issued.authorization.consumed_at is None else issued

    async def replayed(
        self,
        code: Authorization,
        request: TokenRequest,
        *,
        client: Client,
        proves_possession: bool,
        spent: str,
        now: int,
    ) -> OAuthError:
        """Answer a second use of a code; withdraw what the first bought if this caller could have bought it too.

        A stranger who finds a spent code in a log cannot sign its owner out with it (public API §8.3).

        Args:
            code: What the code became.
            request: The request; a proof that comes with it is spent first.
            client: Who presents it now.
            proves_possession: Whether the request has what the code alone is not enough for.
            spent: The description of the refusal.
            now: Seconds since the epoch.
        """
        await self.proofs.settle(request, now=now)
        is_credentialed = proves_possession and code.client_id == client.id
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
                verifier_ok=proves_possession,
                client_ok=code.client_id == client.id,
            )
        return InvalidGrant(spent, reason="code_reused")

    async def _mint(self, code: Authorization, request: TokenRequest, *, client: Client, now: int) -> Minted:
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
            sign_in=code.sign_in,
        )
        return await self.issuer.mint(spec, now=now)


def _log_issued(code: Authorization, minted: Minted) -> None:
    family_id = spell_id(code.id)
    _log.info(
        "tokens issued",
        client_id=code.client_id,
        user_id=code.user_id,
        family_id=family_id,
        auth_session_id=family_id,
        token_type=minted.token_type,
    )
