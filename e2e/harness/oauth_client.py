"""An OAuth client written out: each request as it goes over the wire, for tests that look at single answers."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx2

from e2e.harness.person import Person, answer_of

REDIRECT_URI = "http://127.0.0.1:8976/callback"


@dataclass(frozen=True, slots=True)
class Code:
    """An authorization code with what is needed to redeem it."""

    value: str
    verifier: str


class OAuthClient:
    """A client: a public one that registers itself, unless it is known already.

    Args:
        issuer: The server it talks to.
        resource: The protected server it wants tokens for.
        redirect_uri: Where it is called back.
        client_id: As which it is known.
        secret: What it posts beside its identifier.
    """

    def __init__(
        self,
        issuer: str,
        *,
        resource: str,
        redirect_uri: str = REDIRECT_URI,
        client_id: str | None = None,
        secret: str | None = None,
    ) -> None:
        self.issuer = issuer
        self.resource = resource
        self.redirect_uri = redirect_uri
        self.client_id = client_id or self._register()
        self._named = {"client_id": self.client_id} | ({"client_secret": secret} if secret else {})

    def _register(self) -> str:
        answer = httpx2.post(
            f"{self.issuer}/oauth/register", json={"client_name": "Test client", "redirect_uris": [self.redirect_uri]}
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["client_id"])

    def authorization_url(self, verifier: str, **changes: str) -> str:
        """Return what the client sends its user to; ``changes`` replace parameters."""
        digest = hashlib.sha256(verifier.encode()).digest()
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            "state": secrets.token_urlsafe(8),
            "resource": self.resource,
        }
        return f"{self.issuer}/oauth/authorize?{urlencode({**parameters, **changes})}"

    def get_code(self, person: Person) -> Code:
        """Have somebody sign in and allow everything."""
        verifier = secrets.token_urlsafe(32)
        answer = answer_of(person.allow(self.authorization_url(verifier)))
        assert answer["iss"] == self.issuer
        return Code(answer["code"], verifier)

    def redemption(self, code: Code) -> dict[str, str]:
        """Return the form that redeems a code."""
        return {
            "grant_type": "authorization_code",
            **self._named,
            "code": code.value,
            "code_verifier": code.verifier,
            "redirect_uri": self.redirect_uri,
        }

    def refresh(self, refresh_token: str) -> dict[str, str]:
        """Return the form that refreshes."""
        return {"grant_type": "refresh_token", **self._named, "refresh_token": refresh_token}

    def request_token(self, form: dict[str, str], *, origin: str | None = None) -> httpx2.Response:
        """Send a form to the token endpoint, of the issuer or of another process of it."""
        return httpx2.post(f"{origin or self.issuer}/oauth/token", data=form, timeout=20)

    def revoke(self, token: str) -> None:
        """Revoke a token."""
        answer = httpx2.post(f"{self.issuer}/oauth/revoke", data={"token": token, **self._named})
        assert (answer.status_code, answer.content) == (200, b"")
