"""Requests as an endpoint gets them."""

from collections.abc import Iterable, Mapping
from typing import Any

from authserver.web.http import HttpRequest


def a_request(*, body: Iterable[bytes] = (b"",), headers: Iterable[tuple[bytes, bytes]] = ()) -> HttpRequest:
    """Return a request whose body arrives in these parts; after the last the client is gone."""
    pending = list(body)

    async def receive() -> Mapping[str, Any]:
        if not pending:
            return {"type": "http.disconnect"}
        part = pending.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(pending)}

    return HttpRequest(
        method="POST",
        path="/",
        query=b"",
        headers=list(headers),
        receive=receive,
        client_address="192.0.2.7",
        request_id="r-1",
    )
