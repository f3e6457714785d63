"""Bringing realtime events to subscribers, again and again, until one acknowledges.

The first time an event goes out straight after its commit, to this process's subscribers and over the bus to
those of the others. After that the outbox row rules: each process claims what is due for the providers that
are connected to it, so that a retry starts where the socket is, and NATS may be away.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from monitor.domain.ids import first_id, time_of
from monitor.domain.representation import booking_json
from monitor.domain.retry import RetryPolicy
from monitor.domain.times import Now
from monitor.domain.traces import trace_id
from monitor.domain.vocabulary import AttemptResult, Stage
from monitor.pipeline.realtime.bus import Bus
from monitor.pipeline.realtime.hub import Event, Hub, Subscriber
from monitor.store.deliveries import COMPARED, ClaimDue, Claimed, ParkUnheard, RecordAttempt, find_events, missed_events
from monitor.store.readers import Readers
from monitor.store.subscriptions import CloseSubscription, OpenSubscription
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import Tracing

log = get_logger(__name__)

K = TypeVar("K")

CLAIM_LIMIT = 500
"""Deliveries that one sweep takes at most, and providers that one claim names."""
CATCH_UP_PAGE = 100
"""Missed events that are read at once."""
PARK_AFTER = 2_000
"""Milliseconds past due after which a delivery without a listener is put aside.

Long enough that it never takes what a subscriber who is just connecting has had planned anew.
"""
PUBLISH_SECONDS = 1.0
"""For telling the other replicas of the last events when the process ends; they find them in the store."""
ACKNOWLEDGEMENT_LINGER_SECONDS = 0.03
"""For which acknowledgements are gathered, to be written down together: one that is lost has its event sent again.

A commit for each, a moment after that of its booking, would stand in the way of the next booking.
"""
ANSWERS_REMEMBERED = 100_000
"""Recently acknowledged, or mismatched, events: the same answer again need not reach the store."""
UNREADABLE = "the booking cannot be read"
"""The error of a delivery of which no event can be made."""
CATCH_UP_OVERLAP = 2_000
"""Milliseconds before the last seen event from which a returning subscriber is caught up.

