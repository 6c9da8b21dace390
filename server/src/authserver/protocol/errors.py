"""Refusals: what a client, or a person at a page, is told when a request may not be served."""

import base64
import math
import secrets
from typing import ClassVar

GENERIC_GRANT = "the authorization grant is invalid, expired, or revoked"
GENERIC_SCOPE = "the requested scope is invalid or not allowed"
CLIENT_AUTHENTICATION_FAILED = "client authentication failed"
CLIENT_NOT_ACTIVE = "client is suspended or revoked"


def new_reference() -> str:
    """Return a reference id: ``ref_`` and 20 base32 characters, 100 random bits (ruling R48)."""
    return "ref_" + base64.b32encode(secrets.token_bytes(13)).decode("ascii")[:20].lower()


class OAuthError(Exception):
    """A refusal that the client is told about.

    Attributes:
        error: The code on the wire, as registered with IANA.
        status: The HTTP status it is sent with.
        is_refusal: False for what only has the form of one: it leaves nothing behind, and has no reference id.
        description: Goes out on the wire, so it never carries a secret, a user's name or a stored value.
        reason: Why, in one ``snake_case`` word for the audit trail and the metrics; never sent.
        reference: The id under which page, body, log and audit row speak of this refusal.
        audited: False for what anybody can cause for free (errors.md §9): such a refusal leaves no audit row.
    """

    error: ClassVar[str]
    status: ClassVar[int] = 400
    is_refusal: ClassVar[bool] = True

    def __init__(self, description: str, *, reason: str | None = None, audited: bool = True) -> None:
        super().__init__(description)
        self.description = description
        self.reason = reason or self.error
        self.reference = new_reference() if self.is_refusal else ""
        self.audited = audited

    @property
    def audit_reason(self) -> str:
        """The word for the audit trail and the metrics, whose words are a closed set; traces tell ``reason``."""
        return self.reason


class PageRefusal(Exception):
    """A refusal that a person is told about on a page of ours, because there is no redirect URI to trust.

    Attributes:
        title: The heading, one of errors.md §8.
        message: One sentence that says what to do; never echoes what was sent.
        status: The HTTP status.
        reason: Why, in one ``snake_case`` word for the log.
        next_step: What the person can do; empty for starting again from the application.
        reference: The id under which page and log speak of this refusal.
    """

    def __init__(self, title: str, message: str, *, status: int = 400, reason: str = "", next_step: str = "") -> None:
        super().__init__(message)
        self.title = title
        self.message = message
        self.status = status
        self.reason = reason or title.lower().replace(" ", "_")
        self.next_step = next_step
        self.reference = new_reference()


class InvalidRequest(OAuthError):
    """A parameter is missing, repeated or malformed (RFC 6749 §5.2)."""

    error = "invalid_request"


class InvalidClient(OAuthError):
    """The client did not prove who it is, or may not act (RFC 6749 §5.2)."""

    error = "invalid_client"
    status = 401

    def __init__(
        self,
        description: str = CLIENT_AUTHENTICATION_FAILED,
        *,
        reason: str | None = None,
        audited: bool = True,
        client_id: str = "",
    ) -> None:
        """Take the client that somebody failed to be, for the audit trail alone."""
        super().__init__(description, reason=reason, audited=audited)
        self.client_id = client_id


class InvalidGrant(OAuthError):
    """The code, token or assertion is wrong, expired, revoked or another client's (RFC 6749 §5.2)."""

    error = "invalid_grant"

    def __init__(self, description: str = GENERIC_GRANT, *, reason: str | None = None, audited: bool = True) -> None:
        super().__init__(description, reason=reason, audited=audited)


class UnauthorizedClient(OAuthError):
    """The client is not registered for this grant (RFC 6749 §5.2)."""

    error = "unauthorized_client"


class UnsupportedGrantType(OAuthError):
    """The grant is unknown here, or switched off (RFC 6749 §5.2)."""

    error = "unsupported_grant_type"


class UnsupportedResponseType(OAuthError):
    """Only ``code`` is served (RFC 6749 §4.1.2.1)."""

    error = "unsupported_response_type"


class InvalidScope(OAuthError):
    """A scope is malformed, unknown or beyond a bound (RFC 6749 §5.2)."""

    error = "invalid_scope"


class InvalidTarget(OAuthError):
    """The resource is unknown, unusable or contradicts the grant (RFC 8707 §2)."""

    error = "invalid_target"


