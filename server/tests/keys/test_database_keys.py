"""What is particular about keys in PostgreSQL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

import pytest

from authserver.encryption.aes_master import AesMaster
from authserver.keys.database import DatabaseKeyStore
from authserver.keys.keyring import open_keyring
from authserver.keys.keystore import KeyStoreError
from authserver.protocol.jose import load_signing_key
from authserver.storage.database import StorageUnavailable, UniqueViolation
from server.tests.conftest import open_target
from server.tests.fakes.listening import listening
from server.tests.keys.laboratory import MASTER_KEY, NOW, RETENTION, KeyProcess, Laboratory, laboratory, postgres_key

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab(postgres_target: str) -> AsyncIterator[Laboratory]:
    async with laboratory("postgres_key", postgres_target, postgres_key) as lab:
        yield lab


@dataclass
class Cable:
    """A connection to the database that can be cut."""

    host: str
    port: int
    is_cut: bool = False
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_cut:
            return
        far_reader, far_writer = await asyncio.open_connection(self.host, self.port)
        self.writers |= {writer, far_writer}
        try:
            with contextlib.suppress(OSError):
                await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        finally:
            far_writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self) -> None:
        self.is_cut = True
        for writer in self.writers:
            writer.transport.abort()


@contextlib.asynccontextmanager
async def cable_to(dsn: str) -> AsyncIterator[tuple[Cable, str]]:
    """Yield a cable and the DSN that leads through it."""
    parts = urlsplit(dsn)
    cable = Cable(parts.hostname or "", parts.port or 5432)
    user = parts.netloc.rpartition("@")[0]
    async with listening(cable.carry) as own_port:
        yield cable, urlunsplit(parts._replace(netloc=f"{user}@127.0.0.1:{own_port}"))


async def test_an_instance_whose_connection_was_cut_converges_with_its_first_poll_after_it(
    lab: Laboratory, postgres_target: str
) -> None:
    first = await lab.start()
    async with cable_to(postgres_target) as (cable, dsn):
        db = await open_target(dsn)
        second = await KeyProcess.start(await postgres_key("ES256", db), db, now=NOW)
        cable.cut()
        new = await first.rotate(NOW + 10)
        for second_later in (11, 12):
            with pytest.raises(StorageUnavailable):
                await second.poll(NOW + second_later)
        # It goes on publishing what it knew.
        assert second.published(NOW + 12) == first.published(NOW + 12)[1:]
        cable.is_cut = False
        async with asyncio.timeout(60):
            while new not in second.published(NOW + 130):
                with contextlib.suppress(StorageUnavailable):
                    await second.poll(NOW + 130)
        assert second.published(NOW + 130) == first.published(NOW + 130)
        await second.keyring.close()
        await db.close()


async def test_private_keys_are_sealed_each_under_its_own_name(lab: Laboratory) -> None:
    process = await lab.start()
    await process.rotate(NOW + 10)
    rows = await lab.databases[0].fetch_all("SELECT kid, algorithm, enc_private FROM signing_keys")
    assert len(rows) == 2
    for row in rows:
        assert b"PRIVATE" not in row["enc_private"]
        pem = await AesMaster(MASTER_KEY).open(row["enc_private"], context=f"signing-key:{row['kid']}")
        published = process.keyring.snapshot(NOW + 10).public_keys[row["kid"]]
        assert load_signing_key(pem, kid=row["kid"], alg=row["algorithm"]).public == published


async def test_sealed_keys_that_were_swapped_are_refused(lab: Laboratory) -> None:
    process = await lab.start()
    await process.rotate(NOW + 10)
    good = process.keyring.snapshot(NOW + 10)
    db = lab.databases[0]
    one, other = await db.fetch_all("SELECT kid, enc_private FROM signing_keys")
    await db.write(
        lambda tx: tx.execute(
            "UPDATE signing_keys SET enc_private = $1 WHERE kid = $2", other["enc_private"], one["kid"]
        )
    )
    with pytest.raises(KeyStoreError, match=f"kid={one['kid']} cannot be opened"):
        await lab.start(NOW + 11)
    await process.keyring.reload(NOW + 11)
    assert process.keyring.snapshot(NOW + 11).jwks == good.jwks


async def test_the_database_lets_no_second_current_key_in(lab: Laboratory) -> None:
    await lab.start()
    insert = (
        "INSERT INTO signing_keys (id, kid, algorithm, enc_private, is_current, created_at)"
        " VALUES (99, 'x', 'ES256', 'x', TRUE, 0)"
    )
    with pytest.raises(UniqueViolation):
        await lab.databases[0].write(lambda tx: tx.execute(insert))


async def test_rows_of_retired_keys_are_deleted_and_need_no_master_key(lab: Laboratory) -> None:
    process = await lab.start()
    await process.rotate(NOW + 10)
    later = NOW + 2 * RETENTION
    # The master key was changed meanwhile, and the former one is gone.
    new_key = AesMaster(bytes(reversed(MASTER_KEY)), MASTER_KEY)
    db = lab.databases[0]
    middle = await open_keyring(DatabaseKeyStore(db, new_key, algorithm="ES256", retention=RETENTION), now=later)

    async def record(kid: str, change: object = None) -> None:
        assert callable(change)
        await db.write(change)

    rotated = await middle.rotate(later, record)
    alone = DatabaseKeyStore(db, AesMaster(bytes(reversed(MASTER_KEY))), algorithm="ES256", retention=RETENTION)
    last = await open_keyring(alone, now=later + 2 * RETENTION)
    assert [key.kid for key in last.list_keys(later + 2 * RETENTION)] == [rotated.kid]
    assert len(await db.fetch_all("SELECT kid FROM signing_keys")) == 1
