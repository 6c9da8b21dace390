"""Requests as an endpoint gets them."""

from collections.abc import Iterable

from authserver.web.http import Endpoint, HttpRequest, HttpResponse


def a_request(
    *,
    method: str = "POST",
    target: str = "/",
    body: Iterable[bytes] = (b"",),
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> HttpRequest:
    """Return a request whose body arrives in these parts as they are wanted; after the last the client is gone."""
    path, _, query = target.partition("?")
    request = HttpRequest(
        method=method,
        path=path,
        query=query.encode(),
        headers=list(headers),
        client_address="192.0.2.7",
        request_id="r-1",
    )
    feed(request, body)
    return request


def feed(request: HttpRequest, parts: Iterable[bytes]) -> None:
    """Have the body of a request arrive in these parts, as they are wanted; after the last the client is gone."""
    pending = list(parts)

    def send_more() -> None:
        if not pending:
            request.lose()
        while pending:
            part = pending.pop(0)
            request.arrive(part)
            if not pending:
                request.end()
            if part:
                return

    request.want_more = send_more


async def answer_of(endpoint: Endpoint, request: HttpRequest) -> HttpResponse:
    """Return what an endpoint answers, whether it does so at once or not."""
    answer = endpoint(request)
    return answer if isinstance(answer, HttpResponse) else await answer
