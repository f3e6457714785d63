"""The live view of `booking-monitor watch`: journeys as they pass, in the terminal."""

from __future__ import annotations

import asyncio
from datetime import datetime

from pydantic import AwareDatetime, BaseModel
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from monitor.calling import call
from monitor.domain.booking import Id
from monitor.domain.lifecycle import Status
from monitor.domain.vocabulary import Outcome, Stage, Traffic

REFRESH_SECONDS = 1.0
ROWS = 30
"""Journeys that are shown at most."""

TITLE = "Journeys, newest first (end of the id); stages by the time until their evidence"
_HEADINGS = {
    Stage.CHAT_ROOM: "room",
    Stage.MESSAGE: "message",
    Stage.NOTIFICATION: "notified",
    Stage.PUSH: "push",
    Stage.REALTIME: "realtime",
}

_STYLES = {
    Outcome.GOOD: "green",
    Outcome.LATE: "yellow",
    Outcome.MISSING: "bold red",
    Outcome.FAILED: "bold red",
    Outcome.EXEMPT: "dim",
}

_LEAST_WIDTHS = {"time": 8, "booking": 12}
"""Characters. All columns together fit into a terminal of 80; what is wider is cut where there is no more room."""


class PassingStage(BaseModel):
    """What is shown of a stage."""

    stage: Stage
    evidence_at: AwareDatetime | None
    outcome: Outcome | None


class Passing(BaseModel):
    """What is shown of a journey."""

    booking_id: Id
    provider_id: Id
    traffic: Traffic
    status: Status
    created_at: AwareDatetime
    stages: list[PassingStage]


async def watch_journeys(console: Console, url: str, token: str | None, provider_id: str | None, *, once: bool) -> None:
    """Show journeys until cancelled. Raises CallError when the instance does not answer as it should."""
    if once:
        console.print(journey_table(await _fetch(url, token, provider_id)))
        return
    with Live(journey_table(await _fetch(url, token, provider_id)), console=console, auto_refresh=False) as live:
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            live.update(journey_table(await _fetch(url, token, provider_id)), refresh=True)


async def _fetch(url: str, token: str | None, provider_id: str | None) -> list[Passing]:
    query: dict[str, str | int] = {"limit": ROWS}
    if provider_id is not None:
        query["provider_id"] = provider_id
    return await call(url, token, "GET", "/v1/journeys", "journeys", list[Passing], params=query)


def journey_table(journeys: list[Passing]) -> Table:
    """Journeys as a table: one row each, one column a stage."""
    table = Table(title_justify="left", box=None, header_style="bold underline", padding=(0, 1, 0, 0))
    for heading in ("time", "booking", "provider", "status", *_HEADINGS.values()):
        least = _LEAST_WIDTHS.get(heading, max(len(heading), 6))
        # Where there is no room rich narrows what may wrap, the widest first; these cells are cut instead.
        table.add_column(heading, no_wrap=heading in ("time", "booking"), min_width=least)
    table.title = TITLE if journeys else "No journeys yet"
    for journey in journeys[:ROWS]:
        stages = {stage.stage: stage for stage in journey.stages}
        cells = [
            Text(journey.provider_id),
            Text("canary", "cyan") if journey.traffic is Traffic.CANARY else Text(journey.status.value),
            *(_stage(journey.created_at, stages.get(stage)) for stage in _HEADINGS),
        ]
        for cell in cells:
            cell.no_wrap, cell.overflow = True, "ellipsis"
        table.add_row(f"{journey.created_at:%H:%M:%S}", journey.booking_id[-12:], *cells)
    return table


def _stage(created_at: datetime, stage: PassingStage | None) -> Text:
    if stage is None:
        return Text("")
    seconds = None if stage.evidence_at is None else (stage.evidence_at - created_at).total_seconds()
    outcome = stage.outcome
    when = "" if seconds is None else f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
    if outcome is None:
        return Text(when or "…", "green" if when else "dim")
    if outcome in (Outcome.GOOD, Outcome.EXEMPT):
        return Text(when or outcome.value, _STYLES[outcome])
    return Text(" ".join(part for part in (outcome.value, when) if part), _STYLES[outcome])
