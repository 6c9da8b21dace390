"""The two kinds of receivers: a webhook of ours, signed as Standard Webhooks has it, and OTLP logs over HTTP."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import orjson

from authserver.audit.catalogue import Severity, severity
from authserver.audit.delivery.records import Batch, DeliveryFailed, SentEvent
from authserver.audit.events import Action
from authserver.audit.views import build_event
from authserver.config.secret import Secret
from authserver.outbound.client import OutboundClient, OutboundError
from authserver.protocol.times import spell_time

_TIMEOUT_SECONDS = 10
_MOST_ANSWER_BYTES = 64 * 1024
_LONGEST_RETRY_AFTER = 3600
_OK = range(200, 300)
_PREFIX = "whsec_"
_SEVERITY_NUMBERS = {Severity.INFO: 9, Severity.NOTICE: 10, Severity.WARNING: 13, Severity.ALERT: 17}
_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Where something is posted.

    Attributes:
        allow_private: Whether addresses that are not of the public internet may be connected to, and without TLS.
    """

    http: OutboundClient
    url: str
    allow_private: bool

    async def post(self, body: bytes, headers: Mapping[str, str]) -> None:
        """Post JSON; return when it was accepted.

        Raises:
            DeliveryFailed: It was not.
        """
        try:
            response = await self.http.send(
                "POST",
                self.url,
                headers={"Accept": "application/json", "Content-Type": "application/json", **headers},
                content=body,
                max_bytes=_MOST_ANSWER_BYTES,
                timeout=_TIMEOUT_SECONDS,
                allow_private=self.allow_private,
                require_https=not self.allow_private,
            )
        except OutboundError as exc:
            raise DeliveryFailed(exc.cause) from exc
        if response.status not in _OK:
            wait = response.headers.get("retry-after", "")
            seconds = min(int(wait), _LONGEST_RETRY_AFTER) if wait.isdecimal() and len(wait) < len("10000") else 0
            raise DeliveryFailed("status", status=response.status, retry_after=seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Posts batches with a signature over id, time and body (HMAC-SHA-256).

    Attributes:
        secrets: One, or while it is replaced several, separated by blanks; those with ``whsec_`` are base64 behind it.
        issuer: Tells the receiver whose events they are.
    """

    name: ClassVar[str] = "webhook"

    receiver: Receiver
    secrets: Secret
    issuer: str
    _keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the keys once."""
        object.__setattr__(self, "_keys", tuple(map(_key, self.secrets.reveal().split())))

    async def send(self, batch: Batch, *, now: int) -> None:
        """Post a batch; return when it was accepted."""
        body = orjson.dumps(
            {
                "type": "audit.events",
                "timestamp": spell_time(now),
                "data": {
                    "issuer": self.issuer,
                    "events": [_view(event) for event in batch.events],
                    "checkpoint": {"number": batch.checkpoint[0], "hash": batch.checkpoint[1]},
                },
            }
        )
        message_id = f"audit_{batch.events[0].sequence}_{batch.events[-1].sequence}"
        signed = f"{message_id}.{now}.".encode("ascii") + body
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(f"v1,{_sign(key, signed)}" for key in self._keys),
        }
        await self.receiver.post(body, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class OtlpLogs:
    """Posts batches as OpenTelemetry log records (OTLP/HTTP, JSON).

    Attributes:
        authorization: The value of the header of that name; empty: none is sent.
    """

    name: ClassVar[str] = "otlp"

    receiver: Receiver
    authorization: Secret
    issuer: str

    async def send(self, batch: Batch, *, now: int) -> None:
        """Post a batch; return when it was accepted. What a collector rejects of it is not sent again (OTLP)."""
        records = [_log_record(event, now=now) for event in batch.events]
        resource = _attributes({"service.name": "authserver", "authplane.issuer": self.issuer})
        scopes = [{"scope": {"name": "authserver.audit"}, "logRecords": records}]
        body = orjson.dumps({"resourceLogs": [{"resource": {"attributes": resource}, "scopeLogs": scopes}]})
        authorization = self.authorization.reveal()
        await self.receiver.post(body, {"Authorization": authorization} if authorization else {})


def _view(event: SentEvent) -> dict[str, Any]:
    return {
        **build_event(event.record),
        "severity": _severity(event),
        "sequence": event.sequence,
        "checkpoint": event.checkpoint,
    }


def _log_record(event: SentEvent, *, now: int) -> dict[str, Any]:
    record, level = event.record, _severity(event)
    members = {
        "timeUnixNano": str(record.created_at * _NANOSECONDS),
        "observedTimeUnixNano": str(now * _NANOSECONDS),
        "severityNumber": _SEVERITY_NUMBERS[level],
        "severityText": level.upper(),
        "eventName": record.action,
        "body": {"stringValue": f"{record.action} {record.detail}".rstrip()},
        "attributes": _attributes({f"audit.{name}": value for name, value in _view(event).items() if value != ""}),
    }
    return {**members, "traceId": record.trace_id} if record.trace_id else members


def _attributes(members: Mapping[str, str | int]) -> list[dict[str, Any]]:
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}
        for key, value in members.items()
    ]


def _severity(event: SentEvent) -> Severity:
    try:
        return severity(Action(event.record.action), event.record.detail)
    except ValueError:
        # Of another version of this program.
        return Severity.INFO


def _key(secret: str) -> bytes:
    try:
        return (
            base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
            if secret.startswith(_PREFIX)
            else secret.encode()
        )
    except binascii.Error:
        return secret.encode()


def _sign(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")
