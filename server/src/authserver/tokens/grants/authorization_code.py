"""The authorization code grant (RFC 6749 §4.1.3, OAuth 2.1 §4.1.3)."""

from dataclasses import dataclass
from typing import ClassVar

from authserver.audit.events import Action
from authserver.authorization.records import IssuedCode
from authserver.authorization.store import find_code, find_code_and_client
from authserver.clients.records import Client
from authserver.protocol.errors import InvalidGrant, InvalidRequest, OAuthError
from authserver.protocol.grant_types import AUTHORIZATION_CODE
from authserver.protocol.identifiers import hash_token
from authserver.protocol.pkce import check_code_verifier
from authserver.storage.database import Database
from authserver.telemetry.metrics import Counter
from authserver.telemetry.notes import note
from authserver.tokens.grants.entry import GrantEntry, GrantParts
from authserver.tokens.proofs import ProofChecker
from authserver.tokens.records import TokenRequest, TokenResponse
from authserver.tokens.redemption import Redemption
from authserver.web.forms import Form

_SPENT = "authorization code has already been used"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorizationCodeGrant:
    """Trades an authorization code for tokens, once."""

    allows_public_clients: ClassVar[bool] = True
    needs_registration: ClassVar[bool] = False
    denied: ClassVar[Action] = Action.TOKEN_ISSUE_DENIED
    denied_total: ClassVar[Counter | None] = None

    db: Database
    proofs: ProofChecker
    redemption: Redemption

    def check_form(self, form: Form) -> None:
        """Check that the request has what the grant needs (step 1)."""
        form.required("code")
        form.required("code_verifier")

    async def find_client(self, request: TokenRequest, client_id: str) -> Client | None:
        """Look the client up, and in the same read the code."""
        code_hash = hash_token(request.form.required("code"))
        request.code, client = await find_code_and_client(self.db, code_hash, client_id)
        request.is_read_with_client = True
        return client

    async def issue(self, request: TokenRequest, *, client: Client, now: int) -> TokenResponse:
        """Redeem the code of the request (public API §8.2, steps 3 to 11)."""
        request = await self.proofs.check(request, client=client, now=now)  # 3
        issued = request.code  # 4
        if not request.is_read_with_client:
            issued = await find_code(self.db, hash_token(request.form.required("code")))
        if issued is None:
            note("code looked up", found="no such code")
            raise InvalidGrant(reason="code_unknown", audited=not client.is_public)
        if issued.authorization.consumed_at is not None:
            raise await self._replayed(issued, request, client=client, now=now)
        self._check_code(issued, request, client=client, now=now)  # 5, 6
        await self.redemption.check(issued, request, client=client)  # 7 to 10
        response = await self.redemption.redeem(issued, request, client=client, now=now)  # 11
        if response is None:
            raise await self._lost(issued, request, client=client, now=now)
        return response

    def _check_code(self, issued: IssuedCode, request: TokenRequest, *, client: Client, now: int) -> None:
        """Check that the code is this request's to redeem; a refusal leaves it usable (ruling R3)."""
        code, form = issued.authorization, request.form
        note(
            "code looked up",
            found="not used yet",
            expected=code.client_id,
            user_id=code.user_id,
            seconds=(issued.expires_at or 0) - now,
        )
        if issued.expires_at is None or issued.expires_at <= now:  # 5
            raise InvalidGrant("authorization session has expired", reason="code_expired")
        if code.client_id != client.id:
            raise InvalidGrant(reason="client_mismatch")
        if code.revoked_at is not None:
            raise InvalidGrant(reason="code_revoked")
        redirect_uri = form.get("redirect_uri")
        note("redirect URI compared", redirect_uri=redirect_uri, expected=issued.redirect_uri)
        if redirect_uri is not None and redirect_uri != issued.redirect_uri:
            raise InvalidGrant(reason="redirect_uri_changed")
        check_code_verifier(form.get("code_verifier"), code_challenge=issued.code_challenge)  # 6

    async def _lost(self, issued: IssuedCode, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        """Return the refusal for a code that could be claimed a moment ago and cannot now."""
        spent = await self.redemption.find_spent(issued.code_hash)
        if spent is None:
            return InvalidGrant(reason="consent_revoked")
        return await self._replayed(spent, request, client=client, now=now)

    async def _replayed(self, spent: IssuedCode, request: TokenRequest, *, client: Client, now: int) -> OAuthError:
        verifier_ok = _is_verifier_of(spent, request)
        return await self.redemption.replayed(
            spent.authorization, request, client=client, proves_possession=verifier_ok, spent=_SPENT, now=now
        )


def _is_verifier_of(code: IssuedCode, request: TokenRequest) -> bool:
    try:
        check_code_verifier(request.form.get("code_verifier"), code_challenge=code.code_challenge)
    except (InvalidRequest, InvalidGrant):
        return False
    return True


def _build(parts: GrantParts) -> AuthorizationCodeGrant:
    return AuthorizationCodeGrant(db=parts.db, proofs=parts.proofs, redemption=parts.redemption)


ENTRY = GrantEntry(grant_type=AUTHORIZATION_CODE, operation="TokenService.ExchangeCode", build=_build)
