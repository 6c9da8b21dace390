"""Where an operator watches many systems: takes posts of audit events, and may be unwell."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Siem:
    """What arrived.

    Attributes:
        status: What it answers at present.
        posts: The events of every post, whatever was answered, and the answer.
    """

    url: str
    status: int = 200
    posts: list[tuple[int, list[dict[str, Any]]]] = field(default_factory=list)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """The events that it said to have, in the order they came in."""
        return [event for status, events in self.posts if status == 200 for event in events]


@contextlib.contextmanager
def running_siem() -> Iterator[Siem]:
    """Run one on loopback."""
    siem = Siem("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = siem.status
            siem.posts.append((status, json.loads(body)["data"]["events"]))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    siem.url = f"http://127.0.0.1:{server.server_port}/events"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield siem
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
