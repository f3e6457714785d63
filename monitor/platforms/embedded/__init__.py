"""Bookings that live in our own store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from monitor.domain.due import DueStage
from monitor.domain.judgement import Fact
from monitor.domain.vocabulary import Stage
from monitor.platforms.embedded.evidence import facts_of
from monitor.store import evidence
from monitor.store.leases import Fence
from monitor.store.readers import Readers
from monitor.store.repairs import RepairStage
from monitor.store.writer import Writer


class EmbeddedPlatform:
    """Reads evidence back from the store's rows, and writes the rows that are missing."""

    def __init__(self, readers: Readers, writer: Writer, chat_room_lifetime: int, *, pushing: bool = True) -> None:
        """Take the store, milliseconds, and whether pushes are sent at all: if not, none is owed."""
        self._readers = readers
        self._writer = writer
        self._chat_room_lifetime = chat_room_lifetime
        self._pushing = pushing

    async def look(self, due: Sequence[DueStage]) -> Mapping[DueStage, tuple[Fact, ...]]:
        """Read the rows that the stages call for, one kind of stages after the other."""
        by_kind: defaultdict[Stage, list[DueStage]] = defaultdict(list)
        for one in due:
            by_kind[one.stage].append(one)
        facts: dict[DueStage, tuple[Fact, ...]] = {}
        for stages in by_kind.values():
            found = await self._readers.run(evidence.read, stages, pushing=self._pushing)
            facts.update((one, facts_of(one, found)) for one in stages)
        return facts

    async def repair(self, due: DueStage, now: int, fence: Fence | None) -> bool:
        """Write what is missing of a stage, or plan its delivery anew."""
        return await self._writer.submit(RepairStage(due, now, self._chat_room_lifetime, fence))
