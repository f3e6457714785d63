"""What the judge and the repairer need of the place where bookings live: the one interface of all platforms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.domain.due import DueStage
from monitor.domain.judgement import Fact
from monitor.store.leases import Fence


class Platform(Protocol):
    """What the judge and the repairer need of the place where bookings live."""

    async def look(self, due: Sequence[DueStage]) -> Mapping[DueStage, tuple[Fact, ...]]:
        """Look for the things themselves, where they must be, for stages of any kinds.

        Raises StoreUnavailableError when it could not be looked: then nothing is judged.
        """
        ...

    async def repair(self, due: DueStage, now: int, fence: Fence | None) -> bool:
        """Make a missing stage good; say whether there is now reason to look again.

        Raises StoreUnavailableError, or FencedOffError where somebody else has taken over.
        """
        ...
