"""The floor: the least that the whole flow can cost here. Bare ASGI, an ES256 signature, group commit, on our schema.

It writes the rows that the product writes, as durably, and checks what it must to write the right ones: the session's
code, the remembered consent, PKCE, that a code or refresh token is used once. Nothing else is done: no limits, errors,
metrics, logs or protective headers, and the answer kept for a retried refresh is not sealed.

Usage: python floor.py PORT DATABASE ISSUER, on a database that the product has set up.
"""

import asyncio
import base64
import hashlib
import hmac
import queue
import secrets
import sqlite3
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
import uvicorn
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

INSERT_AUTHORIZATION = (
    "INSERT INTO authorizations (id, client_id, user_id, redirect_uri, scope, resource_id, resource, state,"
    " code_challenge, code_hash, consented, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"
)
INSERT_REFRESH = "INSERT INTO refresh_tokens (token_hash, authorization_id, created_at, expires_at) VALUES (?, ?, ?, ?)"
INSERT_ISSUANCE = (
    "INSERT INTO issuance_rows (id, token_digest, kind, subject_number, client_number, resource_number, scopes,"
    " authorization_id, issued_at, expires_at, consent_client_number) VALUES (?, ?, 'user', ?, ?, ?, ?, ?, ?, ?, ?)"
)
INSERT_MACHINE = (
    "INSERT INTO issuance_rows (id, token_digest, kind, client_number, resource_number, scopes, issued_at, expires_at)"
    " VALUES (?, ?, 'machine', ?, ?, ?, ?, ?)"
)
INSERT_AUDIT = (
    "INSERT INTO audit_rows (id, action_number, actor_number, client_number, ip, detail, created_at)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
CONSUME_CODE = "UPDATE authorizations SET consumed_at = ? WHERE code_hash = ? AND consumed_at IS NULL"
CONSUME_REFRESH = "UPDATE refresh_tokens SET consumed_at = ? WHERE token_hash = ? AND consumed_at IS NULL"
KEEP_ANSWER = (
    "UPDATE authorizations SET retry_token_hash = ?, retry_request = ?, retry_response = ?, rotated_at = ?"
    " WHERE id = ? AND revoked_at IS NULL"
)
FIND_CONSENT = (
    "SELECT g.resource_id, r.uri FROM consent_grants g JOIN resources r ON r.id = g.resource_id"
    " WHERE g.user_id = ? AND g.client_id = ? AND g.revoked_at IS NULL"
)
FAMILY = "a.id, a.client_id, a.user_id, a.resource_id, a.resource, a.scope, a.code_challenge"
FIND_CODE = f"SELECT {FAMILY} FROM authorizations a WHERE a.code_hash = ? AND a.expires_at > ?"
FIND_REFRESH = (
    f"SELECT {FAMILY} FROM refresh_tokens t JOIN authorizations a ON a.id = t.authorization_id"
    " WHERE t.token_hash = ? AND t.expires_at > ? AND a.revoked_at IS NULL"
)

FIND_MACHINE = (
    "SELECT c.secret_hash, c.scope, r.id, r.uri FROM clients c JOIN resources r ON r.uri = ?"
    " WHERE c.id = ? AND c.status = 'active'"
)

Statements = list[tuple[str, tuple[Any, ...]]]
Headers = list[tuple[bytes, bytes]]
Answer = tuple[int, bytes, Headers]
JSON: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def new_id() -> bytes:
    return (time.time_ns() // 1_000_000).to_bytes(6, "big") + secrets.token_bytes(10)


def connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def settle(outcomes: list[tuple[asyncio.Future[bool], bool]]) -> None:
    for future, ok in outcomes:
        future.set_result(ok)


class Floor:
    def __init__(self, path: str, issuer: str) -> None:
        self.issuer = issuer
        self.key = ec.generate_private_key(ec.SECP256R1())
        numbers = self.key.public_key().public_numbers()
        x, y = (b64(part.to_bytes(32, "big")) for part in (numbers.x, numbers.y))
        jwk = {"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "floor", "x": x, "y": y}
        self.jwks: Answer = (200, orjson.dumps({"keys": [jwk]}), [(b"content-type", b"application/json")])
        self.header = b64(orjson.dumps({"typ": "at+jwt", "alg": "ES256", "kid": "floor"})).encode() + b"."
        self.reading, self.path = connect(path), path
        self.user_id = self.reading.execute("SELECT id FROM users").fetchone()[0]
        self.secret = secrets.token_bytes(32)
        self.session = f"{self.user_id}|{hmac.digest(self.secret, self.user_id.encode(), 'sha256').hex()}"
        self.numbers = self.number_names()
        self.units: queue.SimpleQueue[tuple[Statements, asyncio.Future[bool]]] = queue.SimpleQueue()
        self.loop: asyncio.AbstractEventLoop | None = None

    def number_names(self) -> dict[str, int]:
        """Give every text that a row will hold a number of, one, and read them all."""
        texts = [row[0] for row in self.reading.execute("SELECT id FROM clients")]
        texts += [self.user_id, "token.issued", "token.refreshed", "client_credentials.issued"]
        self.reading.executemany("INSERT OR IGNORE INTO names (name) VALUES (?)", [(text,) for text in texts])
        return dict(self.reading.execute("SELECT name, number FROM names"))

    def write_forever(self) -> None:
        """All units that wait share one commit. A unit ends at a conditional update that finds nothing to change."""
        writing = connect(self.path)
        while True:
            batch = [self.units.get()]
            while not self.units.empty():
                batch.append(self.units.get_nowait())
            writing.execute("BEGIN IMMEDIATE")
            outcomes = [
                (future, all(writing.execute(sql, args).rowcount == 1 for sql, args in unit)) for unit, future in batch
            ]
            writing.execute("COMMIT")
            assert self.loop is not None
            self.loop.call_soon_threadsafe(settle, outcomes)

    async def write(self, unit: Statements) -> bool:
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
            threading.Thread(target=self.write_forever, daemon=True).start()
        future: asyncio.Future[bool] = self.loop.create_future()
        self.units.put((unit, future))
        return await future

    def sign(self, claims: dict[str, Any]) -> str:
        payload = self.header + b64(orjson.dumps(claims)).encode()
        r, s = decode_dss_signature(self.key.sign(payload, ec.ECDSA(hashes.SHA256())))
        return f"{payload.decode()}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    async def authorize(self, query: bytes, cookie: bytes) -> Answer:
        form, now, code = dict(parse_qsl(query.decode())), int(time.time()), b64(secrets.token_bytes(32))
        user_id, _, given = cookie.decode().partition("session=")[2].partition("|")
        if not hmac.compare_digest(hmac.digest(self.secret, user_id.encode(), "sha256").hex(), given):
            return 200, b"", [(b"set-cookie", f"session={self.session}".encode())]
        resource_id, uri = self.reading.execute(FIND_CONSENT, (user_id, form["client_id"])).fetchone()
        asked = (new_id(), form["client_id"], user_id, form["redirect_uri"], form["scope"], resource_id, uri)
        given_out = (form["state"], form["code_challenge"], sha256(code), now, now + 600)
        await self.write([(INSERT_AUTHORIZATION, (*asked, *given_out))])
        answer = urlencode({"code": code, "state": form["state"], "iss": self.issuer})
        return 302, b"", [(b"location", f"{form['redirect_uri']}?{answer}".encode())]

    async def token(self, form: dict[str, str]) -> Answer:
        now = int(time.time())
        is_code = form["grant_type"] == "authorization_code"
        spent = sha256(form["code" if is_code else "refresh_token"])
        row = self.reading.execute(FIND_CODE if is_code else FIND_REFRESH, (spent, now)).fetchone()
        if row is None or (is_code and b64(sha256(form["code_verifier"])) != row[6]):
            return 400, b'{"error":"invalid_grant"}', JSON
        family, client_id, user_id, resource_id, resource, scope, _ = row
        jti, refresh_token = new_id(), b64(secrets.token_bytes(32))
        claims = {"iss": self.issuer, "sub": user_id, "aud": resource, "client_id": client_id, "scope": scope}
        token = self.sign({**claims, "jti": b64(jti), "iat": now, "exp": now + 900})
        members = {"access_token": token, "token_type": "Bearer", "expires_in": 900}
        answer = orjson.dumps({**members, "refresh_token": refresh_token, "scope": scope})
        unit: Statements = [(CONSUME_CODE if is_code else CONSUME_REFRESH, (now, spent))]
        if not is_code:
            unit.append((KEEP_ANSWER, (spent, sha256(scope), answer, now, family)))
        user, client, action, target = (
            self.numbers[text]
            for text in (user_id, client_id, "token.issued" if is_code else "token.refreshed", resource_id)
        )
        issuance = (jti, sha256(token)[:16], user, client, target, scope, family, now, now + 900, client)
        detail = f"family={b64(family)}"
        unit += [
            (INSERT_REFRESH, (sha256(refresh_token), family, now, now + 2_592_000)),
            (INSERT_ISSUANCE, issuance),
            (INSERT_AUDIT, (new_id(), action, user, client, "127.0.0.1", detail, now)),
        ]
        return (200, answer, JSON) if await self.write(unit) else (400, b'{"error":"invalid_grant"}', JSON)

    async def machine(self, form: dict[str, str], authorization: bytes) -> Answer:
        now, jti = int(time.time()), new_id()
        client_id, _, secret = base64.b64decode(authorization.partition(b" ")[2]).decode().partition(":")
        row = self.reading.execute(FIND_MACHINE, (form["resource"], client_id)).fetchone()
        given = "sha256$" + base64.b64encode(sha256(secret)).decode().rstrip("=")
        if row is None or not hmac.compare_digest(given, row[0]) or form["scope"] not in row[1].split():
            return 401, b'{"error":"invalid_client"}', JSON
        scope, resource_id, resource = form["scope"], row[2], row[3]
        claims = {"iss": self.issuer, "sub": client_id, "aud": [resource], "client_id": client_id, "scope": scope}
        token = self.sign({**claims, "jti": b64(jti), "iat": now, "nbf": now, "exp": now + 3600})
        client = self.numbers[client_id]
        issuance = (jti, sha256(token)[:16], client, self.numbers[resource_id], scope, now, now + 3600)
        told = f"jti={b64(jti)} scopes={scope}"
        audit = (new_id(), self.numbers["client_credentials.issued"], client, client, "127.0.0.1", told, now)
        await self.write([(INSERT_MACHINE, issuance), (INSERT_AUDIT, audit)])
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": 3600, "scope": scope}
        return 200, orjson.dumps(answer), JSON

    async def __call__(
        self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["path"] == "/jwks":
            status, answer, headers = self.jwks
        elif scope["path"] == "/authorize":
            cookie = next((value for name, value in scope["headers"] if name == b"cookie"), b"")
            status, answer, headers = await self.authorize(scope["query_string"], cookie)
        else:
            message = await receive()
            body = message["body"]
            while message["more_body"]:
                message = await receive()
                body += message["body"]
            form = dict(parse_qsl(body.decode()))
            if form["grant_type"] == "client_credentials":
                given = next(value for name, value in scope["headers"] if name == b"authorization")
                status, answer, headers = await self.machine(form, given)
            else:
                status, answer, headers = await self.token(form)
        headers = [*headers, (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        Floor(sys.argv[2], sys.argv[3]),
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
