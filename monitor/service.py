"""The composition root: builds the parts, starts and stops them. Nothing else knows them all."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from monitor import __version__
from monitor.alarms import Alarms
from monitor.alerting import objectives_file
from monitor.audit.journeys import Journeys
from monitor.audit.judge import Judge
from monitor.audit.repairer import Repairer
from monitor.clock import Clock
from monitor.domain.intake import IntakeRules
from monitor.domain.judgement import Grace
from monitor.domain.ledger import Mark, Snapshot
from monitor.domain.retry import RetryPolicy
from monitor.domain.times import milliseconds
from monitor.jobs import Jobs
from monitor.leadership import RENEW_SECONDS, Leadership
from monitor.pipeline.desk import Desk
from monitor.pipeline.making import PLATFORM, Terms
from monitor.pipeline.push.endpoints import AllowedHosts
from monitor.pipeline.push.relay import PushRelay, Sender
from monitor.pipeline.realtime.bus import Bus, NoBus
from monitor.pipeline.realtime.hub import Hub
from monitor.pipeline.realtime.relay import RealtimeRelay
from monitor.platforms.embedded import EmbeddedPlatform
from monitor.settings import Settings
from monitor.store import engine, revision
from monitor.store.lifecycle import ExpireUnanswered
from monitor.store.readers import Readers
from monitor.store.retention import Prune, Retention
from monitor.store.snapshot import read_snapshot
from monitor.store.subscriptions import CloseAll, last_sign_of_life
from monitor.store.writer import StoreUnavailableError, Writer, describe
from monitor.telemetry import tracing
from monitor.telemetry.logs import get_logger
from monitor.telemetry.metrics import Metrics, WriterObserver

if TYPE_CHECKING:
    from monitor.audit.canary import Canary
    from monitor.pipeline.push.sender import PushSender

log = get_logger(__name__)

EXPIRE_BATCH = 500
"""Bookings that one transaction expires."""
STALE_AFTER = 60_000
"""Milliseconds without judging after which the ledger is stale and the service not ready."""
FLUSH_SECONDS = 2
"""For traces to leave when the service stops."""

JOBS: dict[str, float] = {
    "clock": 1,
    "lease": RENEW_SECONDS,
    "judge": 1,
    "repair": 2,
    "snapshot": 1,
    "realtime_sweep": 1,
    "realtime_park": 2,
    "push_sweep": 1,
    "expire": 2,
    "retention": 60,
    "page": 2,
}
"""Periodic jobs with their intervals in seconds."""
CANARY_JOB, EVALUATE_JOB, HEARTBEAT_JOB = "canary", "evaluate", "heartbeat"
"""Periodic jobs whose intervals are settings."""


class StoreOutdatedError(Exception):
    """The store's tables are not those of this release: older, or newer ones."""


