"""The demonstration, as far as it needs no service: its faults, its rate, and what it says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from monitor.cli import app
from monitor.cli.common import MISUSED
from monitor.demo.faults import Fault, befalls, parse_faults
from monitor.demo.load import BUSIEST_HOUR, QUIETEST, Tally, rate_at
from monitor.demo.progress import describe

RUNNER = CliRunner()


def test_a_fault_without_a_share_befalls_every_booking() -> None:
    assert parse_faults(["chat-room", "realtime:0.25"]) == {Fault.CHAT_ROOM: 1.0, Fault.REALTIME: 0.25}


@pytest.mark.parametrize(
    "given", ["", "room", "chat-room:0", "chat-room:1.1", "chat-room:nan", "chat-room:-1", "legacy:x"]
)
def test_another_fault_or_share_is_refused_with_what_is_allowed(given: str) -> None:
    result = RUNNER.invoke(app, ["demo", "--fault", given])

    assert result.exit_code == MISUSED
    assert repr(given) in result.output
    for fault in Fault:
        assert fault in result.output


@pytest.mark.parametrize("fault", ["chat-room", "notification"])
def test_a_fault_of_the_store_is_refused_for_a_running_instance(fault: str) -> None:
    result = RUNNER.invoke(app, ["demo", "--url", "http://127.0.0.1:9", "--fault", fault])

    assert result.exit_code == MISUSED
    assert fault in result.output
    assert "own service" in result.output


@pytest.mark.parametrize(
    "arguments", [("--per-hour", "inf"), ("--per-hour", "nan"), ("--per-hour", "0"), ("--port", "65536")]
)
def test_numbers_out_of_range_are_refused(arguments: tuple[str, str]) -> None:
    result = RUNNER.invoke(app, ["demo", *arguments])

    assert result.exit_code == MISUSED
    assert arguments[0] in result.output


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1:9", "http://[", "http:///v1"])
def test_what_is_no_address_is_named(url: str) -> None:
    result = RUNNER.invoke(app, ["demo", "--url", url])

    assert result.exit_code == MISUSED
    assert "--url is a URL with a host" in result.output
    assert url in result.output


@given(st.sampled_from(Fault), st.uuids().map(str), st.floats(0, 1))
def test_whether_a_booking_fails_does_not_change_from_one_attempt_to_the_next(
    fault: Fault, booking_id: str, share: float
) -> None:
    answers = {befalls(fault, booking_id, {fault: share}) for _ in range(3)}

    assert len(answers) == 1
    assert befalls(fault, booking_id, {fault: 1.0})
    assert not befalls(fault, booking_id, {})


def test_a_share_of_the_bookings_fails_and_not_the_same_ones_for_each_fault() -> None:
    ids = [f"01a20499-2577-758d-bf13-{n:012}" for n in range(4000)]
    hit = {fault: {i for i in ids if befalls(fault, i, dict.fromkeys(Fault, 0.3))} for fault in Fault}

    for bookings in hit.values():
        assert 0.26 < len(bookings) / len(ids) < 0.34
    assert 0.06 < len(hit[Fault.CHAT_ROOM] & hit[Fault.REALTIME]) / len(ids) < 0.12


@given(st.floats(0, 24))
def test_the_day_has_one_wave_of_bookings(hour: float) -> None:
    assert QUIETEST * 100 - 1e-9 <= rate_at(hour, 100) <= 100
    assert rate_at(BUSIEST_HOUR, 100) == 100
    assert rate_at(BUSIEST_HOUR - 12, 100) == pytest.approx(QUIETEST * 100)


def sli(name: str, traffic: str, events: int, bad: int) -> dict[str, Any]:
    return {"sli": name, "traffic": traffic, "windows": {"1h": {"events": events, "bad": bad}}}


def test_a_line_names_the_rates_of_real_bookings_and_what_fires() -> None:
    slis = [sli("chat_room", "real", 3000, 1), sli("chat_room", "canary", 4, 4), sli("realtime", "real", 0, 0)]
    alerts = [
        {
            "state": "firing",
            "labels": {"alertname": "BookingRealtimeMatchLow", "severity": "critical", "traffic": "canary"},
        },
        {"state": "firing", "labels": {"alertname": "BookingLedgerStale", "severity": "critical"}},
        {"state": "pending", "labels": {"alertname": "BookingOverdue", "severity": "warning"}},
    ]

    assert describe(Tally(taken=3001, refused=2), slis, alerts) == (
        "3,001 bookings, 2 refused  chat room 99.9 %  realtime –"
        "  firing: BookingLedgerStale (critical), BookingRealtimeMatchLow of the canaries (critical)"
    )
