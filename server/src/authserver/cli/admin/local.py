"""Runs endpoints of the admin API in this process, as the built-in owner, on the database of the configuration."""

import asyncio
import importlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

import click

from authserver.admin.dispatching import Dispatcher
from authserver.admin.endpoint import AdminEndpoint
from authserver.admin.parts import AdminParts
from authserver.admin.records import Operator, Role
from authserver.audit.store import list_events
from authserver.cli.admin.opening import be_quiet
from authserver.cli.admin.transport import Answer, Refused
from authserver.config.loader import load_config
from authserver.core import Clock, Core, administer_keys, build_admin_parts, open_core, open_keys
from authserver.keys.administration import KeyAdministration
from authserver.keys.keyring import Keyring
from authserver.protocol.operator_errors import Failed, OperatorError
from authserver.storage.database import StorageUnavailable
from authserver.web.http import HttpRequest
from authserver.web.streaming import Rest

if TYPE_CHECKING:
    from authserver.admin.simulation import Simulator

# The whole table takes a fifth of a second, which a command that needs one noun does not wait for.
_MODULES = MappingProxyType(
    {
        "audit": ("audit", "audit_state"),
        "broker-providers": ("broker_providers",),
        "clients": ("clients",),
        "fronting": ("fronting",),
        "grants": ("grants",),
        "idps": ("xaa",),
        "issuances": ("issuances",),
        "keys": ("keys",),
        "operators": ("operators",),
        "resources": ("resources", "resource_policies", "fronting"),
        "settings": ("settings",),
        "tokens": ("tokens",),
        "traces": ("traces",),
        "users": ("users", "tokens", "grants"),
        "xaa": ("xaa",),
    }
)


@dataclass(frozen=True, slots=True)
class _Owner:
    """Lets everybody in: who can read the configuration needs no key."""

    operator: Operator

    async def identify(self, request: HttpRequest) -> Operator:
        """Return the owner."""
        del request
        return self.operator


class Local:
    """The endpoints in this process; what they work on is opened when the first is asked."""

    def __init__(self, config_path: str | None, *, actor: str, migrate: bool) -> None:
        """Take what will be opened.

        Args:
            config_path: The configuration file, or None.
            actor: Whom the audit rows name.
            migrate: Whether pending migrations are applied.
        """
        be_quiet()
        self._config_path = config_path
        self._owner = _Owner(Operator(name=actor, role=Role.OWNER))
        self._migrate = migrate
        self._runner = asyncio.Runner()
        self._closing = AsyncExitStack()
        self._parts: AdminParts | None = None
        self._keyring: Keyring | None = None
        self._dispatchers: dict[str, Dispatcher] = {}

    def send(self, method: str, target: str, body: bytes) -> Answer:
        """Answer a request."""
        return self._runner.run(self._send(method, target, body))

    def foreign(self, answer: Answer) -> str:
        """Return what went wrong: an endpoint answers nothing else."""
        return f"the endpoint answers {answer.status} {answer.content_type}"

    def close(self) -> None:
        """Close keys and database."""
        with self._runner:
            self._runner.run(self._closing.aclose())

    async def _send(self, method: str, target: str, body: bytes) -> Answer:
        path, _, query = target.partition("?")
        request = HttpRequest(method=method, headers=[], raw_path=path.encode(), query=query.encode())
        request.arrive(body)
        request.end()
        parts = self._parts or await self._open()
        response = await self._dispatcher(parts, path.split("/")[2]).serve(request, request.raw_path)
        rest = await response.stream.read() if isinstance(response.stream, Rest) else b""
        return Answer(response.status, dict(response.headers).get(b"content-type", b"").decode(), response.body + rest)

    def _dispatcher(self, parts: AdminParts, noun: str) -> Dispatcher:
        if noun not in self._dispatchers:
            self._dispatchers[noun] = Dispatcher(endpoints_below(noun), parts, self._owner, _refuse)
        return self._dispatchers[noun]

    async def _open(self) -> AdminParts:
        config = load_config(self._config_path).config
        core = await open_core(config, clock=Clock(), migrate=self._migrate)
        self._closing.push_async_callback(core.close)
        self._parts = build_admin_parts(core, keys=lambda: self._keys(core), simulator=_no_simulator)
        return self._parts

    async def _keys(self, core: Core) -> KeyAdministration:
        if self._keyring is None:
            if not self._migrate:
                await _check_migrated(core)
            self._keyring = await open_keys(core.config, now=core.clock(), core=core)
            self._closing.push_async_callback(self._keyring.close)
        return administer_keys(core, self._keyring)


def endpoints_below(noun: str) -> list[AdminEndpoint]:
    """Return the endpoints whose path goes on so behind ``/admin/``, and perhaps a few others."""
    if noun not in _MODULES:
        return list(importlib.import_module("authserver.admin.api.table").TABLE)
    modules = (importlib.import_module(f"authserver.admin.api.{name}") for name in _MODULES[noun])
    return [entry for module in modules for entry in module.ENDPOINTS]


async def _check_migrated(core: Core) -> None:
    """Check that a change can be recorded before there is one."""
    try:
        await list_events(core.db, limit=1)
    except StorageUnavailable:
        raise
    except Exception as exc:  # what a driver raises for a missing table is known to storage alone
        raise click.ClickException(f"run authserver migrate first: {exc}") from exc


def _refuse(exc: OperatorError, endpoint: AdminEndpoint) -> NoReturn:
    """Tell a refusal, and here the cause of a failure too."""
    del endpoint
    cause = exc.__cause__ if isinstance(exc, Failed) else None
    raise Refused(str(cause or exc), exc.members) from exc


def _no_simulator() -> "Simulator":
    raise RuntimeError("no command asks the simulator")
