"""Links that ask one user to allow one client something: tied to that user, signed, and good for a quarter of an hour.

Nothing is stored. A ticket holds ``user id, client id, Resource id, scopes, expiry`` and a code over them; it proves that
we made the link and for whom, not who opens it (public API §6.4; threat X4).
"""

import base64
import binascii
from dataclasses import dataclass
from itertools import accumulate
from urllib.parse import quote, urlencode

import orjson

from authserver.config.sections.listeners import SessionConfig
from authserver.login.macs import Mac
from authserver.protocol.identifiers import base64url
from authserver.resources.records import Resource

LIFETIME = 15 * 60
"""Seconds that a link is good for."""
MOST_SCOPE_CHARACTERS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a link asks for.

    Attributes:
        user_id: Who alone can answer.
        client_id: The client that would be allowed.
        scopes: What the page shows, at least one.
        expires_at: Seconds since the epoch.
    """

    user_id: str
    client_id: str
    resource_id: str
    scopes: tuple[str, ...]
    expires_at: int


class ConsentLinks:
    """Makes links and recognises their tickets."""

    def __init__(self, config: SessionConfig, *, issuer: str) -> None:
        """Take the section ``session``, its secret filled in.

        Raises:
            ValueError: The secret is empty.
        """
        self._mac = Mac(config.secret.reveal().encode(), "consent_ticket")
        self._issuer = issuer

    def build(
        self,
        resource: Resource,
        *,
        user_id: str,
        client_id: str,
        scopes: tuple[str, ...],
        missing: tuple[str, ...] = (),
        now: int,
    ) -> str:
        """Return a link, of some kilobytes at most: it goes through browsers and proxies.

        Of more scopes than have room in it the first ones are asked for; the others are still missing afterwards, and get a
        link of their own.

        Args:
            resource: The Mint Resource that is asked for.
            user_id: Who shall answer.
            client_id: The client that shall be allowed.
            scopes: What the page shows.
            missing: The scopes to tell in the link, when some were allowed before.
            now: Seconds since the epoch.
        """
        members = [user_id, client_id, resource.id, _fitting(scopes), now + LIFETIME]
        payload = base64url(orjson.dumps(members))
        query = {
            "resource": resource.slug,
            "scope": " ".join(_fitting(missing)),
            "ticket": f"{payload}.{self._mac.sign(payload)}",
        }
        return f"{self._issuer}/authorize?{urlencode({k: v for k, v in query.items() if v}, quote_via=quote, safe='')}"

    def read(self, text: str, *, now: int) -> Ticket | None:
        """Return what a ticket of ours asks for, or None when it is none or too old."""
        payload, _, code = text.rpartition(".")
        if not payload.isascii() or not self._mac.is_valid(payload, code):
            return None
        try:
            members = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        except (binascii.Error, ValueError):
            return None
        user_id, client_id, resource_id, scopes, expires_at = members
        if expires_at <= now:
            return None
        return Ticket(
            user_id=user_id,
            client_id=client_id,
            resource_id=resource_id,
            scopes=tuple(scopes),
            expires_at=expires_at,
        )


def _fitting(scopes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the first scopes that have room in a link: one at least."""
    ends = accumulate(len(scope) + 1 for scope in scopes)
    return tuple(scope for scope, end in zip(scopes, ends, strict=True) if end <= MOST_SCOPE_CHARACTERS) or scopes[:1]
