"""The canary: a probe at intervals, whose result stands in the ledger."""

from __future__ import annotations

from monitor.audit.probe import Target, probe
from monitor.domain.times import Now
from monitor.domain.vocabulary import CanaryResult
from monitor.store.canaries import RecordCanary
from monitor.store.leases import Fence
from monitor.store.writer import Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)


class Canary:
    """Sends a probe through the service's own public API.

    Its booking is not removed by the probe: it is judged like every other one and goes with its retention.
    """

    def __init__(self, *, target: Target, writer: Writer, now: Now) -> None:
        self._target = target
        self._writer = writer
        self._now = now

    async def run(self, fence: Fence | None) -> None:
        """Send one probe and write down how it went."""
        report = await probe(self._target, clean_up=False)
        result = CanaryResult.OK if report.ok else CanaryResult.FAILED
        if report.ok:
            log.info("canary.passed", booking_id=report.booking_id)
        else:
            log.error(
                "canary.failed",
                booking_id=report.booking_id,
                steps={step.value: error for step, error in report.errors.items()},
            )
        await self._writer.submit(RecordCanary(result, self._now(), fence))
