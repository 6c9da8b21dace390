import dataclasses

import pytest

from authserver.storage.database import Database, Writer
from authserver.users.records import User, UserProvider, UserRole, UserStatus
from authserver.users.store import (
    delete_user,
    find_user,
    find_user_by_email,
    insert_user,
    raise_session_epoch,
    replace_password_hash,
    update_user,
)

pytestmark = pytest.mark.anyio

ADA = User(
    id="ada",
    email="Ada@Example.com",
    name="Ada",
    role=UserRole.USER,
    status=UserStatus.ACTIVE,
    password_hash="old",
    provider=UserProvider.LOCAL,
    provider_sub="",
    session_epoch=0,
    version=1,
    created_at=1,
    updated_at=1,
)


async def test_every_change_of_a_user_is_seen_by_the_next_look_and_only_a_change_makes_a_new_record(
    db: Database,
) -> None:
    await db.write(lambda tx: insert_user(tx, ADA))
    first = await find_user(db, "ada")
    assert first == ADA
    assert await find_user(db, "ada") is first
    assert await db.write(lambda tx: replace_password_hash(tx, "ada", old="old", new="new"))
    now = dataclasses.replace(ADA, password_hash="new")
    assert await find_user(db, "ada") == now
    assert await db.write(lambda tx: raise_session_epoch(tx, "ada", now=2))
    now = dataclasses.replace(now, session_epoch=1, version=2, updated_at=2)
    assert await find_user(db, "ada") == now
    disabled = dataclasses.replace(now, status=UserStatus.DISABLED)
    assert await db.write(lambda tx: update_user(tx, disabled))
    assert await find_user(db, "ada") == dataclasses.replace(disabled, version=3)
    # By hand, as a restored backup would.
    await db.write(lambda tx: tx.execute("UPDATE users SET status = 'active'"))
    assert await find_user(db, "ada") == dataclasses.replace(now, version=3)
    assert await find_user_by_email(db, "ADA@example.com") == dataclasses.replace(now, version=3)


async def test_a_user_that_is_made_again_under_its_id_is_not_taken_for_the_one_before(db: Database) -> None:
    await db.write(lambda tx: insert_user(tx, ADA))
    assert await find_user(db, "ada") == ADA
    assert await db.write(lambda tx: delete_user(tx, "ada"))
    assert await find_user(db, "ada") is None
    other = dataclasses.replace(ADA, role=UserRole.ADMIN)
    await db.write(lambda tx: insert_user(tx, other))
    assert await find_user(db, "ada") == other


async def test_what_a_transaction_read_that_failed_is_not_taken_for_the_user(db: Database) -> None:
    await db.write(lambda tx: insert_user(tx, ADA))

    async def fail(tx: Writer) -> None:
        assert await raise_session_epoch(tx, "ada", now=2)
        found = await find_user(tx, "ada")
        assert found == dataclasses.replace(ADA, session_epoch=1, version=2, updated_at=2)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await db.write(fail)
    assert await find_user(db, "ada") == ADA
