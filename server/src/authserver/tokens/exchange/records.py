"""What passes through a token exchange."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from authserver.authorization.records import ActiveConsent
from authserver.clients.records import Client
from authserver.protocol.actors import Act, sanitise
from authserver.resources.records import FrontingLink, Resource
from authserver.tokens.records import Issuance, TokenRequest


class ExchangeType(StrEnum):
    """What an exchange was, in the spelling of the audit trail and the metrics."""

    IMPERSONATION = "impersonation"
    DELEGATION = "delegation"
    MINT = "mint_dispatch"
    BROKER = "broker_dispatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedToken:
    """A token of ours that has not expired.

    Attributes:
        claims: As issued.
        client_is_active: Whether its client may act; None when it names none of ours.
        user_is_active: Whether its user may; None when it is about none of ours.
    """

    claims: Mapping[str, Any]
    issuance: Issuance
    client_is_active: bool | None
    user_is_active: bool | None

    @property
    def subject(self) -> str:
        """Who it is about: a user, or a client that acts for itself."""
        return str(self.claims["sub"])

    @property
    def client_id(self) -> str:
        """The agent client: the one that the token was issued to. Of a fronted token, the slug of its source."""
        return str(self.claims["client_id"])

    @property
    def is_fronted(self) -> bool:
        """Whether its client is a Resource: its newest hop is a gateway's, by the slug, and hops of clients have a type."""
        act = self.act or {}
        return act.get("sub") == self.client_id and "actor_type" not in act

    @property
    def scopes(self) -> tuple[str, ...]:
        """The names of its scope; empty when it only says who somebody is."""
        return tuple(str(self.claims.get("scope", "")).split())

    @property
    def audience(self) -> str:
        """Its one audience."""
        return str(self.claims["aud"][0])

    @property
    def act(self) -> Act | None:
        """Who acts in it, without what speaks of that token."""
        return sanitise(self.claims.get("act"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request whose subject token holds.

    Attributes:
        caller: Who asks, which the subject token's client need not be.
        requested: The scopes asked for, in the target's words; empty when none are named.
    """

    request: TokenRequest
    caller: Client
    subject: PresentedToken
    requested: tuple[str, ...]

    @property
    def is_own(self) -> bool:
        """Whether the subject token is the caller's own. A client called like the source of a fronted token has no part in it."""
        return self.caller.id == self.subject.client_id and not self.subject.is_fronted


@dataclass(frozen=True, slots=True, kw_only=True)
class Fronting:
    """A link that an exchange goes along.

    Attributes:
        source: The Resource that the subject token is for.
    """

    link: FrontingLink
    source: Resource


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An exchange that passed its gates.

    Attributes:
        target: The Resource the token is for; None when the request named none.
        fronting: The link, or None of a direct exchange.
        actor: The actor token, or None.
        consent: The consent that let it pass, which must still stand when the token is recorded; None where none is asked.
    """

    exchange: Exchange
    target: Resource | None
    scopes: tuple[str, ...]
    fronting: Fronting | None = None
    actor: PresentedToken | None = None
    consent: ActiveConsent | None = None

    def acted_by(self, actor: PresentedToken) -> "Plan":
        """Return the same exchange as a delegation."""
        return replace(self, actor=actor)

    @property
    def type(self) -> ExchangeType:
        """What it is called."""
        if self.target is not None:
            return ExchangeType.MINT
        return ExchangeType.IMPERSONATION if self.actor is None else ExchangeType.DELEGATION