class Service:
    """One running instance."""

    def __init__(self, settings: Settings, *, sender: Sender | None = None) -> None:
        self.settings = settings
        self.replica = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self.canary_token = secrets.token_urlsafe(32)
        self._objectives_path = settings.objectives_file or objectives_file.default_path()
        self._objectives = objectives_file.load(self._objectives_path)
        self.metrics = Metrics(
            objectives=self._objectives.objectives.ratios,
            platforms=(PLATFORM,),
            jobs=(*JOBS, CANARY_JOB, EVALUATE_JOB, HEARTBEAT_JOB),
            version=__version__,
            platform=settings.platform,
        )
        self.tracing = tracing.configure("booking-monitor", __version__, os.environ)
        self.snapshot: Snapshot | None = None
        self._given_sender = sender
        self._url = engine.parse_url(settings.database_url.get_secret_value())
        self._lock = engine.EmbeddedLock(self._url)
        self._canary: Canary | None = None
        self.stopping = False

    async def start(self, port: int) -> None:
        """Open the store and start everything; `port` is where our own HTTP API listens, for the canary.

        Raises StoreInUseError, StoreOutdatedError or StoreUnavailableError, and has then started nothing.
        """
        async with AsyncExitStack() as parts:
            await self._start(port, parts)
            self._parts = parts.pop_all()
        log.info("service.started", replica=self.replica, version=__version__, store=self._url.get_backend_name())

    async def stop(self) -> None:
        """Stop the parts, the last one started first, so that nothing that was taken is dropped."""
        self.stopping = True
        await self._parts.aclose()
        log.info("service.stopped", replica=self.replica)

    async def _start(self, port: int, parts: AsyncExitStack) -> None:
        settings = self.settings
        self._lock.acquire()
        parts.callback(self._lock.release)
        parts.push_async_callback(asyncio.to_thread, self.tracing.shutdown, FLUSH_SECONDS)
        writing = engine.writing_engine(self._url)
        await asyncio.to_thread(self._prepare_store, writing)
        connections = settings.reader_connections
        self.readers = Readers(engine.reading_engine(self._url, connections), connections, settings.store_timeout)
        parts.push_async_callback(self.readers.stop)
        self.clock = Clock(floor=await self.readers.run(last_sign_of_life))
        self.writer = Writer(
            writing,
            WriterObserver(self.metrics),
            queue_limit=settings.writer_queue_limit,
            group_limit=settings.writer_group_limit,
        )
        self.metrics.writer_queue_depth.set_function(lambda: self.writer.waiting)
        self.writer.start()
        parts.push_async_callback(self.writer.stop)
        if settings.embedded:
            await self.writer.submit(CloseAll(self.clock()))
        self._build(port)
        await self.bus.start(self.realtime.receive)
        parts.push_async_callback(self.bus.stop)
        await self.leadership.renew()
        parts.push_async_callback(self.leadership.resign)
        parts.push_async_callback(self.alarms.stop)
        if self._own_sender is not None:
            parts.push_async_callback(self._own_sender.aclose)
        if self.push is not None:
            parts.push_async_callback(self.push.stop)
        parts.push_async_callback(self.realtime.stop)
        await self._take_snapshot()
        self._schedule(port)
        parts.callback(self.jobs.stop)

    def unready(self) -> list[str]:
        """Why this instance should get no traffic; empty when it should."""
        reasons = []
        if self.stopping:
            reasons.append("the service is stopping")
        if not self.writer.alive:
            reasons.append("the writer has ended")
        now, snapshot = self.clock(), self.snapshot
        if snapshot is None or now - snapshot.at > STALE_AFTER:
            reasons.append("the ledger could not be read for 60 s")
        elif now - max(snapshot.marks.get(Mark.JUDGED, 0), self._started_at) > STALE_AFTER:
            reasons.append("nothing could be judged for 60 s")
        elif self.alarms.incomplete_seconds * 1000 > STALE_AFTER:
            reasons.append("not every alert could be evaluated for 60 s")
        return reasons

    def _prepare_store(self, writing: Engine) -> None:
        try:
            with writing.connect() as connection:
                before = revision.current(connection)
            if before is None and self.settings.embedded:
                revision.create(writing)
            elif before != revision.NEWEST and self.settings.embedded:
                from monitor.store import migrations  # noqa: PLC0415 - Alembic is loaded where there is something to do

                migrations.upgrade(writing)
        except revision.UnknownRevisionError as error:
            raise StoreOutdatedError(str(error)) from error
        except SQLAlchemyError as error:
            raise StoreUnavailableError(f"the store {self._url!r} cannot be used: {describe(error)}") from error
        if before != revision.NEWEST and not self.settings.embedded:
            raise StoreOutdatedError(
                f"the store is at revision {before or 'none'}, this release needs {revision.NEWEST}:"
                " run `booking-monitor db upgrade`"
            )
        sqlite = engine.sqlite_version() if self.settings.embedded else None
        log.info("store.opened", sqlite=sqlite, revision_before=before, revision=revision.NEWEST)

    def _build(self, port: int) -> None:
        settings, now = self.settings, self.clock
        self._started_at = now()
        policy = RetryPolicy(
            settings.delivery_attempts,
            milliseconds(settings.delivery_first_delay),
            milliseconds(settings.delivery_longest_delay),
        )
        self.bus = self._open_bus()
        self.hub = Hub(
            per_provider=settings.subscriptions_per_provider,
            in_all=settings.subscriptions_limit,
            on_change=lambda transport, count: self.metrics.subscriptions[transport].set(count),
        )
        self.leadership = Leadership(self.writer, self.replica, now, alone=settings.embedded, on_gap=self.hub.close)
        self.metrics.leader.set_function(lambda: self.leadership.leads)
        self.realtime = RealtimeRelay(
            hub=self.hub,
            bus=self.bus,
            writer=self.writer,
            readers=self.readers,
            now=now,
            policy=policy,
            acknowledge_timeout=milliseconds(settings.acknowledge_timeout),
            replay_window=milliseconds(settings.replay_window),
            replica=self.replica,
            tracing=self.tracing,
        )
        self._own_sender = self._push_sender() if self._given_sender is None else None
        self.push = self.push_hosts = None
        if (sender := self._given_sender or self._own_sender) is not None:
            self.push_hosts = AllowedHosts.parse(settings.push_allowed_hosts)
            self.push = PushRelay(
                sender=sender,
                writer=self.writer,
                readers=self.readers,
                now=now,
                policy=policy,
                timeout=milliseconds(settings.push_timeout),
                concurrency=settings.push_concurrency,
                tracing=self.tracing,
            )
        self.desk = Desk(
            writer=self.writer,
            readers=self.readers,
            realtime=self.realtime,
            push=self.push,
            tracing=self.tracing,
            now=now,
            rules=IntakeRules(settings.default_currency, ZoneInfo(settings.legacy_timezone)),
            terms=Terms(
                grace=Grace.from_seconds(
                    settings.grace_chat_room, settings.grace_notification, settings.grace_realtime
                ),
                response_deadline=milliseconds(settings.response_deadline),
                chat_room_lifetime=milliseconds(settings.chat_room_lifetime),
                acknowledge_timeout=milliseconds(settings.acknowledge_timeout),
                push_timeout=None if self.push is None else milliseconds(settings.push_timeout),
            ),
        )
        self.platform = EmbeddedPlatform(
            self.readers, self.writer, milliseconds(settings.chat_room_lifetime), pushing=self.push is not None
        )
        self.journeys = Journeys(self.readers, self.platform)
        self.alarms = Alarms(
            settings=settings,
            objectives=self._objectives,
            path=self._objectives_path,
            url=self.settings.local_url(port),
            readers=self.readers,
            writer=self.writer,
            leadership=self.leadership,
            snapshot=lambda: self.snapshot,
            on_reload=lambda objectives: self.metrics.show_objectives(objectives.ratios),
            now=now,
        )
        self._judge = Judge(
            readers=self.readers,
            writer=self.writer,
            platform=self.platform,
            tracing=self.tracing,
            now=now,
            settle=milliseconds(settings.settle),
        )
        self._repairer = Repairer(
            readers=self.readers,
            writer=self.writer,
            platform=self.platform,
            now=now,
            overdue_window=milliseconds(settings.overdue_window),
            limit=settings.repair_attempts,
        )

    def _open_bus(self) -> Bus:
        if self.settings.nats_url is None:
            return NoBus()
        from monitor.pipeline.realtime.nats_bus import NatsBus  # noqa: PLC0415 - the client is loaded where it is used

        return NatsBus(self.settings.nats_url.get_secret_value(), self.replica, self.settings.environment)

    def _push_sender(self) -> PushSender | None:
        settings = self.settings
        if settings.vapid_private_key is None:
            return None
        from monitor.pipeline.push.keys import load_private_key  # noqa: PLC0415 - loaded where there is a key
        from monitor.pipeline.push.sender import PushSender  # noqa: PLC0415 - as above
        from monitor.pipeline.push.vapid import VapidSigner  # noqa: PLC0415 - as above

        return PushSender(
            VapidSigner(load_private_key(settings.vapid_private_key.get_secret_value()), settings.vapid_subject),
            AllowedHosts.parse(settings.push_allowed_hosts),
            timeout_seconds=settings.push_timeout,
            max_connections=settings.push_concurrency,
        )

    def _schedule(self, port: int) -> None:
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "clock": self._look_around,
            "lease": self.leadership.renew,
            "judge": self._run_judge,
            "repair": self._run_repairer,
            "snapshot": self._take_snapshot,
            "realtime_sweep": self.realtime.sweep,
            "realtime_park": self.realtime.park,
            "expire": self._expire,
            "retention": self._prune,
            "page": self.alarms.page,
        }
        if self.push is not None:
            work["push_sweep"] = self.push.sweep
        self.jobs = Jobs(self.metrics.jobs, self.clock)
        for name, do in work.items():
            self.jobs.add(name, JOBS[name], do)
        self.jobs.add(EVALUATE_JOB, self.settings.evaluation_interval, self.alarms.evaluate)
        self.jobs.add(HEARTBEAT_JOB, self.settings.heartbeat_interval, self._beat)
        if self.settings.canary_interval:
            self.jobs.add(CANARY_JOB, self.settings.canary_interval, functools.partial(self._run_canary, port))
        self.jobs.start()

    async def _look_around(self) -> None:
        self.clock.align()
        self.writer.give_up_after(self.settings.store_timeout)
        if self.writer.alive and self._lock.lost():
            log.critical("store.file_replaced", detail="the database file was moved or deleted; restart the service")
            self.writer.refuse("the database file was moved or deleted")
        self.metrics.clock_offset.set(self.clock.ahead / 1000)

    async def _run_judge(self) -> None:
        if self.leadership.leads:
            await self._judge.run(self.leadership.fence)

    async def _run_repairer(self) -> None:
        if self.leadership.leads:
            await self._repairer.run(self.leadership.fence)

    async def _beat(self) -> None:
        await self.alarms.beat(self.unready())

    async def _run_canary(self, port: int) -> None:
        if not self.leadership.leads:
            return
        if self._canary is None:
            self._canary = await asyncio.to_thread(self._load_canary, port)
        await self._canary.run(self.leadership.fence)

    def _load_canary(self, port: int) -> Canary:
        """Load it when it is first due: its clients of HTTP and WebSocket would put off the start."""
        from monitor.audit.canary import Canary  # noqa: PLC0415 - as said
        from monitor.audit.probe import Target  # noqa: PLC0415 - as said

        target = Target(self.settings.local_url(port), self.canary_token)
        return Canary(target=target, writer=self.writer, now=self.clock)

    async def _take_snapshot(self) -> None:
        snapshot = await self.readers.run(read_snapshot, self.clock(), milliseconds(self.settings.overdue_window))
        self.snapshot = snapshot
        self.metrics.update(snapshot)

    async def _expire(self) -> None:
        while True:
            expired = await self.writer.submit(ExpireUnanswered(self.clock(), EXPIRE_BATCH))
            for booking_id in expired:
                log.warning("booking.expired", booking_id=booking_id)
            if len(expired) < EXPIRE_BATCH:
                return

    async def _prune(self) -> None:
        settings = self.settings
        if not self.leadership.leads:
            return
        before = Retention.at(
            self.clock(),
            journeys=milliseconds(settings.retention_journeys),
            canaries=milliseconds(settings.retention_canaries),
            keys=milliseconds(settings.retention_idempotency_keys),
            counts=milliseconds(settings.retention_counts),
        )
        while await self.writer.submit(Prune(before, settings.retention_batch)):
            log.debug("retention.pruned")
