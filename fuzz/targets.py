"""The targets: how an input becomes a request, and what must hold of its answer.

An input is bytes that a person can read. Its first line holds switches and headers; what follows goes into the query or the
body. Words in braces stand for what only the running server knows, such as ``{code}``.
"""

import json
from collections.abc import Awaitable, Callable
from urllib.parse import quote, unquote_to_bytes, urlencode, urlsplit

from authserver.clients.registration import Registered
from authserver.protocol.client_assertions import ASSERTION_TYPE
from authserver.protocol.grant_types import CLIENT_CREDENTIALS, DEVICE_CODE, JWT_BEARER
from fuzz import parsers
from fuzz.properties import CLIENT_ERROR, REDIRECTED, check_answer, check_redirect, check_refusal
from fuzz.world import FORM, ISSUER, NOW, PROVIDER, REDIRECT, RESOURCE, Answer, Sent, World

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


def _signed(world: World, data: bytes, **words: str) -> tuple[str, str, str]:
    """Return the switches of an input, its signed thing, and the rest of the form.

    The first line holds the switches and the rest of a form; header and claims follow, parted by an empty line.
    """
    first, rest = _split(data)
    switches, _, form = first.partition(" ")
    known = {"{now}": str(NOW), "{unique}": world.unique(), "{jwk}": json.dumps(world.signer.jwk)} | words
    for name, word in known.items():
        rest = rest.replace(name.encode(), word.encode())
    header, _, claims = rest.partition(b"\n\n")
    signed = world.signer.sign(header, claims)
    return switches, signed[:-2] + ("AA" if not signed.endswith("AA") else "BA") if "x" in switches else signed, form


async def _twice(world: World, sent: Sent, *, expected: dict[int, set[str]], spent: str) -> Answer | None:
    """Send something that is good once; return the answer if it was taken.

    Args:
        world: The server.
        sent: The request.
        expected: What a refusal may say, by its status.
        spent: What the second one of two says.
    """
    answer = await _send(world, sent)
    assert answer.header(b"cache-control") == "no-store"
    if answer.status >= CLIENT_ERROR:
        check_refusal(answer)
        assert json.loads(answer.body)["error"] in expected[answer.status], answer.body
        return None
    again = await _send(world, sent)
    assert json.loads(again.body)["error"] == spent, again.body
    return answer


async def proof(world: World, data: bytes) -> None:
    """A proof of possession at the token endpoint, signed. Switches: ``x`` another signature, ``t`` two headers of it."""
    switches, signed, _ = _signed(world, data, **{"{htu}": f"{ISSUER}/oauth/token"})
    form = _own_form(world.machine, grant_type=CLIENT_CREDENTIALS)
    headers = FORM | {"dpop": f"{signed}, {signed}" if "t" in switches else signed}
    sent = Sent(method="POST", path="/oauth/token", headers=headers, body=form)
    expected = {400: {"invalid_dpop_proof", "invalid_request"}}
    answer = await _twice(world, sent, expected=expected, spent="invalid_dpop_proof")
    if answer is None:
        return
    assert not {"x", "t"} & set(switches)
    header, claims = world.signer.read(signed, now=NOW)
    assert {name: header["jwk"][name] for name in world.signer.jwk} == world.signer.jwk
    assert (header["typ"].lower(), claims["htm"]) == ("dpop+jwt", "POST")
    assert urlsplit(claims["htu"]).path == "/oauth/token"
    assert isinstance(claims["jti"], str)
    assert abs(claims["iat"] - NOW) <= 60
    parsers.check_bound_answer(answer.body, jkt=world.signer.jkt)
    assert len(answer.header(b"dpop-nonce") or "") == 43


