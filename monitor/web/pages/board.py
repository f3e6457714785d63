"""The status page's parts, rendered once for all who look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from monitor.domain.ledger import Snapshot
from monitor.domain.times import SECOND, milliseconds
from monitor.domain.vocabulary import Traffic
from monitor.service import Service
from monitor.store import status
from monitor.store.status import Reading, Series
from monitor.store.writer import StoreUnavailableError
from monitor.telemetry.logs import get_logger
from monitor.web.pages.facts import Facts, Level, verdict
from monitor.web.pages.views import rates
from monitor.web.pages.views import status as view

log = get_logger(__name__)

PAUSE = 2 * SECOND
"""Between two renderings, at least."""
LONGEST = 10 * SECOND
"""Between two renderings, while somebody looks: what no snapshot tells of (an acknowledgement) shows within this."""
SERIES_PAUSE = 15 * SECOND
"""Between two readings of the rates over time."""
READ_SECONDS = 3.0
"""A store that takes longer is as good as away: the page is shown without it."""


@dataclass(frozen=True, slots=True)
class Board:
    """What was rendered, and from what."""

    facts: Facts
    title: str
    level: Level
    sections: view.Sections


@dataclass(frozen=True, slots=True)
class _Plotted:
    at: int
    hour: Series
    day: Series


class Boards:
    """Renders the board anew when the ledger's snapshot has changed; never two at once, and nothing while nobody looks.

    A store that is away or hangs leaves the last reading standing, with the reason over it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._board: Board | None = None
        self._seen: Snapshot | None = None
        self._reading = Reading()
        self._plotted = _Plotted(0, *(rates.nothing_yet(spans) for _, spans in (rates.HOUR_SPANS, rates.DAY_SPANS)))

    async def current(self) -> Board:
        """The board as of now."""
        board = self._fresh()
        if board is None:
            async with self._lock:
                board = self._fresh() or await self._render()
        return board

    def _fresh(self) -> Board | None:
        board = self._board
        if board is None:
            return None
        age = self._service.clock() - board.facts.now
        unchanged = self._seen == _content(self._service.snapshot)
        return board if 0 <= age < PAUSE or (unchanged and 0 <= age < LONGEST) else None

    async def _render(self) -> Board:
        service, now = self._service, self._service.clock()
        snapshot = service.snapshot or Snapshot(at=0)
        faults = service.unready()
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._read(now)
        except (StoreUnavailableError, TimeoutError) as error:
            log.warning("status.store_away", error=str(error) or "it takes too long")
            faults = [*faults, "the store does not answer"]
        facts = Facts(
            now=now,
            environment=service.settings.environment,
            drill=service.settings.drill,
            snapshot=snapshot,
            objectives=service.alarms.objectives.objectives,
            reading=self._reading,
            hour=self._plotted.hour,
            day=self._plotted.day,
            series_at=self._plotted.at or now,
            channels=[channel.value for channel in service.alarms.configured],
            faults=faults,
            blind=service.alarms.without_store.content,
        )
        found = verdict(facts)
        before = self._board
        plots = (
            {key: before.sections[key] for key in view.PLOTS}
            if before and before.facts.series_at == facts.series_at
            else view.plots(facts)
        )
        self._seen = _content(snapshot)
        self._board = Board(facts, view.title(found, facts), found.level, {**view.sections(facts), **plots})
        return self._board

    async def _read(self, now: int) -> None:
        readers = self._service.readers
        after = now - milliseconds(self._service.settings.overdue_window)
        self._reading = await readers.run(status.read, overdue_after=after)
        if not 0 <= now - self._plotted.at < SERIES_PAUSE:
            hour, day = [
                await readers.run(status.read_series, Traffic.REAL, now=now, minutes=minutes, spans=spans)
                for minutes, spans in (rates.HOUR_SPANS, rates.DAY_SPANS)
            ]
            self._plotted = _Plotted(now, hour, day)


def _content(snapshot: Snapshot | None) -> Snapshot | None:
    """A snapshot but for when it was taken."""
    return None if snapshot is None else replace(snapshot, at=0)
