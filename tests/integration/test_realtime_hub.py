"""The hub keeps each subscriber's queue by itself: bounded, in order, and without anybody holding up the others."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.vocabulary import Transport
from monitor.pipeline.realtime.hub import SENT_REMEMBERED, Event, Hub, Subscriber, SubscriberLimitError

NOW = 0.0
"""Seconds to wait for an event that is already there, or is not."""


def event(number: int, provider_id: str = "t-17") -> Event:
    return Event(f"event-{number:05}", f"booking-{number:05}", provider_id, 1, b"{}")


async def caught_up(name: str, provider_id: str = "t-17", *, queue_limit: int = 8) -> Subscriber:
    subscriber = Subscriber(name, provider_id, Transport.WEBSOCKET, queue_limit)
    await subscriber.caught_up()
    return subscriber


def hub_of(*subscribers: Subscriber, per_provider: int = 100, in_all: int = 100) -> Hub:
    hub = Hub(per_provider=per_provider, in_all=in_all, on_change=lambda _transport, _count: None)
    for subscriber in subscribers:
        hub.add(subscriber)
    return hub


async def drain(subscriber: Subscriber) -> list[str]:
    taken = []
    while (found := await subscriber.next(NOW)) is not None:
        taken.append(found.id)
    return taken


async def test_an_event_goes_to_each_subscriber_of_its_provider_and_to_no_other() -> None:
    phone, tablet, foreign = await caught_up("phone"), await caught_up("tablet"), await caught_up("foreign", "t-18")
    hub = hub_of(phone, tablet, foreign)
    assert hub.publish(event(1)) == 2
    assert (await drain(phone), await drain(tablet), await drain(foreign)) == (["event-00001"], ["event-00001"], [])


async def test_an_event_of_a_provider_who_is_not_here_is_taken_by_nobody() -> None:
    hub = hub_of(await caught_up("phone"))
    assert hub.publish(event(1, "t-99")) == 0
    assert hub.publish_again(event(1, "t-99")) == 0
    assert list(hub.providers) == ["t-17"]


async def test_a_subscriber_that_does_not_read_is_closed_when_its_queue_is_full_and_the_others_get_everything() -> None:
    slow, fast = await caught_up("slow", queue_limit=3), await caught_up("fast", queue_limit=3)
    hub = hub_of(slow, fast)
    taken = []
    for number in range(10):
        hub.publish(event(number))
        taken += await drain(fast)
    assert taken == [event(number).id for number in range(10)]
    assert (slow.closed, slow.overflowed) == (True, True)
    assert (fast.closed, fast.overflowed) == (False, False)
    assert await slow.next(NOW) is None


async def test_an_event_that_is_sent_again_never_closes_a_subscriber() -> None:
    full = await caught_up("full", queue_limit=2)
    hub = hub_of(full)
    assert [hub.publish_again(event(number)) for number in range(4)] == [1, 1, 0, 0]
    assert not full.closed
    assert await drain(full) == ["event-00000", "event-00001"]
    assert hub.publish_again(event(2)) == 1


async def test_new_events_wait_until_those_that_were_missed_are_on_their_way() -> None:
    subscriber = Subscriber("phone", "t-17", Transport.WEBSOCKET, 8)
    hub = hub_of(subscriber)
    hub.publish(event(3))
    assert await drain(subscriber) == []
    assert await subscriber.replay(event(1))
    assert await subscriber.replay(event(2))
    hub.publish(event(4))
    catching_up = asyncio.create_task(subscriber.caught_up())
    first = await drain(subscriber)
    await catching_up
    assert first + await drain(subscriber) == [event(number).id for number in (1, 2, 3, 4)]


async def test_an_event_that_is_made_while_a_subscriber_catches_up_comes_once() -> None:
    subscriber = Subscriber("phone", "t-17", Transport.WEBSOCKET, 8)
    hub = hub_of(subscriber)
    hub.publish(event(1))  # heard of first, and then found in the store
    assert await subscriber.replay(event(1))
    assert await subscriber.replay(event(2))  # found in the store first, and then heard of
    assert hub.publish(event(2)) == 1
    taken = await drain(subscriber)
    hub.publish(event(2))
    await subscriber.caught_up()
    assert taken + await drain(subscriber) == ["event-00001", "event-00002"]


async def test_more_missed_events_than_the_queue_holds_come_as_fast_as_they_are_read() -> None:
    subscriber = Subscriber("phone", "t-17", Transport.WEBSOCKET, 2)

    async def replay() -> None:
        for number in range(100):
            assert await subscriber.replay(event(number))
        await subscriber.caught_up()

    replaying = asyncio.create_task(replay())
    taken: list[str] = []
    while len(taken) < 100:
        found = await subscriber.next(5)
        assert found is not None
        taken.append(found.id)
    await replaying
    assert taken == [event(number).id for number in range(100)]
    assert not subscriber.closed


async def test_a_subscriber_that_catches_up_is_closed_when_too_many_new_events_wait() -> None:
    subscriber = Subscriber("phone", "t-17", Transport.WEBSOCKET, 2)
    hub = hub_of(subscriber)
    for number in range(3):
        hub.publish(event(number))
    assert subscriber.overflowed


class Wire:
    """What left over a connection, whose sending task has to wait while it is not free."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.free = asyncio.Event()
        self.free.set()

    def send_at_once(self, event: Event) -> bool:
        if self.free.is_set():
            self.left.append(event.id)
        return self.free.is_set()

    async def send_all_of(self, subscriber: Subscriber) -> None:
        while (event := await subscriber.next()) is not None:
            await self.free.wait()
            self.left.append(event.id)


