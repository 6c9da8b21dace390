"""Looks at all that a start of the server depends on, without starting it: no migration is applied and no key is made."""

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

import orjson

from authserver.audit.delivery.opening import open_destinations
from authserver.config.checks import check_admin_key
from authserver.config.declaring import ConfigError, Kind, declared_keys
from authserver.config.features import State as FeatureState
from authserver.config.features import self_check
from authserver.config.loader import FROM_FILE, LoadedConfig, config_failures, read_config, with_session_secret
from authserver.config.model import Config
from authserver.config.notices import Notice, registration_notices
from authserver.core import Clock, Core, open_core, open_keys
from authserver.encryption.opening import open_encryptor
from authserver.keys.keystore import KeyStoreError, NoSigningKey
from authserver.keys.records import KeyListing
from authserver.keys.volatile import find_volatile
from authserver.maintenance.seed import SeedError, check_provider_seeds, check_seeds
from authserver.outbound.client import OutboundClient, OutboundError
from authserver.resources.records import BackendKind
from authserver.resources.store import find_resource_by_slug
from authserver.storage.database import StorageUnavailable
from authserver.storage.migrate import MigrationError, embedded_migrations
from authserver.storage.opening import pending_migrations
from authserver.storage.places import may_make
from authserver.storage.sqlite_connections import MEMORY
from authserver.tokens.store import has_issued
from authserver.web.run import Listener, ListenError, bind

_OTHERS = 0o007
_ALL_BUT_OWNER = 0o077
_CONNECT_SECONDS = 10.0
_MOST_ANSWER_BYTES = 64 * 1024


class State(StrEnum):
    """What a finding means."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the result.

    Attributes:
        check: What was looked at.
        detail: What was found; of a failure, the sentence with which ``serve`` would end.
        remedy: What to do about it; empty where the detail says so, or there is nothing to do.
    """

    state: State
    check: str
    detail: str
    remedy: str = ""


