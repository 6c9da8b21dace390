"""What tests of the admin API do over and over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from pydantic import TypeAdapter

from authserver.admin.api.table import TABLE
from server.tests.web.direct import DirectTransport
from server.tests.wire.harness import ISSUER, Wire

API_KEY = "a key of the tests, long enough"
PEER = "192.0.2.50"

Answer = httpx2.Response

_ANSWERS = {(entry.method, entry.path): TypeAdapter(entry.answer) for entry in TABLE if entry.answer is not None}


class Admin:
    """An operator at the admin listener. Every success is compared with what the table says of it."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.http = http

    async def ask(self, method: str, path: str, **arguments: Any) -> Answer:
        """Send a request; the path as in the table, or with its parameters filled in."""
        return await self.http.request(method, path, **arguments)

    async def do(self, method: str, path: str, *, expect: int = 200, body: object = None, **query: Any) -> Any:
        """Have something done; return the answer's JSON, None without one."""
        answer = await self.ask(method, path, json=body, params=query)
        assert answer.status_code == expect, answer.text
        assert answer.headers["cache-control"] == "no-store"
        if expect == 204:
            assert answer.content == b""
            return None
        assert answer.headers["content-type"] == "application/json"
        return answer.json()

    async def refused(self, status: int, method: str, path: str, *, body: object = None, **query: Any) -> str:
        """Have something refused; return the sentence."""
        answer = await self.ask(method, path, json=body, params=query)
        return problem_of(answer, status)


def problem_of(answer: Answer, status: int) -> str:
    """Return the sentence of a refusal, which is a problem of the four members."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    problem = answer.json()
    assert sorted(problem) == ["detail", "status", "title", "type"]
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    return str(problem["detail"])


@asynccontextmanager
async def an_admin(wire: Wire, key: str | None = API_KEY) -> AsyncIterator[Admin]:
    """Reach the admin listener with a key, or without."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    transport = DirectTransport(wire.server.admin, peer=PEER)
    async with httpx2.AsyncClient(transport=transport, base_url=ISSUER, headers=headers) as http:
        yield Admin(http)


def check_shape(method: str, path: str, answer: object) -> None:
    """Check that an answer is what the table says: every member known, of its type, none missing."""
    _ANSWERS[method, path].validate_python(answer, strict=True)


async def rows(wire: Wire, *actions: str) -> list[dict[str, str]]:
    """Return the audit rows of some actions; those of one moment of the test's clock in any order."""
    await wire.core.trail.flush()
    found = await wire.core.db.fetch_all("SELECT action, actor_id, client_id, detail, ip FROM audit_events ORDER BY id")
    names = ("action", "actor_id", "client_id", "detail", "ip")
    return [{name: row[name] for name in names} for row in found if row["action"] in actions]
