"""Pages handed over to real receivers that answer, misbehave, and are away."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import json
import logging
import time
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
import pagerduty
import pytest
from pydantic import SecretStr
from support.alertmanager import alertmanager_server
from support.memory_channel import MemoryChannel
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.process import reserved_port
from support.webhook_receiver import CUT, DRIP, HANG, Answer, WebhookReceiver

from monitor.alerting.channels import Channel, Page, SendResult, SendStatus
from monitor.alerting.channels import http as channel_http
from monitor.alerting.channels.alertmanager import AlertmanagerChannel
from monitor.alerting.channels.heartbeat import Heartbeat
from monitor.alerting.channels.http import http_client
from monitor.alerting.channels.pacing import SlidingWindow
from monitor.alerting.channels.pagerduty import PagerDutyChannel, change_of, event_of, new_release
from monitor.alerting.channels.webhook import WebhookChannel
from monitor.alerting.payload import BookingRef, Cause, IncidentReport, Links, build, report_dedup_key
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import AlertName, PageAction, Reason, Severity, Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import httpx

NOW = 1_769_090_551_000
SECRET = "webhook-secret-that-nobody-may-see"
REPORT = IncidentReport(
    number=12,
    alertname=AlertName.CHAT_ROOM_LOW,
    severity=Severity.CRITICAL,
    environment="production",
    sli=Stage.CHAT_ROOM,
    traffic=Traffic.REAL,
    fired_at=NOW,
    evaluated_at=NOW,
    events=9,
    bad=7,
    since=NOW - 8 * MINUTE,
    objective=0.95,
    cause=Cause(Reason.NEVER_ATTEMPTED),
    first_bad=BookingRef("0197-b1", NOW - 8 * MINUTE),
    bookings=("0197-b1", "0197-b2"),
    links=Links(runbook="https://example.org/runbook", status_page="https://monitor.example.org/"),
)


def page(action: PageAction = PageAction.TRIGGER, report: IncidentReport = REPORT) -> Page:
    return Page(f"page-{report.number}-{action}", action, report_dedup_key(report), build(report), report.evaluated_at)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with http_client() as client:
        yield client


class World(Protocol):
    """A channel with the receiver behind it, and how to make that receiver refuse."""

    @property
    def channel(self) -> Channel: ...

    def seen(self) -> list[str]: ...

    def fail_once(self) -> None: ...

    def refuse_once(self) -> None: ...


class HttpWorld:
    """The channels over HTTP. `seen` lists the dedup keys that reached the receiver, whatever it answered."""

    def __init__(self, channel: Channel, receiver: WebhookReceiver) -> None:
        self.channel = channel
        self.receiver = receiver

    def seen(self) -> list[str]:
        found = []
        for request in self.receiver.requests:
            body = json.loads(request.body)
            if isinstance(body, list):
                found.append(body[0]["annotations"]["dedup_key"])
            else:
                found.append(body["dedup_key"])
        return found

    def fail_once(self) -> None:
        self.receiver.answers.append(Answer(503, b"not now"))

    def refuse_once(self) -> None:
        self.receiver.answers.append(Answer(400, f"no: {SECRET} {ROUTING_KEY}".encode()))


class MemoryWorld:
    def __init__(self) -> None:
        self.channel = MemoryChannel()

    def seen(self) -> list[str]:
        return [page.dedup_key for page in self.channel.attempts]

    def fail_once(self) -> None:
        self._answer_once(SendResult.retry("HTTP 503: not now"))

    def refuse_once(self) -> None:
        self._answer_once(SendResult.reject("HTTP 400: no"))

    def _answer_once(self, result: SendResult) -> None:
        def answer(_page: Page) -> SendResult:
            self.channel.answer = lambda _page: SendResult.accept()
            return result

        self.channel.answer = answer


@pytest.fixture(params=["pagerduty", "alertmanager", "webhook", "memory"])
def world(request: pytest.FixtureRequest, client: httpx.AsyncClient) -> Iterator[World]:
    if request.param == "memory":
        yield MemoryWorld()
        return
    receiver = PagerDutyReceiver() if request.param == "pagerduty" else WebhookReceiver()
    with receiver:
        channels: dict[str, Channel] = {
            "pagerduty": PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url),
            "alertmanager": AlertmanagerChannel(client, receiver.url, evaluation_interval=5 * SECOND),
            "webhook": WebhookChannel(client, SecretStr(f"{receiver.url}/{SECRET}"), SecretStr(SECRET)),
        }
        yield HttpWorld(channels[request.param], receiver)


class TestEveryChannel:
    async def test_hands_over_a_trigger_and_then_its_resolve(self, world: World) -> None:
        for action in (PageAction.TRIGGER, PageAction.RESOLVE):
            assert await world.channel.send(page(action)) == SendResult.accept()
        assert world.seen() == [report_dedup_key(REPORT)] * 2

    async def test_accepts_an_acknowledgement(self, world: World) -> None:
        await world.channel.send(page())
        assert (await world.channel.send(page(PageAction.ACKNOWLEDGE))).accepted

    async def test_asks_for_another_try_when_the_receiver_fails_and_sends_the_same_page_then(
        self, world: World
    ) -> None:
        world.fail_once()
        failed = await world.channel.send(page())
        assert (failed.status, failed.detail, failed.attempted) == (SendStatus.RETRY, "HTTP 503: not now", True)
        assert (await world.channel.send(page())).accepted
        assert world.seen() == [report_dedup_key(REPORT)] * 2

    async def test_gives_up_what_the_receiver_refuses_without_telling_a_secret(self, world: World) -> None:
        world.refuse_once()
        result = await world.channel.send(page())
        assert result.status is SendStatus.REJECTED
        assert result.detail.startswith("HTTP 400: no")
        if isinstance(world.channel, WebhookChannel):
            assert SECRET not in repr(result)
        if isinstance(world.channel, PagerDutyChannel):
            assert ROUTING_KEY not in repr(result)

    async def test_shows_no_secret_of_itself(self, world: World) -> None:
        assert SECRET not in repr(world.channel)
        assert ROUTING_KEY not in repr(world.channel)


class TestHostileReceivers:
    @pytest.fixture(autouse=True)
    def _short_patience(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(channel_http, "DEADLINE_SECONDS", 3)  # enough for one that answers

    @pytest.fixture
    def receiver(self) -> Iterator[PagerDutyReceiver]:
        with PagerDutyReceiver() as receiver:
            yield receiver

    @pytest.fixture
    def channel(self, client: httpx.AsyncClient, receiver: PagerDutyReceiver) -> PagerDutyChannel:
        return PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url)

    @pytest.mark.parametrize(
        ("answer", "detail"),
        [
            (Answer(HANG), "no answer: TimeoutError"),
            (Answer(DRIP), "no answer: TimeoutError"),
            (Answer(CUT), "no answer: RemoteProtocolError"),
            (Answer(500), "HTTP 500"),
            (Answer(408), "HTTP 408"),
            (Answer(429), "HTTP 429"),
            (Answer(200, b"<html>captive portal</html>"), "HTTP 200: <html>captive portal</html>"),
        ],
    )
    async def test_the_page_is_tried_again_and_arrives(
        self, channel: PagerDutyChannel, receiver: PagerDutyReceiver, answer: Answer, detail: str
    ) -> None:
        receiver.answers.append(answer)
        assert await channel.send(page()) == SendResult.retry(detail)
        assert (await channel.send(page())).accepted
        assert [incident.dedup_key for incident in receiver.incidents] == [report_dedup_key(REPORT)]

    async def test_the_severity_is_told_in_the_word_that_the_objectives_choose(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        words = dict.fromkeys(Severity, "error")
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url, words=lambda: words)
        assert (await channel.send(page())).accepted
        assert receiver.events[0]["payload"]["severity"] == "error"

    async def test_a_wait_that_the_receiver_asks_for_is_passed_on(
        self, channel: PagerDutyChannel, receiver: PagerDutyReceiver
    ) -> None:
        receiver.answers += [
            Answer(429, headers={"Retry-After": "17"}),
            Answer(503, headers={"Retry-After": "31536000"}),
        ]
        assert (await channel.send(page())).retry_after_seconds == 17
        assert (await channel.send(page())).retry_after_seconds == 900

    async def test_redirects_are_not_followed(self, channel: PagerDutyChannel, receiver: PagerDutyReceiver) -> None:
        with WebhookReceiver() as elsewhere:
            receiver.answers.append(Answer(307, headers={"Location": f"{elsewhere.url}/v2/enqueue"}))
            assert (await channel.send(page())).status is SendStatus.REJECTED
            assert elsewhere.requests == []

    async def test_cookies_are_not_kept(
        self, client: httpx.AsyncClient, channel: PagerDutyChannel, receiver: PagerDutyReceiver
    ) -> None:
        receiver.answers.append(Answer(503, headers={"Set-Cookie": "a=b"}))
        await channel.send(page())
        assert len(client.cookies.jar) == 0

    async def test_an_endless_answer_is_read_to_a_limit_only(
        self, channel: PagerDutyChannel, receiver: PagerDutyReceiver
    ) -> None:
        receiver.answers.append(Answer(400, b"x" * 5_000_000))
        result = await channel.send(page())
        assert result.status is SendStatus.REJECTED
        assert len(result.detail) == channel_http.MAX_DETAIL_CHARACTERS

    async def test_a_receiver_that_is_away_gets_the_page_when_it_is_back(self, client: httpx.AsyncClient) -> None:
        with reserved_port() as port:
            channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), f"http://127.0.0.1:{port}")
            assert await channel.send(page()) == SendResult.retry("no answer: ConnectError")
            with PagerDutyReceiver(port) as receiver:
                assert (await channel.send(page())).accepted
                assert len(receiver.open) == 1

    async def test_neither_logs_nor_errors_tell_a_secret(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        caplog.set_level(logging.DEBUG, logger="httpx")  # which a service that ran here before has silenced
        url = SecretStr(f"{receiver.url}/ping/{SECRET}?key={SECRET}")
        with reserved_port() as port:
            gone = SecretStr(f"http://127.0.0.1:{port}/{SECRET}")
            results: list[object] = [
                await PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url).send(page()),
                await PagerDutyChannel(client, SecretStr(f"{ROUTING_KEY[:-1]}x"), receiver.url).send(page()),
                await WebhookChannel(client, url, SecretStr(SECRET)).send(page()),
                await WebhookChannel(client, gone, SecretStr(SECRET)).send(page()),
                await Heartbeat(client, url).beat(),
                await Heartbeat(client, gone).beat(),
            ]
        told = caplog.text + repr(results)
        assert "HTTP Request" in caplog.text
        assert SECRET not in told
        assert ROUTING_KEY[:-1] not in told


class TestPagerDuty:
    @pytest.fixture
    def receiver(self) -> Iterator[PagerDutyReceiver]:
        with PagerDutyReceiver() as receiver:
            yield receiver

    async def test_an_incident_is_opened_acknowledged_and_resolved(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url)
        for action in PageAction:
            assert (await channel.send(page(action))).accepted
        (incident,) = receiver.incidents
        assert incident.summary == "7 of 9 bookings since 13:54 have no chat room (objective 95 %)"
        assert incident.acknowledged_at is not None
        assert incident.resolved_at is not None
        assert receiver.refused == []

    async def test_what_pagerduty_calls_invalid_is_not_sent_again(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        channel = PagerDutyChannel(client, SecretStr("short"), receiver.url)
        result = await channel.send(page())
        assert result.status is SendStatus.REJECTED
        assert "is no string of 32 characters" in result.detail

    async def test_a_change_event_arrives(self, client: httpx.AsyncClient, receiver: PagerDutyReceiver) -> None:
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url)
        assert (await channel.send_change(new_release("1.2.0", "1.1.9", "production", NOW))).accepted
        assert receiver.changes[0]["payload"]["summary"] == "Booking Monitor 1.2.0 runs in production, before it 1.1.9"

    async def test_a_ruleset_key_gets_no_change_events(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        channel = PagerDutyChannel(client, SecretStr("R" + ROUTING_KEY[1:]), receiver.url)
        result = await channel.send_change(new_release("1.2.0", "1.1.9", "production", NOW))
        assert result.status is SendStatus.REJECTED
        assert receiver.requests == []

    async def test_ten_thousand_alerts_at_once_stay_within_the_rate_limit(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        clock = [0.0]
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url, monotonic=lambda: clock[0])
        one = page()
        pages = [dataclasses.replace(one, id=str(n), dedup_key=f"{one.dedup_key}{n}") for n in range(10_000)]
        results = [await channel.send(each) for each in pages]
        held = [result for result in results if not result.accepted]
        assert len(receiver.events) == 120
        assert len(held) == 9_880
        assert all(result.status is SendStatus.RETRY and not result.attempted for result in held)
        assert {result.retry_after_seconds for result in held} == {60.0}
        clock[0] = 60.0
        assert (await channel.send(pages[-1])).accepted

    async def test_calls_that_overlap_share_the_rate_limit(
        self, client: httpx.AsyncClient, receiver: PagerDutyReceiver
    ) -> None:
        window = SlidingWindow(10, 60.0)
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), receiver.url, window=window)
        pages = [page(report=dataclasses.replace(REPORT, number=number)) for number in range(40)]
        results = await asyncio.gather(*(channel.send(each) for each in pages))
        assert sum(result.accepted for result in results) == len(receiver.events) == 10

    def test_the_official_client_sends_the_same(self) -> None:
        bodies: list[dict[str, Any]] = []

        def record(request: httpx2.Request) -> httpx2.Response:
            bodies.append(json.loads(request.content))
            return httpx2.Response(202, json={"status": "success", "dedup_key": "key"})

        ours = event_of(page())
        rest = {name: ours[name] for name in ("payload", "links", "client", "client_url")}
        payload = ours["payload"]
        extra = {name: payload[name] for name in ("timestamp", "component", "group", "class")}
        change = change_of(new_release("1.2.0", "1.1.9", "production", NOW))["payload"]
        with pagerduty.EventsApiV2Client(ROUTING_KEY, transport=httpx2.MockTransport(record)) as official:
            official.send_event("trigger", dedup_key=ours["dedup_key"], **rest)
            official.trigger(
                payload["summary"],
                payload["source"],
                dedup_key=ours["dedup_key"],
                severity=payload["severity"],
                payload=extra,
                custom_details=payload["custom_details"],
                links=ours["links"],
            )
            official.acknowledge(ours["dedup_key"])
            official.resolve(ours["dedup_key"])
            official.submit(
                change["summary"], change["source"], change["custom_details"], timestamp=change["timestamp"]
            )
        key = {"routing_key": ROUTING_KEY}
        without_client = {name: value for name, value in ours.items() if not name.startswith("client")}
        assert bodies == [
            {**ours, **key},
            {**without_client, **key},
            {**event_of(page(PageAction.ACKNOWLEDGE)), **key},
            {**event_of(page(PageAction.RESOLVE)), **key},
            {"payload": change, **key},
        ]


class TestAlertmanager:
    async def test_takes_holds_and_ends_our_alert(self, client: httpx.AsyncClient) -> None:
        with alertmanager_server() as server:
            now = int(time.time() * 1000)
            channel = AlertmanagerChannel(client, f"{server.url}/", evaluation_interval=5 * SECOND)
            firing = dataclasses.replace(REPORT, fired_at=now - MINUTE, evaluated_at=now)
            assert await channel.send(page(report=firing)) == SendResult.accept()
            (alert,) = server.alerts()
            assert alert["labels"]["alertname"] == "BookingChatRoomCreationLow"
            assert alert["annotations"]["summary"].startswith("7 of 9 bookings")
            assert alert["annotations"]["runbook_url"] == "https://example.org/runbook"
            assert alert["generatorURL"] == "https://monitor.example.org/"
            assert alert["status"]["state"] == "active"
            resolved = dataclasses.replace(firing, resolved_at=now)
            assert (await channel.send(page(PageAction.RESOLVE, resolved))).accepted
            assert server.alerts() == []

    async def test_refuses_for_good_what_it_cannot_read(self, client: httpx.AsyncClient) -> None:
        with alertmanager_server() as server:
            channel = AlertmanagerChannel(client, server.url, evaluation_interval=5 * SECOND)
            backwards = dataclasses.replace(REPORT, resolved_at=NOW - MINUTE)
            result = await channel.send(page(PageAction.RESOLVE, backwards))
            assert result.status is SendStatus.REJECTED
            assert result.detail.startswith("HTTP 400")


class TestWebhook:
    async def test_the_receiver_can_verify_it(self, client: httpx.AsyncClient) -> None:
        with WebhookReceiver() as receiver:
            receiver.answers.append(Answer(204))
            channel = WebhookChannel(
                client, SecretStr(f"{receiver.url}/hook"), SecretStr(SECRET), wall=lambda: 1_769_090_551.7
            )
            assert (await channel.send(page())).accepted
            (request,) = receiver.requests
        time_part, version_part = request.headers["x-booking-monitor-signature"].split(",")
        assert time_part == "t=1769090551"
        expected = hmac.new(SECRET.encode(), b"1769090551." + request.body, hashlib.sha256).hexdigest()
        assert version_part == f"v1={expected}"
        assert request.headers["x-booking-monitor-delivery"] == "page-12-trigger"
        assert request.headers["content-type"] == "application/json"

    async def test_without_a_secret_there_is_none(self, client: httpx.AsyncClient) -> None:
        with pytest.raises(ValueError, match=r"^WEBHOOK_SECRET: "):
            WebhookChannel(client, SecretStr("https://example.org/"), SecretStr(""))


class TestHeartbeat:
    async def test_it_beats(self, client: httpx.AsyncClient) -> None:
        with WebhookReceiver() as receiver:
            url = SecretStr(f"{receiver.url}/ping/{SECRET}")
            assert (await Heartbeat(client, url).beat()).accepted
            assert [(request.method, request.path) for request in receiver.requests] == [("GET", f"/ping/{SECRET}")]

    async def test_a_switch_that_does_not_know_us_is_told_apart_from_one_that_is_ill(
        self, client: httpx.AsyncClient
    ) -> None:
        with WebhookReceiver() as receiver:
            receiver.answers += [Answer(404, b"not found"), Answer(502)]
            heart = Heartbeat(client, SecretStr(receiver.url))
            assert (await heart.beat()) == SendResult.reject("HTTP 404: not found")
            assert (await heart.beat()) == SendResult.retry("HTTP 502")
