"""The targets: how an input becomes a request, and what must hold of its answer.

An input is bytes that a person can read. Its first line holds switches and headers; what follows goes into the query or the
body. Words in braces stand for what only the running server knows, such as ``{code}``.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from fuzz import parsers
from fuzz.properties import CLIENT_ERROR, REDIRECTED, check_answer, check_redirect, check_refusal
from fuzz.world import FORM, REDIRECT, Answer, Sent, World

MOST_INPUT = 32 * 1024
CREATED = 201

Target = Callable[[World, bytes], Awaitable[None]]


async def _send(world: World, sent: Sent) -> Answer:
    answer = await world.send(sent)
    assert (fault := world.faults()) == b"", fault.decode(errors="replace")
    check_answer(sent, answer)
    return answer


def _split(data: bytes) -> tuple[str, bytes]:
    first, _, rest = data[:MOST_INPUT].partition(b"\n")
    return first.decode("latin-1"), rest


async def authorize(world: World, data: bytes) -> None:
    """``GET /oauth/authorize``. Switches: ``s`` signed in, ``x`` from another site, ``h`` HEAD, ``a`` the alias."""
    switches, query = _split(data)
    query = query.replace(b"{client}", world.client_id.encode()).replace(
        b"{redirect}", quote(REDIRECT, safe="").encode()
    )
    headers = {"cookie": world.cookie} if "s" in switches else {}
    if "x" in switches:
        headers["sec-fetch-site"] = "cross-site"
    path = "/authorize" if "a" in switches else "/oauth/authorize"
    sent = Sent(method="HEAD" if "h" in switches else "GET", path=path, query=query, headers=headers)
    answer = await _send(world, sent)
    assert answer.status in {REDIRECTED, 400, 403}, answer.status
    if answer.status == REDIRECTED:
        check_redirect(answer, state=parsers.sent_state(query))
    else:
        assert answer.header(b"location") is None


async def token(world: World, data: bytes) -> None:
    """``POST`` to a form endpoint. After the switches, and a blank, comes ``Authorization``.

    Switches: ``i`` introspection, ``r`` revocation, ``j`` JSON asked for, ``c`` a body that calls itself JSON.
    """
    first, body = _split(data)
    switches, _, authorization = first.partition(" ")
    path = "/oauth/introspect" if "i" in switches else "/oauth/revoke" if "r" in switches else "/oauth/token"
    body = body.replace(b"{client}", world.client_id.encode())
    for name, make in ((b"{code}", world.code), (b"{refresh}", world.refresh_token)):
        if name in body:
            body = body.replace(name, (await make()).encode())
    headers = dict(FORM) if "c" not in switches else {"content-type": "application/json"}
    if "j" in switches:
        headers["accept"] = "application/json"
    if authorization:
        headers["authorization"] = authorization
    answer = await _send(world, Sent(method="POST", path=path, headers=headers, body=body))
    world.spent()
    assert answer.header(b"cache-control") == "no-store"
    assert answer.header(b"location") is None
    if answer.status >= CLIENT_ERROR:
        check_refusal(answer)
        assert answer.status in {400, 401}, answer.status
        assert (answer.header(b"content-type") == "application/json") == ("j" in switches)
    else:
        parsers.check_token_answer(path, answer.body)


async def register(world: World, data: bytes) -> None:
    """``POST /oauth/register``; a client that gets in must be one that may."""
    answer = await _send(world, Sent(method="POST", path="/oauth/register", body=data))
    assert answer.header(b"cache-control") == "no-store"
    if answer.status == CREATED:
        await parsers.check_registered(world, answer.body)
    else:
        assert answer.status == CLIENT_ERROR, answer.status
        check_refusal(answer)


async def document(world: World, data: bytes) -> None:
    """A client metadata document, with the head that it is served with. ``{url}`` is the client's identifier."""
    url = world.documents.new_url()
    head, gap, body = data[:MOST_INPUT].partition(b"\n\n")
    body = body.replace(b"{url}", url.encode())
    lines = head.replace(b"{length}", str(len(body)).encode()).split(b"\n")
    world.documents.answer = b"\r\n".join(lines) + (b"\r\n\r\n" if gap else b"") + body
    query = world.query(client_id=url).encode()
    answer = await _send(world, Sent(method="GET", path="/oauth/authorize", query=query))
    assert answer.status in {REDIRECTED, CLIENT_ERROR}, answer.status
    await parsers.check_document_client(world, url, answer)


async def parse(_world: World, data: bytes) -> None:
    """The parsers alone, against what they are to agree with."""
    parsers.check_all(data[:4096])


TARGETS: dict[str, Target] = {
    "authorize": authorize,
    "token": token,
    "register": register,
    "document": document,
    "parsers": parse,
}