Ids are in the order of time only to the millisecond, and two replicas' clocks differ a little.
"""


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    at: int
    event: Event
    waiting: _Waiting | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    deadline: int
    event: Event
    attempts: int
    """Attempts that count against the limit, this one included."""


class RealtimeRelay:
    """Sends, waits for acknowledgements, and writes down how it went."""

    def __init__(
        self,
        *,
        hub: Hub,
        bus: Bus,
        writer: Writer,
        readers: Readers,
        now: Now,
        policy: RetryPolicy,
        acknowledge_timeout: int,
        replay_window: int,
        replica: str,
        tracing: Tracing,
    ) -> None:
        self.hub = hub
        self._bus = bus
        self._writer = writer
        self._readers = readers
        self._now = now
        self._policy = policy
        self._acknowledge_timeout = acknowledge_timeout
        self._replay_window = replay_window
        self._replica = replica
        self._tracing = tracing
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()
        self._acknowledged: OrderedDict[str, None] = OrderedDict()
        self._unrecorded: list[_Acknowledged] = []
        self._mismatched: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._unclosed: dict[str, int] = {}
        self._unpublished: list[Event] = []
        self._publishing: asyncio.Task[None] | None = None

    def dispatch(self, event: Event) -> None:
        """Send an event that has just been committed."""
        if self.hub.publish(event):
            self._await_acknowledgement(event, attempts=1)
        self._unpublished.append(event)
        if self._publishing is None or self._publishing.done():
            self._publishing = asyncio.create_task(self._publish())

    def receive(self, event: Event) -> None:
        """Send an event that another replica has just committed; that its retries are planned is enough."""
        self.hub.publish(event)

    async def open(self, subscriber: Subscriber) -> None:
        """Let a subscriber take part from now on. Raises SubscriberLimitError or StoreUnavailableError."""
        self.hub.add(subscriber)
        opening = OpenSubscription(
            subscriber.id, subscriber.provider_id, subscriber.transport.value, self._replica, self._now()
        )
        try:
            await self._writer.submit(opening)
        except BaseException:
            self.hub.remove(subscriber)
            self._unclosed[subscriber.id] = self._now()  # it may have been written all the same
            raise

    async def close(self, subscriber: Subscriber) -> None:
        """Take a subscriber out. What the store does not take now it gets with the next sweep."""
        self.hub.remove(subscriber)
        now = self._now()
        try:
            await self._writer.submit(CloseSubscription(subscriber.id, now))
        except StoreUnavailableError as error:
            self._unclosed[subscriber.id] = now
            log.warning("realtime.close_recorded_later", subscription_id=subscriber.id, error=str(error))

    async def catch_up(self, subscriber: Subscriber, last_id: str | None) -> None:
        """Send what the provider missed, the oldest first: all after the last event it saw, and all unacknowledged.

        Raises ValueError if `last_id` is no UUIDv7, or StoreUnavailableError.
        """
        self.record_acknowledgements()
        provider_id = subscriber.provider_id
        seen = None if last_id is None else first_id(time_of(last_id) - CATCH_UP_OVERLAP)
        attempts = {one.id: _attempt(one) for one in await self._claim((provider_id,))}
        after = first_id(self._now() - self._replay_window)
        while missed := await self._readers.run(
            missed_events, provider_id, after=after, seen=seen, last_seen=last_id, limit=CATCH_UP_PAGE
        ):
            for one in missed:
                event = await self._read(one, attempts.get(one.id))
                if event is None:
                    continue
                if not await subscriber.replay(event):
                    return
                if one.id in attempts:
                    self._await_acknowledgement(event, attempts[one.id])
            after = missed[-1].id
        await subscriber.caught_up()

    def acknowledge(self, subscriber: Subscriber, event_id: str) -> bool:
        """Take an acknowledgement; False if it is for nothing that was sent over this connection."""
        event = subscriber.acknowledged(event_id)
        if event is not None:
            self._confirm(event)
        return event is not None

    def mismatch(self, subscriber: Subscriber, event_id: str, field: str) -> bool:
        """Take word that an event came but the subscriber's filter, on this field, did not match it.

        It is a failed attempt: the next one finds a mended subscriber, or another device. False if the event is not
        awaited on this connection, or if that was said before of this sending, by whichever device.
        """
        event = subscriber.sent(event_id)
        if event is None or (event_id, event.sequence) in self._mismatched:
            return False
        _remember(self._mismatched, (event_id, event.sequence))
        waiting = self._waiting.pop(event_id, None)
        now = self._now()
        next_attempt_at = self._next(1 if waiting is None else waiting.attempts, now)
        record = RecordAttempt(event_id, now, AttemptResult.REJECTED, next_attempt_at, f"{COMPARED}{field}")
        self._writer.submit(record).add_done_callback(lambda future: self._mismatch_recorded(event, future))
        log.error("realtime.mismatched", compared_field=field, **_about(event))
        self._trace(event, waiting, now, AttemptResult.REJECTED)
        return True

    async def acknowledge_later(self, provider_id: str, event_ids: Sequence[str]) -> int:
        """Take acknowledgements that came by another way, of what any replica sent; return how many were news."""
        events = await self._readers.run(find_events, provider_id, event_ids)
        now = self._now()
        records = [RecordAttempt(one.id, now, AttemptResult.OK) for one in events]
        news = await asyncio.gather(*(self._writer.submit(record) for record in records))
        for claimed, fresh in zip(events, news, strict=True):
            waiting = self._waiting.pop(claimed.id, None)
            if fresh:
                self._matched(_event(claimed, b""), waiting, now)
        return sum(news)

    def _confirm(self, event: Event) -> None:
        waiting = self._waiting.pop(event.id, None)
        if event.id in self._acknowledged:
            return
        _remember(self._acknowledged, event.id)
        if not self._unrecorded:
            asyncio.get_running_loop().call_later(ACKNOWLEDGEMENT_LINGER_SECONDS, self.record_acknowledgements)
        self._unrecorded.append(_Acknowledged(self._now(), event, waiting))

    def record_acknowledgements(self) -> None:
        """Have written down now what has been acknowledged."""
        acknowledged, self._unrecorded = self._unrecorded, []
        for one in acknowledged:
            try:
                recorded = self._writer.submit(RecordAttempt(one.event.id, one.at, AttemptResult.OK))
            except StoreUnavailableError as error:
                self._forget_acknowledgement(one.event, error)
            else:
                recorded.add_done_callback(functools.partial(self._recorded, one))

    async def sweep(self) -> None:
        """Send what is due for the providers who are connected here; give up waiting for what was not answered."""
        self.record_acknowledgements()
        await self._record_closings()
        await self._give_up_waiting()
        providers = iter(tuple(self.hub.providers))
        while some := tuple(islice(providers, CLAIM_LIMIT)):
            for claimed in await self._claim(some):
                if claimed.id in self._waiting:
                    continue  # its answer may still come; giving up on that plans the next attempt
                event = await self._read(claimed, _attempt(claimed))
                if event is not None and self.hub.publish_again(event):
                    self._await_acknowledgement(event, _attempt(claimed))

    async def park(self) -> None:
        """Put aside what is due for providers who are connected nowhere."""
        while await self._writer.submit(ParkUnheard(self._now() - PARK_AFTER, CLAIM_LIMIT)) == CLAIM_LIMIT:
            pass

    async def stop(self) -> None:
        """Have all subscribers leave, and write down what they have acknowledged."""
        self.hub.close()
        self.record_acknowledgements()
        if self._publishing is not None:
            await asyncio.wait((self._publishing,), timeout=PUBLISH_SECONDS)
            self._publishing.cancel()

    async def _claim(self, providers: tuple[str, ...]) -> list[Claimed]:
        """Take what is due for these providers. What of it is not sent comes due again soon."""
        lease = 2 * self._acknowledge_timeout
        return await self._writer.submit(ClaimDue(Stage.REALTIME, self._now(), lease, CLAIM_LIMIT, providers))

    async def _read(self, claimed: Claimed, attempt: int | None) -> Event | None:
        """The event that a delivery brings, to be sent as this attempt if it is one; None where it cannot be read.

        Then the attempt has failed, which is seen in the ledger, and holds up no other delivery.
        """
        try:
            event = _event(claimed, booking_json(claimed.booking))
            _ = event.frame
        except Exception as error:  # noqa: BLE001 - whatever its rows hold, it is the fault of this delivery alone
            log.error("realtime.unreadable", error=str(error), **_about(_event(claimed, b"")))  # noqa: TRY400 - a traceback could show what they hold
            if attempt is not None:
                now = self._now()
                record = RecordAttempt(claimed.id, now, AttemptResult.ERROR, self._next(attempt, now), UNREADABLE)
                await self._writer.submit(record)
            return None
        return event

    def _next(self, attempts: int, now: int) -> int | None:
        """When to try again after so many failed attempts; None when they are used up."""
        delay = self._policy.delay(attempts, random.random())  # noqa: S311 - jitter, not a secret
        return None if delay is None else now + delay

    def _await_acknowledgement(self, event: Event, attempts: int) -> None:
        self._waiting[event.id] = _Waiting(self._now() + self._acknowledge_timeout, event, attempts)
        self._waiting.move_to_end(event.id)

    async def _record_closings(self) -> None:
        for subscription_id, at in tuple(self._unclosed.items()):
            await self._writer.submit(CloseSubscription(subscription_id, at))
            del self._unclosed[subscription_id]

    async def _give_up_waiting(self) -> None:
        now = self._now()
        late, records = [], []
        while self._waiting:
            event_id, waiting = next(iter(self._waiting.items()))
            if waiting.deadline > now:
                break
            del self._waiting[event_id]
            late.append(waiting)
            record = RecordAttempt(event_id, now, AttemptResult.UNACKNOWLEDGED, self._next(waiting.attempts, now))
            records.append(self._writer.submit(record))
        for waiting, news in zip(late, await asyncio.gather(*records), strict=True):
            if news:  # else it was acknowledged to another replica meanwhile
                log.error("realtime.unmatched", attempts=waiting.attempts, **_about(waiting.event))
                self._trace(waiting.event, waiting, now, AttemptResult.UNACKNOWLEDGED)

    def _recorded(self, acknowledged: _Acknowledged, future: asyncio.Future[bool]) -> None:
        if future.cancelled():
            return
        if (error := future.exception()) is not None:
            self._forget_acknowledgement(acknowledged.event, error)
        elif future.result():
            self._matched(acknowledged.event, acknowledged.waiting, acknowledged.at)

    def _forget_acknowledgement(self, event: Event, error: BaseException) -> None:
        """So the event is sent again, and can be acknowledged again."""
        self._acknowledged.pop(event.id, None)
        log.error("realtime.acknowledgement_unrecorded", error=str(error), **_about(event))

    def _mismatch_recorded(self, event: Event, future: asyncio.Future[bool]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            self._mismatched.pop((event.id, event.sequence), None)  # it may be said again
            log.error("realtime.mismatch_unrecorded", error=str(error), **_about(event))

    def _matched(self, event: Event, waiting: _Waiting | None, acknowledged_at: int) -> None:
        """Tell that an event was acknowledged, and that this is now in the store."""
        log.info("realtime.matched", **_about(event))
        if self._tracing.keeps(event.traceparent, bad=False):
            self._trace(event, waiting, acknowledged_at, AttemptResult.OK)
            self._tracing.record("realtime.acknowledgement", event.traceparent, acknowledged_at, self._now())

    def _trace(self, event: Event, waiting: _Waiting | None, ended: int, result: AttemptResult) -> None:
        """Record an attempt, from when it was sent; from when the event was made if another replica sent it."""
        bad = result is not AttemptResult.OK
        if not self._tracing.keeps(event.traceparent, bad=bad):
            return
        begun = time_of(event.id) if waiting is None else waiting.deadline - self._acknowledge_timeout
        attributes: dict[str, str | int] = {
            "booking.id": event.booking_id,
            "delivery.id": event.id,
            "delivery.attempt": event.sequence,
            "delivery.result": result.value,
        }
        self._tracing.record_always(
            "realtime.delivery", event.traceparent, begun, ended, attributes, error=result.value if bad else None
        )

    async def _publish(self) -> None:
        while self._unpublished:
            events, self._unpublished = self._unpublished, []
            await self._bus.publish(events)


def _remember(answered: OrderedDict[K, None], key: K) -> None:
    answered[key] = None
    if len(answered) > ANSWERS_REMEMBERED:
        answered.popitem(last=False)


def _about(event: Event) -> dict[str, str | None]:
    return {
        "event_id": event.id,
        "booking_id": event.booking_id,
        "provider_id": event.provider_id,
        "trace_id": trace_id(event.traceparent),
    }


def _attempt(claimed: Claimed) -> int:
    """The number of the attempt that a claim is for, as it counts against the limit."""
    return claimed.attempts - claimed.attempts_before + 1


def _event(claimed: Claimed, shown: bytes) -> Event:
    """The event that a delivery brings; `shown` is its booking as JSON."""
    booking = claimed.booking
    return Event(claimed.id, booking["id"], claimed.target, claimed.attempts + 1, shown, booking["traceparent"])
