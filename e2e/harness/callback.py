"""Where a client is called back: a loopback web server that remembers what arrived."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_SECONDS = 10


class Callback:
    """A client's redirect URI."""

    def __init__(self, url: str, arrived: "queue.Queue[str]") -> None:
        self.url = url
        self._arrived = arrived

    def wait(self) -> str:
        """Return the full URL the browser arrived with."""
        return self._arrived.get(timeout=WAIT_SECONDS)

    @property
    def is_untouched(self) -> bool:
        return self._arrived.empty()


@contextmanager
def callback_server() -> Iterator[Callback]:
    """Serve a client's callback on a port of its own."""
    arrived: queue.Queue[str] = queue.Queue()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/callback"):
                arrived.put(f"http://127.0.0.1:{server.server_port}{self.path}")
            body = b"<!doctype html><title>Back in the client</title><p>You may close this window."
            self.send_response(200 if self.path.startswith("/callback") else 404)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield Callback(f"http://127.0.0.1:{server.server_port}/callback", arrived)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
