"""The alarm side of the service, put together: channels, evaluator, pager, heartbeat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
from httpx import AsyncClient

from monitor import __version__
from monitor.alerting import objectives_file
from monitor.alerting.channels import Channel
from monitor.alerting.channels.alertmanager import AlertmanagerChannel
from monitor.alerting.channels.heartbeat import Heartbeat
from monitor.alerting.channels.http import http_client
from monitor.alerting.channels.pagerduty import PagerDutyChannel, changed_objectives, new_release
from monitor.alerting.channels.webhook import WebhookChannel
from monitor.alerting.evaluator import Evaluator
from monitor.alerting.objectives_file import ObjectivesError, ObjectivesFile
from monitor.alerting.pager import Pager
from monitor.alerting.pagerduty_webhook import ReplayGuard
from monitor.alerting.reports import Places, Reporter
from monitor.alerting.without_store import WithoutStore
from monitor.domain.ledger import Note, Snapshot
from monitor.domain.objectives import Objectives
from monitor.domain.times import Now, milliseconds
from monitor.domain.vocabulary import PageChannel, PageState, Severity
from monitor.leadership import Leadership
from monitor.settings import Settings
from monitor.store.alerts import RevivePages
from monitor.store.notes import WriteNote, read_notes
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

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
        self._clients: list[AsyncClient] = []
        self.channels = self._open_channels()
        self._heartbeat = None if settings.heartbeat_url is None else Heartbeat(self._client(), settings.heartbeat_url)
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
        self.without_store = WithoutStore(channels=self.channels, reporter=reporter, now=now)
        self._evaluator = Evaluator(
            readers=readers,
            writer=writer,
            reporter=reporter,
            objectives=lambda: self.objectives.objectives,
            snapshot=snapshot,
            configured=tuple(self.channels),
            without_store=self.without_store,
            now=now,
        )
        self.pager = Pager(channels=self.channels, readers=readers, writer=writer, now=now)
        self.webhooks = ReplayGuard()
        self._announced = False
        self._revived = False

    async def evaluate(self) -> None:
        """Evaluate the alerts and send what that calls for."""
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
        if self._heartbeat is None or not self._leadership.leads or unready:
            return
        result = await self._heartbeat.beat()
        if not result.accepted:
            log.error("heartbeat.failed", detail=result.detail)

    def warnings(self) -> list[str]:
        """Channels that do not accept their pages: no reason to keep traffic away, but nobody may have been woken."""
        snapshot, now = self._snapshot(), self._now()
        if snapshot is None:
            return []
        limit = self.objectives.objectives.page_undelivered.older_than
        late = {channel for channel, oldest in snapshot.oldest_page_at.items() if now - oldest > limit}
        dead = {channel for (channel, state), count in snapshot.pages.items() if state is PageState.DEAD and count}
        return [f"pages are not accepted: {channel.value}" for channel in sorted(late | dead)]

    async def stop(self) -> None:
        """Wait for the pages under way."""
        await asyncio.gather(self.pager.stop(), self.without_store.stop())
        for client in self._clients:
            await client.aclose()

    def _pagerduty_words(self) -> dict[Severity, str]:
        return {severity: route.pagerduty_severity for severity, route in self.objectives.objectives.routes.items()}

    def _client(self) -> AsyncClient:
        """A client of its own for each receiver: one that hangs keeps no connections from the others."""
        client = http_client()
        self._clients.append(client)
        return client

    def _open_channels(self) -> dict[PageChannel, Channel]:
        settings, channels = self._settings, dict[PageChannel, Channel]()
        if settings.pagerduty_routing_key is not None:
            channels[PageChannel.PAGERDUTY] = PagerDutyChannel(
                self._client(), settings.pagerduty_routing_key, settings.pagerduty_url, words=self._pagerduty_words
            )
        if settings.alertmanager_url is not None:
            channels[PageChannel.ALERTMANAGER] = AlertmanagerChannel(
                self._client(),
                settings.alertmanager_url,
                evaluation_interval=milliseconds(settings.evaluation_interval),
            )
        if settings.webhook_url is not None and settings.webhook_secret is not None:
            channels[PageChannel.WEBHOOK] = WebhookChannel(
                self._client(), settings.webhook_url, settings.webhook_secret
            )
        return channels

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
        channel = self.channels.get(PageChannel.PAGERDUTY)
        if self._announced or not isinstance(channel, PagerDutyChannel):
            return
        self._announced = True
        now, environment = self._now(), self._settings.environment
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
            await channel.send_change(new_release(__version__, release, environment, now))
        before = {} if objectives is None else orjson.loads(objectives)
        changes = {sli: (before[sli], ratio) for sli, ratio in ratios.items() if before.get(sli, ratio) != ratio}
        if changes:
            await channel.send_change(changed_objectives(changes, environment, now))


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
