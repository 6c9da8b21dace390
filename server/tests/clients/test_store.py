import asyncio
import dataclasses
import subprocess
import sys

import pytest

from authserver.clients.records import ClientStatus, RegistrationSource
from authserver.clients.store import (
    count_active_clients,
    delete_client,
    find_client,
    find_setting,
    insert_client,
    list_clients,
    put_setting,
    update_client,
    update_fetched_at,
    update_secret_hash,
)
from authserver.storage.database import Database, UniqueViolation, Writer
from server.tests.clients.builders import NOW, a_client

pytestmark = pytest.mark.anyio

_FROM_OUTSIDE = """
import asyncio, contextlib, sqlite3, sys
target, statement = sys.argv[1:]
if "://" in target:
    import asyncpg
    async def run():
        connection = await asyncpg.connect(target)
        await connection.execute(statement)
        await connection.close()
    asyncio.run(run())
else:
    with contextlib.closing(sqlite3.connect(target)) as connection, connection:
        connection.execute(statement)
"""


async def test_a_client_is_read_back_as_it_was_stored(db: Database) -> None:
    clients = [
        a_client(),
        a_client(
            id="https://client.example/id",
            secret_hash="sha256$x",
            jwks='{"keys":[]}',
            jwks_uri="https://client.example/keys",
            name="Ünïcode ✓",
            redirect_uris=("https://a.example/", "app.example:/callback"),
            grant_types=("client_credentials",),
            status=ClientStatus.SUSPENDED,
            registration_source=RegistrationSource.CIMD,
            cimd_url="https://client.example/id",
            cimd_fetched_at=NOW,
            scope="read write",
            application_type="native",
            is_agent=True,
            agent_description="does things",
            dpop_bound_access_tokens=True,
            version=7,
        ),
    ]
    for client in clients:
        await db.write(lambda tx, client=client: insert_client(tx, client))  # type: ignore[misc]  # lambda of a loop
    for client in clients:
        assert await find_client(db, client.id) == client


async def test_any_text_may_be_asked_for(db: Database) -> None:
    for client_id in ("", "nobody", "\x00", "a\x00b", "é" * 5000, "' OR 1=1 --"):
        assert await find_client(db, client_id) is None


async def test_an_id_is_stored_once(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))
    with pytest.raises(UniqueViolation):
        await db.write(lambda tx: insert_client(tx, a_client()))


async def test_of_two_updates_of_one_version_one_is_made(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))
    first, second = a_client(name="first", updated_at=NOW + 1), a_client(name="second")
    assert await db.write(lambda tx: update_client(tx, first))
    assert not await db.write(lambda tx: update_client(tx, second))
    assert await find_client(db, "client-1") == dataclasses.replace(first, version=2)


async def test_an_update_leaves_alone_what_is_fixed_at_creation(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))
    changed = a_client(is_agent=True, agent_description="x", registration_source=RegistrationSource.DCR, issued_at=1)
    assert await db.write(lambda tx: update_client(tx, changed))
    assert await find_client(db, "client-1") == a_client(version=2)


async def test_a_secret_is_rewritten_unless_it_was_rotated(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client(secret_hash="old")))
    await db.write(lambda tx: update_secret_hash(tx, "client-1", old="other", new="wrong"))
    await db.write(lambda tx: update_secret_hash(tx, "client-1", old="old", new="new"))
    assert await find_client(db, "client-1") == a_client(secret_hash="new")


async def test_every_change_of_a_row_is_seen_by_the_next_look_and_only_a_change_makes_a_new_record(
    db: Database,
) -> None:
    await db.write(lambda tx: insert_client(tx, a_client(secret_hash="old")))
    first = await find_client(db, "client-1")
    assert await find_client(db, "client-1") is first
    # Neither of these raises the version.
    await db.write(lambda tx: update_secret_hash(tx, "client-1", old="old", new="new"))
    assert await find_client(db, "client-1") == a_client(secret_hash="new")
    await db.write(lambda tx: update_fetched_at(tx, "client-1", fetched_at=NOW))
    assert await find_client(db, "client-1") == a_client(secret_hash="new", cimd_fetched_at=NOW)
    suspended = a_client(secret_hash="new", cimd_fetched_at=NOW, status=ClientStatus.SUSPENDED)
    assert await db.write(lambda tx: update_client(tx, suspended))
    assert await find_client(db, "client-1") == dataclasses.replace(suspended, version=2)
    # By hand, as a restored backup would.
    await db.write(lambda tx: tx.execute("UPDATE clients SET status = 'active' WHERE id = 'client-1'"))
    found = await find_client(db, "client-1")
    assert found is not None
    assert found.is_active


