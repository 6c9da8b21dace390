"""Talks to HashiCorp Vault or OpenBao: the token, its renewal, and JSON in and out (deployment, section 12.1)."""

import asyncio
import contextlib
import secrets
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from authserver.config.secret import Secret
from authserver.outbound.client import OutboundError
from authserver.outbound.origin import OriginClient
from authserver.telemetry.logs import get_logger
from authserver.telemetry.spans import call_span

_log = get_logger("vault-client")

_MAX_BYTES = 1024 * 1024
_MOST_OF_A_BODY = 200  # characters
_LEAST_RENEWAL_SECONDS = 10.0
_RETRY_SECONDS = 10.0
_SUCCESS = range(200, 300)
_SERVER_ERROR = 500
_NOT_FOUND = 404
_TOO_MANY = 429
_CONFLICT = "transaction commit failed"
_CONFLICT_TRIES = 8
_CONFLICT_PAUSE_MS = 40


class VaultError(Exception):
    """Vault refused, or what it answered is no answer. The message holds no secret."""


class VaultUnavailable(VaultError):  # noqa: N818  a state of the world
    """Vault does not answer, is sealed or is not ready; another try makes sense."""


class VaultConflict(VaultUnavailable):
    """Somebody else wrote the same at once (OpenBao). Nothing was stored, though a key's new version may be in its memory."""