async def examine(path: str | None, environ: Mapping[str, str], *, clock: Clock, connects: bool) -> list[Finding]:
    """Return what is found, in the order of a start.

    Args:
        path: The configuration file.
        environ: The environment.
        clock: The time.
        connects: Whether the receivers of the audit trail are connected to, too.
    """
    examination = _Examination(path=path, environ=environ, clock=clock)
    await examination.run(connects=connects)
    return examination.found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Examination:
    path: str | None
    environ: Mapping[str, str]
    clock: Clock
    found: list[Finding] = field(default_factory=list)

    async def run(self, *, connects: bool) -> None:
        try:
            loaded = read_config(self.path, self.environ)
        except ConfigError as exc:
            self._fail("configuration", exc)
            return
        self._look_at_configuration(loaded)
        self._look_at_features(loaded.config)
        if any(finding.state is State.FAIL for finding in self.found):
            # What is configured wrong cannot be opened.
            return
        self._look_at_secrets(loaded.config)
        self._look_at_permissions(loaded)
        config = with_session_secret(loaded.config)
        await self._look_at_what_is_opened(config)
        await self._look_at_audit_destinations(config, connects=connects)
        await self._look_at_listeners(config)

    def _ok(self, check: str, detail: str) -> None:
        self.found.append(Finding(state=State.OK, check=check, detail=detail))

    def _warn(self, check: str, detail: str, remedy: str = "") -> None:
        self.found.append(Finding(state=State.WARN, check=check, detail=detail, remedy=remedy))

    def _fail(self, check: str, what: object, remedy: str = "") -> None:
        self.found.append(Finding(state=State.FAIL, check=check, detail=str(what), remedy=remedy))

    def _look_at_configuration(self, loaded: LoadedConfig) -> None:
        found = config_failures(loaded, self.environ)
        for sentence in found:
            self._fail("configuration", sentence)
        if not found:
            try:
                check_admin_key(loaded.config)
            except ConfigError as exc:
                self._fail("configuration", exc)
            else:
                variables = sum(source.startswith("AUTHPLANE_") for source in loaded.sources.values())
                issuer = loaded.config.server.issuer
                self._ok("configuration", f"file={self.path or 'none'} variables={variables} issuer={issuer}")
        if self.path and not os.access(self.path, os.F_OK):
            self._warn("configuration", f"there is no file {self.path}: defaults and environment alone count")
        for notice in _worth_a_look(loaded.notices):
            fields = "".join(f" {name}={value}" for name, value in notice.fields.items())
            self._warn("configuration", f"{notice.message}{fields}")

    def _look_at_features(self, config: Config) -> None:
        features = self_check(config)
        broken = [feature for feature in features if feature.state is FeatureState.MISCONFIGURED]
        for feature in broken:
            self._fail("features", f"{feature.name}: {feature.detail}")
        if not broken:
            enabled = [feature.name for feature in features if feature.state is FeatureState.ENABLED]
            self._ok("features", f"enabled={','.join(enabled)}")

    def _look_at_secrets(self, config: Config) -> None:
        wanted = {"session.secret": config.session.secret, "client_secret_pepper": config.client_secret_pepper}
        if config.admin.enabled:
            wanted["admin.api_key"] = config.admin.api_key
            if not config.admin.api_key:
                self._warn("secrets", "admin.api_key is not set: only operators with keys of their own are let in")
        self._ok("secrets", f"set={','.join(name for name, secret in wanted.items() if secret) or 'none'}")

    def _look_at_permissions(self, loaded: LoadedConfig) -> None:
        """Look at files that hold secrets; one that is not there is others' business."""
        looked_at = 0
        for file, forbidden in _private_files(self.path, loaded):
            try:
                mode = file.stat().st_mode
            except OSError:
                continue
            looked_at += 1
            if mode & forbidden:
                remedy = f"chmod {'600' if forbidden == _ALL_BUT_OWNER else 'o-rwx'} {file}"
                self._warn("permissions", f"{file} is open to others than its owner", remedy)
        self._ok("permissions", f"files={looked_at}")

    async def _look_at_what_is_opened(self, config: Config) -> None:
        """Look at encryption, the database, what is in it, the keys."""
        try:
            encryptor = await open_encryptor(config.data_encryption, self.environ)
        except ConfigError as exc:
            self._fail("encryption", exc)
            return
        if encryptor is not None:
            await encryptor.close()
            self._ok("encryption", f"driver={config.data_encryption.driver}")
        try:
            pending = await pending_migrations(config.storage)
        except (MigrationError, StorageUnavailable) as exc:
            self._fail("database", exc)
            if config.signing.key_store == "keyfile":
                await self._look_at_keys(config, None)
            return
        place = "PostgreSQL" if config.storage.driver == "postgres" else config.storage.sqlite.path
        applied = len(embedded_migrations()) - len(pending)
        if pending:
            names = ",".join(f"{migration.version:04}" for migration in pending)
            remedy = "authserver migrate; a start applies them, too"
            self._warn("database", f"{place}: applied={applied} pending={names}", remedy)
        else:
            self._ok("database", f"{place}: applied={applied} pending=none")
        await self._look_into_database(config, is_migrated=not pending)

    async def _look_into_database(self, config: Config, *, is_migrated: bool) -> None:
        """Look into the database; before it is migrated, into an empty one in memory, as a first start would find it."""
        memory = replace(config.storage, driver="sqlite", sqlite=replace(config.storage.sqlite, path=MEMORY))
        storage = config.storage if is_migrated else memory
        core = await open_core(replace(config, storage=storage), clock=self.clock, migrate=not is_migrated)
        try:
            await self._look_at_resources(core)
            await core.mode.refresh()
            for notice in _worth_a_look(registration_notices(config, core.mode.current)):
                self._warn("registration", notice.message)
            if config.signing.key_store == "postgres_key" and not is_migrated:
                self._warn("keys", "postgres_key: not looked at before the migrations are applied")
            else:
                await self._look_at_keys(config, core)
        finally:
            await core.close()

    async def _look_at_resources(self, core: Core) -> None:
        config = core.config
        if config.broker_providers:
            try:
                created = await check_provider_seeds(core.db, core.broker_providers, config.broker_providers)
            except SeedError as exc:
                self._fail("broker_providers", exc)
            else:
                self._ok("broker_providers", f"configured={len(config.broker_providers)} to_be_created={created}")
        if config.resources:
            try:
                created = await check_seeds(
                    core.db,
                    core.resources,
                    core.broker_providers,
                    config.resources,
                    to_come=config.broker_providers,
                )
            except SeedError as exc:
                self._fail("resources", exc)
            else:
                self._ok("resources", f"configured={len(config.resources)} to_be_created={created}")
        if slug := config.oauth.default_resource:
            resource = await find_resource_by_slug(core.db, slug)
            kind = resource.backend_kind if resource else ""
            if BackendKind.MINT not in {kind, *(seed.backend_kind for seed in config.resources if seed.slug == slug)}:
                detail = f"oauth.default_resource names no Mint resource slug={slug}"
                self._warn("resources", detail, "create it, or leave the key out")

    async def _look_at_keys(self, config: Config, core: Core | None) -> None:
        """Look at the signing keys; without a database only at files."""
        store, now = config.signing.key_store, self.clock()
        filesystem = find_volatile(Path(config.signing.key_path)) if store == "keyfile" else None
        if filesystem:
            detail = f"signing keys are ephemeral: they go with the container or at a restart filesystem={filesystem}"
            self._warn("keys", detail, "mount a volume at signing.key_path")
        try:
            keys = await _list_keys(config, core, now)
        except NoSigningKey:
            if core is not None and await has_issued(core.db):
                detail = "the signing keys are gone: what was issued before can no longer be verified"
                self._warn("keys", detail, "restore them, or start and have every client sign in again")
            self._warn("keys", f"{store}: there is no signing key yet", "nothing, the first start makes one")
        except (ConfigError, KeyStoreError, StorageUnavailable) as exc:
            self._fail("keys", exc)
        else:
            first, *others = keys
            self._ok("keys", f"{store}: kid={first.kid} alg={first.alg} previous={len(others)}")

    async def _look_at_audit_destinations(self, config: Config, *, connects: bool) -> None:
        audit, http = config.audit, OutboundClient()
        try:
            open_destinations(audit, http, self.environ, issuer=config.server.issuer)
        except ConfigError as exc:
            self._fail("audit", exc)
            return
        for name, receiver in (("webhook", audit.webhook), ("otlp", audit.otlp)):
            if not receiver.url:
                continue
            if not connects:
                self._ok("audit", f"{name}: configured, not connected to")
                continue
            try:
                await _head(http, receiver.url, allow_private=receiver.allow_private_addresses)
            except OutboundError as exc:
                detail = f"{name}: audit.{name}.url cannot be reached: {exc.cause}"
                self._fail("audit", detail, "a server starts without it, and keeps the events until then")
            else:
                self._ok("audit", f"{name}: answers")

    async def _look_at_listeners(self, config: Config) -> None:
        wanted = [("public", config.server.address)]
        if config.admin.enabled:
            wanted.append(("admin", config.admin.address))
        is_running: bool | None = None
        with contextlib.ExitStack() as held:
            for name, address in wanted:
                try:
                    # Held until both are: one could be in the way of the other.
                    held.enter_context(bind(Listener(app=None, address=address, name=name)))
                except ListenError as exc:
                    if is_running is None:
                        is_running = await _is_running(config)
                    is_taken = isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EADDRINUSE
                    if is_taken and is_running:
                        self._ok("listeners", f"{name}: {address} is in use, the server runs")
                    else:
                        self._fail("listeners", exc)
                else:
                    self._ok("listeners", f"{name}: {address}")


