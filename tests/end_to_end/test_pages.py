"""A page leaves once, with what it must say, and ends with its fault, whatever its receivers and the host do."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.alertmanager import alertmanager_server
from support.inprocess import service_in_process
from support.pagerduty_receiver import PagerDutyReceiver
from support.paging import PATIENCE, Site, objectives, site, stalled, to_pagerduty
from support.process import reserved_port
from support.waiting import eventually, wait_until
from support.webhook_receiver import CUT, HANG, Answer, WebhookReceiver

from monitor import service as service_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

KEY = "booking-monitor/production/BookingChatRoomCreationLow/chat_room/real/1"
WEBHOOK_SECRET = "the-secret-of-the-generic-webhook"
PAGERDUTY_SECRET = "the-secret-of-pagerduty"


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyReceiver]:
    with PagerDutyReceiver() as receiver:
        yield receiver


@pytest.fixture
def webhook() -> Iterator[WebhookReceiver]:
    with WebhookReceiver() as receiver:
        yield receiver


def to_webhook(receiver: WebhookReceiver) -> dict[str, str]:
    return {"webhook_url": f"{receiver.url}/hook", "webhook_secret": WEBHOOK_SECRET}


@pytest.fixture
def monitor(tmp_path: Path, pagerduty: PagerDutyReceiver) -> Iterator[Site]:
    with site(tmp_path, **to_pagerduty(pagerduty), pagerduty_webhook_secret=PAGERDUTY_SECRET) as service:
        yield service


def actions(pagerduty: PagerDutyReceiver) -> list[tuple[str, str]]:
    return [(event["event_action"], event["dedup_key"]) for event in pagerduty.events]


def arrived(pagerduty: PagerDutyReceiver, *expected: str) -> None:
    """Wait until exactly these actions arrived for the chat rooms' incident, and nothing else."""
    wanted = [(action, KEY) for action in expected]
    pagerduty.wait_for(lambda: len(pagerduty.events) >= len(wanted), PATIENCE)
    assert actions(pagerduty) == wanted
    assert pagerduty.refused == []


def recorded(monitor: Site, channel: str, *expected: tuple[str, str]) -> None:
    """Wait until the pages of a channel stand so in the outbox, in order."""

    def there() -> bool:
        return [(action, state) for action, state, _ in monitor.pages(channel)] == list(expected)

    wait_until(there, what=f"{channel}: {expected}", timeout_seconds=PATIENCE)


def posted(webhook: WebhookReceiver) -> list[tuple[str, str]]:
    bodies = [json.loads(request.body) for request in webhook.requests]
    return [(body["action"], body["dedup_key"]) for body in bodies]


