"""Which replica judges: the one that holds the lease."""

from __future__ import annotations

from collections.abc import Callable

from monitor.domain.times import Now
from monitor.store.leases import LEADER, BuryReplicas, Fence, ReleaseLeases, RenewLease, replica_lease
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

LEASE_MILLISECONDS = 7_000
"""After a holder's death another replica takes over within this and one renewal: in less than 10 s."""
RENEW_SECONDS = 1.5
"""Pause between two renewals."""


class Leadership:
    """Keeps the lease, or tries to get it. With the embedded store there is one process, and it leads.

    A replica that was paused, or cut off from the store, for longer than its lease was taken for dead: the others
    have closed its live subscriptions. Then `on_gap` is called, so that its subscribers come back as new ones.
    """

    def __init__(self, writer: Writer, replica: str, now: Now, *, alone: bool, on_gap: Callable[[], None]) -> None:
        self._writer = writer
        self._replica = replica
        self._now = now
        self._alone = alone
        self._on_gap = on_gap
        self._renewed_at: int | None = None
        self._leads_until = 0
        self.fence: Fence | None = None

    @property
    def leads(self) -> bool:
        """Whether this replica may judge now. What it writes shows `fence` all the same."""
        return self._alone or (self.fence is not None and self._now() < self._leads_until)

    async def renew(self) -> None:
        """Say that this replica is alive, keep or take the lease, and bury the replicas that are dead."""
        if self._alone:
            return
        asked_at = self._now()
        await self._writer.submit(RenewLease(replica_lease(self._replica), self._replica, LEASE_MILLISECONDS, asked_at))
        if self._renewed_at is not None and self._now() - self._renewed_at > LEASE_MILLISECONDS:
            log.warning("leadership.gap", replica=self._replica, milliseconds=self._now() - self._renewed_at)
            self._on_gap()
        self._renewed_at = asked_at
        fence = await self._writer.submit(RenewLease(LEADER, self._replica, LEASE_MILLISECONDS, asked_at))
        if fence is not None:  # before it leads: who judges asks which subscriptions were live
            await self._writer.submit(BuryReplicas(self._now(), LEASE_MILLISECONDS, fence))
        if fence != self.fence:
            log.info("leadership.changed", replica=self._replica, leads=fence is not None)
        self.fence = fence
        self._leads_until = asked_at + LEASE_MILLISECONDS

    async def resign(self) -> None:
        """Let go of the lease, so that another replica takes over at once."""
        self.fence = None
        if self._alone:
            return
        try:
            await self._writer.submit(ReleaseLeases(self._replica))
        except StoreUnavailableError as error:
            log.warning("leadership.not_released", error=str(error))
