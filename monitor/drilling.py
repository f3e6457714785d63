"""What `booking-monitor drill` shows: the scenarios as they go, then the timeline of each."""

from __future__ import annotations

import asyncio
import sys
import tempfile

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.drill.faults import SCENARIOS, Scenario
from monitor.drill.run import Course, Moment, run_drill
from monitor.settings import Settings
from monitor.stopping import until_stopped
from monitor.telemetry import logs


def drill(console: Console, settings: Settings, names: list[str], *, page: bool) -> list[Course]:
    """Run the drill with a live timeline.

    Raises ValueError for a scenario that does not exist, and StoppedError when a signal stopped it.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in names:
        if name not in known:
            raise ValueError(f"there is no scenario {name!r}; there are {', '.join(known)}")
    chosen: tuple[Scenario, ...] = tuple(known[name] for name in names) or SCENARIOS
    with tempfile.TemporaryFile() as log, Live(console=console, auto_refresh=False, transient=True) as live:
        logs.configure("warning", logs.LogFormat.JSON, log)

        def progress(courses: list[Course]) -> None:
            live.update(timeline(courses), refresh=True)

        courses = asyncio.run(until_stopped(run_drill(settings, chosen, page=page, progress=progress)))
        if any(not course.ok for course in courses):
            log.seek(0)
            sys.stderr.write(log.read().decode()[-_LOG_CHARACTERS:])
    console.print(timeline(courses))
    for course in courses:
        if course.summary:
            console.print(f"[bold]{course.scenario.title}[/]: {course.summary}", highlight=False)
    return courses


_LOG_CHARACTERS = 8_000
_HEADINGS = {
    Moment.FIRST_BAD: "judged",
    Moment.FIRING: "firing",
    Moment.PAGED: "paged",
    Moment.REMOVED: "removed",
    Moment.RESOLVED: "resolved",
    Moment.PAGE_RESOLVED: "page ends",
}


def timeline(courses: list[Course]) -> Table:
    """The scenarios with the seconds from the fault to each moment."""
    table = Table(
        box=SIMPLE_HEAD, title="Fire drill: seconds from the fault", title_justify="left", padding=(0, 1, 0, 0)
    )
    table.add_column("fault")
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("cause named")
    table.add_column("")
    for course in courses:
        cells = [Text(f"{course.seconds[moment]:.1f}" if moment in course.seconds else "") for moment in _HEADINGS]
        table.add_row(course.scenario.title, *cells, course.cause or "", _verdict(course))
    return table


def _verdict(course: Course) -> Text:
    if course.failure is not None:
        return Text(f"FAIL: {course.failure}", "bold red")
    return Text("PASS", "green") if course.done else Text("…", "dim")
