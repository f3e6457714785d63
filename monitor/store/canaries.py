"""What became of the canaries."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, update

from monitor.domain.ledger import Counter, Mark
from monitor.domain.vocabulary import CanaryResult
from monitor.store.commands import Single
from monitor.store.leases import Fence, check_fence
from monitor.store.statements import add_counts, upsert
from monitor.store.tables import counters, marks


@dataclass(frozen=True, slots=True)
class RecordCanary(Single[None]):
    """Counts a canary and, if it came through, remembers when."""

    result: CanaryResult
    now: int
    """Milliseconds since the epoch."""
    fence: Fence | None

    def run(self, connection: Connection) -> None:
        """Write it. Raises FencedOffError."""
        check_fence(connection, self.fence)
        add_counts(connection, counters, [(Counter.CANARY_RUNS.value, self.result.value, "", 1)])
        if self.result is not CanaryResult.OK:
            add_counts(connection, counters, [(Counter.CANARY_FAILURES.value, "", "", 1)])
        else:
            connection.execute(update(counters).where(counters.c.name == Counter.CANARY_FAILURES.value).values(total=0))
            row = {"name": Mark.CANARY_SUCCEEDED.value, "at": self.now}
            upsert(connection, marks, row, keep_larger=marks.c.at)
