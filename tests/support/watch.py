"""The alarm side on a real store, with a clock that the test moves and channels that answer as it says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from monitor.alerting.evaluator import Evaluator
from monitor.alerting.pager import Pager
from monitor.alerting.reports import Places, Reporter
from monitor.alerting.without_store import WithoutStore
from monitor.domain.ledger import Count, Mark, Snapshot
from monitor.domain.objectives import Objectives
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import PageChannel, Stage, Traffic, Window
from monitor.store.leases import Fence
from monitor.store.snapshot import read_snapshot
from support.memory_channel import MemoryChannel
from support.objectives import OBJECTIVES
from support.store import Store

FAILING = {Window.M5: Count(3, 3), Window.S25: Count(1, 1)}
"""Counts of a total outage that goes on."""
STEP = 5 * SECOND
"""Milliseconds between two evaluations."""
OUTAGE_KEY = "booking-monitor/test/BookingChatRoomCreationLow/chat_room/real/1"
"""The key under which the first outage is told."""


class Watch:
    """One process that evaluates and sends. `failing` (of `slis`) and `judged` are what it finds in its ledger."""

    def __init__(
        self,
        store: Store,
        channels: Iterable[MemoryChannel],
        *,
        objectives: Objectives = OBJECTIVES,
        fence: Fence | None = None,
    ) -> None:
        self.store = store
        self.objectives = objectives
        self.channels = {channel.name: channel for channel in channels}
        self.failing = False
        self.slis = [Stage.CHAT_ROOM]
        self.judged = True
        self._snapshot: Snapshot | None = None
        self._fence = fence
        reporter = Reporter(
            readers=store.readers,
            objectives=lambda: self.objectives,
            environment="test",
            places=Places("http://monitor.example"),
            drill=False,
        )
        self.without_store = WithoutStore(channels=self.channels, reporter=reporter, now=store.clock)
        self.evaluator = Evaluator(
            readers=store.readers,
            writer=store.writer,
            reporter=reporter,
            objectives=lambda: self.objectives,
            snapshot=lambda: self._snapshot,
            configured=tuple(self.channels),
            without_store=self.without_store,
            now=store.clock,
        )
        self.pager = Pager(channels=self.channels, readers=store.readers, writer=store.writer, now=store.clock)

    async def step(self, *, leads: bool = True) -> None:
        """Look at the ledger, evaluate once, and send what that calls for."""
        if self.judged:
            await self._look()
        if leads:
            await self.evaluator.run(self._fence)
        else:
            await self.evaluator.follow()
        await self._tell()
        if leads:
            await self.pager.run(self._fence)
            await self.pager.stop()

    async def go_on(self, milliseconds: int, *, leads: bool = True) -> None:
        """Let time pass, with a few evaluations meanwhile and one at its end."""
        until = self.store.clock() + milliseconds
        leap = max(STEP, min(milliseconds // 4, 5 * MINUTE))
        while self.store.clock() < until:
            self.store.clock.advance(min(leap, until - self.store.clock()))
            await self.step(leads=leads)

    async def look_back(self, judged_at: int) -> None:
        """Find a ledger that was last judged then, and go on finding it so."""
        await self._look()
        assert self._snapshot is not None
        self._snapshot = replace(self._snapshot, marks={Mark.JUDGED: judged_at})
        self.judged = False

    def said(self, channel: PageChannel = PageChannel.PAGERDUTY) -> list[tuple[str, str]]:
        """Action and key of each page that a channel took."""
        return [(page.action.value, page.dedup_key) for page in self.channels[channel].accepted]

    async def _look(self) -> None:
        found = await self.store.readers.run(read_snapshot, self.store.clock(), 0)
        windows = {(sli, Traffic.REAL, window): count for sli in self.slis for window, count in FAILING.items()}
        marks = {**found.marks, Mark.JUDGED: self.store.clock()}
        self._snapshot = replace(found, windows=windows if self.failing else {}, marks=marks)

    async def _tell(self) -> None:
        self.without_store.run()
        await self.without_store.settle()


async def outage(store: Store) -> Watch:
    """Watch an outage of which PagerDuty was just told."""
    watch = Watch(store, [MemoryChannel()])
    await watch.step()
    watch.failing = True
    await watch.go_on(STEP)
    assert watch.said() == [("trigger", OUTAGE_KEY)]
    return watch
