"""An enterprise identity provider: its keys, what it publishes, and the assertions (ID-JAG) it issues."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from authserver.outbound.client import OutboundClient
from server.tests.fakes.certificates import tls_contexts
from server.tests.fakes.document_server import Answer, DocumentServer, document_server
from server.tests.fakes.signing_client import EC_KEY, PrivateKey, base64url, public_jwk, segment, sign

HOST = "acme.idp.test"
JSON = {"Content-Type": "application/json"}

_numbers = count(1)


@dataclass(kw_only=True)
class IdentityProvider:
    """A provider with one key.

    Attributes:
        audience: The server that it addresses assertions to.
        client_id: The client that they are for.
    """

    web: DocumentServer
    tls: ssl.SSLContext
    audience: str
    client_id: str = ""
    alg: str = "ES256"
    kid: str | None = "key-1"
    key: PrivateKey = field(default=EC_KEY, repr=False)
    host: str = HOST

    @property
    def issuer(self) -> str:
        return f"https://{self.host}:{self.web.port}"

    @property
    def jwks_uri(self) -> str:
        return f"{self.issuer}/jwks"

    @property
    def fetches(self) -> int:
        """How often its keys were fetched."""
        return self.web.paths().count("/jwks")

    def publish(self, *keys: dict[str, Any]) -> None:
        """Publish its key, or others."""
        own = public_jwk(self.key, **({"kid": self.kid} if self.kid else {}))
        self.web.answers["/jwks"] = Answer(body=orjson.dumps({"keys": keys or (own,)}), headers=JSON)

    def fall(self, **answer: Any) -> None:
        """Publish nothing that can be used."""
        self.web.answers["/jwks"] = Answer(**({"status": 500} | answer))

    def claims(self, *, now: int, **changes: object) -> dict[str, Any]:
        """Return the claims of a new assertion; None leaves one out."""
        claims = {
            "iss": self.issuer,
            "sub": "alice@acme",
            "aud": self.audience,
            "client_id": self.client_id,
            "jti": f"id-jag {next(_numbers)}",
            "exp": now + 300,
            "iat": now,
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def sign(self, claims: object, **header: object) -> str:
        """Return an assertion with these claims; None leaves a member of the header out."""
        members = {"typ": "oauth-id-jag+jwt", "alg": self.alg, "kid": self.kid} | header
        kept = {name: value for name, value in members.items() if value is not None}
        signing_input = f"{segment(kept)}.{segment(claims)}"
        return f"{signing_input}.{base64url(sign(self.key, self.alg, signing_input.encode()))}"

    def assertion(self, *, now: int, **changes: object) -> str:
        """Return a new assertion that holds, but for what changes."""
        return self.sign(self.claims(now=now, **changes))


@asynccontextmanager
async def identity_provider(
    directory: Path, audience: str, *, host: str = HOST
) -> AsyncIterator[tuple[IdentityProvider, OutboundClient]]:
    """Serve a provider over TLS on loopback; with it comes a client that finds and trusts it."""
    server_tls, client_tls = tls_contexts(directory, host)

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with document_server(server_tls) as web:
        provider = IdentityProvider(web=web, tls=client_tls, audience=audience, host=host)
        provider.publish()
        yield provider, OutboundClient(resolver=resolver, tls=client_tls, is_forbidden=lambda _address: False)