class VaultNotFound(VaultError):  # noqa: N818  an outcome that callers turn into one of their own
    """There is nothing of this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRole:
    """What the server signs in to Vault with.

    Attributes:
        mount: Where the auth method is mounted.
    """

    role_id: str
    secret_id: Secret
    mount: str


class VaultClient:
    """Calls Vault with a token that stays valid. To be opened by ``open_vault`` and closed."""

    def __init__(self, address: str, credentials: Secret | AppRole, *, call_seconds: float) -> None:
        """Take what is configured.

        Args:
            address: Where Vault is.
            credentials: A fixed token, which is never renewed, or an AppRole.
            call_seconds: How long one call may take.

        Raises:
            VaultError: The address is no URL.
        """
        try:
            self._origin = OriginClient(address, timeout=call_seconds, max_bytes=_MAX_BYTES)
        except OutboundError as exc:
            raise VaultError(f"vault address {address!r} is not an http or https URL") from exc
        self._call_seconds = call_seconds
        self._role = credentials if isinstance(credentials, AppRole) else None
        self._token = credentials if isinstance(credentials, Secret) else Secret()
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sign in, and from then on again and again before the token expires.

        Raises:
            VaultError: Vault does not answer, or refuses.
        """
        if self._role is not None:
            lease = await self._sign_in(self._role)
            self._renewing = asyncio.create_task(self._renew(self._role, lease), name="vault-renewal")

    async def close(self) -> None:
        """End the renewal and close the connections."""
        if self._renewing is not None:
            self._renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._renewing
        await self._origin.close()

    async def read(self, path: str) -> dict[str, Any]:
        """Return the ``data`` of what is at a path below ``/v1/``.

        Raises:
            VaultNotFound: There is nothing.
            VaultUnavailable: Vault does not answer.
            VaultError: Vault refuses.
        """
        return _data(await self._call("GET", path, self._token, b""), path)

    async def write(self, path: str, body: dict[str, Any], *, is_repeatable: bool = True) -> dict[str, Any]:
        """Send a body and return the ``data`` of the answer, empty when there is none.

        What failed only because somebody else wrote the same at once is sent again, a few times, and no more once that took as
        long as one call may.

        Args:
            path: Below ``/v1/``.
            body: JSON.
            is_repeatable: Whether doing it twice is as good as once.

        Raises:
            VaultUnavailable: Vault does not answer. It may have done it all the same.
            VaultError: Vault refuses.
        """
        content = orjson.dumps(body)
        until = time.monotonic() + self._call_seconds
        attempt = 1
        while True:
            try:
                answer = await self._call("POST", path, self._token, content, is_repeatable=is_repeatable)
            except VaultConflict:
                if attempt == _CONFLICT_TRIES or time.monotonic() >= until:
                    raise
                # Of those who meet again and again, each waits a time of its own.
                await asyncio.sleep(secrets.randbelow(attempt * _CONFLICT_PAUSE_MS) / 1000)
                attempt += 1
            else:
                return _data(answer, path)

    async def _call(
        self, method: str, path: str, token: Secret, body: bytes, *, is_repeatable: bool = True
    ) -> dict[str, Any]:
        headers = {"X-Vault-Token": token.reveal()} if token else {}
        try:
            response = await self._origin.request(
                method, f"/v1/{path}", headers=headers, body=body, is_repeatable=is_repeatable
            )
        except OutboundError as exc:
            raise VaultUnavailable(f"vault does not answer {method} {path}: {exc.cause}") from exc
        if response.status not in _SUCCESS:
            # Vault answers errors with what was wrong, never with what was sent.
            said = response.body[: 4 * _MOST_OF_A_BODY].decode("utf-8", "replace")[:_MOST_OF_A_BODY].strip()
            message = f"vault answers {response.status} to {method} {path}: {said}"
            if response.status == _NOT_FOUND:
                raise VaultNotFound(message)
            if response.status == _SERVER_ERROR and _CONFLICT in said:
                raise VaultConflict(message)
            if response.status >= _SERVER_ERROR or response.status == _TOO_MANY:
                raise VaultUnavailable(message)
            raise VaultError(message)
        if not response.body:
            return {}
        try:
            answer = orjson.loads(response.body)
        except orjson.JSONDecodeError as exc:
            raise VaultError(f"vault answers no JSON to {method} {path}") from exc
        if not isinstance(answer, dict):
            raise VaultError(f"vault answers no object to {method} {path}")
        return answer

    async def _sign_in(self, role: AppRole) -> float:
        """Take a new token; return the seconds it lives."""
        path = f"auth/{segment(role.mount)}/login"
        body = orjson.dumps({"role_id": role.role_id, "secret_id": role.secret_id.reveal()})
        with call_span("VaultClient.AppRoleLogin"):
            answer = (await self._call("POST", path, Secret(), body)).get("auth")
        token = answer.get("client_token") if isinstance(answer, dict) else None
        if not isinstance(answer, dict) or not isinstance(token, str) or not token:
            raise VaultError(f"vault answers no token to POST {path}")
        self._token = Secret(token)
        lease = answer.get("lease_duration")
        return float(lease) if isinstance(lease, int) else 0.0

    async def _renew(self, role: AppRole, lease: float) -> None:
        """Sign in again at half the token's life; what fails is tried again, and the token there is goes on."""
        pause = _half(lease)
        while True:
            await asyncio.sleep(pause)
            try:
                pause = _half(await self._sign_in(role))
            except VaultError as exc:
                pause = min(pause, _RETRY_SECONDS)
                _log.warning("vault token renewal failed", error=str(exc))


async def open_vault(address: str, credentials: Secret | AppRole, *, call_seconds: float) -> VaultClient:
    """Return a client that is signed in.

    Args:
        address: Where Vault is.
        credentials: A fixed token, or an AppRole.
        call_seconds: How long one call may take.

    Raises:
        VaultError: Vault does not answer, or refuses.
    """
    client = VaultClient(address, credentials, call_seconds=call_seconds)
    try:
        await client.start()
    except VaultError:
        await client.close()
        raise
    return client


def segment(name: str) -> str:
    """Return a configured name as it stands in a path; a mount may have several segments."""
    return quote(name.strip("/"), safe="/")


def _half(lease: float) -> float:
    # A token without an end needs no renewal, but the next one may have an end.
    return max(lease / 2, _LEAST_RENEWAL_SECONDS)


def _data(answer: dict[str, Any], path: str) -> dict[str, Any]:
    data = answer.get("data") or {}
    if not isinstance(data, dict):
        raise VaultError(f"vault answers no data to {path}")
    return data