class ResourceNotFound(OAuthError):
    """A token exchange names a resource that is not registered; everywhere else that is ``invalid_target`` (ruling R4)."""

    error = "not_found"


class AccessDenied(OAuthError):
    """The user or a policy said no."""

    error = "access_denied"
    status = 403


class IdentityUnmapped(AccessDenied):
    """Nobody said who the user of an assertion is here, and only known users are let through (XAA, decision 6)."""

    status = 400


class DeviceDenied(AccessDenied):
    """The user said no to a device (RFC 8628 §3.5), which is told as any other failure of the token endpoint."""

    status = 400


class AuthorizationPending(OAuthError):
    """The user has not answered yet, and the device is to ask again (RFC 8628 §3.5)."""

    error = "authorization_pending"
    is_refusal = False

    def __init__(self) -> None:
        super().__init__("the user has not answered yet", audited=False)


class PollingTooFast(OAuthError):
    """The device asks again too soon; it is to wait five seconds longer each time from now on (RFC 8628 §3.5)."""

    error = "slow_down"


class ExpiredToken(OAuthError):
    """The device code has run out before the user answered or the device came back (RFC 8628 §3.5)."""

    error = "expired_token"


class InvalidRedirectUri(OAuthError):
    """A redirect URI may not be registered (RFC 7591 §3.2.2)."""

    error = "invalid_redirect_uri"


class InvalidClientMetadata(OAuthError):
    """A member of a client's metadata may not be registered (RFC 7591 §3.2.2)."""

    error = "invalid_client_metadata"


class InvalidDpopProof(OAuthError):
    """The proof of possession does not hold (RFC 9449 §5)."""

    error = "invalid_dpop_proof"

    @property
    def audit_reason(self) -> str:
        """One word for all that may be wrong with a proof."""
        return InvalidDpopProof.error


class UseDpopNonce(OAuthError):
    """The proof must carry a nonce of this server (RFC 9449 §8)."""

    error = "use_dpop_nonce"

    @property
    def audit_reason(self) -> str:
        """The word for any proof that is refused."""
        return InvalidDpopProof.error


class LoginRequired(OAuthError):
    """``prompt=none``, and nobody is signed in (OpenID Connect Core §3.1.2.6)."""

    error = "login_required"


class ConsentRequired(OAuthError):
    """``prompt=none``, or an exchange, and the user has not agreed yet.

    Attributes:
        cause: Of an exchange: ``consent_missing`` or ``scope_insufficient``; else empty.
        consent_url: Of an exchange: where the user can agree; else empty.
    """

    error = "consent_required"

    def __init__(self, description: str, *, reason: str | None = None, cause: str = "", consent_url: str = "") -> None:
        super().__init__(description, reason=reason)
        self.cause = cause
        self.consent_url = consent_url


class RequestNotSupported(OAuthError):
    """Request objects are not served (OpenID Connect Core §3.1.2.6)."""

    error = "request_not_supported"


class RequestUriNotSupported(OAuthError):
    """Request objects by reference are not served (OpenID Connect Core §3.1.2.6)."""

    error = "request_uri_not_supported"


class SlowDown(OAuthError):
    """Too many requests; sent with ``Retry-After``.

    Attributes:
        retry_after: Seconds, at least 1.
    """

    error = "slow_down"
    status = 429

    def __init__(
        self, description: str = "rate limit exceeded", *, reason: str | None = None, retry_after: float = 1
    ) -> None:
        super().__init__(description, reason=reason, audited=False)
        self.retry_after = max(1, math.ceil(retry_after))


class ServerError(OAuthError):
    """A fault of ours that the specification gives a reason; raised ``from`` its cause."""

    error = "server_error"
    status = 500

    def __init__(self, *, reason: str | None = None, reference: str | None = None) -> None:
        super().__init__("internal error", reason=reason)
        self.reference = reference or self.reference


class SigningUnavailable(ServerError):
    """No signature is to be had now, because whoever keeps the key does not answer; nothing was spent.

    Attributes:
        retry_after: Seconds after which another try makes sense.
    """

    status = 503
    retry_after = 1

    def __init__(self, *, reason: str = "signing_unavailable") -> None:
        super().__init__(reason=reason)


class TemporarilyUnavailable(OAuthError):
    """The database went away after the redirect URI was trusted (RFC 6749 §4.1.2.1); redirect only."""

    error = "temporarily_unavailable"
    status = 503
