"""The subscribers that are connected to this process, and the events on their way to them.

Lives on the event loop alone. A new event never waits: it is put into each subscriber's own bounded queue, and
a subscriber whose queue is full is disconnected and catches up later, so that it holds up nobody. What is sent
again waits until there is room for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property

from monitor.domain.representation import booking_created_event
from monitor.domain.vocabulary import Transport

SENT_REMEMBERED = 4096
"""How many events a subscriber may acknowledge late; older ones are sent again instead."""


@dataclass(frozen=True)
class Event:
    """A booking that a provider is told of."""

    id: str
    booking_id: str
    provider_id: str
    sequence: int
    booking_json: bytes
    traceparent: str | None = None
    """The booking's W3C trace context."""

    @cached_property
    def frame(self) -> str:
        """The event as its subscribers get it: made once, however many they are."""
        return booking_created_event(
            self.id, self.booking_id, self.sequence, self.booking_json, self.traceparent
        ).decode()


class SubscriberLimitError(Exception):
    """Too many subscriptions are live."""


class Subscriber:
    """One connection of a provider, and what waits to be sent over it.

    It begins by catching up: what it missed goes out first, and new events are held until that is done, so that
    the last event that it saw tells what it has seen.
    """

    def __init__(self, subscription_id: str, provider_id: str, transport: Transport, queue_limit: int) -> None:
        self.id = subscription_id
        self.provider_id = provider_id
        self.transport = transport
        self.overflowed = False
        self.gone = asyncio.Event()
        self.send_at_once: Callable[[Event], bool] | None = None
        """Sends an event if nothing is in its way, where the transport can. Events that wait still go first."""
        self._queue_limit = queue_limit
        self._events: deque[Event] = deque()
        self._held: dict[str, Event] = {}
        self._catching_up = True
        self._idle = False
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._sent: OrderedDict[str, Event] = OrderedDict()

    @property
    def closed(self) -> bool:
        """Whether the connection is to end."""
        return self.gone.is_set()

    def offer(self, event: Event) -> bool:
        """Queue a new event. False if the subscriber is too slow for it and is being disconnected."""
        if self._catching_up and self._has(event.id):
            return True
        if self.offer_again(event):
            return True
        if not self.closed:
            self.overflowed = True
            self.close()
        return False

    def offer_again(self, event: Event) -> bool:
        """Queue an event that comes once more if there is no room for it now. False if there is none."""
        waiting = len(self._held if self._catching_up else self._events)
        if self.closed or waiting >= self._queue_limit:
            return False
        if self._catching_up:
            self._held[event.id] = event
        elif waiting or not self._idle or self.send_at_once is None or not self.send_at_once(event):
            self._events.append(event)
            self._wake.set()
        else:
            self._remember(event)
        return True

    async def replay(self, event: Event) -> bool:
        """Queue an event that was missed, as soon as there is room. False if the subscriber is closed."""
        await self._drained_to(self._queue_limit - 1)
        if self.closed:
            return False
        self._held.pop(event.id, None)
        self._events.append(event)
        self._wake.set()
        return True

    async def caught_up(self) -> None:
        """Let new events through, once those that were missed are on their way."""
        await self._drained_to(0)
        self._catching_up = False
        self._events.extend(self._held.values())
        self._held.clear()
        self._wake.set()

    async def next(self, timeout_seconds: float | None = None) -> Event | None:
        """The next event; None when the subscriber is closed, or none came in time if there is one.

        Who asks for the next one has sent the one before.
        """
        self._idle = True
        if timeout_seconds is None:
            await self._woken()
        elif not self._events:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._woken()
            except TimeoutError:
                self._idle = False
                return None
        self._idle = False
        if self.closed:
            return None
        event = self._events.popleft()
        self._room.set()
        self._remember(event)
        return event

    def sent(self, event_id: str) -> Event | None:
        """What was sent here under this id, and is not acknowledged."""
        return self._sent.get(event_id)

    def acknowledged(self, event_id: str) -> Event | None:
        """Take an acknowledgement: the event that it is for, or None if it was not sent here or already had one."""
        return self._sent.pop(event_id, None)

    def close(self) -> None:
        """Have the connection end."""
        self.gone.set()
        self._wake.set()
        self._room.set()

    def _has(self, event_id: str) -> bool:
        """Whether an event that was missed is on its way already: it was committed while that was looked up."""
        return event_id in self._sent or any(event.id == event_id for event in self._events)

    def _remember(self, event: Event) -> None:
        self._sent[event.id] = event
        if len(self._sent) > SENT_REMEMBERED:
            self._sent.popitem(last=False)

    async def _woken(self) -> None:
        """Wait until there is an event, or the subscriber is closed."""
        while not self._events and not self.closed:
            self._wake.clear()
            await self._wake.wait()

    async def _drained_to(self, events: int) -> None:
        """Wait until no more than so many events are queued, or the subscriber is closed."""
        while len(self._events) > events and not self.closed:
            self._room.clear()
            await self._room.wait()


class Hub:
    """Subscribers by provider."""

    def __init__(self, *, per_provider: int, in_all: int, on_change: Callable[[Transport, int], None]) -> None:
        self._per_provider = per_provider
        self._in_all = in_all
        self._on_change = on_change
        self._subscribers: defaultdict[str, dict[str, Subscriber]] = defaultdict(dict)
        self._counts = dict.fromkeys(Transport, 0)

    @property
    def providers(self) -> Collection[str]:
        """Providers with a subscriber here."""
        return self._subscribers.keys()

    def add(self, subscriber: Subscriber) -> None:
        """Let a subscriber take part. Raises SubscriberLimitError."""
        if sum(self._counts.values()) >= self._in_all:
            raise SubscriberLimitError("this server has as many live subscriptions as it takes")
        if len(self._subscribers.get(subscriber.provider_id, ())) >= self._per_provider:
            raise SubscriberLimitError(f"a provider can have {self._per_provider} live subscriptions")
        self._subscribers[subscriber.provider_id][subscriber.id] = subscriber
        self._count(subscriber.transport, 1)

    def remove(self, subscriber: Subscriber) -> None:
        """Take a subscriber out."""
        subscriber.close()
        of_provider = self._subscribers.get(subscriber.provider_id, {})
        if of_provider.pop(subscriber.id, None) is not None:
            self._count(subscriber.transport, -1)
        if not of_provider:
            self._subscribers.pop(subscriber.provider_id, None)

    def find(self, provider_id: str) -> Collection[Subscriber]:
        """The subscribers of a provider."""
        of_provider = self._subscribers.get(provider_id)
        return () if of_provider is None else of_provider.values()

    def publish(self, event: Event) -> int:
        """Queue a new event for each subscriber of its provider. Returns how many took it."""
        return sum(subscriber.offer(event) for subscriber in self.find(event.provider_id))

    def publish_again(self, event: Event) -> int:
        """Queue an event once more for each subscriber that has room for it. Returns how many took it."""
        return sum(subscriber.offer_again(event) for subscriber in self.find(event.provider_id))

    def close(self) -> None:
        """Have all connections end."""
        for of_provider in self._subscribers.values():
            for subscriber in of_provider.values():
                subscriber.close()

    def _count(self, transport: Transport, change: int) -> None:
        self._counts[transport] += change
        self._on_change(transport, self._counts[transport])
