"""Asks a server's admin API: bounded in time and size, no redirects, and the key goes nowhere else."""

import asyncio
import ssl

import click

from authserver.cli.admin.transport import Answer
from authserver.cli.server_options import NamedServer
from authserver.outbound.client import OutboundClient, OutboundFailed, OutboundRefused

_SECONDS = 60.0
_MAX_BYTES = 64 * 1024 * 1024
_REDIRECTS = range(300, 400)
_SENTENCES = {
    "dns": "its host name has no address",
    "timeout": f"no answer within {_SECONDS:.0f} seconds",
    "protocol": "it does not answer in HTTP",
    "encoding": "it answers in an encoding that was not asked for",
    "too_large": f"its answer is longer than {_MAX_BYTES // 1024 // 1024} MiB; ask for less",
}


class Remote:
    """The endpoints of one server."""

    def __init__(self, server: NamedServer) -> None:
        self._server = server
        self._http = OutboundClient()

    def send(self, method: str, target: str, body: bytes) -> Answer:
        """Send a request."""
        headers = {"Authorization": f"Bearer {self._server.api_key.reveal()}", "Accept": "application/json"}
        if body:
            headers["Content-Type"] = "application/json"
        sending = self._http.send(
            method,
            self._server.url + target,
            headers=headers,
            content=body,
            max_bytes=_MAX_BYTES,
            timeout=_SECONDS,
            allow_private=True,
        )
        try:
            answer = asyncio.run(sending)
        except OutboundRefused as exc:
            raise click.ClickException(
                f"{self._server.url} cannot be asked: its {exc.cause} is none to connect to"
            ) from exc
        except OutboundFailed as exc:
            raise click.ClickException(f"cannot ask {self._server.url}: {_explain(exc)}") from exc
        return Answer(answer.status, answer.headers.get("content-type", ""), answer.body)

    def foreign(self, answer: Answer) -> str:
        """Return that somebody else answers there."""
        if answer.status in _REDIRECTS:
            return f"{self._server.url} redirects elsewhere ({answer.status}), which is not followed: name the admin listener itself"
        return f"{self._server.url} does not answer as an AuthPlane admin listener ({answer.status})"

    def close(self) -> None:
        """Nothing is kept open."""


def _explain(exc: OutboundFailed) -> str:
    """Return why there was no answer."""
    cause: BaseException | None = exc
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"its certificate is not trusted: {cause.verify_message}"
            case ssl.SSLError():
                return "it does not speak TLS"
            case ConnectionRefusedError():
                return "connection refused"
        cause = cause.__cause__ or cause.__context__
    return _SENTENCES.get(exc.cause, "no connection")