async def test_an_event_leaves_at_once_where_nothing_waits_and_can_be_acknowledged() -> None:
    phone, wire = await caught_up("phone"), Wire()
    phone.send_at_once = wire.send_at_once
    sending = asyncio.create_task(wire.send_all_of(phone))
    assert hub_of(phone).publish(event(1)) == 1
    assert wire.left == []  # nobody asks for events yet: what was sent before may still be on its way
    await asyncio.sleep(0)
    hub_of(phone).publish(event(2))
    assert wire.left == ["event-00001", "event-00002"]
    assert [phone.acknowledged(one) for one in wire.left] == [event(1), event(2)]
    phone.close()
    await sending


@given(steps=st.lists(st.sampled_from(["offer", "offer", "block", "free", "run"]), max_size=60))
async def test_events_leave_in_their_order_and_once_whichever_way_they_take(steps: list[str]) -> None:
    phone, wire = await caught_up("phone", queue_limit=100), Wire()
    phone.send_at_once = wire.send_at_once
    sending = asyncio.create_task(wire.send_all_of(phone))
    offered: list[Event] = []
    for step in steps:
        match step:
            case "offer":
                offered.append(event(len(offered)))
                assert phone.offer(offered[-1])
            case "block":
                wire.free.clear()
            case "free":
                wire.free.set()
            case "run":
                await asyncio.sleep(0)
    wire.free.set()
    await phone.caught_up()  # waits until all is taken from the queue
    await asyncio.sleep(0)
    phone.close()
    await sending
    assert wire.left == [one.id for one in offered]


async def test_closing_ends_every_wait() -> None:
    subscriber = Subscriber("phone", "t-17", Transport.WEBSOCKET, 1)
    assert await subscriber.replay(event(1))
    waiting = [
        asyncio.create_task(subscriber.replay(event(2))),
        asyncio.create_task(subscriber.caught_up()),
        asyncio.create_task(subscriber.gone.wait()),
    ]
    reader = await caught_up("reader")
    reading = asyncio.create_task(reader.next(60))
    await asyncio.sleep(0)
    subscriber.close()
    reader.close()
    async with asyncio.timeout(5):
        assert await asyncio.gather(*waiting) == [False, None, True]
        assert await reading is None


async def test_only_what_was_sent_over_a_connection_can_be_acknowledged_there_and_once() -> None:
    subscriber = await caught_up("phone")
    hub_of(subscriber).publish(event(1))
    assert subscriber.acknowledged("event-00001") is None
    await drain(subscriber)
    assert subscriber.acknowledged("event-99999") is None
    assert subscriber.acknowledged("event-00001") == event(1)
    assert subscriber.acknowledged("event-00001") is None


async def test_what_is_remembered_of_sent_events_is_bounded() -> None:
    subscriber = await caught_up("phone", queue_limit=SENT_REMEMBERED + 1)
    hub = hub_of(subscriber)
    for number in range(SENT_REMEMBERED + 1):
        hub.publish(event(number))
    await drain(subscriber)
    assert subscriber.acknowledged("event-00000") is None
    assert subscriber.acknowledged("event-00001") is not None


async def test_a_provider_and_the_server_have_limits_and_a_place_is_free_again_when_somebody_leaves() -> None:
    hub = hub_of(per_provider=2, in_all=3)
    first, second, third = await caught_up("1"), await caught_up("2"), await caught_up("3")
    foreign, late = await caught_up("4", "t-18"), await caught_up("5", "t-19")
    hub.add(first)
    hub.add(second)
    with pytest.raises(SubscriberLimitError, match="a provider can have 2"):
        hub.add(third)
    hub.add(foreign)
    with pytest.raises(SubscriberLimitError, match="this server"):
        hub.add(late)
    hub.remove(second)
    hub.remove(second)
    hub.add(late)
    assert sorted(hub.providers) == ["t-17", "t-18", "t-19"]


async def test_the_number_of_live_subscribers_is_told_by_transport() -> None:
    told: list[tuple[Transport, int]] = []
    hub = Hub(per_provider=9, in_all=9, on_change=lambda transport, count: told.append((transport, count)))
    phone, page = Subscriber("1", "t-17", Transport.WEBSOCKET, 1), Subscriber("2", "t-17", Transport.SSE, 1)
    hub.add(phone)
    hub.add(page)
    hub.remove(phone)
    assert told == [(Transport.WEBSOCKET, 1), (Transport.SSE, 1), (Transport.WEBSOCKET, 0)]


async def test_when_the_server_ends_everybody_leaves() -> None:
    subscribers = [await caught_up(str(number), f"t-{number}") for number in range(3)]
    hub_of(*subscribers).close()
    assert all(subscriber.closed and not subscriber.overflowed for subscriber in subscribers)


async def test_a_wait_for_an_event_ends_in_time_for_a_heartbeat() -> None:
    subscriber = await caught_up("phone")
    async with asyncio.timeout(5):
        assert await subscriber.next(0.01) is None
