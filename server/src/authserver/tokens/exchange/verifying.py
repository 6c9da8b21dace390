"""What may be believed of the tokens that an exchange presents (token exchange, section 4)."""

from dataclasses import dataclass
from typing import Literal

from authserver.clients.store import find_client
from authserver.keys.keyring import Keyring
from authserver.protocol.errors import InvalidGrant
from authserver.protocol.jose import InvalidToken
from authserver.protocol.quoting import quoted
from authserver.storage.database import Database
from authserver.telemetry.notes import note
from authserver.tokens.exchange.faults import fault_is
from authserver.tokens.exchange.records import PresentedToken
from authserver.tokens.recognition import verify_issued
from authserver.web.forms import Form

_TYPES = frozenset({"urn:ietf:params:oauth:token-type:access_token", "urn:ietf:params:oauth:token-type:jwt"})

_FOUND = {
    "malformed": "it is no JWT",
    "unknown_token": "it is none that this server has on record, or it was altered",
    "unknown_key": "the key that signed it was withdrawn",
    "expired": "it has expired",
    "wrong_issuer": "it was issued when this server had another name",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerifier:
    """Verifies subject and actor tokens.

    A token of ours is recognised by what was recorded of it when it was issued, which takes no signature: every token
    has its record, so one without it is none of ours, or so old that its record was purged.

    Attributes:
        cap_to_subject: Whether what comes of a subject token may not outlive it: then the leeway of clocks is not given.
    """

    db: Database
    keyring: Keyring
    issuer: str
    cap_to_subject: bool

    async def verify_subject(self, form: Form, *, now: int) -> PresentedToken:
        """Return the subject token (steps 3 and 4 of the common prefix).

        Raises:
            InvalidGrant: It is of another type, none of ours, not in force, revoked, or of somebody who may not act.
        """
        _check_type(form, "subject_token_type")
        try:
            token = await self._recognise(form.required("subject_token"), now=now)
        except InvalidToken as exc:
            reason = "invalid_issuer" if exc.reason == "wrong_issuer" else "invalid_subject_token"
            raise InvalidGrant(reason=reason) from exc
        if self.cap_to_subject and token.issuance.expires_at <= now:
            raise InvalidGrant(reason="invalid_subject_token")
        if token.issuance.revoked_at is not None:
            raise InvalidGrant(reason="subject_token_revoked")
        inactive = await self._find_inactive(token)
        if inactive is not None:
            raise InvalidGrant(reason="issuing_client_inactive" if inactive == "client" else "subject_inactive")
        return token

    async def verify_actor(self, form: Form, *, now: int) -> PresentedToken | None:
        """Return the actor token, or None when there is none. Who acts is the caller, whatever it says.

        Raises:
            InvalidGrant: It is of another type, none of ours, not in force, or of somebody who may not act.
        """
        actor_token = form.get("actor_token")
        if actor_token is None:
            return None
        if form.get("actor_token_type") is not None:
            _check_type(form, "actor_token_type")
        try:
            token = await self._recognise(actor_token, now=now)
        except InvalidToken as exc:
            raise InvalidGrant(reason="invalid_actor_token") from exc
        inactive = await self._find_inactive(token)
        if inactive is not None:
            reason = "actor_issuing_client_inactive" if inactive == "client" else "actor_subject_inactive"
            raise InvalidGrant(reason=reason)
        return token

    async def _recognise(self, text: str, *, now: int) -> PresentedToken:
        """Return a token of ours.

        Raises:
            InvalidToken: It is none, or not in force.
        """
        try:
            token = await verify_issued(self.db, self.keyring, text, issuer=self.issuer, now=now)
        except InvalidToken as exc:
            note("token recognised", found=_FOUND[exc.reason])
            raise
        note(
            "token recognised",
            found="revoked" if token.issuance.revoked_at is not None else "in force",
            expected=token.issuance.client_id,
            user_id=token.issuance.subject or "",
            requested=token.issuance.scopes,
            seconds=token.issuance.expires_at - now,
        )
        return PresentedToken(
            claims=token.claims,
            issuance=token.issuance,
            client_is_active=token.client_is_active,
            user_is_active=token.subject_is_active,
        )

    async def _find_inactive(self, token: PresentedToken) -> Literal["client", "subject"] | None:
        """Return who of a token may not act any more, or None.

        Who is not known here passes: a fronted token names the slug of a Resource as its client, and an enterprise's
        subject may be no user of ours.
        """
        if token.client_is_active is False:
            return "client"
        if token.subject == token.client_id:
            return None
        if token.user_is_active is not None:
            return None if token.user_is_active else "subject"
        with fault_is("client_lookup_failed"):
            client = await find_client(self.db, token.subject)
        return None if client is None or client.is_active else "subject"


def _check_type(form: Form, name: str) -> None:
    token_type = form.get(name) or ""
    if token_type not in _TYPES:
        note("token type looked at", parameter=name, requested=token_type)
        raise InvalidGrant(f"{name} {quoted(token_type)} is not supported", reason="invalid_request")
