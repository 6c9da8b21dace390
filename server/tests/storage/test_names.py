"""Numbers for texts: one for each, whoever asks first, and none that was not committed is used again."""

import asyncio
from collections.abc import Awaitable

import asyncpg
import pytest

from authserver.storage import names as module
from authserver.storage.database import Append, Database, Writer
from authserver.storage.names import Names, number_of

pytestmark = pytest.mark.anyio

ROWS = Append(
    "audit_rows",
    {"id": "bytea", "created_at": "bigint", "action_number": "int", "actor_number": "int"},
    named=("action_number", "actor_number"),
)


async def _append(tx: Writer, n: int, action: str, actor: str | None = None) -> None:
    await tx.append(ROWS, n.to_bytes(16, "big"), 0, action, actor)


async def _texts(db: Database) -> list[tuple[str, str]]:
    rows = await db.fetch_all("SELECT action, actor_id FROM audit_events ORDER BY id")
    return [(row["action"], row["actor_id"]) for row in rows]


async def _names(db: Database) -> list[str]:
    return [row["name"] for row in await db.fetch_all("SELECT name FROM names ORDER BY name")]


async def test_many_callers_who_bring_the_same_new_texts_get_one_number_each(db: Database) -> None:
    async def unit(n: int) -> None:
        await db.write(lambda tx: _append(tx, n, f"action-{n % 3}", f"actor-{n % 5}"))

    await asyncio.gather(*(unit(n) for n in range(60)))
    assert await _texts(db) == [(f"action-{n % 3}", f"actor-{n % 5}") for n in range(60)]
    assert await _names(db) == [*(f"action-{n}" for n in range(3)), *(f"actor-{n}" for n in range(5))]


async def test_a_number_that_was_rolled_back_is_made_again(db: Database) -> None:
    async def fail(tx: Writer) -> None:
        await tx.number_of("lost")
        await _append(tx, 1, "lost")
        raise LookupError

    with pytest.raises(LookupError):
        await db.write(fail)
    assert await _names(db) == []
    # Whoever gets the number that was free again must not be taken for the text that was lost.
    await db.write(lambda tx: _append(tx, 2, "kept"))
    await db.write(lambda tx: _append(tx, 3, "lost"))
    assert await _texts(db) == [("kept", ""), ("lost", "")]


async def test_of_units_that_share_a_commit_one_that_fails_takes_no_number_of_another(db: Database) -> None:
    async def fail(tx: Writer) -> None:
        await tx.number_of("lost")
        raise LookupError

    def writing(n: int) -> Awaitable[None]:
        return db.write(lambda tx: _append(tx, n, f"action-{n}", "actor"))

    units = [writing(n) for n in range(6)]
    units[3:3] = [db.write(fail)]
    outcomes = await asyncio.gather(*units, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes if outcome is not None] == [LookupError]
    await db.write(lambda tx: _append(tx, 6, "action-6", "actor"))
    assert await _texts(db) == [(f"action-{n}", "actor") for n in range(7)]
    assert "lost" not in await _names(db)


async def test_another_process_that_made_the_number_first_is_believed(db: Database) -> None:
    await db.write(lambda tx: tx.execute("INSERT INTO names (number, name) VALUES (77, 'theirs')"))
    assert await db.write(lambda tx: tx.number_of("theirs")) == 77
    await db.write(lambda tx: _append(tx, 1, "theirs"))
    row = await db.fetch_one(f"SELECT action_number FROM audit_rows WHERE action_number = {number_of('$1')}", "theirs")
    assert row is not None
    assert row["action_number"] == 77


def test_no_more_texts_are_remembered_than_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KNOWN", 3)
    names = Names()
    for number in range(1, 6):
        names.put(f"name-{number}", number)
        assert names.get(f"name-{number}") == number
        names.commit()
    assert [names.get(f"name-{number}") for number in range(1, 6)] == [None, None, None, 4, 5]


def test_a_long_text_is_remembered_for_its_transaction_alone() -> None:
    names = Names()
    names.put("x" * 129, 1)
    assert names.get("x" * 129) == 1
    names.commit()
    assert names.get("x" * 129) is None


def test_what_a_transaction_saw_counts_only_after_its_commit() -> None:
    names = Names()
    names.put("a", 1)
    names.commit()
    names.put("b", 2)
    names.roll_back()
    assert (names.get("a"), names.get("b")) == (1, None)
    names.forget()
    assert names.get("a") is None


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
async def test_a_number_that_another_process_is_just_making_is_waited_for(db: Database, database_target: str) -> None:
    other = await asyncpg.connect(database_target)
    await other.execute("BEGIN")
    await other.execute("INSERT INTO names (number, name) VALUES (77, 'theirs')")
    writing = asyncio.create_task(db.write(lambda tx: _append(tx, 1, "theirs")))
    async with asyncio.timeout(5):
        while not await db.fetch_all("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110  the server offers no event
            await asyncio.sleep(0.005)
    await other.execute("COMMIT")
    await other.close()
    await writing
    assert await _texts(db) == [("theirs", "")]


@pytest.mark.parametrize("database_target", ["postgres"], indirect=True)
async def test_numbers_are_forgotten_with_the_connection(db: Database, database_target: str) -> None:
    await db.write(lambda tx: _append(tx, 1, "first"))
    # A server that takes the place of one that failed may not have heard of the last numbers.
    other = await asyncpg.connect(database_target)
    await other.execute("TRUNCATE names, audit_rows RESTART IDENTITY")
    await other.execute("INSERT INTO names (name) VALUES ('second')")
    await other.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await other.close()
    await db.write(lambda tx: _append(tx, 2, "first"))
    assert await _texts(db) == [("first", "")]
