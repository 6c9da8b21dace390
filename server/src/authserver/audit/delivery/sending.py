"""Sends what is sealed to one destination: one process at a time, batch after batch, until it is acknowledged."""

import asyncio
from collections.abc import Callable

from authserver.audit.chain.store import find_head
from authserver.audit.delivery.batches import next_batch
from authserver.audit.delivery.records import Batch, Delivery, DeliveryFailed, Destination
from authserver.audit.delivery.store import advance_delivery, begin_delivery, fail_delivery, find_delivery
from authserver.protocol.identifiers import new_public_id
from authserver.storage.database import Database, StorageUnavailable, Writer
from authserver.storage.leases import give_lease_back, is_leased_to_another, take_lease
from authserver.telemetry.logs import get_logger
from authserver.telemetry.metrics import AUDIT_DELIVERY_FAILURES, AUDIT_EVENTS_DELIVERED

LONGEST_PAUSE_SECONDS = 300

_POLL_SECONDS = 1.0
# Longer than an attempt may take: a process that waits for an answer keeps it.
_LEASE_SECONDS = 15

_log = get_logger("audit")


class Courier:
    """Delivers to one destination. Any number of processes may run one for it."""

    def __init__(self, db: Database, destination: Destination, clock: Callable[[], int]) -> None:
        """Take the parts.

        Args:
            db: Where the trail is, and how far the destination has it.
            destination: Where it goes.
            clock: Seconds since the epoch.
        """
        self._db = db
        self._destination = destination
        self._clock = clock
        self._holder = new_public_id()
        self._lease = f"audit-delivery:{destination.name}"

    async def run(self) -> None:
        """Deliver until cancelled."""
        try:
            while True:
                if not await self._step():
                    await asyncio.sleep(_POLL_SECONDS)
        finally:
            await self._let_go()

    async def deliver(self) -> bool:
        """Send one batch, if there is something to send and it is this process's to do; return whether it was accepted."""
        now, name = self._clock(), self._destination.name
        delivery = await find_delivery(self._db, name)
        if delivery is None:
            await self._begin(now)
            return False
        if now < delivery.next_attempt_at or await is_leased_to_another(self._db, self._lease, self._holder, now=now):
            return False
        batch = await next_batch(self._db, delivery)
        if batch is None or not await self._db.write(lambda tx: self._renew(tx, now)):
            return False
        try:
            # Rows that were removed leave batches without any.
            if batch.events:
                await self._destination.send(batch, now=now)
        except DeliveryFailed as exc:
            await self._fail(delivery, exc)
            return False
        return await self._advance(delivery, batch)

    async def _step(self) -> bool:
        try:
            return await self.deliver()
        except StorageUnavailable as exc:
            _log.warning("audit trail not delivered", destination=self._destination.name, error=str(exc))
        except Exception:  # noqa: BLE001  a worker loop
            _log.exception("audit trail not delivered", destination=self._destination.name)
        return False

    async def _begin(self, now: int) -> None:
        """Begin with what is sealed from now on; what is older is in an export."""
        head = await find_head(self._db)
        delivery = Delivery(
            destination=self._destination.name, checkpoint=head.number, position=0, sequence=head.total, begun_at=now
        )
        await self._db.write(lambda tx: begin_delivery(tx, delivery))

    async def _renew(self, tx: Writer, now: int) -> bool:
        return await take_lease(tx, self._lease, self._holder, now=now, seconds=_LEASE_SECONDS)

    async def _advance(self, delivery: Delivery, batch: Batch) -> bool:
        now, name = self._clock(), self._destination.name
        if not await self._db.write(lambda tx: advance_delivery(tx, delivery, batch, now=now)):
            # Another process took this one for dead, and sends the same: it comes twice.
            return False
        AUDIT_EVENTS_DELIVERED.child(name).inc(len(batch.events))
        if delivery.failures:
            _log.info("audit trail is delivered again", destination=name, failures=delivery.failures)
        return True

    async def _fail(self, delivery: Delivery, failed: DeliveryFailed) -> None:
        name = self._destination.name
        AUDIT_DELIVERY_FAILURES.inc(name, failed.cause)
        error = f"{failed.cause} {failed.status}" if failed.status else failed.cause
        if not delivery.failures:
            _log.warning("audit trail cannot be delivered", destination=name, error=error)
        pause = max(failed.retry_after, min(LONGEST_PAUSE_SECONDS, 2 ** min(delivery.failures, 20)))
        due = self._clock() + pause
        await self._db.write(lambda tx: fail_delivery(tx, delivery, error, next_attempt_at=due))

    async def _let_go(self) -> None:
        """Let another process go on at once."""
        try:
            await self._db.write(lambda tx: give_lease_back(tx, self._lease, self._holder))
        except StorageUnavailable as exc:
            _log.debug("lease not given back", error=str(exc))
