"""Bringing pushes to push services until one accepts them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from monitor.domain.notifying import push_payload
from monitor.domain.retry import RetryPolicy
from monitor.domain.times import SECOND, Now
from monitor.domain.traces import trace_id
from monitor.domain.vocabulary import AttemptResult, Stage
from monitor.pipeline.push.answers import PushResult
from monitor.pipeline.push.endpoints import PushSubscription
from monitor.store.bookings import PushTarget
from monitor.store.deliveries import ClaimDue, RecordAttempt, find_push_targets
from monitor.store.inbox import DropPushSubscription
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import Tracing

log = get_logger(__name__)

CLAIM_LIMIT = 200
"""Pushes that one sweep takes at most."""
STOP_SECONDS = 1
"""For pushes that are under way when the service stops."""
WAITING_LIMIT = 1000
"""Pushes that may wait here for their turn; what is more waits in the outbox."""
LEASE_OVER_TIMEOUT = 2
"""A claimed push comes due again after so many times the timeout of one call."""


class Sender(Protocol):
    """Hands a message to a push service."""

    async def send(
        self, subscription: PushSubscription, payload: bytes, ttl_seconds: int, *, about: str | None = None
    ) -> PushResult:
        """Send one message; faults of the network and the service are results."""
        ...


@dataclass(frozen=True, slots=True)
class Push:
    """One push on its way."""

    delivery_id: str
    subscription_id: str
    subscription: PushSubscription
    booking_id: str
    response_deadline: int
    """Milliseconds since the epoch; later the push is of no use."""
    attempts: int
    """Attempts that count against the limit, before this one."""
    traceparent: str | None


class PushRelay:
    """Sends pushes, some at once, and writes down how it went."""

    def __init__(
        self,
        *,
        sender: Sender,
        writer: Writer,
        readers: Readers,
        now: Now,
        policy: RetryPolicy,
        timeout: int,
        concurrency: int,
        tracing: Tracing,
    ) -> None:
        self._sender = sender
        self._writer = writer
        self._readers = readers
        self._now = now
        self._policy = policy
        self._lease = LEASE_OVER_TIMEOUT * timeout
        self._concurrency = concurrency
        self._tracing = tracing
        self._slots = asyncio.Semaphore(concurrency)
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def dispatch(
        self, targets: Iterable[PushTarget], booking_id: str, response_deadline: int, traceparent: str
    ) -> None:
        """Send the pushes of a booking that has just been committed."""
        for target in targets:
            self._start(
                Push(
                    target.delivery_id,
                    target.subscription_id,
                    PushSubscription(target.endpoint, target.p256dh, target.auth),
                    booking_id,
                    response_deadline,
                    0,
                    traceparent,
                )
            )

    async def sweep(self) -> None:
        """Send what is due, as far as there is room to send it now."""
        room = min(CLAIM_LIMIT, self._concurrency - len(self._under_way))
        if room <= 0:
            return
        claimed = await self._writer.submit(ClaimDue(Stage.PUSH, self._now(), self._lease, room))
        if not claimed:
            return
        targets = await self._readers.run(find_push_targets, [one.target for one in claimed])
        for one in claimed:
            target = targets.get(one.target)
            if target is None:
                await self._writer.submit(RecordAttempt(one.id, self._now(), AttemptResult.GONE))
                continue
            self._start(
                Push(
                    one.id,
                    one.target,
                    PushSubscription(target.endpoint, target.p256dh, target.auth),
                    one.booking["id"],
                    one.booking["response_deadline"],
                    one.attempts - one.attempts_before,
                    one.booking["traceparent"],
                )
            )

    async def stop(self) -> None:
        """Wait a little for what is under way; what is not sent by then is in the outbox."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(tuple(self._under_way.values()), timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _start(self, push: Push) -> None:
        if push.delivery_id in self._under_way or len(self._under_way) >= WAITING_LIMIT:
            return
        task = asyncio.create_task(self._deliver(push))
        self._under_way[push.delivery_id] = task
        task.add_done_callback(lambda _: self._under_way.pop(push.delivery_id, None))

    async def _deliver(self, push: Push) -> None:
        async with self._slots:
            begun = self._now()
            ttl_seconds = max((push.response_deadline - begun) // SECOND, 1)
            payload = push_payload(push.delivery_id, push.booking_id, push.traceparent)
            result = await self._sender.send(push.subscription, payload, ttl_seconds, about=push.booking_id)
        now = self._now()
        record = RecordAttempt(
            push.delivery_id, now, result.result, self._next(push, result, now), f"push service: {result.detail}"
        )
        about = {
            "booking_id": push.booking_id,
            "delivery_id": push.delivery_id,
            "trace_id": trace_id(push.traceparent),
            "detail": result.detail,
        }
        try:
            await self._writer.submit(record)
            if result.result is AttemptResult.GONE:
                await self._writer.submit(DropPushSubscription(subscription_id=push.subscription_id))
        except StoreUnavailableError as error:
            log.error("push.unrecorded", error=str(error), **about)  # noqa: TRY400 - no fault of the code
        if result.result is AttemptResult.OK:
            log.info("push.sent", **about)
        else:
            log.error("push.failed", result=result.result.value, **about)
        self._trace(push, result, begun, now)

    def _trace(self, push: Push, result: PushResult, begun: int, ended: int) -> None:
        bad = result.result is not AttemptResult.OK
        if not self._tracing.keeps(push.traceparent, bad=bad):
            return
        attributes: dict[str, str | int] = {
            "booking.id": push.booking_id,
            "delivery.id": push.delivery_id,
            "delivery.attempt": push.attempts + 1,
            "delivery.result": result.result.value,
            "push.service": push.subscription.service,
        }
        error = result.detail
        if error.isdecimal():
            attributes["http.response.status_code"] = int(error)
            error = result.result.value
        self._tracing.record_always(
            "push.delivery", push.traceparent, begun, ended, attributes, error=error if bad else None
        )

    def _next(self, push: Push, result: PushResult, now: int) -> int | None:
        """When to try again. Not for what was refused for good, and not after the booking's deadline."""
        if result.result is not AttemptResult.ERROR:
            return None
        delay = self._policy.delay(push.attempts + 1, random.random(), result.retry_after_seconds)  # noqa: S311 - jitter, not a secret
        if delay is None or now + delay >= push.response_deadline:
            return None
        return now + delay
