"""Requests that nobody sends by accident, drawn by a fixed seed, and a client that sends them as bytes."""

import asyncio
import contextlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

ANSWER_SECONDS = 20
CONNECTIONS = 8
FORM_PATHS = ("/oauth/token", "/oauth/introspect", "/oauth/revoke")
PAGES = ("/login", "/consent", "/logout", "/", "/oauth/authorize", "/authorize")
PATHS = (
    *("/", "/login", "/consent", "/oauth/authorize", "/authorize", "/oauth/token", "/oauth/register", "/oauth/revoke"),
    *("/oauth/introspect", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/health", "/livez"),
    *("/.well-known/oauth-protected-resource/%00", "/.well-known/oauth-protected-resource/%e2%28%a1", "/..;/admin"),
    *("/.well-known/oauth-protected-resource/" + "a/" * 500, "//evil.example/", "/%2e%2e/%2e%2e/etc/passwd", "/admin"),
    *("/oauth//token", "/oauth/token/", "/OAUTH/TOKEN", "/oauth%2ftoken", "/metrics", "/%", "/%zz", "/\\evil.example"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PROPFIND")
PARAMETERS = (
    *("grant_type", "code", "code_verifier", "client_id", "client_secret", "redirect_uri", "refresh_token", "scope"),
    *("resource", "audience", "token", "token_type_hint", "client_assertion", "client_assertion_type", "subject_token"),
    *(
        "response_type",
        "state",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "request",
        "request_uri",
        "dpop_jkt",
    ),
    *(
        "email",
        "password",
        "csrf_token",
        "session_id",
        "redirect",
        "scopes",
        "action",
        "assertion",
        "ticket",
        "login_hint",
    ),
)
VALUES = (
    *("", "x", "null", "true", "-1", "0", str(2**63), str(2**64 + 1), "1e999", "NaN", "[]", "{}", "*", "none"),
    *("authorization_code", "refresh_token", "client_credentials", "password", "S256", "plain", "code", "token"),
    *("urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
    *("'; DROP TABLE clients; --", "$1", "%s%s%s%n", "{{7*7}}", "${jndi:ldap://x}", "../../../../etc/passwd"),
    *("<script>alert(1)</script>", "\"'><img src=x onerror=1>", "a\r\nSet-Cookie: a=b", "a\nb", "\t", "\x7f", "\x00"),
    *("\u202e\u2066", "\ufeff", "\u2028", "é" * 200, "😀" * 50, "\x85", "a" * 5000, "a" * 60_000, " " * 300, "%" * 200),
    *("a.b.c", "eyJhbGciOiJub25lIn0.eyJpc3MiOiJ4In0.", "." * 3000, "eyJhbGciOiJIUzI1NiJ9.e30.AAAA", "A" * 22, "A" * 43),
    *("notes:read", "openid offline_access", " ".join(f"s{n}" for n in range(500)), "\x0b\x0c"),
)
FOREIGN = (
    *("https://evil.example/", "//evil.example", "https://client.example.evil.example/cb", "javascript:alert(1)"),
    *(
        "https://client.example@evil.example/cb",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1:8976/callback/..",
    ),
    *("http://127.0.0.1:8976/callback#f", "http://127.0.0.1:8976/callback%0d%0aX:1", "http://127.0.0.1:99999/callback"),
    *(
        "http://[::1]:8976/callback",
        "http://0x7f.1/callback",
        "http://2130706433/callback",
        "data:text/html,x",
        "file:///etc/passwd",
    ),
    *(
        "http://127.0.0.1:8976\\@evil.example/callback",
        "HTTP://127.0.0.1:8976/callback",
        "http://127.0.0.1:8976/callback?a=://b",
    ),
)
ESCAPES = ("%", "%z", "%0", "%ff", "%c0%af", "%ed%a0%80", "%00", "%e2%82", "+", "%2", "%u0041")
# Heads that two servers may read in two ways, and heads that nobody should read.
HEADS = (
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\n\r\n",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999\r\n\r\nx",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ncontent-length: 0x10\r\n\r\n",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    b'POST /oauth/token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5;x="\r\nhello\r\n0\r\nx: '
    + b"y" * 9000
    + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\nhost: x\n\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\nx\x00y: z\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\nx: a\x00b\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET http://evil.example/livez HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez?\xff\xfe\x00 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\nGET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez HTTP/3.0\r\n\r\n",
    b"GET /livez\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET /livez HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-key: x\r\n\r\n\x81\x05hello",
    b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 300 + b"\r\n",
    b"GET /livez HTTP/1.1\r\nx: " + b"y" * 80_000 + b"\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n" * 40,
    b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
    b"\r\n" * 500,
    b"GET /livez HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What an attacker has got hold of.

    Attributes:
        spent: Codes and refresh tokens that were used.
    """

    client_id: str
    redirect_uri: str
    spent: tuple[str, ...]
    verifier: str


@dataclass(frozen=True, slots=True)
class Bytes:
    """What goes over the wire; ``is_whole`` when it is one request that can be answered."""

    data: bytes
    is_whole: bool = True


@dataclass(slots=True)
class Storm:
    """Draws requests."""

    known: Known
    chance: random.Random
    kinds: Sequence[Callable[[], Bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self.kinds = (self._form, self._form, self._authorize, self._authorize, self._register, self._replay) * 3 + (
            self._page,
            self._path,
            self._head,
            self._encoded,
        ) * 2

    def draw(self) -> Bytes:
        """Return the next request."""
        return self.chance.choice(self.kinds)()

    def _value(self) -> str:
        known = (self.known.client_id, self.known.redirect_uri, *self.known.spent)
        return self.chance.choice((*VALUES, *FOREIGN, *known))

    def _pairs(self) -> list[tuple[str, str]]:
        names = [self.chance.choice(PARAMETERS) for _ in range(self.chance.randint(0, 12))]
        return [(name, self._value()) for name in names]

    def _headers(self) -> list[str]:
        choices = (
            "accept: application/json",
            "accept: " + "application/json;q=0.1," * 200,
            f"x-request-id: {quote(self._value())[:300]}",
            f"x-forwarded-for: {quote(self._value())[:300]}",
            f"x-forwarded-host: {quote(self._value())[:50]}",
            f"authorization: Basic {quote(self._value())[:3000]}",
            "authorization: Basic " + "A" * 20_000,
            "authorization: Bearer x",
            "authorization: DPoP x",
            f"cookie: authserver_session=x|{2**63}|{2**63}|{'A' * 43}; authserver_login_nonce={'0' * 32}|{'A' * 43}",
            "cookie: " + "a=b; " * 2000,
            "origin: null",
            "origin: https://evil.example",
            "sec-fetch-site: cross-site",
            "dpop: a.b.c",
            "host: evil.example",
        )
        return [self.chance.choice(choices) for _ in range(self.chance.randint(0, 3))]

    def _request(self, method: str, target: str, body: bytes = b"", kind: str = "") -> Bytes:
        lines = [f"{method} {target} HTTP/1.1", "host: localhost", *self._headers()]
        lines += [f"content-type: {kind}"] if kind else []
        lines += [f"content-length: {len(body)}"] if body or method == "POST" else []
        # What is not one request by its method has an answer without a length.
        return Bytes("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body, method not in {"HEAD", "CONNECT"})

    def _encode(self, pairs: list[tuple[str, str]]) -> str:
        return "&".join(f"{quote_plus(name)}={quote_plus(value)}" for name, value in pairs)

    def _form(self) -> Bytes:
        body = self._encode(self._pairs())
        if self.chance.random() < 0.3:
            at = self.chance.randint(0, len(body))
            body = body[:at] + self.chance.choice(ESCAPES) + body[at:]
        kind = self.chance.choice(
            ("application/x-www-form-urlencoded",) * 6 + ("application/json", "multipart/form-data", "")
        )
        return self._request("POST", self.chance.choice(FORM_PATHS), body.encode("latin-1"), kind)

    def _encoded(self) -> Bytes:
        body = bytes(self.chance.randrange(256) for _ in range(self.chance.randint(1, 400)))
        path = self.chance.choice((*FORM_PATHS, "/login", "/consent", "/oauth/register"))
        return self._request("POST", path, body, "application/x-www-form-urlencoded; charset=utf-16")

    def _authorize(self) -> Bytes:
        pairs = {
            "response_type": "code",
            "client_id": self.known.client_id,
            "redirect_uri": self.known.redirect_uri,
            "code_challenge": "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            "code_challenge_method": "S256",
            "state": "s",
        }
        listed = list(pairs.items())
        for _ in range(self.chance.randint(1, 3)):
            at = self.chance.randrange(len(listed))
            match self.chance.randrange(4):
                case 0:
                    listed[at] = (listed[at][0], self._value())
                case 1:
                    listed.append((self.chance.choice(PARAMETERS), self._value()))
                case 2:
                    listed = [*listed[:at], *listed[at + 1 :]] or [("x", "y")]
                case _:
                    listed.append(("redirect_uri", self.chance.choice(FOREIGN)))
        if self.chance.random() < 0.4:
            listed = [(n, self.chance.choice(FOREIGN) if n == "redirect_uri" else v) for n, v in listed]
        query = self._encode(listed)[:30_000]
        return self._request("GET", f"{self.chance.choice(('/oauth/authorize', '/authorize'))}?{query}")

    def _register(self) -> Bytes:
        document: dict[str, object] = {"client_name": "Storm", "redirect_uris": ["http://127.0.0.1/cb"]}
        for _ in range(self.chance.randint(0, 4)):
            name = self.chance.choice(("client_name", "redirect_uris", "grant_types", "jwks", "agent", "scope", "x"))
            value: object = self._value()
            document[name] = self.chance.choice((value, [value], {"a": value}, 2**63, -1, None, True, [[value]] * 50))
        body = json.dumps(document, ensure_ascii=self.chance.random() < 0.5).encode("utf-8", "surrogatepass")
        match self.chance.randrange(8):
            case 0:
                body = self.chance.choice(
                    (b"[" * 90_000, b'{"a":' * 90_000, b'{"jwks":' + b'{"a":' * 900 + b"1" + b"}" * 901)
                )
            case 1:
                body = body[: self.chance.randint(0, len(body))]
            case 2:
                body = body.replace(b'"', self.chance.choice((b"'", b"\x00", b"\xff", b'\\ud800"')), 2)
            case 3 if self.chance.random() < 0.05:
                body = b'{"client_name":"' + b"x" * 1_100_000 + b'"}'
        return self._request("POST", "/oauth/register", body, "application/json")

    def _replay(self) -> Bytes:
        spent = self.chance.choice(self.known.spent)
        assertion = f"eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.{self.chance.randbytes(40).hex()}.{'A' * 86}"
        shared = [("client_id", self.known.client_id)]
        pairs = self.chance.choice(
            (
                [
                    ("grant_type", "authorization_code"),
                    ("code", spent),
                    ("code_verifier", self.known.verifier),
                    *shared,
                ],
                [("grant_type", "authorization_code"), ("code", spent), ("code_verifier", "v" * 43), *shared],
                [("grant_type", "refresh_token"), ("refresh_token", spent), *shared],
                [("token", spent), *shared],
                [
                    ("grant_type", "authorization_code"),
                    ("code", spent),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                    ("client_assertion", assertion),
                ],
            )
        )
        body = self._encode(pairs).encode()
        return self._request("POST", self.chance.choice(FORM_PATHS), body, "application/x-www-form-urlencoded")

    def _page(self) -> Bytes:
        path, query = self.chance.choice(PAGES), self._encode(self._pairs())[:20_000]
        if self.chance.random() < 0.5:
            return self._request("GET", f"{path}?{query}")
        return self._request("POST", path, query.encode(), "application/x-www-form-urlencoded")

    def _path(self) -> Bytes:
        return self._request(self.chance.choice(METHODS), self.chance.choice(PATHS))

    def _head(self) -> Bytes:
        return Bytes(self.chance.choice(HEADS), is_whole=False)


STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) ")


class Sender:
    """Sends requests over a few connections and counts how they were answered.

    Args:
        port: Where the server listens, on loopback.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.statuses: Counter[int] = Counter()
        self.faults: list[bytes] = []

    async def send(self, requests: Sequence[Bytes]) -> None:
        """Send all of them, several at once."""
        await asyncio.gather(*(self._send_some(requests[n::CONNECTIONS]) for n in range(CONNECTIONS)))

    async def _send_some(self, requests: Sequence[Bytes]) -> None:
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for request in requests:
            if not request.is_whole:
                await self._send_apart(request)
                continue
            if connection is None:
                connection = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = connection
            async with asyncio.timeout(ANSWER_SECONDS):
                is_open = await self._exchange(reader, writer, request)
            if not is_open:
                writer.close()
                connection = None
        if connection is not None:
            connection[1].close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Bytes) -> bool:
        """Send a request and read its answer; return whether the connection can be used again."""
        try:
            writer.write(request.data)
            head = await reader.readuntil(b"\r\n\r\n")
            self._note(head, request)
            length = re.search(rb"\r\ncontent-length: (\d+)", head)
            await reader.readexactly(int(length.group(1)) if length else 0)
        except (ConnectionError, asyncio.IncompleteReadError):
            self.statuses[0] += 1
            return False
        return b"connection: close" not in head and len(request.data) < 1_000_000

    async def _send_apart(self, request: Bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(ANSWER_SECONDS):
                writer.write(request.data)
                writer.write_eof()
                self._note(await reader.read(), request)
        writer.close()

    def _note(self, received: bytes, request: Bytes) -> None:
        for status in map(int, STATUS.findall(received)):
            self.statuses[status] += 1
            if status >= 500:
                self.faults.append(request.data[:2000])