async def assertion(world: World, data: bytes) -> None:
    """A client assertion at the token endpoint, signed. Switches: ``x`` another signature, ``c`` the client is named."""
    client_id = world.prover.client.id
    switches, signed, extra = _signed(world, data, **{"{client}": client_id, "{issuer}": ISSUER})
    form = {"grant_type": CLIENT_CREDENTIALS, "client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}
    if "c" in switches:
        form["client_id"] = client_id
    body = urlencode(form).encode() + (b"&" + extra.encode("latin-1") if extra else b"")
    sent = Sent(method="POST", path="/oauth/token", headers=FORM, body=body)
    refusals = {"invalid_request", "invalid_scope", "invalid_target", "unauthorized_client", "unsupported_grant_type"}
    expected = {401: {"invalid_client"}, 400: refusals | {"invalid_grant"}}
    answer = await _twice(world, sent, expected=expected, spent="invalid_client")
    if answer is None:
        return
    assert "x" not in switches
    _, claims = world.signer.read(signed, now=NOW)
    assert claims["iss"] == claims["sub"] == client_id
    audience = claims["aud"]
    assert (audience if isinstance(audience, str) else audience[0]).startswith(ISSUER)
    assert isinstance(claims["jti"], str)
    assert NOW - 31 < claims["exp"] <= NOW + 3600


async def id_jag(world: World, data: bytes) -> None:
    """An identity assertion at the token endpoint, signed by the provider. Switches: ``x`` another signature."""
    client_id = world.enterprise.client.id
    words = {"{client}": client_id, "{issuer}": ISSUER, "{idp}": PROVIDER, "{resource}": RESOURCE}
    switches, signed, extra = _signed(world, data, **words)
    form = _own_form(world.enterprise, grant_type=JWT_BEARER, assertion=signed)
    body = form + (b"&" + extra.encode("latin-1") if extra else b"")
    sent = Sent(method="POST", path="/oauth/token", headers=FORM, body=body)
    refusals = {"invalid_grant", "invalid_request", "invalid_scope", "invalid_target", "invalid_client"}
    expected = {400: refusals, 401: {"invalid_client"}, 403: {"access_denied"}}
    answer = await _twice(world, sent, expected=expected, spent="invalid_grant")
    if answer is None:
        return
    assert "x" not in switches
    header, claims = world.signer.read(signed, now=NOW)
    assert header["typ"] == "oauth-id-jag+jwt"
    assert (claims["iss"], claims["client_id"]) == (PROVIDER, client_id)
    assert claims["aud"] in (ISSUER, [ISSUER])
    assert claims["exp"] >= NOW - 30
    assert NOW - 300 <= claims["iat"] <= NOW + 30
    issued = parsers.check_asserted_answer(answer.body)
    assert issued["sub"] == f"{PROVIDER}:{claims['sub']}"
    assert issued["act"] == {"sub": PROVIDER}


async def device(world: World, data: bytes) -> None:
    """Devices. Switches: ``p`` the page's form, ``g`` the page, ``t`` the token endpoint; ``s`` signed in.

    Without any, ``POST /oauth/device_authorization``. Words: ``{device}``, ``{user}``, ``{session}``, ``{csrf}``, ``{entry}``.
    """
    switches, body = _split(data)
    body = body.replace(b"{client}", world.device_client_id.encode())
    words = await world.device() if b"{" in body else {}
    for name, word in words.items():
        body = body.replace(name.encode(), word.encode())
    headers = {"cookie": world.cookie} if "s" in switches else {}
    if "g" in switches:
        answer = await _send(world, Sent(method="GET", path="/device", query=body, headers=headers))
        assert answer.status in {200, REDIRECTED, CLIENT_ERROR}, answer.status
    elif "p" in switches:
        answer = await _send(world, Sent(method="POST", path="/device", headers=headers | FORM, body=body))
        assert answer.status in {200, 400, 401, 403, 422}, answer.status
    else:
        path = "/oauth/token" if "t" in switches else "/oauth/device_authorization"
        answer = await _send(world, Sent(method="POST", path=path, headers=FORM, body=body))
        if answer.status >= CLIENT_ERROR:
            assert answer.status in {400, 401}, answer.status
            if b'"authorization_pending"' not in answer.body:  # to wait is no refusal
                check_refusal(answer)
        else:
            assert path == "/oauth/device_authorization"
            parsers.check_started(answer.body)
        return
    location = answer.header(b"location")
    assert (location is not None) == (answer.status == REDIRECTED)
    assert location is None or location.startswith("/login?redirect=%2Fdevice"), location
    if words:
        await _check_allowed(world, words, body, switches, answer)


async def _check_allowed(world: World, words: dict[str, str], body: bytes, switches: str, answer: Answer) -> None:
    """Check that a device has tokens to fetch only when its user said so, on the page that asked."""
    form = {"grant_type": DEVICE_CODE, "client_id": world.device_client_id, "device_code": words["{device}"]}
    polled = await world.send(Sent(method="POST", path="/oauth/token", headers=FORM, body=urlencode(form).encode()))
    if polled.status < CLIENT_ERROR:
        assert "p" in switches
        assert "s" in switches
        assert answer.status == 200
        assert words["{session}"].encode() in body
        assert words["{csrf}"].encode() in body
        assert b"allow" in unquote_to_bytes(body)
        return
    told = json.loads(polled.body)["error"]
    assert told in {"authorization_pending", "access_denied"}, told
    assert told != "access_denied" or b"deny" in unquote_to_bytes(body)


def _own_form(client: Registered, **form: str) -> bytes:
    own = {"client_id": client.client.id, "client_secret": client.client_secret or ""}
    return urlencode(own | form).encode()


async def parse(_world: World, data: bytes) -> None:
    """The parsers alone, against what they are to agree with."""
    parsers.check_all(data[:4096])


TARGETS: dict[str, Target] = {
    "authorize": authorize,
    "token": token,
    "register": register,
    "document": document,
    "proof": proof,
    "assertion": assertion,
    "id_jag": id_jag,
    "device": device,
    "parsers": parse,
}
