"""The Alertmanager configuration that ships: accepted, routed as meant, and seen to page by a real Alertmanager."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from support.alertmanager import alertmanager_server
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.webhook_receiver import WebhookReceiver

from monitor.alerting.channels import Page
from monitor.alerting.channels.alertmanager import AlertmanagerChannel
from monitor.alerting.channels.http import http_client
from monitor.alerting.payload import IncidentReport, Links, build, report_dedup_key
from monitor.domain.times import SECOND
from monitor.domain.vocabulary import AlertName, PageAction, Severity, Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RULES = Path(__file__).parents[2] / "rules"
CONFIG = RULES / "alertmanager" / "alertmanager.yml"
ROUTING_TESTS = RULES / "alertmanager" / "routing_tests.yml"
AMLINT = Path(sys.executable).with_name("amlint")
CASES: list[dict[str, Any]] = yaml.safe_load(ROUTING_TESTS.read_text())["tests"]
ROUTED = [case for case in CASES if "receiver" in case]


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=60)


def test_amtool_accepts_the_configuration() -> None:
    result = run("amtool", "check-config", CONFIG)
    assert result.returncode == 0, result.stdout + result.stderr


def test_amlint_finds_nothing() -> None:
    result = run(AMLINT, "check", "--strict", CONFIG)
    assert result.returncode == 0, result.stdout
    assert "No issues found" in result.stdout


def test_amlint_routes_and_mutes_as_meant_and_every_route_is_reached() -> None:
    result = run(AMLINT, "test", CONFIG, ROUTING_TESTS, "--fail-under", "100")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("case", ROUTED, ids=[case["name"] for case in ROUTED])
def test_amtool_routes_as_meant(case: dict[str, Any]) -> None:
    labels = [f"{name}={value}" for name, value in case["labels"].items()]
    result = run("amtool", "config", "routes", "test", f"--config.file={CONFIG}", *labels)
    assert result.stdout.strip() == case["receiver"]


def test_every_alert_has_a_routing_test() -> None:
    tested = {case["labels"]["alertname"] for case in ROUTED}
    assert tested >= {*AlertName, "BookingMonitorDown", "Watchdog"}


class TestRealAlertmanager:
    """The shipped file, with the addresses of the receivers and the waits of the clock exchanged."""

    @pytest.fixture
    def pagerduty(self) -> Iterator[PagerDutyReceiver]:
        with PagerDutyReceiver() as receiver:
            yield receiver

    @pytest.fixture
    def heartbeat(self) -> Iterator[WebhookReceiver]:
        with WebhookReceiver() as receiver:
            yield receiver

    @pytest.fixture
    async def channel(
        self, tmp_path: Path, pagerduty: PagerDutyReceiver, heartbeat: WebhookReceiver
    ) -> AsyncIterator[AlertmanagerChannel]:
        key = tmp_path / "routing_key"
        key.write_text(ROUTING_KEY)
        config = yaml.safe_load(CONFIG.read_text())
        config["global"]["pagerduty_url"] = f"{pagerduty.url}/v2/enqueue"
        receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
        receivers["pagerduty"]["pagerduty_configs"][0]["routing_key_file"] = str(key)
        receivers["heartbeat"]["webhook_configs"][0]["url"] = heartbeat.url
        for route in (config["route"], *config["route"]["routes"]):
            route["group_wait"] = "0s" if route["group_wait"] == "0s" else "1s"
            route["group_interval"] = "1s"
            route["repeat_interval"] = "1s" if route["receiver"] == "heartbeat" else "1h"
        with alertmanager_server(config) as server:
            async with http_client() as client:
                yield AlertmanagerChannel(client, server.url, evaluation_interval=5 * SECOND)

    async def test_two_slis_are_two_incidents_and_a_critical_alert_mutes_its_warning(
        self, channel: AlertmanagerChannel, pagerduty: PagerDutyReceiver
    ) -> None:
        chat_room = report(AlertName.CHAT_ROOM_LOW, Stage.CHAT_ROOM, Severity.CRITICAL)
        muted = report(AlertName.CHAT_ROOM_LOW, Stage.CHAT_ROOM, Severity.WARNING)
        notification = report(AlertName.NOTIFICATION_LOW, Stage.NOTIFICATION, Severity.WARNING)
        for each in (chat_room, muted, notification):
            assert (await channel.send(page(each))).accepted
        await asyncio.to_thread(pagerduty.wait_for, lambda: len(pagerduty.incidents) == 2)
        for each in (muted, chat_room, notification):
            assert (await channel.send(page(each, resolved=True))).accepted
        await asyncio.to_thread(pagerduty.wait_for, lambda: not pagerduty.open)

        found = {incident.events[0]["payload"]["class"]: incident for incident in pagerduty.incidents}
        assert sorted(found) == ["BookingChatRoomCreationLow", "BookingNotificationDeliveryLow"]
        assert len(pagerduty.incidents) == 2
        assert pagerduty.refused == []
        trigger = found["BookingChatRoomCreationLow"].events[0]
        assert trigger["payload"]["severity"] == "critical"
        assert trigger["payload"]["component"] == "chat_room"
        assert trigger["payload"]["summary"] == build(chat_room).summary
        assert trigger["payload"]["source"] == "booking-monitor/production"
        assert trigger["links"] == [
            {"href": "https://example.org/BookingChatRoomCreationLow", "text": "Runbook"},
            {"href": "https://monitor.example.org/", "text": "Status page"},
        ]
        warning = found["BookingNotificationDeliveryLow"].events[0]
        assert warning["payload"]["severity"] == "warning"

    async def test_the_watchdog_keeps_the_dead_mans_switch_quiet_and_pages_nobody(
        self, channel: AlertmanagerChannel, pagerduty: PagerDutyReceiver, heartbeat: WebhookReceiver
    ) -> None:
        content = build(report(AlertName.LEDGER_STALE, None, Severity.WARNING))
        watchdog = content.model_copy(update={"alertname": "Watchdog", "status_page": None})
        assert (await channel.send(Page("w", PageAction.TRIGGER, "w", watchdog, now()))).accepted
        await asyncio.to_thread(heartbeat.wait_for, lambda: len(heartbeat.requests) >= 2)
        assert pagerduty.requests == []


def now() -> int:
    return int(time.time() * 1000)


def report(alertname: AlertName, sli: Stage | None, severity: Severity) -> IncidentReport:
    return IncidentReport(
        number=1,
        alertname=alertname,
        severity=severity,
        environment="production",
        sli=sli,
        traffic=Traffic.REAL,
        fired_at=now(),
        evaluated_at=now(),
        events=9,
        bad=7,
        since=now() - 60 * SECOND,
        objective=0.95,
        links=Links(runbook=f"https://example.org/{alertname}", status_page="https://monitor.example.org/"),
    )


def page(report: IncidentReport, *, resolved: bool = False) -> Page:
    content = build(report)
    if resolved:
        content = content.model_copy(update={"resolved_at": now()})
    action = PageAction.RESOLVE if resolved else PageAction.TRIGGER
    return Page("p", action, report_dedup_key(report), content, now())