class TestAFault:
    def test_it_is_one_page_that_says_all_and_ends_with_the_fault(
        self, monitor: Site, pagerduty: PagerDutyReceiver
    ) -> None:
        (good,) = monitor.book(1, provider_id="t-1")
        judged = "SELECT 1 FROM stages WHERE stage = 'chat_room' AND outcome = 'good'"
        # Beside a good one it takes all four: three of four are no proof yet.
        wait_until(lambda: monitor.rows(judged), what="it is judged", timeout_seconds=PATIENCE)
        bad = monitor.lose_chat_rooms(4)
        arrived(pagerduty, "trigger")
        (event,) = pagerduty.events
        payload, details = event["payload"], event["payload"]["custom_details"]
        assert re.match(r"4 of [45] bookings .*no chat room", payload["summary"])
        assert "objective 95 %" in payload["summary"]
        assert payload["severity"] == "critical"
        assert details["cause_class"] == "never_attempted"
        assert details["sample_bookings"] == bad
        assert details["first_bad_booking"]["id"] == bad[0]
        assert details["last_good_booking"]["id"] == good
        assert details["common_factor"] == {"provider_id": "t-17", "bad": 4, "of": 4}
        assert details["revenue_at_risk"] == {"IDR": "14,000.00"}
        assert {link["text"] for link in event["links"]} == {"Runbook", "Status page"}
        assert "Ayu" not in json.dumps(event)
        assert "Sam" not in json.dumps(event)

        monitor.recover()
        arrived(pagerduty, "trigger", "resolve")
        recorded(monitor, "pagerduty", ("trigger", "sent"), ("resolve", "sent"))
        (incident,) = monitor.incidents()
        assert incident["resolved_at"] is not None
        assert [entry["event"] for entry in incident["timeline"]] == ["fired", "page sent", "resolved", "page sent"]
        assert monitor.pages("pagerduty") == [("trigger", "sent", 1), ("resolve", "sent", 1)]

    def test_a_restart_neither_forgets_the_incident_nor_pages_twice(
        self, monitor: Site, pagerduty: PagerDutyReceiver
    ) -> None:
        monitor.lose_chat_rooms()
        arrived(pagerduty, "trigger")
        recorded(monitor, "pagerduty", ("trigger", "sent"))
        monitor.kill()
        monitor.start()
        monitor.evaluate_again()
        arrived(pagerduty, "trigger")
        assert monitor.get("/v1/incidents?active=true")["incidents"][0]["number"] == 1
        monitor.recover()
        arrived(pagerduty, "trigger", "resolve")
        recorded(monitor, "pagerduty", ("trigger", "sent"), ("resolve", "sent"))
        monitor.restart()
        monitor.evaluate_again()
        arrived(pagerduty, "trigger", "resolve")

    def test_a_kill_right_after_the_decision_loses_no_page(self, monitor: Site, pagerduty: PagerDutyReceiver) -> None:
        monitor.lose_chat_rooms()
        wait_until(lambda: monitor.pages("pagerduty"), what="the page is decided", timeout_seconds=PATIENCE)
        monitor.kill()
        monitor.let_waits_pass()
        monitor.start()
        recorded(monitor, "pagerduty", ("trigger", "sent"))
        assert {key for _, key in actions(pagerduty)} == {KEY}
        assert len(pagerduty.incidents) == 1
        monitor.recover()
        wait_until(lambda: not pagerduty.open, what="the page is resolved", timeout_seconds=PATIENCE)
        assert len(pagerduty.incidents) == 1


