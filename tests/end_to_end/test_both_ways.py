"""Each root cause of the incident wakes somebody by both ways: the service itself, and Prometheus with Alertmanager."""

from __future__ import annotations

import fcntl
import json
import time
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.alertmanager import alertmanager_server
from support.objectives import RULES
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.paging import ENOUGH_BAD, Site, objectives, site, to_pagerduty
from support.prometheus import prometheus_server
from support.waiting import wait_until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from monitor.alerting.objectives_file import load
from monitor.alerting.prometheus_rules import write
from monitor.domain.vocabulary import AlertName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from support.pagerduty_receiver import Incident

    Fault = Callable[[Site], AbstractContextManager[None]]

RECORD = Path(__file__).parents[2] / "build" / "both_ways.json"
PATIENCE = 60
PROVIDER = "t-17"
GRACE_SECONDS = 5
"""For notifications and events: long enough that the fault is there, or the answer, before they are due."""


@contextmanager
def chat_room_never_made(monitor: Site) -> Iterator[None]:
    monitor.lose_chat_rooms()
    yield


@contextmanager
def notifications_collection_missing(monitor: Site) -> Iterator[None]:
    monitor.book(ENOUGH_BAD)
    monitor.outside("ALTER TABLE notifications RENAME TO notifications_under_another_name")
    yield
    monitor.outside("ALTER TABLE notifications_under_another_name RENAME TO notifications")


@contextmanager
def client_compares_a_legacy_field(monitor: Site) -> Iterator[None]:
    with subscriber(monitor, {"type": "mismatch", "field": "therapistId"}):
        monitor.book(ENOUGH_BAD)
        yield


@contextmanager
def bookings_in_legacy_fields(monitor: Site) -> Iterator[None]:
    names = {"therapistId": PROVIDER, "therapistName": "Ayu", "customerId": "c-9", "customerName": "Sam"}
    with monitor.client() as client:
        for _ in range(ENOUGH_BAD):
            assert client.post("/v1/bookings", json=names).status_code == 201
    yield
    monitor.outside("UPDATE drift_minutes SET minute = minute - 120")  # the hour passes over which drift is counted


@contextmanager
def subscriber(monitor: Site, answer: dict[str, str]) -> Iterator[None]:
    """The provider's dashboard is connected, and answers each event so."""
    url = f"{monitor.url.replace('http', 'ws', 1)}/v1/realtime?provider_id={PROVIDER}"
    with connect(url, proxy=None) as socket:
        socket.recv()

        def listen() -> None:
            try:
                for frame in socket:
                    event = json.loads(frame)
                    if event["type"] == "booking.created":
                        socket.send(json.dumps({"id": event["id"], **answer}))
            except ConnectionClosed:
                return

        thread = Thread(target=listen)
        thread.start()
        yield
    thread.join()


@contextmanager
def prometheus_way(directory: Path, monitor: Site, file: Path, pagerduty: PagerDutyReceiver) -> Iterator[None]:
    """Prometheus with the rules of these objectives, and Alertmanager with the shipped file, its waits shortened."""
    write(load(file), directory)
    key = directory / "routing_key"
    key.write_text(ROUTING_KEY, encoding="utf-8")
    config = yaml.safe_load((RULES / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    config["global"]["pagerduty_url"] = f"{pagerduty.url}/v2/enqueue"
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    receivers["pagerduty"]["pagerduty_configs"][0]["routing_key_file"] = str(key)
    receivers["heartbeat"]["webhook_configs"][0]["url"] = f"{pagerduty.url}/nowhere"
    for route in (config["route"], *config["route"]["routes"]):
        route["group_interval"] = "1s"
    with (
        alertmanager_server(config) as alertmanager,
        prometheus_server(
            targets={"booking-monitor": monitor.address},
            rule_files=[directory / "booking-monitor.yaml"],
            alertmanager=alertmanager.address,
        ) as prometheus,
    ):
        wait_until(
            lambda: prometheus.query("booking_ledger:age:seconds < 5"), what="Prometheus sees", timeout_seconds=PATIENCE
        )
        yield


def the_page(pagerduty: PagerDutyReceiver, way: str) -> Incident:
    wait_until(lambda: pagerduty.incidents, what=f"the page {way}", timeout_seconds=PATIENCE)
    (incident,) = pagerduty.incidents
    return incident


def record(name: str, entry: dict[str, Any]) -> None:
    """Keep the measured seconds, for people to read."""
    RECORD.parent.mkdir(exist_ok=True)
    with RECORD.open("a+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        text = file.read()
        entries = json.loads(text) if text else {}
        file.truncate(0)
        file.write(json.dumps(entries | {name: entry}, indent=2) + "\n")


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "alertname", "cause"),
    [
        (chat_room_never_made, AlertName.CHAT_ROOM_LOW, "never_attempted"),
        (notifications_collection_missing, AlertName.NOTIFICATION_LOW, "target_missing"),
        (client_compares_a_legacy_field, AlertName.REALTIME_LOW, "field_mismatch"),
        (bookings_in_legacy_fields, AlertName.SCHEMA_DRIFT, "field_mismatch"),
    ],
)
def test_a_root_cause_is_one_incident_by_either_way_and_both_end_with_it(
    tmp_path: Path, fault: Fault, alertname: AlertName, cause: str
) -> None:
    file = objectives(tmp_path / "objectives.yaml")
    grace = {"grace_notification": GRACE_SECONDS, "grace_realtime": GRACE_SECONDS}
    with (
        PagerDutyReceiver() as direct,
        PagerDutyReceiver() as by_prometheus,
        site(tmp_path, objectives_file=file, **to_pagerduty(direct), **grace) as monitor,
        prometheus_way(tmp_path, monitor, file, by_prometheus),
    ):
        begun = time.time()
        with fault(monitor):
            own, other = the_page(direct, "of the service"), the_page(by_prometheus, "of Alertmanager")
        # Whoever connects before an event is due is owed it, too: this one is only to hear what is made from now on.
        undecided = "SELECT 1 FROM stages WHERE outcome IS NULL"
        wait_until(lambda: not monitor.rows(undecided), what="all is judged", timeout_seconds=PATIENCE)
        removed = time.time()
        with subscriber(monitor, {"type": "ack"}):
            monitor.recover()
            for pagerduty in (direct, by_prometheus):
                wait_until(lambda: not pagerduty.open, what="it is resolved", timeout_seconds=PATIENCE)  # noqa: B023 - used at once
        assert own.events[0]["payload"]["class"] == alertname
        assert own.events[0]["payload"]["custom_details"]["cause_class"] == cause
        assert other.events[0]["payload"]["class"] == alertname
        assert {own.events[0]["payload"]["severity"], other.events[0]["payload"]["severity"]} == {"critical"}
        assert direct.incidents == [own]
        assert by_prometheus.incidents == [other]
        assert own.resolved_at is not None
        assert other.resolved_at is not None
        record(
            fault.__name__,
            {
                "alert": alertname,
                "settings": f"grace {GRACE_SECONDS} s, of chat rooms 1 s; evaluation, scrape and rule interval 1 s;"
                " no group_wait",
                "seconds_from_fault_to_page": {
                    "service": round(own.opened_at - begun, 1),
                    "prometheus": round(other.opened_at - begun, 1),
                },
                "seconds_from_recovery_to_resolve": {
                    "service": round(own.resolved_at - removed, 1),
                    "prometheus": round(other.resolved_at - removed, 1),
                },
            },
        )