async def test_the_record_of_a_long_row_is_not_kept(db: Database) -> None:
    client = a_client(jwks='{"keys":[' + "1," * 2048 + "1]}")
    await db.write(lambda tx: insert_client(tx, client))
    first = await find_client(db, client.id)
    assert first == client
    assert await find_client(db, client.id) is not first


async def test_a_client_that_is_made_again_under_its_id_is_not_taken_for_the_one_before(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client(secret_hash="old")))
    assert await find_client(db, "client-1") == a_client(secret_hash="old")
    await db.write(lambda tx: delete_client(tx, "client-1"))
    assert await find_client(db, "client-1") is None
    await db.write(lambda tx: insert_client(tx, a_client(secret_hash="new")))
    assert await find_client(db, "client-1") == a_client(secret_hash="new")


async def test_what_a_transaction_read_that_failed_is_not_taken_for_the_row(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))

    async def fail(tx: Writer) -> None:
        assert await update_client(tx, a_client(name="never stored"))
        found = await find_client(tx, "client-1")
        assert found == a_client(name="never stored", version=2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.write(fail)
    assert await find_client(db, "client-1") == a_client()
    assert await db.write(lambda tx: update_client(tx, a_client(name="stored")))
    assert await find_client(db, "client-1") == a_client(name="stored", version=2)


async def test_a_change_by_another_process_is_seen_by_the_next_look(db: Database, database_target: str) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))
    assert await find_client(db, "client-1") == a_client()
    for status in (ClientStatus.SUSPENDED, ClientStatus.ACTIVE, ClientStatus.REVOKED):
        run = [sys.executable, "-c", _FROM_OUTSIDE, database_target, f"UPDATE clients SET status = '{status}'"]
        await asyncio.to_thread(subprocess.run, run, check=True, timeout=60)
        assert await find_client(db, "client-1") == a_client(status=status)


@pytest.mark.parametrize("before", [None, NOW - 1, NOW + 1])
async def test_the_time_of_the_last_good_read_never_goes_back(db: Database, before: int | None) -> None:
    await db.write(lambda tx: insert_client(tx, a_client(cimd_fetched_at=before)))
    await db.write(lambda tx: update_fetched_at(tx, "client-1", fetched_at=NOW))
    client = await find_client(db, "client-1")
    assert client is not None
    assert client.cimd_fetched_at == max(before or 0, NOW)


async def test_pages_are_newest_first_and_filtered(db: Database) -> None:
    clients = [
        a_client(id="a", issued_at=NOW),
        a_client(id="b", issued_at=NOW),
        a_client(id="c", issued_at=NOW + 1, status=ClientStatus.REVOKED),
        a_client(id="d", issued_at=NOW - 1, registration_source=RegistrationSource.DCR),
    ]
    for client in clients:
        await db.write(lambda tx, client=client: insert_client(tx, client))  # type: ignore[misc]  # lambda of a loop

    first = await list_clients(db, limit=2)
    rest = await list_clients(db, limit=10, before=(first[-1].issued_at, first[-1].id))
    assert [client.id for client in first + rest] == ["c", "b", "a", "d"]
    assert [client.id for client in await list_clients(db, limit=9, status=ClientStatus.REVOKED)] == ["c"]
    dcr = await list_clients(db, limit=9, status=ClientStatus.ACTIVE, source=RegistrationSource.DCR)
    assert [client.id for client in dcr] == ["d"]
    assert await count_active_clients(db) == 3


async def test_a_client_is_deleted_once(db: Database) -> None:
    await db.write(lambda tx: insert_client(tx, a_client()))
    assert await db.write(lambda tx: delete_client(tx, "client-1"))
    assert not await db.write(lambda tx: delete_client(tx, "client-1"))


async def test_a_setting_is_what_was_put_last(db: Database) -> None:
    assert await find_setting(db, "dcr_mode") is None
    for value in ("open", "admin_only"):
        await db.write(lambda tx, value=value: put_setting(tx, "dcr_mode", value, now=NOW))  # type: ignore[misc]  # lambda of a loop
    assert await find_setting(db, "dcr_mode") == "admin_only"
