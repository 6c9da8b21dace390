"""Rows in bulk, straight into the tables of a migrated database: for benchmarks, and for tests of what grows with it.

Each client has a user who allowed it, with a family, a token and an audit row. Every fourth of those belongs to the first
user and the first client: the busy ones.
"""

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

REDIRECT_URI = "https://grown.example/cb"
_CHUNK = 50_000
_ACTIONS = ("token.issued", "token.refreshed", "user.login", "consent.granted", "client.registered")
# Numbers that stand for texts: below 0, since the server's own go up from 1.
_FIRST_CLIENT = -100

Row = tuple[Any, ...]
Write = Callable[[str, tuple[str, ...], list[Row]], None]

_COLUMNS = {
    "names": ("number", "name"),
    "clients": (
        "id", "name", "redirect_uris", "grant_types", "response_types", "token_endpoint_auth_method", "status",
        "registration_source", "issued_at", "updated_at",
    ),
    "users": ("id", "email", "email_folded", "status", "created_at", "updated_at"),
    "authorizations": (
        "id", "client_id", "user_id", "redirect_uri", "scope", "resource_id", "resource", "code_challenge", "consented",
        "created_at", "consumed_at", "revoked_at",
    ),
    "refresh_tokens": ("token_hash", "authorization_id", "created_at", "expires_at"),
    "consent_grants": (
        "id", "user_id", "client_id", "resource_id", "scopes", "redirect_uris", "created_at", "updated_at",
    ),
    "issuance_rows": (
        "id", "token_digest", "kind", "subject_number", "client_number", "resource_number", "scopes", "authorization_id",
        "issued_at", "expires_at", "revoked_at", "consent_client_number", "parent_jti",
    ),
    "audit_rows": ("id", "action_number", "actor_number", "client_number", "ip", "detail", "created_at"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Filling:
    """What the rows are about.

    Attributes:
        now: Seconds since the epoch: the time of the first row.
        step: Seconds between one row and the next, which is older.
        resource: Id, number and URI of the Resource that all tokens are for.
        scope: Of all of them.
    """

    now: int
    step: int
    resource: tuple[str, int, str]
    scope: str

    def write(self, write: Write, start: int, end: int) -> None:
        """Hand over the rows of some clients, in pieces."""
        for first in range(start, end, _CHUNK):
            tables: dict[str, list[Row]] = {table: [] for table in _COLUMNS}
            if first == 0:
                tables["names"] = [(-1 - nth, action) for nth, action in enumerate(_ACTIONS)]
            for number in range(first, min(end, first + _CHUNK)):
                for table, row in self._rows(number):
                    tables[table].append(row)
            for table, rows in tables.items():
                write(table, _COLUMNS[table], rows)

    def _rows(self, number: int) -> Iterator[tuple[str, Row]]:
        """Yield the rows of one client, each with its table."""
        at = self.now - number * self.step
        resource_id, resource_number, uri = self.resource
        uris, scopes = json.dumps([REDIRECT_URI]), json.dumps([self.scope])
        client, user, address = client_id(number), user_id(number), f"user{number}@example.com"
        busy = 0 if number % 4 == 0 else number
        client_number, user_number = _FIRST_CLIENT - 2 * busy, _FIRST_CLIENT - 1 - 2 * busy
        family, revoked_at = _identifier(at), at if number % 20 == 1 else None
        yield "names", (_FIRST_CLIENT - 2 * number, client)
        yield "names", (_FIRST_CLIENT - 1 - 2 * number, user)
        status, source = "suspended" if number % 50 == 7 else "active", "admin" if number % 20 == 3 else "dcr"
        grants = '["authorization_code","refresh_token"]'
        yield "clients", (client, "Grown", uris, grants, '["code"]', "none", status, source, at, at)
        yield "users", (user, address, address, "disabled" if number % 50 == 9 else "active", at, at)
        yield "authorizations", (
            family, client_id(busy), user_id(busy), REDIRECT_URI, self.scope, resource_id, uri, "x" * 43, True, at, at,
            revoked_at,
        )  # fmt: skip
        yield "refresh_tokens", (os.urandom(32), family, at, self.now + 86_400)
        yield "consent_grants", (_identifier(at), user_id(busy), client, resource_id, scopes, uris, at, at)
        token = _identifier(at)
        issued = (client_number, resource_number, self.scope)
        yield "issuance_rows", (
            token, os.urandom(16), "user", user_number, *issued, family, at, at + 900, revoked_at, client_number, None,
        )  # fmt: skip
        if number % 10 == 2:
            yield "issuance_rows", (
                _identifier(at), os.urandom(16), "exchange", user_number, *issued, None, at, at + 900, None,
                client_number, token,
            )  # fmt: skip
        if number % 25 == 5:
            yield "issuance_rows", (
                _identifier(at), os.urandom(16), "machine", None, *issued, None, at, at + 900, revoked_at, None, None,
            )  # fmt: skip
        action = -1 - number % len(_ACTIONS)
        yield "audit_rows", (_identifier(at), action, user_number, client_number, "127.0.0.1", "family=grown", at)


def client_id(number: int) -> str:
    """Return the id of a client; the first is the busy one."""
    return f"grown-client-{number}"


def user_id(number: int) -> str:
    """Return the id of a user; the first is the busy one."""
    return f"grown-user-{number}"


def fill_sqlite(path: str, start: int, end: int, *, now: int, step: int = 20, uri: str, scope: str) -> None:
    """Write the rows of some clients into a file that no server has open for writing meanwhile."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        resource = connection.execute("SELECT id, number, uri FROM resources WHERE uri = ?", (uri,)).fetchone()

        def write(table: str, columns: tuple[str, ...], rows: list[Row]) -> None:
            marks = ", ".join("?" * len(columns))
            connection.execute("BEGIN")
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)
            connection.execute("COMMIT")

        Filling(now=now, step=step, resource=resource, scope=scope).write(write, start, end)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgres(dsn: str, start: int, end: int, *, now: int, step: int = 20, uri: str, scope: str) -> int:
    """Write the rows of some clients, with the statistics that a while in use would give; return the bytes of the database."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(dsn))
        resource = runner.run(connection.fetchrow("SELECT id, number, uri FROM resources WHERE uri = $1", uri))

        def write(table: str, columns: tuple[str, ...], rows: list[Row]) -> None:
            runner.run(connection.copy_records_to_table(table, columns=columns, records=rows))

        Filling(now=now, step=step, resource=tuple(resource), scope=scope).write(write, start, end)
        runner.run(connection.execute("VACUUM ANALYZE"))
        size: int = runner.run(connection.fetchval("SELECT pg_database_size(current_database())"))
        runner.run(connection.close())
    return size


def _identifier(seconds: int) -> bytes:
    return (seconds * 1000).to_bytes(6, "big") + os.urandom(10)
