"""What passes through the token endpoint, and what is kept of it.

Records that each request makes are not ``frozen``, which would make each of their fields four times as slow to set. Nothing
changes them all the same, except ``TokenRequest``, which says what changes. Nor are they ``kw_only``: members that are named
are put into a dict and taken out of it again, and where every request makes a record they stand in their order.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from authserver.authorization.records import IssuedCode, RefreshToken
from authserver.web.forms import Form

LEEWAY = 30
"""Seconds by which clocks may differ when a token is verified (tokens.md §10)."""


@dataclass(slots=True)
class TokenRequest:
    """A request to the token endpoint, parsed; how far its proof has come, and what was read with its client, change.

    Attributes:
        form: Its parameters.
        grant_type: The parameter ``grant_type``.
        proofs: The values of its ``DPoP`` headers, as sent.
        host: Its ``Host`` header; empty without one.
        jkt: Thumbprint of the key that the request proved to hold; None for a bearer request, or before it was checked.
        proof_key: Under which the proof is spent, once it was checked; None while there is nothing to spend.
        proof_expires_at: When it may be forgotten, since its time alone makes it worthless then.
        is_proof_spent: Whether that is committed.
        is_read_with_client: Whether what it presents was looked for together with the client, and was not there if it is None.
        code: The code that it presents, if that was read together with the client.
        refresh_token: Likewise.
    """

    form: Form
    grant_type: str
    proofs: tuple[str, ...] = ()
    host: str = ""
    jkt: str | None = None
    proof_key: tuple[str, ...] | None = field(default=None, repr=False)
    proof_expires_at: int = 0
    is_proof_spent: bool = False
    is_read_with_client: bool = False
    code: IssuedCode | None = field(default=None, repr=False)
    refresh_token: RefreshToken | None = field(default=None, repr=False)


@dataclass(slots=True)
class TokenResponse:
    """What a grant answers (RFC 6749 §5.1).

    Attributes:
        expires_in: Seconds.
        scope: The effective scopes; empty when there are none.
        refresh_token: None when the client gets none.
        issued_token_type: Of a token exchange alone (RFC 8693 §2.2.1).
    """

    access_token: str
    token_type: str
    expires_in: int
    scope: str
    refresh_token: str | None = None
    issued_token_type: str | None = None


class IssuanceKind(StrEnum):
    """How a token came to be, which decides who may revoke it and when its row may go."""

    USER = "user"
    MACHINE = "machine"
    EXCHANGE = "exchange"
    BROKER = "broker"


@dataclass(slots=True)
class Issuance:
    """The record of one token handed out.

    Attributes:
        id: The token's ``jti`` as 16 bytes.
        token_digest: First 16 bytes of SHA-256 of the token.
        subject: The user, or None for a machine's own token.
        resource_id: The Resource it is for, or None when its audience is the issuer.
        authorization_id: The family it belongs to, or None.
        consent_client_id: The client whose consent it rests on, or None.
        parent_jti: The token it was exchanged from, or None.
    """

    id: bytes
    token_digest: bytes | None
    kind: IssuanceKind
    subject: str | None
    client_id: str
    resource_id: str | None
    scopes: tuple[str, ...]
    authorization_id: bytes | None
    issued_at: int
    expires_at: int
    revoked_at: int | None = None
    dpop_jkt: str | None = None
    agent_id: str | None = None
    agent_chain: tuple[str, ...] = ()
    consent_client_id: str | None = None
    parent_jti: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuanceFilter:
    """Which tokens an operator looks for; None of a member is any.

    Attributes:
        client_id: The client it was issued to. Of a fronted token, the slug of its source.
    """

    user_id: str | None = None
    client_id: str | None = None
    resource_id: str | None = None
    jti: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return self.user_id is self.client_id is self.resource_id is self.jti is None

    def passes(self, issuance: Issuance) -> bool:
        """Whether a token fits everything but the ``jti``."""
        return (
            self.user_id in {None, issuance.subject}
            and self.client_id in {None, issuance.client_id}
            and self.resource_id in {None, issuance.resource_id}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedToken:
    """What is on record about a token, and about those it rests on.

    Attributes:
        client_is_active: Whether the client it was issued to may act; None when there is no client of that id.
        subject_is_active: Whether its user may; None when there is no user of that id, or it is about none.
    """

    issuance: Issuance
    client_is_active: bool | None
    subject_is_active: bool | None


@dataclass(slots=True)
class Minted:
    """A signed token and the row to be written with it: neither may leave without the other.

    Attributes:
        jti: Its id, spelled.
    """

    access_token: str
    expires_in: int
    issuance: Issuance
    jti: str

    @property
    def token_type(self) -> str:
        """``DPoP`` when the token is bound to a key, else ``Bearer``."""
        return "DPoP" if self.issuance.dpop_jkt else "Bearer"
