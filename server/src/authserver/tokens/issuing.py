"""Claims become a signed token, and the row that goes with it."""

from collections.abc import Callable
from dataclasses import dataclass

from authserver.clients.records import Client
from authserver.keys.keyring import Keyring
from authserver.protocol.claims import build_access_token_claims
from authserver.protocol.identifiers import new_id, spell_id, token_digest
from authserver.protocol.jose import sign_jwt
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AGENT_TOKENS_ISSUED
from authserver.tokens.records import Issuance, IssuanceKind, Minted

_log = get_logger("token")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenSpec:
    """What a token shall say.

    Attributes:
        subject: The user, or the client itself.
        resource_id: The Resource it is for, or None.
        resource: The Resource's URI, or None: the audience is then the issuer.
        lifetime: Seconds.
        jkt: The key it is bound to, or None.
        authorization_id: The family it belongs to, or None.
    """

    kind: IssuanceKind
    subject: str
    client: Client
    scopes: tuple[str, ...]
    resource_id: str | None
    resource: str | None
    lifetime: int
    jkt: str | None = None
    authorization_id: bytes | None = None


class TokenIssuer:
    """Signs access tokens (tokens.md §2, RFC 9068)."""

    def __init__(self, keyring: Keyring, *, issuer: str, clock_ms: Callable[[], int]) -> None:
        """Take what every token needs.

        Args:
            keyring: Signs.
            issuer: Our identifier, byte for byte.
            clock_ms: Milliseconds since the epoch, which put the ids of one second in their order.
        """
        self._keyring = keyring
        self._issuer = issuer
        self._clock_ms = clock_ms

    def mint(self, spec: TokenSpec, *, now: int) -> Minted:
        """Sign a token. It may leave once the issuance that comes with it is committed."""
        jti = new_id(self._clock_ms())
        agent_id = spec.client.id if spec.client.is_agent else None
        expires_at = now + spec.lifetime
        claims = build_access_token_claims(
            issuer=self._issuer,
            subject=spec.subject,
            audience=spec.resource or self._issuer,
            client_id=spec.client.id,
            scope=" ".join(spec.scopes),
            jti=spell_id(jti),
            issued_at=now,
            expires_at=expires_at,
            jkt=spec.jkt,
            agent_id=agent_id,
        )
        access_token = sign_jwt(self._keyring.current(now), claims)
        is_machine = spec.kind is IssuanceKind.MACHINE and spec.subject == spec.client.id
        issuance = Issuance(
            id=jti,
            token_digest=token_digest(access_token),
            kind=spec.kind,
            subject=None if is_machine else spec.subject,
            client_id=spec.client.id,
            resource_id=spec.resource_id,
            scopes=spec.scopes,
            authorization_id=spec.authorization_id,
            issued_at=now,
            expires_at=expires_at,
            dpop_jkt=spec.jkt,
            agent_id=agent_id,
            consent_client_id=spec.client.id if spec.kind is IssuanceKind.USER else None,
        )
        return Minted(access_token=access_token, expires_in=spec.lifetime, issuance=issuance)


def note_agent(minted: Minted) -> None:
    """Count a token of an agent; to be called when it really leaves (tokens.md §5)."""
    if minted.issuance.agent_id is not None:
        AGENT_TOKENS_ISSUED.inc("true" if minted.issuance.agent_chain else "false")
        _log.debug("attached agent_id claim", client_id=minted.issuance.client_id)
