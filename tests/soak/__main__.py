"""`python -m soak`: hurt each world for a while, print what was done and what still holds; a broken promise exits 1."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from support.traffic import Traffic
from support.waiting import eventually

from soak.worlds import WORLDS, Promises, World

RECOVERY_SECONDS = 60
"""Within which bookings must be taken again after a fault is undone, and all must be at rest at the end."""
CUSTOMERS = 8
SHOWN = 3
"""Of the places where a promise does not hold."""


@dataclass
class Diary:
    """What was done to one world, and how it went."""

    world: str
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds from the end of a fault to the next booking, by fault."""
    bookings: int = 0
    refused: int = 0
    unanswered: int = 0
    pages: int = 0
    promises: Promises = field(default_factory=dict)
    now: str = "starting"

    @property
    def kept(self) -> bool:
        """Whether every promise holds."""
        return bool(self.promises) and not any(self.promises.values())


async def soak(world: World, seconds: float, diary: Diary) -> None:
    """Hurt a world for some seconds, let it come to rest, and recount."""
    async with Traffic(world.url, customers=CUSTOMERS, seed=world.chance.randrange(1 << 30)) as traffic:
        told = traffic.told

        def note() -> None:
            diary.bookings, diary.refused = len(told.made), told.statuses[503]
            diary.unanswered, diary.pages = told.unreached.total(), len(world.pagerduty.events)

        async def taken() -> bool:
            note()
            return len(told.made) >= wanted

        async def rested() -> bool:
            return await asyncio.to_thread(world.resting)

        wanted = 0
        end = time.monotonic() + seconds
        left: list[int] = []
        while time.monotonic() < end:
            left = left or world.chance.sample(range(len(world.faults)), len(world.faults))
            fault = world.faults[left.pop()]
            diary.now = fault.name
            await asyncio.sleep(world.chance.uniform(0, 1.5))
            await fault.strike()
            undone, wanted = time.monotonic(), len(told.made) + CUSTOMERS
            what = f"bookings are taken after: {fault.name}"
            await eventually(taken, what=what, timeout_seconds=RECOVERY_SECONDS)
            diary.recoveries[fault.name].append(time.monotonic() - undone)
        diary.now = "coming to rest"
        await traffic.stop_booking()
        note()
        await eventually(rested, what="all is judged, heard and paged", timeout_seconds=RECOVERY_SECONDS)
        note()
        diary.now = "recounting"
        diary.promises = await asyncio.to_thread(world.promises, told)
        diary.now = "done"


def show(diaries: list[Diary]) -> Group:
    """Everything so far, as tables."""
    tables: list[Table] = []
    for diary in diaries:
        title = (
            f"{diary.world}: {diary.bookings:,} bookings, {diary.refused:,} times 503,"
            f" {diary.unanswered:,} requests cut off, {diary.pages} pages ({diary.now})"
        )
        done = Table("fault", "times", "bookings again after, median", "slowest", title=title, title_justify="left")
        for name, spans in sorted(diary.recoveries.items()):
            done.add_row(name, str(len(spans)), f"{statistics.median(spans):.2f} s", f"{max(spans):.2f} s")
        tables.append(done)
        if diary.promises:
            held = Table("what must hold", "", title_justify="left")
            for name, broken in diary.promises.items():
                held.add_row(name, "[green]holds[/]" if not broken else f"[red]broken {len(broken)} times[/]")
                for line in broken[:SHOWN]:
                    held.add_row(f"    {line}", "")
            tables.append(held)
    return Group(*tables)


def main(arguments: list[str]) -> int:
    """Run the soak."""
    parser = argparse.ArgumentParser(prog="soak", description="Mixed faults under load, and a recount afterwards.")
    parser.add_argument("--seconds", type=float, default=180, help="how long in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=time.time_ns() % (1 << 30), help="repeat a run's choices")
    options = parser.parse_args(arguments)
    if options.seconds <= 0:
        parser.error("--seconds is more than 0")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"soak for {options.seconds:g} s with --seed {options.seed}")
    worlds = tuple(WORLDS)
    diaries: list[Diary] = []
    with Live(console=console, get_renderable=lambda: show(diaries), refresh_per_second=2, transient=True):
        for kind in worlds:
            diary = Diary(kind.name)
            diaries.append(diary)
            with kind(random.Random(options.seed)) as world:  # noqa: S311 - no secret
                try:
                    asyncio.run(soak(world, options.seconds / len(worlds), diary))
                except (TimeoutError, RuntimeError, subprocess.TimeoutExpired) as error:
                    diary.promises = {f"it recovers from each fault within {RECOVERY_SECONDS} s": [str(error)]}
    console.print(show(diaries))
    kept = all(diary.kept for diary in diaries)
    console.print("[bold green]every promise holds[/]" if kept else "[bold red]promises were broken[/]")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
