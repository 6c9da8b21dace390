"""Lists that nobody bounded are sent as they are read, and everybody else is served meanwhile."""

import asyncio
from dataclasses import replace

import orjson
import pytest

from authserver.admin import long_lists
from authserver.clients.store import list_clients
from authserver.storage import totals
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.storage.totals import Counted, Totals
from authserver.users.store import insert_user, list_users
from server.tests.web.test_run import running
from server.tests.wire.harness import Wire
from server.tests.wire.operating import API_KEY, Admin, check_shape

pytestmark = pytest.mark.anyio

NUMBER = 450


async def _register(wire: Wire, number: int) -> list[str]:
    for _ in range(number):
        await wire.register()
        wire.clock.seconds += 1
    return [client.id for client in await list_clients(wire.core.db, limit=1000)]


async def _fill_users(wire: Wire, number: int) -> list[str]:
    async def insert(tx: Writer) -> None:
        for n in range(number):
            await insert_user(tx, replace(wire.user, id=f"u{n:04}", email=f"u{n}@example.com"))

    await wire.core.db.write(insert)
    return [user.id for user in await list_users(wire.core.db, limit=number + 1)]


async def test_a_list_of_several_pages_is_one_array(wire: Wire, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_lists, "_PAGE", 7)
    monkeypatch.setattr(long_lists, "_WHOLE", 7)
    expected = await _register(wire, 20)
    for limit in (1, 6, 7, 8, 14, 20, 21, 1000):
        listed = await admin.do("GET", "/admin/clients", limit=limit)
        check_shape("GET", "/admin/clients", listed)
        assert [client["id"] for client in listed] == expected[:limit]
    listed = await admin.do("GET", "/admin/clients", limit=9, after=expected[4])
    assert [client["id"] for client in listed] == expected[5:14]
    listed = await admin.do("GET", "/admin/clients", limit=9, offset=5, source="dcr", status="active")
    assert [client["id"] for client in listed] == expected[5:14]
    assert await admin.do("GET", "/admin/clients", offset=1000) == []
    assert await admin.do("GET", "/admin/clients", source="dcr", offset=1000) == []
    assert await admin.do("GET", "/admin/clients", source="unheard of") == []
    assert await admin.refused(400, "GET", "/admin/clients", after="nobody") == "after names no client"


async def test_all_users_are_one_array_and_nobody_waits_for_it(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_lists, "_PAGE", 5)
    monkeypatch.setattr(long_lists, "_WHOLE", 5)
    expected = await _fill_users(wire, NUMBER)
    answered = 0
    seen: list[int] = []
    read = long_lists._rest

    async def watched(*arguments):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202  the signature of _rest
        async for part in read(*arguments):
            seen.append(answered)
            yield part

    monkeypatch.setattr(long_lists, "_rest", watched)
    async with running(wire.server.admin) as listener:

        async def ask_on() -> None:
            nonlocal answered
            while True:
                assert (await wire.http.get("/.well-known/jwks.json")).status_code == 200
                answered += 1
                await asyncio.sleep(0)

        asking = asyncio.create_task(ask_on())
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET /admin/users HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % API_KEY.encode())
        _, _, body = (await asyncio.wait_for(reader.read(-1), 60)).partition(b"\r\n\r\n")
        asking.cancel()
        writer.close()
    users = orjson.loads(body)
    assert [user["id"] for user in users] == expected
    # Between the parts of the list, again and again, others were answered.
    assert len(seen) > NUMBER / 5 - 2
    assert len(set(seen)) > len(seen) / 4


async def test_a_list_that_is_cut_off_is_no_array(wire: Wire, admin: Admin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_lists, "_PAGE", 5)
    monkeypatch.setattr(long_lists, "_WHOLE", 5)
    await _fill_users(wire, 20)
    fetch_all = wire.core.db.fetch_all
    calls = 0

    async def failing(sql, *args):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202  the signature of fetch_all
        nonlocal calls
        calls += "FROM users" in sql
        if calls > 2:
            raise StorageUnavailable("gone")
        return await fetch_all(sql, *args)

    monkeypatch.setattr(wire.core.db, "fetch_all", failing)
    answer = await admin.ask("GET", "/admin/users")
    assert answer.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)


