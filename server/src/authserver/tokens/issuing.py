"""Claims become a signed token, and the row that goes with it."""

from collections.abc import Callable
from dataclasses import dataclass

from authserver.clients.records import Client
from authserver.keys.keyring import Keyring
from authserver.protocol.actors import MAX_AGENT_CHAIN, Act, actors_of
from authserver.protocol.claims import SignIn, build_access_token_claims
from authserver.protocol.errors import InvalidRequest
from authserver.protocol.identifiers import new_id, spell_id
from authserver.resources.catalog import ResourceCatalog
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AGENT_TOKENS_ISSUED
from authserver.telemetry.notes import note
from authserver.tokens.records import Issuance, IssuanceKind, Minted

_log = get_logger("token")


@dataclass(slots=True)
class TokenSpec:
    """What a token shall say.

    Attributes:
        subject: The user, or the client itself.
        client: Who asks for it, and whose agent flag counts.
        client_id: What the token names as its client when that is not the one who asks (a fronted token names its source).
        resource_id: The Resource it is for, or None.
        resource: The Resource's URI, or None: the audience is then the issuer.
        lifetime: Seconds.
        jkt: The key it is bound to, or None.
        authorization_id: The family it belongs to, or None.
        act: Who acts for the subject, newest outermost (RFC 8693 §4.1), or None.
        consent_client_id: The client whose consent it rests on, or None.
        parent_jti: The token it is exchanged from, or None.
        sign_in: How the user signed in who answered, where the token comes of such an answer; None when it is not known.
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
    client_id: str | None = None
    act: Act | None = None
    consent_client_id: str | None = None
    parent_jti: bytes | None = None
    sign_in: SignIn | None = None


class TokenIssuer:
    """Signs access tokens (tokens.md §2, RFC 9068)."""

    def __init__(self, keyring: Keyring, catalog: ResourceCatalog, *, issuer: str, clock_ms: Callable[[], int]) -> None:
        """Take what every token needs.

        Args:
            keyring: Signs.
            catalog: Knows which Resources take bound tokens only; loaded before the first token is signed.
            issuer: Our identifier, byte for byte.
            clock_ms: Milliseconds since the epoch, which put the ids of one second in their order.
        """
        self._keyring = keyring
        self._catalog = catalog
        self._issuer = issuer
        self._clock_ms = clock_ms

    async def mint(self, spec: TokenSpec, *, now: int) -> Minted:
        """Sign a token. It may leave once the issuance that comes with it is committed.

        Raises:
            InvalidRequest: The Resource takes bound tokens only, and this one would not be.
            SigningUnavailable: The key is elsewhere, and whoever has it does not answer.
        """
        self._check_binding(spec)
        token_id = new_id(self._clock_ms())
        jti = spell_id(token_id)
        client_id = spec.client_id or spec.client.id
        agent_id = spec.client.id if spec.client.is_agent else None
        agent_chain = self._agent_chain(spec) if agent_id and spec.act else ()
        expires_at = now + spec.lifetime
        claims = build_access_token_claims(
            issuer=self._issuer,
            subject=spec.subject,
            audience=spec.resource or self._issuer,
            client_id=client_id,
            scope=" ".join(spec.scopes),
            jti=jti,
            issued_at=now,
            expires_at=expires_at,
            jkt=spec.jkt,
            act=spec.act,
            agent_id=agent_id,
            agent_chain=agent_chain,
            sign_in=spec.sign_in,
        )
        signed = await self._keyring.sign(claims, now=now)
        is_machine = spec.kind is IssuanceKind.MACHINE and spec.subject == spec.client.id
        # In their order, as every token has them: named, they would cost twice as much.
        issuance = Issuance(
            token_id,
            signed.digest,
            spec.kind,
            None if is_machine else spec.subject,
            client_id,
            spec.resource_id,
            spec.scopes,
            spec.authorization_id,
            now,
            expires_at,
            None,  # it is not revoked
            spec.jkt,
            agent_id,
            agent_chain,
            spec.consent_client_id,
            spec.parent_jti,
        )
        return Minted(signed.text, spec.lifetime, issuance, jti)

    def _check_binding(self, spec: TokenSpec) -> None:
        """Refuse to sign a bearer token for a Resource that demands bound ones: here, so that no grant can forget it."""
        if spec.jkt is None and spec.resource_id is not None and self._catalog.demands_binding(spec.resource_id):
            note("resource demands bound tokens", resource=spec.resource, client_id=spec.client.id)
            raise InvalidRequest(
                "the resource takes DPoP-bound tokens only: a DPoP proof is required",
                reason="dpop_required_by_resource",
            )

    def _agent_chain(self, spec: TokenSpec) -> tuple[str, ...]:
        actors = actors_of(spec.act)
        if len(actors) > MAX_AGENT_CHAIN:
            _log.warning("agent chain cut to its oldest entries", client_id=spec.client.id, chain_length=len(actors))
        return actors[:MAX_AGENT_CHAIN]


def note_agent(minted: Minted) -> None:
    """Count a token of an agent; to be called when it really leaves (tokens.md §5)."""
    if minted.issuance.agent_id is not None:
        AGENT_TOKENS_ISSUED.inc("true" if minted.issuance.agent_chain else "false")
        # A token of a family comes again with every refresh.
        say = _log.debug if minted.issuance.authorization_id else _log.info
        say(
            "attached agent_id claim",
            client_id=minted.issuance.agent_id,
            chain_length=len(minted.issuance.agent_chain),
        )
