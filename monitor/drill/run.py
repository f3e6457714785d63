"""Running the drill: every scenario in a copy of its own, side by side, with a timeline of what was seen."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx
import orjson
from websockets.exceptions import WebSocketException

from monitor.domain.rows import Fields
from monitor.domain.vocabulary import PageState
from monitor.drill.faults import GOOD_BOOKINGS, Scenario, well_behaved_subscriber
from monitor.drill.receiver import ROUTING_KEY, Receiver
from monitor.drill.sealed import GRACE_SECONDS, Sealed, seal, sealed, serving
from monitor.settings import Settings
from monitor.store.alerts import find_incident, incident_page
from monitor.store.writer import StoreUnavailableError

POLL_SECONDS = 0.1
LONGEST_SECONDS = 240.0
"""For one step to be seen; after it the scenario has failed."""


class Moment(StrEnum):
    """What is seen of a scenario, in this order."""

    FAULT = "fault"
    FIRST_BAD = "first bad booking judged"
    FIRING = "alert firing"
    PAGED = "page accepted"
    REMOVED = "fault removed"
    RESOLVED = "resolved"
    PAGE_RESOLVED = "page resolved"


@dataclass(slots=True)
class Course:
    """How a scenario went."""

    scenario: Scenario
    seconds: dict[Moment, float] = field(default_factory=dict)
    """When each moment was seen, from the fault on."""
    summary: str = ""
    """What the page said."""
    cause: str | None = None
    """The cause class that the page named."""
    failure: str | None = None
    done: bool = False

    @property
    def ok(self) -> bool:
        """Whether it went as it must."""
        return self.done and self.failure is None


class _FailedError(Exception):
    """The scenario did not go as it must."""


async def run_drill(
    settings: Settings,
    scenarios: tuple[Scenario, ...],
    *,
    page: bool,
    progress: Callable[[list[Course]], None],
) -> list[Course]:
    """Run scenarios side by side; `progress` is told whenever something may have changed.

    With `page` the pages go to the PagerDuty of the settings, else to a receiver of the drill's own.
    """
    courses = [Course(scenario) for scenario in scenarios]
    receiver = Receiver()
    with (
        tempfile.TemporaryDirectory(prefix="booking-monitor-drill-") as directory,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        key, url = ROUTING_KEY, f"http://127.0.0.1:{listening.getsockname()[1]}"
        if page and settings.pagerduty_routing_key is not None:
            key, url = settings.pagerduty_routing_key.get_secret_value(), settings.pagerduty_url
        async with serving(receiver.app, settings, listening):
            plays = [
                asyncio.create_task(_play(course, settings, Path(directory), receiver, key, url, page=page))
                for course in courses
            ]
            try:
                await _until_played(plays, lambda: progress(courses))
            finally:
                await _break_off(plays)
    progress(courses)
    return courses


async def _until_played(plays: list[asyncio.Task[None]], show: Callable[[], None]) -> None:
    going = set(plays)
    while going:
        show()
        done, going = await asyncio.wait(going, timeout=POLL_SECONDS)
        for play in done:
            play.result()


async def _break_off(plays: list[asyncio.Task[None]]) -> None:
    """End what still goes on, and the threads at work for it: they use files that are removed next."""
    for play in plays:
        play.cancel()
    await asyncio.gather(*plays, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_default_executor()


async def _play(
    course: Course, settings: Settings, directory: Path, receiver: Receiver, key: str, url: str, *, page: bool
) -> None:
    home = directory / course.scenario.name
    home.mkdir()
    try:
        async with sealed(
            seal(settings, home, routing_key=key, pagerduty_url=url), sender=course.scenario.sender
        ) as copy:
            dedup_key = await _follow(course, copy)
        if not page:
            _check_receiver(dedup_key, receiver)
    except (_FailedError, StoreUnavailableError, WebSocketException, httpx.HTTPError, OSError) as error:
        course.failure = f"{type(error).__name__}: {error}".removeprefix("_FailedError: ")
    course.done = True


async def _follow(course: Course, copy: Sealed) -> str:
    """Note each moment of a scenario as it is seen, and return the key of its page."""
    begun = time.monotonic()

    def note(moment: Moment) -> None:
        course.seconds[moment] = time.monotonic() - begun

    note(Moment.FAULT)
    rate = course.scenario.reason is not None
    async with course.scenario.fault(copy):
        if rate:
            await _wait("no booking was judged bad", lambda: _first_bad(copy))
            note(Moment.FIRST_BAD)
            incident = await _wait("the alert did not fire", lambda: _incident(copy, course.scenario))
            note(Moment.FIRING)
            await _wait("the page was not accepted", lambda: _page_sent(copy, incident, "trigger"))
            note(Moment.PAGED)
        else:
            await _wait("the alarm was not raised without the store", lambda: _blind_told(copy))
            note(Moment.FIRING)
            note(Moment.PAGED)
    note(Moment.REMOVED)
    if rate:
        async with well_behaved_subscriber(copy):
            for _ in range(GOOD_BOOKINGS):
                await copy.book()
            await asyncio.sleep(2 * GRACE_SECONDS)
    incident = await _wait("the incident did not resolve", lambda: _incident(copy, course.scenario, resolved=True))
    note(Moment.RESOLVED)
    resolve = await _wait("the page did not resolve", lambda: _page_sent(copy, incident, "resolve"))
    note(Moment.PAGE_RESOLVED)
    content = orjson.loads(incident["report"])
    course.summary, course.cause = content["summary"], content["details"].get("cause_class")
    expected = course.scenario.reason
    if expected is not None and course.cause != expected.value:
        raise _FailedError(f"the page names {course.cause}, not {expected.value}")
    dedup_key: str = resolve["dedup_key"]
    return dedup_key


def _check_receiver(key: str, receiver: Receiver) -> None:
    """The receiver must have a trigger under the key, a resolve as the last word of it, and have refused nothing."""
    if receiver.refused:
        raise _FailedError(f"a page was refused: {receiver.refused[0]}")
    actions = [event["event_action"] for event in receiver.events if event["dedup_key"] == key]
    if "trigger" not in actions:
        raise _FailedError(f"{key} was not triggered at the receiver")
    if actions[-1] != "resolve":
        raise _FailedError(f"{key} was not resolved at the receiver")


async def _wait(what: str, look: Callable[[], Awaitable[Fields | None]]) -> Fields:
    deadline = time.monotonic() + LONGEST_SECONDS
    while time.monotonic() < deadline:
        found = await look()
        if found is not None:
            return found
        await asyncio.sleep(POLL_SECONDS)
    raise _FailedError(f"{what} within {LONGEST_SECONDS:g} s")


async def _first_bad(copy: Sealed) -> Fields | None:
    snapshot = copy.service.snapshot
    if snapshot is None:
        return None
    bad = sum(count.bad for count in snapshot.windows.values()) + sum(snapshot.drift.values())
    return {"bad": bad} if bad else None


async def _incident(copy: Sealed, scenario: Scenario, *, resolved: bool = False) -> Fields | None:
    rows = await copy.service.readers.run(incident_page, before=None, active=False, limit=50)
    for row in rows:
        if row["alertname"] == scenario.alert.value and row["severity"] == "critical":
            return row if not resolved or row["resolved_at"] is not None else None
    return None


async def _page_sent(copy: Sealed, incident: Fields, action: str) -> Fields | None:
    found = await copy.service.readers.run(find_incident, incident["number"])
    if found is None:
        return None
    for row in found.pages:
        if row["action"] == action and row["state"] == PageState.SENT.value:
            return row
    return None


async def _blind_told(copy: Sealed) -> Fields | None:
    told = copy.service.alarms.without_store.told
    return {"told": sorted(told)} if told else None
