"""What was begun before a backup or a move to PostgreSQL goes on after it, and the audit trail still proves itself."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from authserver.app import build_server
from authserver.audit.chain.parts import read_parts
from authserver.audit.chain.sealing import Sealer
from authserver.audit.chain.verification import verify
from authserver.config.model import Config
from authserver.config.secret import Secret
from authserver.config.sections.storage import PostgresConfig, SqliteConfig
from authserver.core import Clock, open_core, open_keys
from authserver.keys.statements import KeyringSigner
from authserver.storage.copying import copy_database
from authserver.storage.sqlite_backup import back_up, restore
from server.tests.wire.harness import Wire

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("database_target", ["sqlite"], indirect=True)]


@asynccontextmanager
async def started(config: Config, before: Wire, now: int) -> AsyncIterator[Wire]:
    """The server anew, on another database, with the same keys and secrets."""
    core = await open_core(config, clock=Clock(milliseconds=lambda: now * 1000), migrate=False)
    await core.mode.refresh()
    keyring = await open_keys(config, now=now)
    server = await build_server(core, keyring)
    async with replace(before, server=server, core=core, keyring=keyring) as wire:
        yield wire
    await server.traces.close()
    await core.db.close()


@pytest.mark.parametrize("way", ["backup", "copy"])
async def test_tokens_and_refresh_tokens_of_before_work_after(
    wire: Wire, config: Config, now: int, tmp_path: Path, postgres_target: str, way: str
) -> None:
    client = (await wire.register(grant_types=["authorization_code", "refresh_token"]))["client_id"]
    issued = await wire.tokens(client)
    await wire.core.trail.flush()
    sealed = await Sealer(wire.core.db, KeyringSigner(wire.keyring), lambda: now * 1000).seal_all()
    path = config.storage.sqlite.path
    if way == "backup":
        file, elsewhere = str(tmp_path / "b.db"), str(tmp_path / "elsewhere.db")
        back_up(path, file, wal=True, force=False)
        restore(file, elsewhere, wal=True, force=False)
        storage = replace(config.storage, sqlite=SqliteConfig(path=elsewhere))
    else:
        copied = await copy_database(path, postgres_target, wal=True, now=now)
        assert {table.name: table.rows for table in copied}["clients"] == 2
        postgres = PostgresConfig(dsn=Secret(postgres_target), min_conns=0, max_conns=5)
        storage = replace(config.storage, driver="postgres", postgres=postgres)
    async with started(replace(config, storage=storage), wire, now) as moved:
        report = await verify(read_parts(moved.core.db), trusted=[wire.keyring.current(now).public.jwk])
        assert (report.is_intact, report.rows, report.unsealed) == (True, sealed, 0)
        assert sealed > 0
        assert (await moved.introspect(issued["access_token"]))["active"] is True
        refreshed = await moved.refresh(client, issued["refresh_token"])
        assert refreshed.status_code == 200, refreshed.text
        assert (await moved.introspect(refreshed.json()["access_token"]))["active"] is True
        again = await moved.tokens(client)
        assert again["access_token"] != issued["access_token"]
