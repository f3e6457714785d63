"""The alarm that the store cannot be told of, as it is the store that is away: kept, and sent, from memory.

All replicas and all starts send it under one key. So a receiver makes one incident of it, however many of them
raise it and however often one is killed meanwhile; and whoever sees a fresh ledger again ends it for all.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from monitor.alerting.channels import Channel, Page
from monitor.alerting.paging import RESENDING, after
from monitor.alerting.payload import PageContent, build, report_dedup_key
from monitor.alerting.reports import Reporter
from monitor.alerting.resending import RESEND_DELAY
from monitor.domain.times import Now
from monitor.domain.vocabulary import PageAction, PageChannel, PageState
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

STOP_SECONDS = 1
"""For what is under way when the service stops."""


@dataclass(frozen=True, slots=True)
class Blind:
    """A spell in which the ledger could not be seen. Milliseconds since the epoch."""

    fired_at: int
    since: int | None
    """When it was last known to be judged."""


@dataclass(slots=True)
class _Word:
    """What a channel is to be told, and how far that has got."""

    next_attempt_at: int | None
    attempts: int = 0
    tried_at: int | None = None
    told_at: int | None = None


class WithoutStore:
    """Remembers the alarm while it lasts, and sends it by every channel until each has taken it."""

    def __init__(self, *, channels: Mapping[PageChannel, Channel], reporter: Reporter, now: Now) -> None:
        self._channels = channels
        self._reporter = reporter
        self._now = now
        self._under_way: dict[PageChannel, asyncio.Task[None]] = {}
        self._words: dict[PageChannel, _Word] = {}
        self._saying: tuple[PageAction, Blind] | None = None
        self.blind: Blind | None = None
        """Set while the store is away for so long that somebody has to know."""

    @property
    def told(self) -> dict[PageChannel, int]:
        """The channels that have taken the alarm, and when, in milliseconds since the epoch."""
        return {name: word.told_at for name, word in self._words.items() if self.blind and word.told_at is not None}

    @property
    def tried_at(self) -> dict[PageChannel, int]:
        """The channels on which the alarm was tried, and when last: any of them may have taken it."""
        return {name: word.tried_at for name, word in self._words.items() if self.blind and word.tried_at is not None}

    @property
    def ending(self) -> bool:
        """Whether some channel has not taken yet that it is over."""
        return self.blind is None and any(word.next_attempt_at is not None for word in self._words.values())

    @property
    def content(self) -> PageContent | None:
        """What the alarm says now; None while there is none."""
        return None if self.blind is None else self._page(PageAction.TRIGGER, self.blind).content

    @property
    def dedup_key(self) -> str:
        """The key of all its pages."""
        return report_dedup_key(self._reporter.without_store(0, None, 0))

    def begin(self, blind: Blind) -> None:
        """Raise the alarm."""
        self.blind = blind
        self._say(PageAction.TRIGGER, blind, self._channels)

    def end(self, blind: Blind) -> None:
        """Tell the channels that an alarm of which nothing is known here any more, if there was one, is over.

        Those that forget by themselves need no word of it.
        """
        self._say(PageAction.RESOLVE, blind, [channel for channel in self._channels if channel not in RESENDING])

    def hand_over(self) -> None:
        """Forget the alarm: the store knows of it now, and its pages go on from there."""
        self.blind = self._saying = None
        self._words.clear()

    def run(self) -> None:
        """Begin to send what is due."""
        if self._saying is None:
            return
        for name, word in self._words.items():
            if name not in self._under_way and word.next_attempt_at is not None and word.next_attempt_at <= self._now():
                task = asyncio.create_task(self._send(self._channels[name], word, *self._saying))
                self._under_way[name] = task
                task.add_done_callback(partial(self._done, name))

    async def settle(self) -> None:
        """Wait for what is under way: no word of the end may overtake it."""
        await asyncio.gather(*self._under_way.values())

    async def stop(self) -> None:
        """Wait a little for what is under way."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way.values(), timeout=STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _done(self, name: PageChannel, _task: asyncio.Task[None]) -> None:
        del self._under_way[name]

    def _say(self, action: PageAction, blind: Blind, channels: Iterable[PageChannel]) -> None:
        self._saying = (action, blind)
        self._words = {channel: _Word(self._now()) for channel in channels}

    def _page(self, action: PageAction, blind: Blind) -> Page:
        now = self._now()
        resolved_at = now if action is PageAction.RESOLVE else None
        report = self._reporter.without_store(blind.fired_at, blind.since, now, resolved_at=resolved_at)
        return Page(f"store-away-{action}-{blind.fired_at}", action, report_dedup_key(report), build(report), now)

    async def _send(self, channel: Channel, word: _Word, action: PageAction, blind: Blind) -> None:
        result = await channel.send(self._page(action, blind))
        now = self._now()
        if result.attempted:
            word.attempts, word.tried_at = word.attempts + 1, now
        state, delay = after(result, word.attempts, random.random())  # noqa: S311 - jitter, not a secret
        if state is PageState.SENT:
            word.told_at = now
            delay = RESEND_DELAY if action is PageAction.TRIGGER and channel.name in RESENDING else None
        word.next_attempt_at = None if delay is None else now + delay
        log.warning(
            "page.sent_without_store",
            channel=channel.name.value,
            action=action.value,
            status=result.status.value,
            detail=result.detail,
        )