async def test_a_list_ends_when_its_readers_key_is_revoked(
    wire: Wire, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_lists, "_PAGE", 5)
    monkeypatch.setattr(long_lists, "_WHOLE", 5)
    await _fill_users(wire, 40)
    created = await admin.do("POST", "/admin/operators", body={"name": "reader", "role": "auditor"}, expect=201)
    read = long_lists._rest
    parts = 0

    async def revoking(*arguments):  # type: ignore[no-untyped-def]  # noqa: ANN002, ANN202  the signature of _rest
        nonlocal parts
        async for part in read(*arguments):
            parts += 1
            if parts == 2:
                await admin.do("DELETE", "/admin/operators/reader", expect=204)
            yield part

    monkeypatch.setattr(long_lists, "_rest", revoking)
    answer = await admin.ask("GET", "/admin/users", headers={"Authorization": f"Bearer {created['key']}"})
    assert answer.status_code == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(answer.content)
    assert parts == 2


async def test_tokens_of_both_kinds_are_one_list_behind_a_token(
    wire: Wire, admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_lists, "_PAGE", 2)
    client_id = (await wire.register())["client_id"]
    machine = await admin.do(
        "POST",
        "/admin/clients",
        expect=201,
        body={
            "client_name": "machine",
            "grant_types": ["client_credentials"],
            "token_endpoint_auth_method": "client_secret_post",
            "scope": "notes:read",
        },
    )
    for _ in range(4):
        await wire.tokens(client_id)
        wire.clock.seconds += 1
        answer = await wire.token(
            grant_type="client_credentials",
            client_id=machine["client_id"],
            client_secret=machine["client_secret"],
            scope="notes:read",
        )
        assert answer.status_code == 200, answer.text
        wire.clock.seconds += 1
    listed = await admin.do("GET", "/admin/tokens", after="start", limit=100)
    check_shape("GET", "/admin/tokens", listed)
    tokens = listed["tokens"]
    assert listed["total"] == 8
    assert [token["type"] for token in tokens] == ["client_credentials", "authorization_code"] * 4
    walked, last = [], "start"
    while page := (await admin.do("GET", "/admin/tokens", after=last, limit=3))["tokens"]:
        walked += page
        last = page[-1]["jti"]
    assert walked == tokens
    apart = (await admin.do("GET", "/admin/tokens", limit=3, offset=1))["tokens"]
    assert apart == [
        *[t for t in tokens if t["type"] == "authorization_code"][1:],
        *[t for t in tokens if t["type"] == "client_credentials"][1:],
    ]
    of_one = await admin.do("GET", "/admin/tokens", client_id=machine["client_id"], after=tokens[2]["jti"])
    assert of_one["tokens"] == [t for t in tokens[3:] if t["type"] == "client_credentials"]
    assert await admin.refused(400, "GET", "/admin/tokens", after="x") == "after must be an id, or start"


async def test_few_are_counted_exactly_and_many_once_a_minute(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totals, "_FEW", 2)
    monkeypatch.setattr(totals, "_MOST_KEPT", 1)
    counts = Totals(db)
    users = Counted("users WHERE status = $1", ("active",))

    async def count(*, now: int) -> int:
        return await counts.count(users, now=now)

    async def add(number: int) -> None:
        sql = "INSERT INTO users (id, created_at, updated_at) VALUES ($1, 0, 0)"
        await db.write(lambda tx: tx.execute(sql, f"u{number}"))

    for number in range(4):
        assert await count(now=1000) == number
        await add(number)
    assert await count(now=1000) == 3
    assert await count(now=1059) == 3
    assert await count(now=1060) == 4
    await add(4)
    assert await count(now=1061) == 4
    assert await count(now=999) == 5
    await counts.count(Counted("users"), now=999)
    await add(5)
    assert await count(now=999) == 6
    assert len(counts._kept) == 1
