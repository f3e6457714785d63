"""While the store is away its alarm leaves all the same; it ends with the fault, whoever was killed or cut off."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from support.cuttable import cuttable_way
from support.pagerduty_receiver import PagerDutyReceiver
from support.paging import PATIENCE, Site, objectives, site, stalled, to_pagerduty
from support.replicas import leads, upgrade_store
from support.service import QUICK, running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgres import PostgresServer

pytestmark = pytest.mark.timeout(150)

ALARM = "booking-monitor/production/BookingLedgerStale/-/-/store-away"
STALE = {"older_than": "10s", "for": "0s"}
WHILE_AWAY = 60
"""Seconds within which the alarm leaves: those of STALE, and those for which a follower trusts its leader."""


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyReceiver]:
    with PagerDutyReceiver() as receiver:
        yield receiver


@pytest.fixture
def settings(tmp_path: Path, pagerduty: PagerDutyReceiver) -> dict[str, Any]:
    """Settings with which a stale ledger is told to PagerDuty within seconds."""
    file = objectives(tmp_path / "objectives.yaml", BookingLedgerStale=STALE)
    return {**QUICK, **to_pagerduty(pagerduty), "objectives_file": file}


@pytest.fixture
def monitor(tmp_path: Path, settings: dict[str, Any]) -> Iterator[Site]:
    with site(tmp_path, **settings) as monitor:
        yield monitor


def actions(pagerduty: PagerDutyReceiver) -> list[tuple[str, str]]:
    return [(event["event_action"], event["dedup_key"]) for event in pagerduty.events]


def raised(pagerduty: PagerDutyReceiver) -> None:
    pagerduty.wait_for(lambda: ("trigger", ALARM) in actions(pagerduty), WHILE_AWAY)


def ended(pagerduty: PagerDutyReceiver) -> None:
    pagerduty.wait_for(lambda: ("resolve", ALARM) in actions(pagerduty), PATIENCE)


def test_nothing_resolves_and_the_alarm_leaves_without_it_and_ends_under_the_same_key(
    monitor: Site, pagerduty: PagerDutyReceiver
) -> None:
    monitor.lose_chat_rooms()
    pagerduty.wait_for(lambda: len(pagerduty.events) == 1, PATIENCE)
    with stalled(monitor.database_path):
        raised(pagerduty)
        assert pagerduty.events[1]["payload"]["severity"] == "critical"
        monitor.evaluate_again(1)
        assert len(pagerduty.events) == 2
    ended(pagerduty)
    monitor.recover()
    wait_until(lambda: not pagerduty.open, what="all is resolved", timeout_seconds=PATIENCE)
    assert len(pagerduty.incidents) == 2, "neither is opened twice"
    assert {incident["number"]: incident["alertname"] for incident in monitor.incidents()} == {
        1: "BookingChatRoomCreationLow",
        2: "BookingLedgerStale",
    }
    both_sent = [("trigger", "sent", ALARM), ("resolve", "sent", ALARM)]
    wait_until(
        lambda: monitor.rows("SELECT action, state, dedup_key FROM pages WHERE incident = 2 ORDER BY id") == both_sent,
        what="both pages are noted",
    )


def test_a_kill_while_the_store_is_away_neither_loses_the_alarm_nor_doubles_it(
    monitor: Site, pagerduty: PagerDutyReceiver
) -> None:
    monitor.evaluate_again()
    with stalled(monitor.database_path):
        raised(pagerduty)
        monitor.kill()
    before = monitor.rows("SELECT at FROM marks WHERE name = 'evaluated'")
    monitor.start()
    ended(pagerduty)
    wait_until(
        lambda: monitor.rows("SELECT at FROM marks WHERE name = 'evaluated'") > before,
        what="it is noted that nothing is left to tell",
        timeout_seconds=PATIENCE,
    )
    monitor.kill()
    monitor.start()
    monitor.evaluate_again()
    assert actions(pagerduty) == [("trigger", ALARM), ("resolve", ALARM)]
    assert len(pagerduty.incidents) == 1


def test_a_replica_that_is_cut_off_raises_the_alarm_and_ends_it_when_it_sees_the_store_again(
    settings: dict[str, Any], postgres: PostgresServer, pagerduty: PagerDutyReceiver
) -> None:
    with ExitStack() as stack:
        url = stack.enter_context(postgres.fresh_database())
        upgrade_store(url)
        leader = stack.enter_context(running_service(**settings, database_url=url))
        wait_until(lambda: leads(leader), what="the first one leads")
        way_url, way = stack.enter_context(cuttable_way(url))
        other = stack.enter_context(running_service(**settings, database_url=way_url))
        pagerduty.wait_for(lambda: actions(pagerduty) == 2 * [("resolve", ALARM)], PATIENCE)
        assert pagerduty.incidents == [], "the end of what may have been is dropped"

        way.cut()
        raised(pagerduty)
        assert leads(leader)
        way.mend()
        wait_until(lambda: not pagerduty.open, what="it is over", timeout_seconds=PATIENCE)
        assert len(pagerduty.incidents) == 1
        with leader.client() as client:
            (incident,) = client.get("/v1/incidents").json()["incidents"]
        assert (incident["alertname"], incident["resolved_at"] is None) == ("BookingLedgerStale", False)
        wait_until(other.ready, what="it is ready again")
