"""One place where keys are kept, and processes that share it: the same for every store."""

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import jwt

from authserver.audit.events import Action
from authserver.audit.records import AuditEvent
from authserver.audit.trail import AuditTrail
from authserver.config.secret import Secret
from authserver.encryption.aes_master import AesMaster
from authserver.encryption.vault import open_vault
from authserver.keys.administration import KeyAdministration, KeyEvent
from authserver.keys.database import DatabaseKeyStore
from authserver.keys.keyfile import KeyfileStore
from authserver.keys.keyring import Keyring, open_keyring
from authserver.keys.keystore import TOPIC, KeyStore
from authserver.keys.vault_transit import VaultTransitStore
from authserver.protocol.jose import Algorithm
from authserver.storage.changes import ChangeWatcher
from authserver.storage.database import Database, Writer
from server.tests.conftest import open_target

NOW = 1_790_000_000
RETENTION = 4200
LIFETIME = 3600
ISSUER = "https://as.example"
MASTER_KEY = bytes(range(32))

OpenStore = Callable[[Algorithm, Database], Awaitable[KeyStore]]


class UnpublishedError(Exception):
    """A token's key is in no document."""


@dataclass(kw_only=True)
class KeyProcess:
    """A server, or a command beside it, as far as keys go."""

    keyring: Keyring
    administration: KeyAdministration
    watcher: ChangeWatcher
    now: int

    @classmethod
    async def start(cls, store: KeyStore, db: Database, *, now: int) -> Self:
        """Open the keys and begin to watch."""
        trail = AuditTrail(db, lambda: time.time_ns() // 1_000_000)

        def prepare(event: KeyEvent, operator: str, text: str, at: int) -> Callable[[Writer], Awaitable[None]]:
            row = AuditEvent(Action(event), actor_id=operator, detail=text)
            return lambda tx: trail.append(tx, row, now=at)

        keyring = await open_keyring(store, now=now)
        watcher = ChangeWatcher(db)
        process = cls(
            keyring=keyring,
            administration=KeyAdministration(db=db, keyring=keyring, prepare=prepare),
            watcher=watcher,
            now=now,
        )
        watcher.register(TOPIC, lambda: keyring.obey(process.now))
        watcher.register_tick(lambda: keyring.refresh(process.now))
        await watcher.start()
        return process

    async def poll(self, now: int) -> None:
        """Look for changes, as every second."""
        self.now = now
        await self.watcher.poll()
        # A poll waits a moment only; on a busy machine the keys are read a little later.
        if self.keyring._reloading is not None:
            await self.keyring._reloading

    async def rotate(self, now: int) -> str:
        """Rotate; return the new key's name."""
        return (await self.administration.rotate(now=now)).kid

    def published(self, now: int) -> list[str]:
        """Return the names in the document."""
        return [key["kid"] for key in json.loads(self.keyring.snapshot(now).jwks)["keys"]]

    async def issue(self, now: int) -> str:
        """Sign a token."""
        claims: dict[str, object] = {"iss": ISSUER, "sub": "u", "aud": ["r"], "client_id": "c", "jti": "j"}
        return (await self.keyring.sign(claims | {"iat": now, "exp": now + LIFETIME}, now=now)).text

    def signs_at(self, now: int) -> int:
        """Return when the newest key begins to sign; on a slow machine a rotation takes a second itself."""
        return self.keyring.snapshot(now).keys[0].signs_at

    def verify(self, token: str, now: int) -> None:
        """Verify a token as a resource server does, with what is published here now.

        Raises:
            UnpublishedError: Its key is not there.
        """
        keys = jwt.PyJWKSet.from_dict(json.loads(self.keyring.snapshot(now).jwks)).keys
        key = next((key for key in keys if key.key_id == kid_of(token)), None)
        if key is None:
            raise UnpublishedError(kid_of(token))
        claims = jwt.decode(token, key, audience="r", issuer=ISSUER, options={"verify_exp": False, "verify_iat": False})
        assert claims["iat"] <= now < claims["exp"]


@dataclass(kw_only=True)
class Laboratory:
    """A store, by its name, and the database beside it."""

    name: str
    target: str
    open_store: OpenStore
    databases: list[Database] = field(default_factory=list)
    processes: list[KeyProcess] = field(default_factory=list)

    async def start(self, now: int = NOW, *, algorithm: Algorithm = "ES256") -> KeyProcess:
        """Start a process with a connection of its own."""
        db = await open_target(self.target)
        self.databases.append(db)
        process = await KeyProcess.start(await self.open_store(algorithm, db), db, now=now)
        self.processes.append(process)
        return process

    async def close(self) -> None:
        """Stop all processes."""
        for process in self.processes:
            await process.keyring.close()
        for db in self.databases:
            await db.close()


@asynccontextmanager
async def laboratory(name: str, target: str, open_store: OpenStore) -> AsyncIterator[Laboratory]:
    """Yield a laboratory and leave nothing of it running."""
    lab = Laboratory(name=name, target=target, open_store=open_store)
    try:
        yield lab
    finally:
        await lab.close()


def keyfile(path: Path) -> OpenStore:
    """Keep keys in a directory."""

    async def open_store(algorithm: Algorithm, db: Database) -> KeyStore:
        return KeyfileStore(path, algorithm=algorithm, retention=RETENTION)

    return open_store


async def postgres_key(algorithm: Algorithm, db: Database) -> KeyStore:
    """Keep keys in the database."""
    return DatabaseKeyStore(db, AesMaster(MASTER_KEY), algorithm=algorithm, retention=RETENTION)


def vault_transit(address: str, key_name: str) -> OpenStore:
    """Keep keys in Vault."""

    async def open_store(algorithm: Algorithm, db: Database) -> KeyStore:
        client = await open_vault(address, Secret("root"), call_seconds=10)
        return VaultTransitStore(
            db, client, mount="transit", key_name=key_name, algorithm=algorithm, retention=RETENTION
        )

    return open_store


def kid_of(token: str) -> str:
    """Return the name of the key that signed a token."""
    return str(jwt.get_unverified_header(token)["kid"])