class TestPagerDutyFails:
    @pytest.mark.parametrize(
        "answer",
        [
            Answer(429),
            Answer(429, headers={"Retry-After": "60"}),
            Answer(500, b"<html>oops</html>"),
            Answer(200, b"{}"),
            Answer(CUT),
        ],
        ids=["429", "429 with Retry-After", "500", "somebody else answers", "cut"],
    )
    def test_a_page_that_was_not_taken_is_sent_again_later_under_the_same_key(
        self, monitor: Site, pagerduty: PagerDutyReceiver, answer: Answer
    ) -> None:
        pagerduty.answers.append(answer)
        monitor.lose_chat_rooms()
        wait_until(
            lambda: monitor.rows("SELECT 1 FROM pages WHERE last_error IS NOT NULL"),
            what="the refusal is noted",
            timeout_seconds=PATIENCE,
        )
        monitor.evaluate_again(2)
        assert len(pagerduty.requests) == 1, "it is not sent again at once"
        ((created_at, next_attempt_at),) = monitor.rows("SELECT created_at, next_attempt_at FROM pages")
        assert next_attempt_at - created_at >= (60_000 if answer.headers else 24_000)
        monitor.let_waits_pass()
        arrived(pagerduty, "trigger")
        monitor.recover()
        arrived(pagerduty, "trigger", "resolve")

    def test_the_wait_that_it_asks_for_is_kept(self, monitor: Site, pagerduty: PagerDutyReceiver) -> None:
        pagerduty.answers.append(Answer(429, headers={"Retry-After": "1"}))
        monitor.lose_chat_rooms()
        wait_until(
            lambda: monitor.rows("SELECT 1 FROM pages WHERE last_error LIKE 'HTTP 429%'"),
            what="it is noted",
            timeout_seconds=PATIENCE,
        )
        ((created_at, next_attempt_at),) = monitor.rows("SELECT created_at, next_attempt_at FROM pages")
        assert 24_000 <= next_attempt_at - created_at <= 45_000, "30 s at the least is what PagerDuty wants anyway"

    def test_a_page_that_is_refused_for_good_is_told_by_the_other_channel_and_sent_after_a_start(
        self, tmp_path: Path, pagerduty: PagerDutyReceiver, webhook: WebhookReceiver
    ) -> None:
        pagerduty.always = Answer(400, b'{"status":"invalid event"}')
        undelivered = "booking-monitor/production/BookingPageUndelivered/-/-/2"
        with site(tmp_path, **to_pagerduty(pagerduty), **to_webhook(webhook)) as monitor:
            monitor.lose_chat_rooms()
            webhook.wait_for(lambda: {("trigger", KEY), ("trigger", undelivered)} <= set(posted(webhook)), PATIENCE)
            recorded(monitor, "pagerduty", ("trigger", "dead"))
            told = {body["dedup_key"]: body for body in (json.loads(request.body) for request in webhook.requests)}
            assert "pagerduty" in told[undelivered]["summary"]
            assert monitor.get("/readyz")["warnings"] == ["pages are not accepted: pagerduty"]

            pagerduty.always = None
            monitor.restart()
            arrived(pagerduty, "trigger")
            webhook.wait_for(lambda: ("resolve", undelivered) in posted(webhook), PATIENCE)
            monitor.recover()
            arrived(pagerduty, "trigger", "resolve")
            wait_until(lambda: monitor.get("/readyz")["warnings"] == [], what="there is no warning any more")

    def test_word_of_lost_pages_ends_with_the_incident_that_they_were_about(
        self, tmp_path: Path, pagerduty: PagerDutyReceiver, webhook: WebhookReceiver
    ) -> None:
        pagerduty.always = Answer(400, b'{"status":"invalid event"}')
        with site(tmp_path, **to_pagerduty(pagerduty), **to_webhook(webhook)) as monitor:
            monitor.lose_chat_rooms()
            webhook.wait_for(lambda: len(webhook.requests) == 2, PATIENCE)
            monitor.recover()
            webhook.wait_for(lambda: [action for action, _ in posted(webhook)].count("resolve") == 2, PATIENCE)

    def test_one_that_hangs_delays_neither_the_other_channel_nor_the_next_evaluation(
        self, tmp_path: Path, pagerduty: PagerDutyReceiver, webhook: WebhookReceiver
    ) -> None:
        pagerduty.always = Answer(HANG)
        with site(tmp_path, **to_pagerduty(pagerduty), **to_webhook(webhook)) as monitor:
            monitor.lose_chat_rooms()
            webhook.wait_for(lambda: posted(webhook) == [("trigger", KEY)], PATIENCE)
            monitor.recover()
            webhook.wait_for(lambda: posted(webhook) == [("trigger", KEY), ("resolve", KEY)], PATIENCE)
            assert len(pagerduty.requests) == 1, "the resolve waits for the end of the attempt that is under way"

    @pytest.mark.parametrize("way", ["hangs", "is down"])
    def test_a_trigger_that_is_resolved_meanwhile_is_not_sent_late(
        self, tmp_path: Path, way: str, pagerduty: PagerDutyReceiver
    ) -> None:
        pagerduty.always = Answer(HANG)
        with (
            reserved_port() as port,
            site(tmp_path, **to_pagerduty(pagerduty.url if way == "hangs" else f"http://127.0.0.1:{port}")) as monitor,
        ):
            monitor.lose_chat_rooms()
            wait_until(
                lambda: [attempts for _, _, attempts in monitor.pages("pagerduty")] == [1],
                what="the trigger is tried",
                timeout_seconds=PATIENCE,
            )
            monitor.recover()
            wait_until(lambda: len(monitor.pages("pagerduty")) == 2, what="it resolves", timeout_seconds=PATIENCE)
            monitor.kill()
            monitor.let_waits_pass()
            if way == "hangs":
                before, pagerduty.always = len(pagerduty.requests), None
                monitor.start()
                arrived(pagerduty, "resolve")
                assert len(pagerduty.requests) == before + 1
            else:
                with PagerDutyReceiver(port) as back:
                    monitor.start()
                    arrived(back, "resolve")
                    assert len(back.requests) == 1
            recorded(monitor, "pagerduty", ("trigger", "superseded"), ("resolve", "sent"))

    def test_when_it_is_back_the_pages_of_what_lasts_arrive_in_order(self, tmp_path: Path) -> None:
        with reserved_port() as port, site(tmp_path, **to_pagerduty(f"http://127.0.0.1:{port}")) as monitor:
            monitor.lose_chat_rooms()
            wait_until(
                lambda: monitor.rows("SELECT 1 FROM pages WHERE last_error IS NOT NULL"),
                what="the trigger is tried",
                timeout_seconds=PATIENCE,
            )
            with PagerDutyReceiver(port) as back:
                monitor.let_waits_pass()
                arrived(back, "trigger")
                monitor.recover()
                arrived(back, "trigger", "resolve")

    def test_a_kill_between_sending_and_the_answer_pages_under_the_same_key(
        self, monitor: Site, pagerduty: PagerDutyReceiver
    ) -> None:
        pagerduty.answers.append(Answer(HANG))
        monitor.lose_chat_rooms()
        pagerduty.wait_for(lambda: len(pagerduty.requests) == 1, PATIENCE)
        monitor.kill()
        monitor.let_waits_pass()
        monitor.start()
        arrived(pagerduty, "trigger")
        keys = {json.loads(request.body)["dedup_key"] for request in pagerduty.requests}
        assert keys == {KEY}
        monitor.recover()
        arrived(pagerduty, "trigger", "resolve")


