"""A web server with a client's metadata document (CIMD), over TLS with a certificate authority of its own."""

import datetime as dt
import ipaddress
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """A certificate authority that lives as long as the test run.

    Args:
        directory: Where its files go; ``bundle`` is what a process trusts with ``SSL_CERT_FILE``.
    """

    def __init__(self, directory: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._certificate(key)
        self.bundle = directory / "authority.pem"
        self._chain = directory / "server.pem"
        self.bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._chain.write_bytes(secret + self.bundle.read_bytes())

    @staticmethod
    def _certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        today = dt.datetime.now(dt.UTC)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - dt.timedelta(days=1))
            .not_valid_after(today + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(names, critical=False)
            .sign(key, hashes.SHA256())
        )

    def context(self) -> ssl.SSLContext:
        """Return what a server on 127.0.0.1 presents."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        return context


@contextmanager
def metadata_document(
    authority: Authority, *, redirect_uris: list[str], name: str, members: dict[str, Any] | None = None
) -> Iterator[str]:
    """Serve the document of a client; yield its URL, which is the client's identifier.

    Args:
        authority: Who certifies the web server.
        redirect_uris: Where the client may be called back.
        name: What its users read.
        members: More of the document; without them the client is public.
    """

    class Document(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Document)
    server.socket = authority.context().wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}/clients/notes.json"
    document = {"client_id": url, "client_name": name, "redirect_uris": redirect_uris, **(members or {})}
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield url
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
