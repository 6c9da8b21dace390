"""What is refused leaves nothing behind that only a search for garbage would free: those are far apart (cli/serving.py)."""

import gc
from collections.abc import Coroutine
from urllib.parse import urlencode

import pytest

from authserver.web.forms import Form
from authserver.web.http import HttpRequest
from server.tests.wire.harness import Wire

pytestmark = pytest.mark.anyio

FORMS = {
    "unknown-client": {"grant_type": "client_credentials", "client_id": "nobody", "client_secret": "wrong"},
    "unknown-code": {"grant_type": "authorization_code", "client_id": "", "code": "unknown", "code_verifier": "v" * 43},
    "unknown-grant": {"grant_type": "unknown"},
}


def _count_forms() -> int:
    return sum(isinstance(each, Form) for each in gc.get_objects())


async def _ask(wire: Wire, method: str, path: bytes, *, query: bytes = b"", body: bytes = b"") -> bytes:
    headers = [(b"host", b"auth.example.com"), (b"content-type", b"application/x-www-form-urlencoded")]
    request = HttpRequest(method, headers, path, query)
    request.arrive(body)
    request.end()
    coming = wire.server.public.serve(request)
    answer = await coming if isinstance(coming, Coroutine) else coming
    assert answer is not None
    return answer[0].partition(b"\r\n")[0]


@pytest.mark.parametrize("refused", FORMS)
async def test_a_refused_token_request_leaves_no_form_behind(wire: Wire, refused: str) -> None:
    body = urlencode(FORMS[refused]).encode()
    gc.collect()
    gc.disable()
    try:
        before = _count_forms()
        for _ in range(3):
            status = await _ask(wire, "POST", b"/oauth/token", body=body)
            assert status in {b"HTTP/1.1 400 Bad Request", b"HTTP/1.1 401 Unauthorized"}
        assert _count_forms() == before
    finally:
        gc.enable()


async def test_an_unreadable_authorization_request_leaves_no_form_behind(wire: Wire) -> None:
    client = await wire.register()
    query = urlencode(wire.request(client["client_id"])).encode() + b"&nonce=%ff"
    gc.collect()
    gc.disable()
    try:
        before = _count_forms()
        for _ in range(3):
            assert await _ask(wire, "GET", b"/oauth/authorize", query=query) == b"HTTP/1.1 303 See Other"
        assert _count_forms() == before
    finally:
        gc.enable()
