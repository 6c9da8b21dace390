"""``/admin/audit/checkpoint`` and ``/admin/audit/deliveries``: what seals the trail, and who else has it."""

from typing_extensions import TypedDict

from authserver.admin.endpoint import Call, endpoint
from authserver.admin.records import Role
from authserver.audit.chain.store import find_head
from authserver.audit.delivery.batches import measure_lag
from authserver.audit.delivery.store import list_deliveries
from authserver.protocol.times import spell_time


class CheckpointView(TypedDict):
    """The newest checkpoint, signed, and how many rows there are up to it; number 0 before the first."""

    number: int
    hash: str
    total: int
    jws: str


class DeliveryView(TypedDict):
    """How far a destination has the trail; texts are empty for what has not happened."""

    destination: str
    sequence: int
    checkpoint: int
    position: int
    begun_at: str
    delivered_at: str
    failures: int
    last_error: str
    next_attempt_at: str
    configured: bool
    pending: int
    seconds: int


@endpoint("GET", "/admin/audit/checkpoint", role=Role.AUDITOR)
async def get_checkpoint(call: Call[None]) -> CheckpointView:
    """Show the newest checkpoint: kept elsewhere, it shows a tail that was cut off."""
    head = await find_head(call.parts.db)
    return CheckpointView(number=head.number, hash=head.hash, total=head.total, jws=head.jws)


@endpoint("GET", "/admin/audit/deliveries", role=Role.AUDITOR)
async def list_all_deliveries(call: Call[None]) -> list[DeliveryView]:
    """Show where each destination stands: what it has, what waits, and what went wrong last."""
    views = []
    for each in await list_deliveries(call.parts.db):
        lag = await measure_lag(call.parts.db, each, now=call.now)
        view = DeliveryView(
            destination=each.destination,
            sequence=each.sequence,
            checkpoint=each.checkpoint,
            position=each.position,
            begun_at=spell_time(each.begun_at),
            delivered_at=spell_time(each.delivered_at) if each.delivered_at else "",
            failures=each.failures,
            last_error=each.last_error,
            next_attempt_at=spell_time(each.next_attempt_at) if each.next_attempt_at else "",
            configured=each.destination in call.parts.config.audit.destinations,
            pending=lag.pending,
            seconds=lag.seconds,
        )
        views.append(view)
    return views


ENDPOINTS = (get_checkpoint, list_all_deliveries)
