"""An enterprise's identity provider: it publishes its keys over TLS, signs assertions (ID-JAG), and may fail."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from e2e.harness.metadata_document import Authority


class Provider:
    """A provider. ``fails`` has it answer nothing but 500.

    Attributes:
        issuer: Its identifier.
        documents: What else is published, by path.
    """

    def __init__(self, port: int) -> None:
        self.issuer = f"https://127.0.0.1:{port}"
        self.fails = False
        self.documents: dict[str, dict[str, Any]] = {}
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on, and publish no other."""
        self._kid, self._key = uuid.uuid4().hex, ec.generate_private_key(ec.SECP256R1())

    def assertion(self, *, audience: str, client_id: str, **claims: Any) -> str:
        """Return a new assertion about Alice."""
        now = int(time.time())
        own: dict[str, Any] = {"iss": self.issuer, "sub": "alice@acme", "aud": audience, "client_id": client_id}
        own |= {"jti": uuid.uuid4().hex, "iat": now, "exp": now + 120}
        header = {"typ": "oauth-id-jag+jwt", "kid": self._kid}
        return jwt.encode(own | claims, self._key, algorithm="ES256", headers=header)

    def document(self, path: str) -> dict[str, Any] | None:
        """Return what is published at a path."""
        if path == "/jwks":
            own = json.loads(jwt.get_algorithm_by_name("ES256").to_jwk(self._key.public_key()))
            return {"keys": [own | {"kid": self._kid}]}
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer, "jwks_uri": f"{self.issuer}/jwks"}
        return self.documents.get(path)


@contextmanager
def enterprise(authority: Authority) -> Iterator[Provider]:
    """Serve a provider."""

    class Documents(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = provider.document(self.path)
            body = json.dumps(document).encode()
            self.send_response(500 if provider.fails else 404 if document is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Documents)
    server.socket = authority.context().wrap_socket(server.socket, server_side=True)
    provider = Provider(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
