"""The repairer: makes good what was found missing, and notes the evidence that came late."""

from __future__ import annotations

from monitor.audit.platform import Platform
from monitor.domain.judgement import judge
from monitor.domain.repairing import has_failed, repair_is_due
from monitor.domain.times import Now
from monitor.domain.vocabulary import RepairResult
from monitor.store.leases import Fence
from monitor.store.readers import Readers
from monitor.store.repairs import OverdueStage, RecordRepair, find_overdue
from monitor.store.writer import Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

BATCH = 500
"""Overdue stages that one run looks at, the longest due first."""


class Repairer:
    """Looks again at what is overdue, repairs it through the platform, and keeps account."""

    def __init__(
        self,
        *,
        readers: Readers,
        writer: Writer,
        platform: Platform,
        now: Now,
        overdue_window: int,
        limit: int,
    ) -> None:
        self._readers = readers
        self._writer = writer
        self._platform = platform
        self._now = now
        self._overdue_window = overdue_window
        self._limit = limit

    async def run(self, fence: Fence | None) -> None:
        """Go over what is overdue once. Raises StoreUnavailableError or FencedOffError."""
        overdue = await self._readers.run(find_overdue, self._now() - self._overdue_window, BATCH)
        missing = await self._note_evidence(overdue, fence)
        tried: list[OverdueStage] = []
        for one in missing:
            now = self._now()
            if has_failed(repairs=one.repairs, repaired_at=one.repaired_at, limit=self._limit, now=now):
                await self._record(one, now, RepairResult.FAILED, fence)
                log.error("stage.not_repaired", **_about(one))
            elif repair_is_due(
                repairs=one.repairs, repaired_at=one.repaired_at, limit=self._limit, now=now
            ) and await self._platform.repair(one.due, now, fence):
                # A further try says that the one before did not help.
                await self._record(one, now, RepairResult.FAILED if one.repairs else None, fence)
                tried.append(OverdueStage(one.due, one.repairs + 1, now))
        await self._note_evidence(tried, fence)

    async def _record(self, one: OverdueStage, now: int, result: RepairResult | None, fence: Fence | None) -> None:
        """Count a try, or beyond the limit that it was the last; with the result of the one before."""
        await self._writer.submit(RecordRepair(one.due, now, tried=True, evidence_at=None, result=result, fence=fence))

    async def _note_evidence(self, overdue: list[OverdueStage], fence: Fence | None) -> list[OverdueStage]:
        """Write down what evidence there is by now, and return what is still without."""
        facts = await self._platform.look([one.due for one in overdue])
        missing = []
        for one in overdue:
            evidence_at = judge(one.due.due_at, facts[one.due]).evidence_at
            if evidence_at is None:
                missing.append(one)
                continue
            result = RepairResult.REPAIRED if one.repairs else None
            await self._writer.submit(
                RecordRepair(one.due, self._now(), tried=False, evidence_at=evidence_at, result=result, fence=fence)
            )
            log.info("stage.repaired" if one.repairs else "stage.evidence_late", **_about(one))
        return missing


def _about(one: OverdueStage) -> dict[str, str | int]:
    return {"booking_id": one.due.booking_id, "stage": one.due.stage.value, "repairs": one.repairs}
