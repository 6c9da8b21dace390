"""Every statement of the request path finds its rows by an index, and a redeemed code touches few b-trees."""

import asyncpg
import pytest

from authserver.storage.postgres_batches import claims_statement
from authserver.storage.postgres_reading import reads_statement
from authserver.storage.sqlite_connections import connect
from server.tests.wire.harness import Wire
from server.tests.wire.plans import READ_WHOLE, find_scans, native, postgres_scans, statements_of
from server.tests.wire.recording import Recording, Statement, record

pytestmark = pytest.mark.anyio

MOST_B_TREES = 14


@pytest.fixture
async def whole_path(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Recording:
    """What registration, sign-in, consent, redemption, refresh, retry, introspection, revocation and reuse run."""
    recording = record(wire.core.db, monkeypatch)
    client_id = (await wire.register())["client_id"]
    tokens = await wire.tokens(client_id)
    refreshed = (await wire.refresh(client_id, tokens["refresh_token"])).json()
    await wire.refresh(client_id, tokens["refresh_token"])
    await wire.introspect(refreshed["access_token"])
    await wire.http.post("/oauth/revoke", data={"client_id": client_id, "token": refreshed["access_token"]})
    again = await wire.tokens(client_id)
    await wire.refresh(client_id, again["refresh_token"])
    wire.clock.seconds += 100
    await wire.refresh(client_id, again["refresh_token"])
    await wire.allow(await wire.authorize(client_id, prompt="consent"), action="deny")
    return recording


async def test_no_statement_of_a_request_reads_a_whole_table(wire: Wire, whole_path: Recording) -> None:
    statements = statements_of(whole_path)
    assert len(statements) > 15
    assert await find_scans(wire, statements) == []


async def test_on_postgres_what_is_done_for_many_at_once_uses_the_indexes_too(
    wire: Wire, whole_path: Recording
) -> None:
    if wire.core.db.dialect == "sqlite":
        return  # there each is a statement of its own
    dsn = wire.core.config.storage.postgres.dsn.reveal()
    connection = await asyncpg.connect(dsn)
    together = {claims_statement(claim): values for claim, values in whole_path.claims}
    for sql, args in whole_path.points:
        if args and not READ_WHOLE.search(sql):
            types = tuple(kind.name for kind in (await connection.prepare(sql)).get_parameters())
            together[reads_statement(sql, types)] = args
    await connection.close()
    assert len(together) > 10
    statements = {sql: tuple([value] * 3 for value in values) for sql, values in together.items()}
    assert await postgres_scans(dsn, statements) == []


def _written_b_trees(path: str, statements: list[Statement]) -> set[str]:
    """Return the tables and indexes that statements write to, by what SQLite opens for writing.

    A partial index that no row belongs to is opened but not touched.
    """
    connection = connect(path, wal=True)
    schema = {
        row["rootpage"]: row for row in connection.execute("SELECT rootpage, name, tbl_name, sql FROM sqlite_master")
    }
    opened = {
        row["p2"]
        for sql, args in statements
        for row in connection.execute(f"EXPLAIN {native(sql)}", args).fetchall()
        if row["opcode"] == "OpenWrite"
    }
    touched = set()
    for root in opened:
        _, name, table, sql = schema[root]
        _, _, predicate = (sql or "").partition(" WHERE ")
        if connection.execute(f"SELECT EXISTS (SELECT 1 FROM {table} WHERE {predicate or 'TRUE'})").fetchone()[0]:
            touched.add(name)
    connection.close()
    return touched


async def test_a_redeemed_code_touches_at_most_fourteen_b_trees(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    if wire.core.db.dialect != "sqlite":
        return  # PostgreSQL has the same tables and indexes; its plans do not name what they write
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    recording = record(wire.core.db, monkeypatch)
    assert (await wire.redeem(client_id, code)).status_code == 200
    touched = _written_b_trees(wire.core.config.storage.sqlite.path, recording.writes)
    assert {"authorizations", "refresh_tokens", "issuance_rows", "audit_rows"} <= touched
    assert len(touched) <= MOST_B_TREES, touched


async def test_a_redemption_and_a_refresh_are_one_commit_each(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    commits = 0
    write = wire.core.db.write

    async def counted(transaction):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202  the signature of write
        nonlocal commits
        commits += 1
        return await write(transaction)

    monkeypatch.setattr(wire.core.db, "write", counted)
    tokens = (await wire.redeem(client_id, code)).json()
    assert commits == 1
    await wire.refresh(client_id, tokens["refresh_token"])
    assert commits == 2


async def test_a_redemption_and_a_refresh_read_once_the_client_and_what_was_presented(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id = (await wire.register())["client_id"]
    code = await wire.code(client_id)
    recording = record(wire.core.db, monkeypatch)
    tokens = (await wire.redeem(client_id, code)).json()
    assert len(recording.reads) == 1
    assert (await wire.refresh(client_id, tokens["refresh_token"])).status_code == 200
    assert len(recording.reads) == 2


async def test_what_is_not_there_is_looked_for_once(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    client_id = (await wire.register())["client_id"]
    await wire.tokens(client_id)
    recording = record(wire.core.db, monkeypatch)
    for answer in (await wire.redeem(client_id, "c" * 43), await wire.refresh(client_id, "r" * 43)):
        assert answer.json()["error"] == "invalid_grant"
    # Besides, the client alone.
    assert len(recording.reads) == 4
