"""Every sealed row reaches its destination, in order; twice only when nobody said that it had arrived."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from authserver.audit.chain.store import list_checkpoints
from authserver.audit.delivery import batches
from authserver.audit.delivery.batches import measure_lag
from authserver.audit.delivery.opening import open_destinations
from authserver.audit.delivery.sending import LONGEST_PAUSE_SECONDS, Courier
from authserver.audit.delivery.store import find_delivery, lowest_delivered
from authserver.config.declaring import ConfigError
from authserver.config.sections.audit import AuditConfig, AuditOtlpConfig, AuditWebhookConfig
from authserver.outbound.client import OutboundClient
from authserver.protocol.identifiers import spell_id
from authserver.telemetry import metrics
from server.tests.audit.sealed import Trail, remove_row
from server.tests.fakes.audit_receiver import AuditReceiver, Posted, audit_receiver

pytestmark = pytest.mark.anyio

KEY = b"a key of the webhook, 32 bytes .."
SECRETS = {
    "CONNECTOR_HOOK": f"whsec_{base64.b64encode(KEY).decode()} older",
    "CONNECTOR_COLLECTOR": "Bearer collector",
}
ISSUER = "https://auth.example.com"


@pytest.fixture
async def receiver() -> AsyncIterator[AuditReceiver]:
    async with audit_receiver() as running:
        yield running


def courier(trail: Trail, receiver: AuditReceiver, *, kind: str = "webhook", allow_private: bool = True) -> Courier:
    webhook = AuditWebhookConfig(
        url=receiver.url if kind == "webhook" else "",
        secret_ref="CONNECTOR_HOOK",
        allow_private_addresses=allow_private,
    )
    otlp = AuditOtlpConfig(
        url=receiver.url if kind == "otlp" else "",
        authorization_ref="CONNECTOR_COLLECTOR",
        allow_private_addresses=allow_private,
    )
    config = AuditConfig(webhook=webhook, otlp=otlp)
    (destination,) = open_destinations(config, OutboundClient(), SECRETS, issuer=ISSUER)
    return Courier(trail.db, destination, lambda: trail.clock() // 1000)


async def begun(trail: Trail, receiver: AuditReceiver, **options: Any) -> Courier:
    made = courier(trail, receiver, **options)
    assert not await made.deliver()
    return made


def ids(posted: Sequence[Posted]) -> list[str]:
    return [event["id"] for each in posted for event in each.json["data"]["events"]]


def spelled(rows: Sequence[bytes]) -> list[str]:
    return [spell_id(row) for row in rows]


async def test_sealed_rows_are_posted_once_and_in_order(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    rows = await trail.grow(3, 2)
    await trail.write(1)

    assert await sender.deliver()
    assert not await sender.deliver()

    (posted,) = receiver.posted
    assert ids([posted]) == spelled(rows)
    assert [event["sequence"] for event in posted.json["data"]["events"]] == [1, 2, 3, 4, 5]


async def test_what_was_sealed_before_a_destination_was_configured_is_not_sent(
    trail: Trail, receiver: AuditReceiver
) -> None:
    await trail.grow(3)
    sender = await begun(trail, receiver)
    rows = await trail.grow(1)
    assert await sender.deliver()
    assert ids(receiver.posted) == spelled(rows)
    assert receiver.posted[0].json["data"]["events"][0]["sequence"] == 4


async def test_a_post_is_signed_over_id_time_and_body(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    (row,) = await trail.grow(1)
    await sender.deliver()

    (posted,) = receiver.posted
    headers, now = posted.headers, str(trail.clock() // 1000)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("audit_1_1", now)
    signed = f"audit_1_1.{now}.".encode() + posted.body
    expected = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in (KEY, b"older")]
    assert headers["webhook-signature"] == " ".join(f"v1,{signature}" for signature in expected)
    (checkpoint,) = await list_checkpoints(trail.db, after=0)
    assert posted.json["data"] == {
        "issuer": ISSUER,
        "checkpoint": {"number": 1, "hash": checkpoint.hash},
        "events": [
            {
                "id": spell_id(row),
                "action": "user.login",
                "actor_id": "u1",
                "client_id": "c1",
                "ip": "192.0.2.7",
                "detail": "n=0",
                "trace_id": "",
                "reference": "",
                "created_at": "2026-09-21T14:13:20Z",
                "severity": "info",
                "sequence": 1,
                "checkpoint": 1,
            }
        ],
    }


async def test_a_collector_gets_log_records(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver, kind="otlp")
    await trail.grow(2)
    assert await sender.deliver()

    (posted,) = receiver.posted
    assert posted.headers["authorization"] == "Bearer collector"
    (logs,) = posted.json["resourceLogs"]
    assert {"key": "service.name", "value": {"stringValue": "authserver"}} in logs["resource"]["attributes"]
    first, second = logs["scopeLogs"][0]["logRecords"]
    assert (first["eventName"], first["severityNumber"], first["severityText"]) == ("user.login", 9, "INFO")
    assert first["body"] == {"stringValue": "user.login n=0"}
    assert first["timeUnixNano"] == "1790000000000000000"
    assert {"key": "audit.sequence", "value": {"intValue": "2"}} in second["attributes"]
    assert "traceId" not in first


@pytest.mark.parametrize("kind", ["webhook", "otlp"])
async def test_a_receiver_that_answers_500_gets_the_same_again_after_longer_and_longer_pauses(
    trail: Trail, receiver: AuditReceiver, kind: str
) -> None:
    sender = await begun(trail, receiver, kind=kind)
    await trail.grow(2)
    receiver.statuses = [500, 503, 429]

    for pause in (1, 2, 4):
        assert not await sender.deliver()
        trail.clock.pass_seconds(pause - 1)
        assert not await sender.deliver()
        trail.clock.pass_seconds(1)
    assert await sender.deliver()

    assert len(receiver.posted) == 4
    assert len(receiver.acknowledged) == 1
    delivery = await find_delivery(trail.db, kind)
    assert delivery is not None
    assert (delivery.failures, delivery.last_error, delivery.sequence) == (0, "", 2)
    assert (
        f'authserver_audit_delivery_failures_total{{cause="status",destination="{kind}"}}' in metrics.scrape().decode()
    )


async def test_pauses_are_bounded_and_outlive_a_restart(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    await trail.grow(1)
    receiver.statuses = [500] * 40
    for _ in range(12):
        assert not await sender.deliver()
        trail.clock.pass_seconds(LONGEST_PAUSE_SECONDS)
    assert len(receiver.posted) == 12

    delivery = await find_delivery(trail.db, "webhook")
    assert delivery is not None
    assert (delivery.failures, delivery.last_error) == (12, "status 500")
    assert not await courier(trail, receiver).deliver()
    assert len(receiver.posted) == 13
    assert not await courier(trail, receiver).deliver()
    assert len(receiver.posted) == 13


async def test_a_receiver_that_asks_for_time_gets_it(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    await trail.grow(1)
    receiver.statuses, receiver.headers = [429], {"Retry-After": "60"}
    assert not await sender.deliver()
    trail.clock.pass_seconds(59)
    assert not await sender.deliver()
    assert len(receiver.posted) == 1
    trail.clock.pass_seconds(1)
    assert await sender.deliver()


async def test_a_receiver_that_is_down_gets_everything_when_it_is_back(trail: Trail) -> None:
    async with audit_receiver() as receiver:
        port = receiver.port
        sender = await begun(trail, receiver)
    rows = await trail.grow(2)
    assert not await sender.deliver()
    delivery = await find_delivery(trail.db, "webhook")
    assert delivery is not None
    assert delivery.last_error == "connect"
    rows += await trail.grow(3)
    async with audit_receiver(port) as back:
        assert await sender.deliver()
        assert ids(back.posted) == spelled(rows)


async def test_a_sender_that_dies_while_it_waits_leaves_the_batch_to_the_next_one(
    trail: Trail, receiver: AuditReceiver
) -> None:
    sender = await begun(trail, receiver)
    rows = await trail.grow(2)
    receiver.gate = asyncio.Event()
    waiting = asyncio.create_task(sender.deliver())
    await receiver.wait_for(1)
    waiting.cancel()
    await asyncio.wait({waiting})
    receiver.gate.set()

    successor = courier(trail, receiver)
    assert not await successor.deliver()
    trail.clock.pass_seconds(15)
    rows += await trail.grow(1)
    assert await successor.deliver()

    # What nobody acknowledged came again, with what was added, and its numbers tell which.
    assert [[event["sequence"] for event in each.json["data"]["events"]] for each in receiver.posted] == [
        [1, 2],
        [1, 2, 3],
    ]
    assert ids(receiver.posted[1:]) == spelled(rows)


async def test_while_one_process_sends_the_other_waits_and_goes_on_when_it_lets_go(
    trail: Trail, receiver: AuditReceiver
) -> None:
    sender, other = await begun(trail, receiver), courier(trail, receiver)
    await trail.grow(1)
    receiver.gate = asyncio.Event()
    running = asyncio.create_task(sender.run())
    await receiver.wait_for(1)
    assert not await other.deliver()
    running.cancel()
    await asyncio.wait({running})
    receiver.gate.set()
    assert await other.deliver()
    assert len(receiver.posted) == 2


async def test_two_processes_deliver_each_row_once_and_in_order(trail: Trail, receiver: AuditReceiver) -> None:
    senders = [await begun(trail, receiver), courier(trail, receiver)]
    rows: list[bytes] = []
    for _ in range(20):
        rows += await trail.grow(5)
        await asyncio.gather(*(sender.deliver() for sender in senders))
    for sender in senders:
        await sender.deliver()
    assert ids(receiver.posted) == spelled(rows)


async def test_much_is_sent_in_batches_that_end_within_a_checkpoint(
    trail: Trail, receiver: AuditReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "ROWS", 4)
    sender = await begun(trail, receiver)
    rows = await trail.grow(3, 7, 1)
    while await sender.deliver():
        pass
    assert [len(each.json["data"]["events"]) for each in receiver.posted] == [4, 4, 3]
    assert ids(receiver.posted) == spelled(rows)


async def test_large_rows_make_small_batches(
    trail: Trail, receiver: AuditReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CHARACTERS", 700)
    sender = await begun(trail, receiver)
    rows = await trail.grow(5)
    while await sender.deliver():
        pass
    assert [len(each.json["data"]["events"]) for each in receiver.posted] == [3, 2]
    assert ids(receiver.posted) == spelled(rows)


async def test_a_row_that_came_late_is_delivered(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    await trail.grow(2)
    await sender.deliver()
    late = trail.id_before(5)
    await trail.insert(late)
    trail.clock.pass_seconds(15)
    await trail.sealer.seal()
    assert await sender.deliver()
    assert ids(receiver.posted[1:]) == [spell_id(late)]


async def test_a_row_that_somebody_removed_stops_nothing(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    rows = await trail.grow(2, 1)
    await remove_row(trail.db, rows[0])
    assert await sender.deliver()
    assert ids(receiver.posted) == spelled(rows[1:])
    gone = await trail.grow(1)
    await remove_row(trail.db, gone[0])
    assert await sender.deliver()
    assert len(receiver.posted) == 1


async def test_how_far_behind_a_destination_is_can_be_told(trail: Trail, receiver: AuditReceiver) -> None:
    sender = await begun(trail, receiver)
    await trail.grow(2)
    await sender.deliver()
    delivery = await find_delivery(trail.db, "webhook")
    assert delivery is not None
    now = trail.clock() // 1000
    assert (await measure_lag(trail.db, delivery, now=now)).pending == 0
    await trail.grow(3)
    lag = await measure_lag(trail.db, delivery, now=trail.clock() // 1000 + 60)
    assert (lag.pending, lag.seconds) == (3, 62)
    assert await lowest_delivered(trail.db, frozenset({"webhook"})) == 1
    assert await lowest_delivered(trail.db, frozenset({"otlp"})) is None


async def test_addresses_that_are_not_of_the_public_internet_need_the_operators_leave(
    trail: Trail, receiver: AuditReceiver
) -> None:
    sender = await begun(trail, receiver, allow_private=False)
    await trail.grow(1)
    assert not await sender.deliver()
    delivery = await find_delivery(trail.db, "webhook")
    assert delivery is not None
    assert (delivery.last_error, receiver.posted) == ("scheme", [])


async def test_a_secret_that_is_not_there_is_told_at_the_start() -> None:
    config = AuditConfig(webhook=AuditWebhookConfig(url="https://siem.example.com", secret_ref="CONNECTOR_NONE"))
    with pytest.raises(ConfigError, match="CONNECTOR_NONE is not set"):
        open_destinations(config, OutboundClient(), SECRETS, issuer=ISSUER)
