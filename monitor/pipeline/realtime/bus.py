"""Telling the other replicas of new events. The store stays the truth: an event that is lost here is only late."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from monitor.pipeline.realtime.hub import Event

Receive = Callable[[Event], None]


class Bus(Protocol):
    """A way to the other replicas."""

    async def start(self, receive: Receive) -> None:
        """Begin to hand events of other replicas to `receive`."""
        ...

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell the others. A failure is logged, not raised: they find the events in the store."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class NoBus:
    """For a process that is alone."""

    async def start(self, receive: Receive) -> None:
        """Nobody will tell anything."""

    async def publish(self, events: Sequence[Event]) -> None:
        """Nobody is there to be told."""

    async def stop(self) -> None:
        """Nothing was begun."""