class TestAcknowledgement:
    @staticmethod
    def event(event_id: str = "01BX5ZZKBKACTAV9WEVGEMMVRZ", *, age: timedelta = timedelta(0)) -> bytes:
        return json.dumps(
            {
                "event": {
                    "id": event_id,
                    "event_type": "incident.acknowledged",
                    "resource_type": "incident",
                    "occurred_at": (datetime.now(UTC) - age).isoformat(),
                    "agent": {"id": "P1", "summary": "Somebody", "type": "user_reference"},
                    "data": {"id": "P2", "type": "incident", "status": "acknowledged", "incident_key": KEY},
                }
            }
        ).encode()

    def test_only_a_genuine_and_fresh_one_shows_on_the_incident_and_each_only_once(
        self, monitor: Site, pagerduty: PagerDutyReceiver
    ) -> None:
        monitor.lose_chat_rooms()
        arrived(pagerduty, "trigger")

        def post(body: bytes, secret: str | None = PAGERDUTY_SECRET) -> tuple[int, Any]:
            headers = {"Content-Type": "application/json"}
            if secret is not None:
                headers["X-PagerDuty-Signature"] = f"v1={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
            with monitor.client() as client:
                answer = client.post("/v1/pagerduty/webhook", content=body, headers=headers)
            return answer.status_code, answer.json().get("effect")

        def acknowledged_at() -> str | None:
            at: str | None = monitor.get("/v1/incidents/1")["acknowledged_at"]
            return at

        assert post(self.event(), None) == (401, None)
        assert post(self.event(), "another secret") == (401, None)
        assert post(self.event(age=timedelta(days=3))) == (401, None)
        assert acknowledged_at() is None
        genuine = self.event()
        assert post(genuine) == (202, True)
        at = acknowledged_at()
        assert at is not None
        assert post(genuine) == (202, False)
        assert post(self.event("01BX5ZZKBKACTAV9WEVGEMMVR0")) == (202, True), "somebody else took it on too"
        monitor.restart()
        assert post(genuine) == (202, False), "a start does not make a replay new"
        assert acknowledged_at() == at
        events = [entry["event"] for entry in monitor.get("/v1/incidents/1")["timeline"]]
        assert events.count("acknowledged") == 2


