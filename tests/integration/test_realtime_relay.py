"""The relay sends events until one is acknowledged, and keeps its account in a store that may be away for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest
from structlog.testing import capture_logs
from support.otlp_collector import attributes, collecting
from support.store import SAMPLED, TERMS, Store
from support.waiting import eventually

from monitor.domain.retry import RetryPolicy
from monitor.domain.times import HOUR, SECOND
from monitor.domain.vocabulary import Transport
from monitor.pipeline.realtime.bus import NoBus
from monitor.pipeline.realtime.hub import Event, Hub, Subscriber
from monitor.pipeline.realtime.relay import PARK_AFTER, UNREADABLE, RealtimeRelay
from monitor.store.deliveries import RecordAttempt
from monitor.store.writer import StoreUnavailableError
from monitor.telemetry.tracing import Tracing, configure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from monitor.pipeline.making import Plan

QUEUE_LIMIT = 8
TIMEOUT = TERMS.acknowledge_timeout
ATTEMPTS = 3
NOW = 0.0
"""Seconds to wait for an event that is already there, or is not."""


class Interrupted:
    """The writer of a store that is away while `away` is set."""

    def __init__(self, store: Store) -> None:
        self.away = False
        self.reported: list[RecordAttempt] = []
        self._writer = store.writer

    def submit(self, command: Any) -> asyncio.Future[Any]:
        """Submit a command."""
        if self.away:
            refused = asyncio.get_running_loop().create_future()
            refused.set_exception(StoreUnavailableError("away"))
            return refused
        if isinstance(command, RecordAttempt):
            self.reported.append(command)
        return self._writer.submit(command)


class Bench:
    """A relay with what belongs to it."""

    def __init__(self, store: Store, tracing: Tracing | None = None) -> None:
        self.store = store
        self.writer = Interrupted(store)
        self.relay = RealtimeRelay(
            hub=Hub(per_provider=9, in_all=9, on_change=lambda _transport, _count: None),
            bus=NoBus(),
            writer=cast("Any", self.writer),
            readers=store.readers,
            now=store.clock,
            policy=RetryPolicy(ATTEMPTS, SECOND, HOUR),
            acknowledge_timeout=TIMEOUT,
            replay_window=HOUR,
            replica="r-1",
            tracing=tracing or configure("booking-monitor", "1.0.0", {}),
        )

    async def connect(self, name: str = "phone", last_id: str | None = None) -> Subscriber:
        """Let a device of t-1 subscribe; what it missed must fit into its queue."""
        subscriber = Subscriber(name, "t-1", Transport.WEBSOCKET, QUEUE_LIMIT)
        await self.relay.open(subscriber)
        catching_up = asyncio.create_task(self.relay.catch_up(subscriber, last_id))
        self.missed = [event async for event in _until(subscriber, catching_up)]
        return subscriber

    async def book(self) -> Plan:
        """Make a booking of t-1, and send its event."""
        made = await self.store.make()
        self.relay.dispatch(Event(made.event_id, made.command.booking_id, "t-1", 1, b"{}"))
        return made

    async def state(self, made: Plan) -> tuple[str, int]:
        """State and attempts of a delivery."""
        row = await self.store.row("SELECT state, attempts FROM deliveries WHERE id = :id", id=made.event_id)
        return row["state"], row["attempts"]


async def _until(subscriber: Subscriber, done: asyncio.Task[None]) -> AsyncIterator[str]:
    while not done.done():
        event = await subscriber.next(0.01)
        if event is not None:
            yield event.id
    await done


async def taken(subscriber: Subscriber) -> list[str]:
    """The events that wait to be sent."""
    found = []
    while (event := await subscriber.next(NOW)) is not None:
        found.append(event.id)
    return found


@pytest.fixture
def bench(store: Store) -> Bench:
    return Bench(store)


async def test_an_event_that_is_not_acknowledged_is_sent_again_until_its_attempts_are_used_up(
    store: Store, bench: Bench
) -> None:
    phone = await bench.connect()
    made = await bench.book()
    for attempt in range(1, ATTEMPTS + 1):
        assert await taken(phone) == [made.event_id]
        store.clock.advance(TIMEOUT)
        await bench.relay.sweep()
        assert await bench.state(made) == ("retrying" if attempt < ATTEMPTS else "dead", attempt)
        assert await taken(phone) == []
        store.clock.advance(10 * SECOND)
        await bench.relay.sweep()
    assert await taken(phone) == []


async def test_an_event_whose_answer_may_still_come_is_not_sent_again(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    made = await store.make()
    store.clock.advance(100)  # the commit took its time: the row comes due before the wait for its answer is over
    bench.relay.dispatch(Event(made.event_id, made.command.booking_id, "t-1", 1, b"{}"))
    assert await taken(phone) == [made.event_id]
    store.clock.advance(TIMEOUT - 50)
    await bench.relay.sweep()
    assert await taken(phone) == []
    store.clock.advance(50)
    await bench.relay.sweep()
    assert await bench.state(made) == ("retrying", 1)


async def test_more_due_events_than_a_queue_holds_close_nobody_and_all_arrive(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    made = {one.event_id for one in await store.make_many(3 * QUEUE_LIMIT)}
    seen: set[str] = set()
    for _ in range(20):
        store.clock.advance(2 * TIMEOUT)
        await bench.relay.sweep()
        found = await taken(phone)
        assert len(found) <= QUEUE_LIMIT
        for event_id in found:
            bench.relay.acknowledge(phone, event_id)
        seen |= set(found)
    assert seen == made
    assert not phone.closed


async def test_a_closing_that_the_store_did_not_take_is_written_later_as_of_when_it_happened(
    store: Store, bench: Bench
) -> None:
    phone = await bench.connect()
    bench.writer.away = True
    closed_at = store.clock.advance(500)
    await bench.relay.close(phone)
    store.clock.advance(10_000)
    with pytest.raises(StoreUnavailableError):
        await bench.relay.sweep()
    bench.writer.away = False
    await bench.relay.sweep()
    assert await store.value("SELECT closed_at FROM live_subscriptions") == closed_at


async def test_an_acknowledgement_that_the_store_did_not_take_can_come_again(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    made = await bench.book()
    assert await taken(phone) == [made.event_id]
    bench.writer.away = True
    assert bench.relay.acknowledge(phone, made.event_id)
    bench.relay.record_acknowledgements()
    await asyncio.sleep(0)
    bench.writer.away = False
    store.clock.advance(2 * TIMEOUT)
    await bench.relay.sweep()
    assert await taken(phone) == [made.event_id]
    assert bench.relay.acknowledge(phone, made.event_id)
    assert not bench.relay.acknowledge(phone, made.event_id)
    bench.relay.record_acknowledgements()
    await store.make()  # goes through the writer behind the acknowledgement
    assert await bench.state(made) == ("delivered", 1)


async def test_acknowledgements_are_gathered_and_written_down_together(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    made = [await bench.book() for _ in range(5)]
    for event_id in await taken(phone):
        assert bench.relay.acknowledge(phone, event_id)
    assert not bench.writer.reported

    async def written() -> bool:
        return bool(bench.writer.reported)

    await eventually(written, what="they are written down")
    assert [one.delivery_id for one in bench.writer.reported] == [one.event_id for one in made]
    await store.make()  # goes through the writer behind them
    assert {await bench.state(one) for one in made} == {("delivered", 1)}


async def test_what_nobody_hears_is_put_aside_and_comes_when_somebody_connects(store: Store, bench: Bench) -> None:
    made = await bench.book()
    store.clock.advance(TIMEOUT + PARK_AFTER - 1)
    await bench.relay.park()
    planned = "SELECT next_attempt_at FROM deliveries"
    assert await store.value(planned) is not None
    store.clock.advance(1)
    await bench.relay.park()
    assert await store.value(planned) is None
    await bench.connect()
    assert bench.missed == [made.event_id]
    store.clock.advance(TIMEOUT)
    await bench.relay.sweep()
    assert await bench.state(made) == ("retrying", 1)


async def test_a_device_that_connects_gets_what_is_unacknowledged_whatever_its_plan(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    made = await bench.book()
    await taken(phone)
    store.clock.advance(TIMEOUT)
    await bench.relay.sweep()
    assert await store.value("SELECT next_attempt_at FROM deliveries") > store.clock()
    await bench.connect("tablet")
    assert bench.missed == [made.event_id]
    assert await bench.state(made) == ("retrying", 1)


async def test_a_device_that_returns_gets_what_came_after_the_last_event_it_saw(store: Store, bench: Bench) -> None:
    phone = await bench.connect()
    seen, *missed = [await bench.book() for _ in range(4)]
    for event_id in await taken(phone):
        bench.relay.acknowledge(phone, event_id)
    await store.make("t-2")
    await bench.connect("back", last_id=seen.event_id)
    assert bench.missed == [one.event_id for one in missed]
    store.clock.advance(2 * HOUR)  # longer ago than events are brought again
    await bench.connect("late", last_id=seen.event_id)
    assert bench.missed == []


@pytest.mark.parametrize("last_id", ["", "x", "0f8fad5b-d9cb-469f-a165-70867728950e"])
async def test_an_id_that_is_none_of_an_event_is_an_error(bench: Bench, last_id: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        await bench.connect(last_id=last_id)


async def test_only_what_was_acknowledged_nowhere_is_told_as_unmatched(store: Store, bench: Bench) -> None:
    await bench.connect()
    elsewhere, nowhere = await bench.book(), await bench.book()
    other = Bench(store)
    assert await other.relay.acknowledge_later("t-1", [elsewhere.event_id]) == 1
    store.clock.advance(TIMEOUT)
    with capture_logs() as lines:
        await bench.relay.sweep()
    assert [(line["event"], line["event_id"]) for line in lines] == [("realtime.unmatched", nowhere.event_id)]


async def test_a_delivery_is_traced_from_when_it_was_sent_or_from_its_making_if_another_replica_sent_it(
    store: Store,
) -> None:
    with collecting() as collector:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_on"}
        tracing = configure("booking-monitor", "1.0.0", environment)
        bench = Bench(store, tracing)
        phone = await bench.connect()
        ours, others = await store.make(traceparent=SAMPLED), await store.make(traceparent=SAMPLED)
        made_at = store.clock()
        sent_at = store.clock.advance(40)
        for send, made in ((bench.relay.dispatch, ours), (bench.relay.receive, others)):
            send(Event(made.event_id, made.command.booking_id, "t-1", 1, b"{}", SAMPLED))
        answered_at = store.clock.advance(60)
        for event_id in await taken(phone):
            assert bench.relay.acknowledge(phone, event_id)
        bench.relay.record_acknowledgements()
        await store.make()  # goes through the writer behind the acknowledgements
        await asyncio.to_thread(tracing.shutdown, 10)
        spans = {attributes(one).get("delivery.id"): one for one in collector.received()}
    for made, begun in ((ours, sent_at), (others, made_at)):
        span = spans[made.event_id]
        assert (span.name, span.start_time_unix_nano // 10**6) == ("realtime.delivery", begun)
        assert span.end_time_unix_nano // 10**6 == answered_at


async def test_a_mismatch_counts_once_for_each_sending_whichever_devices_say_so(store: Store, bench: Bench) -> None:
    devices = [await bench.connect(name) for name in ("phone", "tablet")]
    made = await bench.book()
    for device in devices:
        assert await taken(device) == [made.event_id]
    assert bench.relay.mismatch(devices[0], made.event_id, "therapistId")
    assert not bench.relay.mismatch(devices[0], made.event_id, "therapistId")
    assert not bench.relay.mismatch(devices[1], made.event_id, "therapistId")
    await store.alter("DELETE FROM marks")  # when that is carried out, what was submitted before is too
    assert await bench.state(made) == ("retrying", 1)
    store.clock.advance(HOUR)
    await bench.relay.sweep()
    assert await taken(devices[1]) == [made.event_id]
    assert bench.relay.mismatch(devices[1], made.event_id, "therapistId"), "it was sent again"


DAMAGES = ("extra = '{bad'", "response_deadline = 999999999999999999")
DAMAGES_WITHOUT_TYPES = ("scheduled_for = 'soon'", "provider_name = x'ff00'", "traceparent = x'ff00'")
"""What only SQLite lets anybody write."""


async def test_a_booking_that_cannot_be_read_costs_attempts_of_its_own_delivery_and_of_no_other(
    store: Store, bench: Bench
) -> None:
    phone = await bench.connect()
    damages = DAMAGES + (DAMAGES_WITHOUT_TYPES if store.writing.dialect.name == "sqlite" else ())
    damaged, sound = await store.make_many(len(damages)), await store.make()
    for one, damage in zip(damaged, damages, strict=True):
        await store.alter(f"UPDATE bookings SET {damage} WHERE id = :id", id=one.command.booking_id)  # noqa: S608 - ours
    for attempt in range(1, ATTEMPTS + 1):
        store.clock.advance(HOUR)
        with capture_logs() as lines:
            await bench.relay.sweep()
        assert await taken(phone) == ([sound.event_id] if attempt == 1 else [])
        bench.relay.acknowledge(phone, sound.event_id)
        unreadable = {line["booking_id"] for line in lines if line["event"] == "realtime.unreadable"}
        assert unreadable == {one.command.booking_id for one in damaged}
        expected = ("retrying" if attempt < ATTEMPTS else "dead", attempt)
        assert [await bench.state(one) for one in damaged] == [expected] * len(damaged)
    attempts = await store.rows("SELECT DISTINCT result FROM delivery_attempts WHERE result <> 'ok'")
    assert [row["result"] for row in attempts] == ["error"]
    errors = await store.rows("SELECT DISTINCT last_error FROM deliveries WHERE state = 'dead'")
    assert [row["last_error"] for row in errors] == [UNREADABLE]


async def test_a_subscriber_is_caught_up_with_all_but_the_booking_that_cannot_be_read(
    store: Store, bench: Bench
) -> None:
    before, damaged, after = [await store.make() for _ in range(3)]
    await store.alter("UPDATE bookings SET extra = '{bad' WHERE id = :id", id=damaged.command.booking_id)
    store.clock.advance(TIMEOUT)
    await bench.connect()
    assert bench.missed == [before.event_id, after.event_id]
    assert await bench.state(damaged) == ("retrying", 1)
    assert await bench.relay.acknowledge_later("t-1", [damaged.event_id]) == 1, "it may have come before"
    assert await bench.state(damaged) == ("delivered", 2)
