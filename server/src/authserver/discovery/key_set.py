"""The public key set, with the agents beside the keys when they are listed (public API §18)."""

import hashlib
from dataclasses import dataclass, field

from authserver.clients.agents import AgentListing
from authserver.keys.keyring import Keyring
from authserver.protocol.identifiers import base64url


@dataclass(slots=True, kw_only=True)
class KeySet:
    """What ``/.well-known/jwks.json`` says, put together once for each change of keys or agents.

    Attributes:
        agents: The agents; None when they are not listed.
    """

    keyring: Keyring
    agents: AgentListing | None = None
    _parts: tuple[bytes, bytes] = field(default=(b"", b""), init=False)
    _document: tuple[bytes, str] = field(default=(b"", ""), init=False)

    @property
    def is_ready(self) -> bool:
        """Whether the agents were read, if they are wanted."""
        return self.agents is None or self.agents.json is not None

    async def prepare(self) -> None:
        """Read the agents for the first time, if that can be done now: keys are published whatever becomes of them."""
        if self.agents is not None:
            await self.agents.try_refresh()

    def document(self, now: int) -> tuple[bytes, str]:
        """Return the document and its entity tag, quotes included."""
        snapshot = self.keyring.snapshot(now)
        agents = self.agents.json if self.agents is not None else None
        if not agents:
            return snapshot.jwks, snapshot.etag
        if self._parts[0] is not snapshot.jwks or self._parts[1] is not agents:
            body = snapshot.jwks[:-1] + b',"agents":' + agents + b"}"
            etag = f'"{base64url(hashlib.sha256(body).digest()[:16])}"'
            self._parts, self._document = (snapshot.jwks, agents), (body, etag)
        return self._document