def replace_text(file: Path, text: str) -> None:
    """Write a file anew so that nobody ever reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(file)


class TestObjectives:
    def test_a_broken_file_leaves_the_old_one_in_force_and_a_whole_one_is_taken_over(self, tmp_path: Path) -> None:
        file = objectives(tmp_path / "objectives.yaml")
        good = file.read_text(encoding="utf-8")
        with site(tmp_path, objectives_file=file) as monitor:
            replace_text(file, good.replace("objective: 0.95", "objective: 95"))
            wait_until(lambda: monitor.log_events("objectives.broken"), what="the log tells", timeout_seconds=PATIENCE)
            (told,) = monitor.log_events("objectives.broken")
            assert "objective" in told["detail"]
            assert told["level"] == "error"
            assert monitor.get("/v1/slis")["slis"][0]["objective"] == 0.95
            replace_text(file, good.replace("objective: 0.95", "objective: 0.9"))
            wait_until(
                lambda: monitor.metric("booking_sli_objective_ratio", sli="chat_room") == 0.9,
                what="the metric follows",
                timeout_seconds=PATIENCE,
            )
            assert monitor.get("/v1/slis")["slis"][0]["objective"] == 0.9
            wait_until(lambda: monitor.log_events("objectives.reloaded"), what="the log tells")
            assert len(monitor.log_events("objectives.reloaded")) == 1


class TestAlertmanager:
    def test_it_is_told_again_while_the_alert_lasts_and_of_its_end(self, tmp_path: Path) -> None:
        with alertmanager_server() as server, site(tmp_path, alertmanager_url=server.url) as monitor:

            def alert() -> dict[str, Any] | None:
                return next(iter(server.alerts()), None)

            monitor.lose_chat_rooms()
            first = wait_until(alert, what="the alert is held", timeout_seconds=PATIENCE)
            assert first is not None
            assert first["labels"] == {
                "alertname": "BookingChatRoomCreationLow",
                "severity": "critical",
                "sli": "chat_room",
                "traffic": "real",
                "environment": "production",
            }
            assert first["annotations"]["cause_class"] == "never_attempted"
            wait_until(
                lambda: monitor.pages("alertmanager") == [("trigger", "sent", 1)],
                what="it is recorded",
                timeout_seconds=PATIENCE,
            )
            monitor.outside("UPDATE pages SET sent_at = sent_at - 61000")  # a minute passes

            def told_again() -> bool:
                held = alert()
                return held is not None and held["endsAt"] > first["endsAt"]

            wait_until(told_again, what="its end is put off", timeout_seconds=PATIENCE)
            monitor.recover()
            wait_until(lambda: alert() is None, what="it is over", timeout_seconds=PATIENCE)
            recorded(monitor, "alertmanager", ("trigger", "sent"), ("resolve", "sent"))


class TestHeartbeat:
    async def test_it_is_called_while_the_service_is_ready_and_only_then(
        self, tmp_path: Path, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service_module, "STALE_AFTER", 3_000)
        url = f"{webhook.url}/beat"
        async with service_in_process(tmp_path, heartbeat_url=url, heartbeat_interval=0.2) as running:

            async def beats() -> bool:
                return len(webhook.requests) >= 3

            async def unready() -> bool:
                return bool((await running.api.get("/readyz")).status_code == 503)

            await eventually(beats, what="heartbeats")
            assert {request.path for request in webhook.requests} == {"/beat"}
            with stalled(tmp_path / "booking-monitor.db"):
                await eventually(unready, what="it is not ready", timeout_seconds=PATIENCE)
                count = len(webhook.requests)
                runs = running.service.clock()

                async def three_more_intervals() -> bool:
                    return running.service.clock() - runs > 600

                await eventually(three_more_intervals, what="time")
                assert len(webhook.requests) <= count + 1, "one may have been under way"
            webhook.requests.clear()
            await eventually(beats, what="heartbeats again", timeout_seconds=PATIENCE)
