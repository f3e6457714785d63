"""The judge: gives every stage that has come due its outcome, once."""

from __future__ import annotations

from monitor.audit.platform import Platform
from monitor.domain.due import Judged
from monitor.domain.judgement import judge
from monitor.domain.ledger import Mark
from monitor.domain.times import Now
from monitor.domain.traces import trace_id
from monitor.domain.vocabulary import SLIS, Stage
from monitor.store.judging import RecordMark, RecordVerdicts, VerdictsOutdatedError, find_due
from monitor.store.leases import Fence
from monitor.store.readers import Readers
from monitor.store.writer import Writer
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import Tracing

log = get_logger(__name__)

LOOK = 1_000
"""Stages that are looked for at once."""
BATCH = 200
"""Stages that one transaction judges: few enough that no booking waits long behind it."""
MARK_INTERVAL = 5_000
"""Milliseconds after which it is noted that judging goes on, though nothing is due."""


class Judge:
    """Finds what is due, has the platform looked at, and writes the verdicts down."""

    def __init__(
        self, *, readers: Readers, writer: Writer, platform: Platform, tracing: Tracing, now: Now, settle: int
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._platform = platform
        self._tracing = tracing
        self._now = now
        self._settle = settle
        self._marked_at = 0

    async def run(self, fence: Fence | None) -> int:
        """Judge all that is due, and return how many stages that was.

        Raises StoreUnavailableError or FencedOffError; what was judged until then stays judged.
        """
        judged = 0
        while True:
            due = await self._readers.run(find_due, self._now() - self._settle, LOOK)
            facts = await self._platform.look(due)
            verdicts = [Judged(one, judge(one.due_at, facts[one])) for one in due]
            for start in range(0, len(verdicts), BATCH):
                judged += await self._record(tuple(verdicts[start : start + BATCH]), fence)
            if len(due) < LOOK:
                break
        now = self._now()
        if judged:
            self._marked_at = now
        elif now - self._marked_at >= MARK_INTERVAL:
            await self._writer.submit(RecordMark(Mark.JUDGED, now, fence))
            self._marked_at = now
        return judged

    async def _record(self, verdicts: tuple[Judged, ...], fence: Fence | None) -> int:
        try:
            await self._writer.submit(RecordVerdicts(verdicts, self._now(), fence))
        except VerdictsOutdatedError as error:
            log.warning("judge.outdated", error=str(error))
            return 0
        for one in verdicts:
            self._tell(one)
        return len(verdicts)

    def _tell(self, one: Judged) -> None:
        due, verdict = one.due, one.verdict
        bad = verdict.outcome.bad
        if self._tracing.keeps(due.traceparent, bad=bad):
            self._trace(one)
        if bad and due.stage in SLIS:
            log.error(
                _FAILURES[due.stage],
                booking_id=due.booking_id,
                provider_id=due.provider_id,
                traffic=due.traffic.value,
                outcome=verdict.outcome.value,
                reason=verdict.reason.value,
                trace_id=trace_id(due.traceparent),
            )

    def _trace(self, one: Judged) -> None:
        due, verdict = one.due, one.verdict
        attributes = {
            "booking.id": due.booking_id,
            "booking.stage": due.stage.value,
            "booking.traffic": due.traffic.value,
            "booking.outcome": verdict.outcome.value,
            "booking.reason": verdict.reason.value,
        }
        end = due.due_at if verdict.evidence_at is None else max(verdict.evidence_at, due.created_at)
        error = verdict.reason.value if verdict.outcome.bad else None
        self._tracing.record_always(
            f"stage.{due.stage.value}", due.traceparent, due.created_at, end, attributes, error=error
        )


_FAILURES = {
    Stage.CHAT_ROOM: "chat_room.creation_failed",
    Stage.NOTIFICATION: "notification.delivery_failed",
    Stage.REALTIME: "realtime.match_failed",
}
