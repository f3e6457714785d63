"""Very many pages at once: few are under way, the receiver's limit is kept, and no channel takes room from another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.store import NOON, Store, open_store
from support.waiting import eventually
from support.webhook_receiver import HANG, Answer, WebhookReceiver

from monitor.alerting.channels.http import http_client
from monitor.alerting.channels.pagerduty import CALLS_PER_WINDOW, WINDOW_SECONDS, PagerDutyChannel
from monitor.alerting.channels.webhook import WebhookChannel
from monitor.alerting.pager import CHANNEL_LIMIT, Pager
from monitor.alerting.paging import plan_pages
from monitor.alerting.payload import IncidentReport
from monitor.domain.alert_lifecycle import Alert
from monitor.domain.objectives import CRITICAL_RATES
from monitor.domain.vocabulary import AlertState, PageAction, PageChannel
from monitor.store.alerts import IncidentChange, RecordEvaluation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from monitor.alerting.channels import Channel

MANY = 10_000


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    async with open_store(sqlite_url) as store:
        yield store


@pytest.fixture
def pagerduty() -> Iterator[PagerDutyReceiver]:
    with PagerDutyReceiver() as receiver:
        yield receiver


async def fire(store: Store, count: int, *channels: PageChannel) -> None:
    key = CRITICAL_RATES[0]
    opened = Alert(AlertState.FIRING, NOON, NOON)

    def incident(number: int) -> IncidentChange:
        report = IncidentReport(number, key.alertname, key.severity, "test", fired_at=NOON, evaluated_at=NOON)
        pages = plan_pages(report, PageAction.TRIGGER, channels)
        # Over at once, as there is one open incident of an alert at the most.
        return IncidentChange(number, key, "{}", opened=opened, resolved_at=NOON, pages=pages, event="fired")

    incidents = tuple(incident(number) for number in range(1, count + 1))
    await store.submit(RecordEvaluation({}, incidents, store.clock(), None))


def pager_of(store: Store, channels: dict[PageChannel, Channel]) -> Pager:
    return Pager(
        channels=channels,
        readers=store.readers,
        writer=store.writer,
        now=store.clock,
    )


async def test_ten_thousand_leave_a_few_at_a_time_and_within_the_limit(
    store: Store, pagerduty: PagerDutyReceiver
) -> None:
    seconds = 0.0
    async with http_client() as client:
        channel = PagerDutyChannel(client, SecretStr(ROUTING_KEY), pagerduty.url, monotonic=lambda: seconds)
        pager = pager_of(store, {PageChannel.PAGERDUTY: channel})
        await fire(store, MANY, PageChannel.PAGERDUTY)
        for window in range(1, 4):
            for _ in range(2 * CALLS_PER_WINDOW // CHANNEL_LIMIT):
                await pager.run(None)
                assert len(pager._under_way) <= CHANNEL_LIMIT
                await pager.stop()
            assert len(pagerduty.events) == window * CALLS_PER_WINDOW
            seconds += WINDOW_SECONDS
            store.clock.advance(round(WINDOW_SECONDS * 1000))
    assert len(pagerduty.incidents) == len(pagerduty.events), "none was sent twice"
    assert await store.value("SELECT max(attempts) FROM pages") == 1, "to be held back is no attempt"
    assert await store.value("SELECT count(*) FROM pages WHERE state = 'dead'") == 0


async def test_a_channel_that_hangs_takes_no_room_from_another(store: Store, pagerduty: PagerDutyReceiver) -> None:
    pagerduty.always = Answer(HANG)
    with WebhookReceiver() as hook:
        async with http_client() as slow, http_client() as quick:
            channels: dict[PageChannel, Channel] = {
                PageChannel.PAGERDUTY: PagerDutyChannel(slow, SecretStr(ROUTING_KEY), pagerduty.url),
                PageChannel.WEBHOOK: WebhookChannel(quick, SecretStr(hook.url), SecretStr("secret")),
            }
            pager = pager_of(store, channels)
            await fire(store, 3 * CHANNEL_LIMIT, *channels)

            async def all_arrived() -> bool:
                await pager.run(None)
                return len(hook.requests) == 3 * CHANNEL_LIMIT

            await eventually(all_arrived, what="the webhook has every page", timeout_seconds=30)
            assert len(pagerduty.requests) <= CHANNEL_LIMIT
            pagerduty.close()
            await pager.stop()