def _worth_a_look(notices: Iterable[Notice]) -> list[Notice]:
    return [notice for notice in notices if notice.level != "info"]


def _private_files(path: str | None, loaded: LoadedConfig) -> list[tuple[Path, int]]:
    """Return the files that hold secrets, each with the bits that its mode must not have."""
    config, private = loaded.config, []
    kinds = {declared.path: declared.kind for declared in declared_keys(Config)}
    if path and any(source == FROM_FILE and kinds[key] is Kind.SECRET for key, source in loaded.sources.items()):
        private.append((Path(path), _OTHERS))
    if config.storage.driver == "sqlite" and config.storage.sqlite.path != MEMORY:
        private.append((Path(config.storage.sqlite.path), _OTHERS))
    if config.signing.key_store == "keyfile":
        private += [(pem, _ALL_BUT_OWNER) for pem in sorted(Path(config.signing.key_path).glob("*.pem"))]
    return private


async def _list_keys(config: Config, core: Core | None, now: int) -> list[KeyListing]:
    """Return the published keys, the current one first.

    Raises:
        ConfigError: The store needs what is not configured.
        KeyStoreError: It cannot be read; or it is empty, and the first key could not be made.
        StorageUnavailable: The database that keeps them is away.
    """
    current = Path(config.signing.key_path, "current.pem")
    makes_first = config.signing.key_store == "keyfile" and not os.access(current, os.F_OK)
    if makes_first and may_make(current):
        raise NoSigningKey
    # Where it could not be made, the attempt says why.
    keyring = await open_keys(config, now=now, core=core, makes_first=makes_first)
    try:
        return keyring.list_keys(now)
    finally:
        await keyring.close()


async def _head(http: OutboundClient, url: str, *, allow_private: bool) -> None:
    """Ask for something that changes nothing; any status is an answer."""
    await http.send(
        "HEAD",
        url,
        headers={"Accept": "*/*"},
        max_bytes=_MOST_ANSWER_BYTES,
        timeout=_CONNECT_SECONDS,
        allow_private=allow_private,
        require_https=not allow_private,
    )


async def _is_running(config: Config) -> bool:
    """Whether a server of this issuer answers at the public listener's address."""
    host, _, port = config.server.address.rpartition(":")
    path = urlsplit(config.server.issuer).path
    try:
        answer = await OutboundClient().send(
            "GET",
            f"http://{host or '127.0.0.1'}:{port}/.well-known/oauth-authorization-server{path}",
            headers={"Accept": "application/json"},
            max_bytes=_MOST_ANSWER_BYTES,
            timeout=_CONNECT_SECONDS,
            allow_private=True,
        )
        return bool(orjson.loads(answer.body)["issuer"] == config.server.issuer)
    except (OutboundError, ValueError, TypeError, KeyError):
        return False
