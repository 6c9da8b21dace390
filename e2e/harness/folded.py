"""A protected server in front of private services that no authorization server knows of (a folded resource)."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import jwt

TOOLS = {"read": "tool:read", "write": "tool:write"}


@contextmanager
def listening(answer: Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], Any]]) -> Iterator[str]:
    """Serve POST requests on a loopback port; yield its URL.

    Args:
        answer: Returns status, headers and what is sent as JSON.
    """

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            status, headers, content = answer(self)
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def private_service() -> Iterator[tuple[str, list[str]]]:
    """Serve an internal service; yield its URL and what it was told, token by token."""
    shown: list[str] = []

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], Any]:
        shown.append(request.headers.get("authorization", ""))
        return 200, {}, {"done": True}

    with listening(answer) as url:
        yield url, shown


@contextmanager
def folded_server(verify: Callable[[str], dict[str, Any]], *, services: tuple[str, str]) -> Iterator[str]:
    """Serve a tool for each scope, called by ``{"tool": name}``; each does its work by two private calls.

    Args:
        verify: Returns the claims of a token that is for this server, or raises ``jwt.InvalidTokenError``.
        services: Where the private calls go, with a credential of this server's own.
    """

    def answer(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], Any]:
        called = json.loads(request.rfile.read(int(request.headers["content-length"])))
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = verify(token)
        except jwt.InvalidTokenError:
            return 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}, {}
        needed = TOOLS[called["tool"]]
        if scheme != "Bearer" or needed not in claims["scope"].split():
            challenge = f'Bearer error="insufficient_scope", scope="{needed}"'
            return 403, {"WWW-Authenticate": challenge}, {"error": "insufficient_scope"}
        done = [httpx2.post(url, headers={"authorization": "Bearer internal"}).json() for url in services]
        return 200, {}, done

    with listening(answer) as url:
        yield url
