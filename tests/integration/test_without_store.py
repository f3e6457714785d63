"""The alarm that the store is away leaves from memory, patiently, and ends whoever sees the store again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from support.memory_channel import MemoryChannel
from support.objectives import OBJECTIVES
from support.store import NOON, Store, open_store
from support.watch import STEP, Watch

from monitor.alerting.channels import SendResult
from monitor.alerting.evaluator import FOLLOWER_PATIENCE
from monitor.alerting.resending import RESEND_DELAY
from monitor.alerting.without_store import Blind
from monitor.domain.alert_lifecycle import Timing
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import PageAction, PageChannel
from monitor.store.alerts import find_incident
from monitor.store.handling import Acknowledge
from monitor.store.leases import LEADER, Fence, RenewLease

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from monitor.alerting.channels import Page

KEY = "booking-monitor/test/BookingLedgerStale/-/-/store-away"
PATIENCE = OBJECTIVES.ledger_stale.older_than + OBJECTIVES.ledger_stale.timing.hold + FOLLOWER_PATIENCE
"""Milliseconds after which a replica that does not lead raises the alarm."""


@pytest.fixture
async def store(sqlite_url: str) -> AsyncIterator[Store]:
    async with open_store(sqlite_url) as store:
        yield store


@pytest.fixture
async def fence(store: Store) -> Fence:
    """What a leader among several replicas shows."""
    held: Fence = await store.submit(RenewLease(LEADER, "r-1", MINUTE, store.clock()))
    return held


async def cut_off(store: Store, *channels: MemoryChannel) -> Watch:
    """A replica that does not lead, has long run, and just raised the alarm."""
    watch = Watch(store, channels)
    await watch.step(leads=False)
    for channel in channels:
        channel.accepted.clear()
        channel.attempts.clear()
    watch.judged = False
    await watch.go_on(PATIENCE, leads=False)
    assert watch.without_store.blind is None
    await watch.go_on(STEP, leads=False)
    assert watch.without_store.blind is not None
    return watch


async def lead(store: Store, watch: Watch) -> None:
    """Have what stands in the outbox sent."""
    await watch.pager.run(None)
    await watch.pager.stop()
    assert await store.value("SELECT count(*) FROM pages WHERE state = 'pending'") == 0


def sayings(channel: MemoryChannel) -> list[tuple[PageAction, str]]:
    return [(page.action, page.dedup_key) for page in channel.accepted]


async def test_a_replica_that_sees_the_store_again_has_its_alarm_entered_and_ended_under_its_key(store: Store) -> None:
    channel = MemoryChannel()
    watch = await cut_off(store, channel)
    assert sayings(channel) == [(PageAction.TRIGGER, KEY)]
    watch.judged = True
    await watch.go_on(STEP, leads=False)
    assert watch.without_store.blind is None
    await lead(store, watch)
    assert sayings(channel) == [(PageAction.TRIGGER, KEY), (PageAction.RESOLVE, KEY)]
    found = await store.readers.run(find_incident, 1)
    assert found is not None
    assert found.incident["resolved_at"] == store.clock()
    assert [(page["action"], page["state"], page["dedup_key"]) for page in found.pages] == [
        ("trigger", "sent", KEY),
        ("resolve", "sent", KEY),
    ]


async def test_several_replicas_make_one_incident_and_one_end_of_it(store: Store) -> None:
    channels = MemoryChannel(), MemoryChannel()
    watches = [Watch(store, [channel]) for channel in channels]
    for watch in watches:
        await watch.step(leads=False)
        watch.judged = False
    store.clock.advance(PATIENCE + STEP)
    for watch in watches:
        await watch.step(leads=False)
        assert watch.said()[-1] == ("trigger", KEY)
        watch.judged = True
    store.clock.advance(STEP)
    for watch in watches:
        await watch.step(leads=False)
        assert watch.without_store.blind is None
    assert await store.value("SELECT count(*) FROM incidents") == 1
    assert await store.value("SELECT count(*) FROM pages WHERE action = 'resolve'") == 1


async def test_an_alarm_that_leaves_again_after_its_end_was_entered_is_ended_again(store: Store) -> None:
    first, second = MemoryChannel(), MemoryChannel()
    early = await cut_off(store, first)
    late = await cut_off(store, second)
    early.judged = True
    await early.go_on(STEP, leads=False)
    # The late one's page was not known to be taken when the first one ended it for all.
    late.without_store.begin(Blind(store.clock(), None))
    store.clock.advance(SECOND)
    late.without_store.run()
    await late.without_store.settle()
    late.judged = True
    await late.go_on(STEP, leads=False)
    assert await store.value("SELECT count(*) FROM incidents") == 2
    await lead(store, late)
    assert sayings(second)[-1] == (PageAction.RESOLVE, KEY)


async def test_a_replica_leaves_it_to_the_leader_to_say_that_nothing_is_judged(store: Store) -> None:
    channel = MemoryChannel()
    watch = Watch(store, [channel])
    await watch.step(leads=False)
    await store.alter(
        "INSERT INTO alerts (alertname, severity, sli, traffic, state) VALUES"
        " ('BookingLedgerStale', 'critical', '', '', 'firing')"
    )
    store.clock.advance(STEP)
    await watch.step(leads=False)
    watch.judged = False
    await watch.go_on(2 * PATIENCE, leads=False)
    assert watch.without_store.blind is None


async def test_an_alarm_that_goes_on_when_the_store_is_back_goes_on_there_under_its_key(store: Store) -> None:
    pagerduty, webhook = MemoryChannel(), MemoryChannel(PageChannel.WEBHOOK)
    accept, webhook.answer = webhook.answer, lambda _page: SendResult.retry("HTTP 500")
    watch = Watch(store, [pagerduty, webhook])
    await watch.look_back(NOON - 10 * MINUTE)
    store.clock.advance(2 * MINUTE)
    watch.without_store.begin(Blind(store.clock(), NOON - 10 * MINUTE))
    watch.without_store.run()
    await watch.without_store.settle()
    webhook.answer = accept
    await watch.go_on(STEP)
    assert watch.without_store.blind is None
    assert sayings(pagerduty) == sayings(webhook) == [(PageAction.TRIGGER, KEY)]
    watch.judged = True
    await watch.go_on(STEP)
    assert sayings(pagerduty) == sayings(webhook) == [(PageAction.TRIGGER, KEY), (PageAction.RESOLVE, KEY)]
    found = await store.readers.run(find_incident, 1)
    assert found is not None
    assert "for 12 min" in found.incident["report"]


async def test_word_from_pagerduty_reaches_the_newest_incident_of_the_shared_key(store: Store) -> None:
    channel = MemoryChannel()
    watch = await cut_off(store, channel)
    for _ in range(2):
        watch.judged = True
        await watch.go_on(STEP, leads=False)
        watch.judged = False
        await watch.go_on(PATIENCE + STEP, leads=False)
    watch.judged = True
    await watch.go_on(STEP, leads=False)
    assert await store.submit(Acknowledge(KEY, store.clock()))
    acknowledged = await store.rows("SELECT number FROM incidents WHERE acknowledged_at IS NOT NULL")
    assert [row["number"] for row in acknowledged] == [3]


async def test_nothing_is_raised_at_a_start_before_anything_could_be_judged(store: Store) -> None:
    at_once = replace(OBJECTIVES.ledger_stale, timing=Timing())
    watch = Watch(store, [MemoryChannel()], objectives=replace(OBJECTIVES, ledger_stale=at_once))
    await watch.look_back(NOON - 10 * MINUTE)
    await watch.go_on(MINUTE)
    assert watch.said() == []
    await watch.go_on(2 * STEP)
    assert [action for action, _ in watch.said()] == ["trigger"]


class TestAStartAfterAKill:
    """Nothing is left in memory, and the alarm may have been raised."""

    async def test_what_may_have_been_raised_is_ended_once(self, store: Store) -> None:
        before = Watch(store, [MemoryChannel()])
        await before.go_on(3 * STEP)
        store.clock.advance(10 * MINUTE)
        started = Watch(store, [MemoryChannel()])
        await started.go_on(10 * MINUTE)
        assert started.said() == [("resolve", KEY)]

    async def test_it_is_ended_after_the_next_start_too_as_long_as_no_channel_took_it(self, store: Store) -> None:
        before = Watch(store, [MemoryChannel()])
        await before.go_on(3 * STEP)
        store.clock.advance(10 * MINUTE)
        refused = Watch(store, [MemoryChannel(answer=lambda _page: SendResult.retry("HTTP 500"))])
        await refused.go_on(3 * STEP)
        started = Watch(store, [MemoryChannel()])
        await started.go_on(3 * STEP)
        assert started.said() == [("resolve", KEY)]

    async def test_a_short_stop_leaves_nothing_to_end(self, store: Store) -> None:
        before = Watch(store, [MemoryChannel()])
        await before.go_on(3 * STEP)
        store.clock.advance(20 * SECOND)
        started = Watch(store, [MemoryChannel()])
        await started.go_on(3 * STEP)
        assert started.said() == []

    @pytest.mark.parametrize("leads", [True, False])
    async def test_a_replica_ends_it_at_every_start_as_others_may_have_judged_meanwhile(
        self, store: Store, fence: Fence, *, leads: bool
    ) -> None:
        started = Watch(store, [MemoryChannel(), MemoryChannel(PageChannel.ALERTMANAGER)], fence=fence)
        await started.go_on(3 * STEP, leads=leads)
        assert started.said() == [("resolve", KEY)]
        assert started.said(PageChannel.ALERTMANAGER) == [], "it forgets by itself"

    async def test_the_end_waits_until_the_ledger_is_fresh(self, store: Store, fence: Fence) -> None:
        started = Watch(store, [MemoryChannel()], fence=fence)
        await started.look_back(NOON - 10 * MINUTE)
        await started.go_on(3 * STEP)
        assert started.said() == []
        started.judged = True
        await started.go_on(STEP)
        assert started.said() == [("resolve", KEY)]


class TestSending:
    async def test_each_channel_takes_it_once_and_what_one_does_is_nothing_to_the_other(self, store: Store) -> None:
        pagerduty, webhook = MemoryChannel(), MemoryChannel(PageChannel.WEBHOOK)
        pagerduty.answer = lambda _page: SendResult.retry("HTTP 500")
        watch = await cut_off(store, pagerduty, webhook)
        await watch.go_on(10 * MINUTE, leads=False)
        assert sayings(webhook) == [(PageAction.TRIGGER, KEY)]
        assert sayings(pagerduty) == []

    async def test_a_refusal_is_followed_by_longer_and_longer_pauses(self, store: Store) -> None:
        tried: list[int] = []

        def refuse(_page: Page) -> SendResult:
            tried.append(store.clock())
            return SendResult.retry("HTTP 500")

        watch = await cut_off(store, MemoryChannel(answer=refuse))
        del tried[:-1]
        for _ in range(20 * MINUTE // STEP):
            store.clock.advance(STEP)
            await watch.step(leads=False)
        pauses = [after - before for before, after in pairwise(tried)]
        assert 24 * SECOND <= pauses[0] <= 45 * SECOND
        assert pauses[-1] >= 4 * MINUTE
        assert max(pauses) <= 5 * MINUTE + STEP

    async def test_the_pause_that_a_receiver_asks_for_is_kept(self, store: Store) -> None:
        channel = MemoryChannel(answer=lambda _page: SendResult.retry("HTTP 429", 240))
        watch = await cut_off(store, channel)
        for _ in range(235 * SECOND // STEP):
            store.clock.advance(STEP)
            await watch.step(leads=False)
        assert len(channel.attempts) == 1
        store.clock.advance(STEP)
        await watch.step(leads=False)
        assert len(channel.attempts) == 2

    async def test_what_is_refused_for_good_is_not_sent_again(self, store: Store) -> None:
        channel = MemoryChannel(answer=lambda _page: SendResult.reject("HTTP 400"))
        watch = await cut_off(store, channel)
        await watch.go_on(30 * MINUTE, leads=False)
        assert len(channel.attempts) == 1

    async def test_alertmanager_which_forgets_is_told_again_while_it_lasts(self, store: Store) -> None:
        channel = MemoryChannel(PageChannel.ALERTMANAGER)
        watch = await cut_off(store, channel)
        for _ in range(3):
            store.clock.advance(RESEND_DELAY)
            await watch.step(leads=False)
        assert [page.evaluated_at for page in channel.accepted[1:]] == [
            store.clock() - 2 * RESEND_DELAY,
            store.clock() - RESEND_DELAY,
            store.clock(),
        ]

    async def test_no_end_is_entered_while_a_page_is_under_way(self, store: Store) -> None:
        answers = asyncio.Event()

        class Slow(MemoryChannel):
            async def send(self, page: Page) -> SendResult:
                await answers.wait()
                return await super().send(page)

        channel = Slow()
        watch = Watch(store, [channel])
        watch.judged = False
        watch.without_store.begin(Blind(store.clock(), None))
        watch.without_store.run()
        watch.judged = True
        recovering = asyncio.create_task(watch.step(leads=False))
        await asyncio.sleep(0)
        assert await store.value("SELECT count(*) FROM incidents") == 0
        answers.set()
        await recovering
        assert await store.value("SELECT count(*) FROM pages WHERE action = 'resolve'") == 1
