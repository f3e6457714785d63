"""What the status page says, from values: what is wrong first, and never more than is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.objectives import OBJECTIVES

from monitor.alerting.payload import BookingRef, Cause, IncidentReport, Link, Links, build
from monitor.domain.ledger import Count, Mark, Overdue, Snapshot
from monitor.domain.objectives import Maintenance
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import (
    SLIS,
    AlertName,
    DeliveryState,
    PageChannel,
    PageState,
    Reason,
    Severity,
    Stage,
    Traffic,
    Window,
)
from monitor.store.status import CanaryRun, OverdueBooking, Reading
from monitor.web.pages.facts import Facts, Level, verdict
from monitor.web.pages.formats import NO_DATA, length, money, share
from monitor.web.pages.views import status

NOW = 1_795_176_000_000
BOOKING = "01a2043e-c2a5-73d5-a2b8-4e92e8685012"
EMPTY = {sli: (Count(),) * 12 for sli in SLIS}


def facts(**changes: Any) -> Facts:
    snapshot = Snapshot(at=NOW, marks={Mark.JUDGED: NOW - SECOND})
    base = Facts(NOW, "production", False, snapshot, OBJECTIVES, Reading(), EMPTY, EMPTY, NOW, ("pagerduty",))  # noqa: FBT003 - it is no drill
    return replace(base, **changes)


def seen(count: Count, traffic: Traffic = Traffic.REAL, **more: Any) -> Snapshot:
    """A snapshot with the same counts for every SLI and window."""
    windows = {(sli, traffic, window): count for sli in SLIS for window in Window}
    return Snapshot(at=NOW, windows=windows, marks={Mark.JUDGED: NOW - SECOND}, **more)


def incident(number: int = 1, severity: Severity = Severity.CRITICAL, **changes: Any) -> dict[str, Any]:
    report = IncidentReport(
        number=number,
        alertname=AlertName.CHAT_ROOM_LOW,
        severity=severity,
        environment="production",
        fired_at=NOW - MINUTE,
        evaluated_at=NOW,
        sli=Stage.CHAT_ROOM,
        traffic=Traffic.REAL,
        events=9,
        bad=7,
        since=NOW - HOUR,
        objective=0.95,
        cause=Cause(Reason.NEVER_ATTEMPTED),
        first_bad=BookingRef(BOOKING, NOW - HOUR),
        last_good=BookingRef(BOOKING, NOW - 2 * HOUR),
        bookings=(BOOKING,),
        links=Links(runbook="https://runbooks.example/x"),
    )
    row = {
        "number": number,
        "alertname": report.alertname.value,
        "severity": severity.value,
        "active_at": NOW - MINUTE,
        "fired_at": NOW - MINUTE,
        "resolved_at": None,
        "acknowledged_at": None,
        "report": build(report).model_dump_json(),
    }
    return row | changes


def parts(found: Facts) -> dict[str, str]:
    return status.sections(found) | status.plots(found)


def test_with_nothing_to_judge_no_rate_is_shown_and_nothing_is_called_well() -> None:
    found = facts()
    assert verdict(found).level is Level.IDLE
    shown = parts(found)
    for sli in SLIS:
        assert shown[f"rate-{sli.value}"].count(NO_DATA) == 3
        assert "100 %" not in shown[f"rate-{sli.value}"]


def test_good_rates_and_nothing_overdue_are_well() -> None:
    found = facts(snapshot=seen(Count(100, 1)))
    assert verdict(found).level is Level.GOOD
    assert verdict(found).headline == "All is well"


def test_a_healthy_canary_does_not_make_real_traffic_well() -> None:
    found = facts(snapshot=seen(Count(100), Traffic.CANARY))
    assert verdict(found).level is Level.IDLE
    assert NO_DATA in parts(found)["rate-realtime"]


def test_a_rate_below_its_objective_without_proof_is_a_warning_and_with_an_alert_it_is_bad() -> None:
    doubtful = facts(snapshot=seen(Count(10, 1)))
    assert verdict(doubtful).level is Level.WARN
    assert verdict(doubtful).notes[0] == "Chat room creation is below its objective"
    alerts = {(AlertName.CHAT_ROOM_LOW.value, "critical", "chat_room", "real"): "firing"}
    proven = facts(snapshot=seen(Count(10, 1), alerts=alerts), reading=Reading(open_incidents=[incident()]))
    assert verdict(proven).level is Level.BAD
    assert 'class="figure bad"' in parts(proven)["rate-chat_room"]
    assert 'class="figure warn"' in parts(proven)["rate-realtime"]


def test_the_gravest_alert_stands_first_and_says_why() -> None:
    rows = [incident(3, Severity.WARNING), incident(2), incident(1)]
    found = facts(reading=Reading(open_incidents=rows))
    assert verdict(found).headline == "2 critical alerts and 1 warning firing"
    firing = parts(found)["firing"]
    assert [firing.index(f"/incidents/{number}") for number in (2, 1, 3)] == sorted(
        firing.index(f"/incidents/{number}") for number in (1, 2, 3)
    )
    assert "Nothing tried to make the chat room" in firing
    assert f'href="/bookings/{BOOKING}"' in firing
    assert 'href="https://runbooks.example/x"' in firing


def test_old_truth_is_never_called_well_and_is_said_first() -> None:
    old = Snapshot(at=NOW - HOUR, windows=seen(Count(100)).windows, marks={Mark.JUDGED: NOW - HOUR})
    found = facts(snapshot=old, faults=("nothing could be judged for 60 s",))
    assert verdict(found).level is Level.BAD
    notices = parts(found)["notices"]
    assert "Old numbers" in notices
    assert "1 h 0 min ago" in notices
    assert "Nothing could be judged for 60 s" in notices


def test_without_a_channel_it_says_that_nobody_is_woken() -> None:
    assert "Nobody is woken" in parts(facts(channels=()))["notices"]
    assert "Nobody is woken" not in parts(facts())["notices"]


def test_maintenance_is_told_while_it_lasts() -> None:
    window = Maintenance("platform <migration>", NOW - HOUR, NOW + HOUR, frozenset())
    shown = parts(facts(objectives=replace(OBJECTIVES, maintenance=(window,))))["notices"]
    assert "platform &lt;migration&gt;" in shown
    over = replace(window, ends=NOW)
    assert parts(facts(objectives=replace(OBJECTIVES, maintenance=(over,))))["notices"] == ""


def test_the_alarm_that_could_not_be_written_down_is_shown() -> None:
    report = IncidentReport(1, AlertName.LEDGER_STALE, Severity.CRITICAL, "production", NOW, NOW, since=NOW - HOUR)
    found = facts(blind=build(report))
    assert verdict(found).level is Level.BAD
    assert "No booking could be judged" in parts(found)["firing"]


def test_overdue_bookings_are_named_with_their_stages_and_what_they_are_worth() -> None:
    row = {"stage": "chat_room", "outcome": "missing", "evidence_at": None, "repairs": 2, "due_at": NOW - MINUTE}
    good = {"stage": "notification", "outcome": "good", "evidence_at": NOW, "repairs": 0, "due_at": NOW}
    snapshot = seen(
        Count(100),
        overdue={(Stage.CHAT_ROOM, Traffic.REAL): Overdue(1, NOW - MINUTE)},
        revenue_at_risk={"IDR": 35_000_000},
    )
    found = facts(snapshot=snapshot, reading=Reading(overdue=[OverdueBooking(BOOKING, "t-1", [row, good])]))
    shown = parts(found)["overdue"]
    for told in (BOOKING, "IDR 350,000.00", "chat room missing", "2 repairs tried", "1 min ago"):
        assert told in shown
    assert verdict(found).level is Level.WARN
    assert "1 booking overdue" in verdict(found).notes


def test_a_stage_that_came_after_its_time_is_not_shown_as_still_missing() -> None:
    row = {"stage": "chat_room", "outcome": "missing", "evidence_at": NOW, "repairs": 1, "due_at": NOW}
    snapshot = seen(Count(9), overdue={(Stage.REALTIME, Traffic.REAL): Overdue(1, NOW)})
    found = facts(snapshot=snapshot, reading=Reading(overdue=[OverdueBooking(BOOKING, "t-1", [row])]))
    assert "chat room missing, then repaired" in parts(found)["overdue"]


def test_canaries_overdue_are_the_canarys_matter_alone() -> None:
    snapshot = seen(Count(100), overdue={(Stage.CHAT_ROOM, Traffic.CANARY): Overdue(3, NOW)}, canary_failures=3)
    found = facts(snapshot=replace(snapshot, marks={**snapshot.marks, Mark.CANARY_SUCCEEDED: NOW - HOUR}))
    assert verdict(found).level is Level.GOOD
    assert "None: every real booking" in parts(found)["overdue"]
    assert "3 canary bookings overdue" in parts(found)["canary"]
    assert "3 failed in a row" in parts(found)["canary"]


@pytest.mark.parametrize(("good", "told"), [(True, "passed"), (False, "failed"), (None, "open")])
def test_each_canary_says_how_it_went_without_colour(good: bool | None, told: str) -> None:  # noqa: FBT001 - the value
    snapshot = seen(Count(1), Traffic.CANARY)
    snapshot = replace(snapshot, marks={**snapshot.marks, Mark.CANARY_SUCCEEDED: NOW})
    shown = parts(facts(snapshot=snapshot, reading=Reading(canaries=[CanaryRun(BOOKING, NOW, good)])))["canary"]
    assert f'aria-label="Canary {told}, ' in shown


def test_pages_and_deliveries_that_wait_are_listed_with_their_last_error() -> None:
    page = {
        "incident": 4,
        "channel": "pagerduty",
        "action": "trigger",
        "state": "pending",
        "attempts": 3,
        "next_attempt_at": NOW + MINUTE,
        "sent_at": None,
        "last_error": "answered <500>",
    }
    delivery = {
        "booking_id": BOOKING,
        "traffic": "real",
        "stage": "push",
        "state": "dead",
        "attempts": 12,
        "next_attempt_at": None,
        "last_error": "503",
    }
    snapshot = seen(
        Count(100),
        pages={(PageChannel.PAGERDUTY, PageState.PENDING): 1},
        deliveries={(Stage.PUSH, DeliveryState.DEAD): 1},
    )
    found = facts(snapshot=snapshot, reading=Reading(unsent_pages=[page], deliveries=[delivery]))
    shown = parts(found)
    assert "answered &lt;500&gt;" in shown["pages"]
    assert "next in 1 min" in shown["pages"]
    assert "push, given up" in shown["deliveries"]
    assert "1 page not accepted" in verdict(found).notes


def test_nothing_that_comes_from_elsewhere_becomes_markup_or_a_script() -> None:
    row = incident()
    content = build_with(row, summary="<script>1</script>", link="javascript:alert(1)")
    hostile = facts(
        environment="<b>",
        reading=Reading(open_incidents=[row | {"report": content}], recent_incidents=[row | {"report": content}]),
    )
    page = status.page(hostile, parts(hostile), signed_in=True)
    assert "<script>1" not in page
    assert "javascript:" not in page
    assert "<b>" not in page


def build_with(row: dict[str, Any], *, summary: str, link: str) -> str:
    content = facts(reading=Reading(open_incidents=[row])).firing[0].content
    changed = content.model_copy(update={"summary": summary, "links": (Link(kind="runbook", href=link, text="x"),)})
    return changed.model_dump_json()


def test_the_page_has_every_part_that_the_stream_sends() -> None:
    found = facts()
    page = status.page(found, parts(found), signed_in=False)
    for key in parts(found):
        assert f'id="{key}"' in page


@given(st.integers(1, 10**9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
def test_a_share_is_never_rounded_up_to_all(count: tuple[int, int]) -> None:
    written = share(Count(*count))
    assert (written == "100 %") == (count[1] == 0)
    assert float(written.removesuffix(" %")) / 100 <= (count[0] - count[1]) / count[0] + 1e-12


@pytest.mark.parametrize(
    ("milliseconds", "written"),
    [
        (0, "0 s"),
        (59_999, "59 s"),
        (MINUTE, "1 min"),
        (HOUR + MINUTE, "1 h 1 min"),
        (25 * HOUR, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_a_length_is_written_in_its_two_largest_units(milliseconds: int, written: str) -> None:
    assert length(milliseconds) == written


@pytest.mark.parametrize(
    ("minor", "currency", "written"), [(35_000_000, "IDR", "IDR 350,000.00"), (1_200, "JPY", "JPY 1,200")]
)
def test_money_has_the_digits_of_its_currency(minor: int, currency: str, written: str) -> None:
    assert money(minor, currency) == written
