"""The alarm side of the service, put together: channels, evaluator, pager, heartbeat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from monitor import __version__
from monitor.alerting import objectives_file
from monitor.alerting.evaluator import Evaluator
from monitor.alerting.objectives_file import ObjectivesError, ObjectivesFile
from monitor.alerting.pager import Pager
from monitor.alerting.pagerduty_webhook import ReplayGuard
from monitor.alerting.reports import Places, Reporter
from monitor.alerting.without_store import WithoutStore
from monitor.domain.ledger import Note, Snapshot
from monitor.domain.objectives import Objectives
from monitor.domain.times import Now
from monitor.domain.vocabulary import PageState, Severity
from monitor.leadership import Leadership
from monitor.settings import Settings
from monitor.store.alerts import RevivePages
from monitor.store.notes import WriteNote, read_notes
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

if TYPE_CHECKING:
    from monitor.receivers import Receivers

log = get_logger(__name__)


class Alarms:
    """Watches the ledger, and makes sure that somebody is told."""

    def __init__(
        self,
        *,
        settings: Settings,
        objectives: ObjectivesFile,
        path: Path,
        url: str,
        readers: Readers,
        writer: Writer,
        leadership: Leadership,
        snapshot: Callable[[], Snapshot | None],
        on_reload: Callable[[Objectives], None],
        now: Now,
    ) -> None:
        self._settings = settings
        self.objectives = objectives
        self._path = path
        self._modified = _modified(path)
        self._readers = readers
        self._writer = writer
        self._leadership = leadership
        self._now = now
        self._snapshot = snapshot
        self._on_reload = on_reload
        self._receivers = self._open_receivers()
        channels = {} if self._receivers is None else self._receivers.channels
        self.configured = tuple(channels)
        places = Places(
            (settings.public_url or url).rstrip("/"),
            None if settings.grafana_url is None else settings.grafana_url.rstrip("/"),
            settings.trace_url,
        )
        reporter = Reporter(
            readers=readers,
            objectives=lambda: self.objectives.objectives,
            environment=settings.environment,
            places=places,
            drill=settings.drill,
        )
        self.without_store = WithoutStore(channels=channels, reporter=reporter, now=now)
        self._evaluator = Evaluator(
            readers=readers,
            writer=writer,
            reporter=reporter,
            objectives=lambda: self.objectives.objectives,
            snapshot=snapshot,
            configured=self.configured,
            without_store=self.without_store,
            now=now,
        )
        self.pager = Pager(channels=channels, readers=readers, writer=writer, now=now)
        self.webhooks = ReplayGuard()
        self._announced = False
        self._revived = False
        self._complete = self._evaluator.complete_at, time.monotonic()
        self._say_unrouted()

    async def evaluate(self) -> None:
        """Evaluate the alerts and send what that calls for."""
        await self._evaluate()
        if self._evaluator.complete_at != self._complete[0]:
            self._complete = self._evaluator.complete_at, time.monotonic()

    async def _evaluate(self) -> None:
        self._reload()
        there = False
        if self._leadership.leads:
            there = await self._evaluator.run(self._leadership.fence)
        else:
            await self._evaluator.follow()
        self.without_store.run()
        if there and self._leadership.leads:
            await self._revive()
            await self.pager.run(self._leadership.fence)
            await self._announce()

    async def page(self) -> None:
        """Send what is due between two evaluations, if anything waits."""
        snapshot = self._snapshot()
        if snapshot is not None and snapshot.oldest_page_at and self._leadership.leads:
            await self.pager.run(self._leadership.fence)

    async def beat(self, unready: list[str]) -> None:
        """Call the dead man's switch, as long as this service works and leads."""
        if self._receivers is not None and self._leadership.leads and not unready:
            await self._receivers.beat()

    @property
    def incomplete_seconds(self) -> float:
        """For how long not every alert could be evaluated, by a clock that nobody can set."""
        return time.monotonic() - self._complete[1]

    def warnings(self) -> list[str]:
        """Why nobody may be woken, or have been: no reason to keep traffic away, but one to look."""
        snapshot, now = self._snapshot(), self._now()
        unrouted = [f"{severity.value} alerts are routed to no channel that is set up" for severity in self._unrouted()]
        if snapshot is None:
            return unrouted
        limit = self.objectives.objectives.page_undelivered.older_than
        late = {channel for channel, oldest in snapshot.oldest_page_at.items() if now - oldest > limit}
        dead = {channel for (channel, state), count in snapshot.pages.items() if state is PageState.DEAD and count}
        return [*unrouted, *(f"pages are not accepted: {channel.value}" for channel in sorted(late | dead))]

    async def stop(self) -> None:
        """Wait for the pages under way."""
        await asyncio.gather(self.pager.stop(), self.without_store.stop())
        if self._receivers is not None:
            await self._receivers.aclose()

    def _pagerduty_words(self) -> dict[Severity, str]:
        return {severity: route.pagerduty_severity for severity, route in self.objectives.objectives.routes.items()}

    def _open_receivers(self) -> Receivers | None:
        settings = self._settings
        if not settings.tells_anybody:
            return None
        from monitor.receivers import Receivers  # noqa: PLC0415 - an HTTP client is loaded where there is a use for it

        return Receivers(settings, self._pagerduty_words)

    def _unrouted(self) -> list[Severity]:
        """Severities whose pages reach nobody, though there is a channel."""
        routes = self.objectives.objectives.routes
        return [
            severity
            for severity, route in routes.items()
            if self.configured and not set(route.channels) & set(self.configured)
        ]

    def _say_unrouted(self) -> None:
        for severity in self._unrouted():
            log.error("pages.unrouted", severity=severity.value, configured=[one.value for one in self.configured])

    def _reload(self) -> None:
        """Take over a changed objectives file; a broken one leaves the old one in force, and it is said."""
        modified = _modified(self._path)
        if modified == self._modified:
            return
        self._modified = modified
        try:
            self.objectives = objectives_file.load(self._path)
        except (ObjectivesError, OSError) as error:
            log.error("objectives.broken", detail=str(error))  # noqa: TRY400 - the file's fault, not the code's
        else:
            self._announced = False
            self._on_reload(self.objectives.objectives)
            self._say_unrouted()
            log.info("objectives.reloaded")

    async def _revive(self) -> None:
        """Send once more what an earlier start gave up: a restart is how a wrong key or address is mended."""
        if self._revived:
            return
        pages = await self._writer.submit(RevivePages(self._now(), self._leadership.fence))
        self._revived = True
        if pages:
            log.warning("pages.revived", pages=pages)

    async def _announce(self) -> None:
        """Tell PagerDuty of a new release and of changed objectives, once each."""
        receivers = self._receivers
        if self._announced or receivers is None or not receivers.hears_of_changes:
            return
        self._announced = True
        now = self._now()
        ratios = {sli.value: ratio for sli, ratio in self.objectives.objectives.ratios.items()}
        try:
            notes = await self._readers.run(read_notes)
            release, objectives = notes.get(Note.RELEASE), notes.get(Note.OBJECTIVES)
            await self._writer.submit(WriteNote(Note.RELEASE, __version__))
            await self._writer.submit(WriteNote(Note.OBJECTIVES, orjson.dumps(ratios).decode()))
        except StoreUnavailableError as error:
            self._announced = False
            log.warning("change.unrecorded", detail=str(error))
            return
        if release is not None and release != __version__:
            await receivers.tell_release(__version__, release, now)
        before = {} if objectives is None else orjson.loads(objectives)
        changes = {sli: (before[sli], ratio) for sli, ratio in ratios.items() if before.get(sli, ratio) != ratio}
        if changes:
            await receivers.tell_objectives(changes, now)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
