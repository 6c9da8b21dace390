"""What is asked for, and what was allowed."""

from dataclasses import dataclass
from typing import NamedTuple

from authserver.protocol.claims import SignIn
from authserver.protocol.identifiers import TokenHash

# Every browser session begins with a password. A second way to sign in needs a column beside authenticated_at.
_SIGN_IN_METHODS = ("pwd",)


class AuthorizationRequest(NamedTuple):
    """A request that passed every check that needs no user (public API §4.2, steps 1 to 9).

    Attributes:
        redirect_uri: As requested: of a loopback URI the port may differ from the registered one. Empty for a device,
            as is ``code_challenge``: its code is no answer to a redirect.
        scopes: What is asked for, in the order asked.
        resource_id: The Resource named, or None.
        resource: Its registered URI byte for byte; None when no Resource is named or it has no URI.
        state: As sent; empty when not sent.
        dpop_jkt: The key the code shall be bound to (RFC 9449 §10), or None.
    """

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    resource_id: str | None
    resource: str | None
    state: str
    code_challenge: str
    dpop_jkt: str | None


class Authorization(NamedTuple):
    """What a user allowed a client, of a row of ``authorizations``: with its code, then as a family of refresh tokens.

    Attributes:
        id: 16 bytes; on the wire the session id of the consent page and the family id of the audit trail.
        scope: As approved; never changed after that.
        consumed_at: When the code was redeemed: from then on the row is a family.
        revoked_at: When the family was revoked, for good.
        authenticated_at: When the user signed in whose browser session answered; None when not known.
    """

    id: bytes
    client_id: str
    user_id: str
    scope: str
    resource_id: str | None
    resource: str | None
    dpop_jkt: str | None
    consumed_at: int | None
    revoked_at: int | None
    authenticated_at: int | None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The names in ``scope``, in its order."""
        return tuple(self.scope.split())

    @property
    def sign_in(self) -> SignIn | None:
        """How the user signed in who answered; None when it is not known."""
        return None if self.authenticated_at is None else SignIn(at=self.authenticated_at, methods=_SIGN_IN_METHODS)


class PendingAuthorization(NamedTuple):
    """A row of ``authorizations`` that waits for its user.

    Attributes:
        id: 16 bytes; on the wire the session id of the consent page.
        scope: As requested.
        created_at: When the user was first asked.
    """

    id: bytes
    client_id: str
    user_id: str
    redirect_uri: str
    scope: str
    resource_id: str | None
    resource: str | None
    state: str
    code_challenge: str
    dpop_jkt: str | None
    created_at: int

    @property
    def scopes(self) -> tuple[str, ...]:
        """The names in ``scope``, in its order."""
        return tuple(self.scope.split())


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRequest:
    """One row of ``device_requests``: a device that waits for a user (RFC 8628).

    Attributes:
        id: 16 bytes, which become those of the authorization when a user allows it.
        device_code_hash: What the device polls with.
        user_code: What the user types, eight letters.
        scope: As asked for.
        dpop_jkt: The key that the tokens shall be bound to, or None.
        denied_at: When a user said no.
    """

    id: bytes
    device_code_hash: TokenHash
    user_code: str
    client_id: str
    scope: str
    resource_id: str | None
    resource: str | None
    dpop_jkt: str | None
    created_at: int
    expires_at: int
    denied_at: int | None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The names in ``scope``, in its order."""
        return tuple(self.scope.split())

    def waits(self, *, now: int) -> bool:
        """Whether nobody has answered it yet, and it is not too late to."""
        return self.denied_at is None and self.expires_at > now


class IssuedCode(NamedTuple):
    """A code together with what its redemption needs to know.

    Attributes:
        code_hash: By which it was found.
        redirect_uri: Where it was sent; empty for a device.
        code_challenge: What its verifier must fit; empty for a device.
        expires_at: None once the spent code was purged.
        consent_is_active: False when the consent it rests on was revoked since.
        user_is_active: Whether its user may act.
    """

    code_hash: TokenHash
    authorization: Authorization
    redirect_uri: str
    code_challenge: str
    expires_at: int | None
    consent_is_active: bool
    user_is_active: bool


class RefreshToken(NamedTuple):
    """A refresh token and the family it belongs to.

    Attributes:
        user_is_active: Whether its user may act.
    """

    token_hash: TokenHash
    expires_at: int
    consumed_at: int | None
    user_is_active: bool
    family: Authorization


class KeptAnswer(NamedTuple):
    """The answer of a family's last rotation, for whoever asks again.

    Attributes:
        token_hash: The refresh token that was rotated.
        request: Digest of the request that rotated it.
        response: The answer, sealed under a key derived from the rotated token; None once it was forgotten.
        rotated_at: When that was.
    """

    token_hash: bytes | None
    request: bytes | None
    response: bytes | None
    rotated_at: int | None


class ActiveConsent(NamedTuple):
    """What counts of a consent that is in force.

    Attributes:
        id: 16 bytes.
        scopes: The names allowed.
        redirect_uris: Those it was approved with; of a loopback URI the port does not count.
    """

    id: bytes
    scopes: tuple[str, ...]
    redirect_uris: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentGrant:
    """What a user allowed a client at a Resource, until revoked.

    Attributes:
        id: 16 bytes.
        scopes: The names allowed.
        redirect_uris: Those it was approved with; of a loopback URI the port does not count.
    """

    id: bytes
    user_id: str
    client_id: str
    resource_id: str
    scopes: tuple[str, ...]
    redirect_uris: tuple[str, ...]
    created_at: int
    updated_at: int
    revoked_at: int | None
