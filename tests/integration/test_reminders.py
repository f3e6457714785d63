"""A page that nobody acknowledges is repeated, in order and never for nothing; an acknowledgement stops that."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_channel import MemoryChannel
from support.objectives import OBJECTIVES
from support.store import NOON, Store, open_store
from support.watch import OUTAGE_KEY, STEP, Watch, outage

from monitor.alerting.channels import SendResult
from monitor.domain.objectives import CRITICAL_RATES, Maintenance
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import PageAction, PageChannel, Severity
from monitor.store.alerts import IncidentChange, PlannedPage, RecordEvaluation, find_incident
from monitor.store.handling import HANDED_BACK, Acknowledge, HandBack

if TYPE_CHECKING:
    from monitor.alerting.channels import Page
    from monitor.domain.rows import Fields

EVERY = 30 * MINUTE


@pytest.fixture
async def watch(store: Store) -> Watch:
    return await outage(store)


def actions(watch: Watch, channel: PageChannel = PageChannel.PAGERDUTY) -> list[str]:
    return [action for action, _ in watch.said(channel)]


async def timeline(store: Store) -> list[Fields]:
    found = await store.readers.run(find_incident, 1)
    assert found is not None
    return list(found.events)


async def acknowledge(store: Store) -> None:
    assert await store.submit(Acknowledge(OUTAGE_KEY, store.clock.advance(SECOND)))


async def hand_back(store: Store, event: str = "unacknowledged") -> None:
    assert await store.submit(HandBack(OUTAGE_KEY, store.clock.advance(SECOND), event))


async def test_a_page_that_nobody_acknowledges_is_repeated_at_its_interval_under_its_key(watch: Watch) -> None:
    await watch.go_on(EVERY - STEP)
    assert actions(watch) == ["trigger"]
    await watch.go_on(STEP)
    assert watch.said() == [("trigger", OUTAGE_KEY), ("reminder", OUTAGE_KEY)]
    await watch.go_on(EVERY - STEP)
    assert len(watch.said()) == 2
    await watch.go_on(STEP)
    assert actions(watch) == ["trigger", "reminder", "reminder"]


async def test_a_reminder_says_that_it_is_one_and_since_when_and_the_timeline_has_it(
    watch: Watch, store: Store
) -> None:
    await watch.go_on(EVERY)
    content = watch.channels[PageChannel.PAGERDUTY].accepted[-1].content
    assert content.summary.startswith("Reminder, firing since 12:00: ")
    assert content.details["reminder"] == "firing since 2026-11-20T12:00:05.000Z, not acknowledged"
    assert next(iter(content.details)) == "reminder"
    assert [(event["event"], event["at"]) for event in await timeline(store)] == [
        ("fired", NOON + STEP),
        ("page sent", NOON + STEP),
        ("reminder sent", NOON + STEP + EVERY),
    ]
    kept = json.loads(await store.value("SELECT report FROM incidents"))
    assert "Reminder" not in kept["summary"], "what the status page shows is no reminder"


async def test_a_start_neither_forgets_nor_doubles_a_reminder(watch: Watch, store: Store) -> None:
    await watch.go_on(EVERY - 2 * STEP)
    await watch.go_on(STEP)
    started = Watch(store, [MemoryChannel()])
    started.failing = True
    await started.go_on(STEP)
    assert actions(started) == ["reminder"]
    await started.go_on(STEP)
    again = Watch(store, [MemoryChannel()])
    again.failing = True
    await again.go_on(STEP)
    await again.go_on(EVERY - 3 * STEP)
    assert actions(again) == []


async def test_an_acknowledgement_stops_reminders_until_the_incident_is_handed_back(watch: Watch, store: Store) -> None:
    await acknowledge(store)
    await watch.go_on(2 * EVERY)
    assert actions(watch) == ["trigger"]
    await hand_back(store)
    await watch.go_on(EVERY - STEP)
    assert actions(watch) == ["trigger"], "whoever handed it back has just been told"
    await watch.go_on(STEP)
    assert actions(watch) == ["trigger", "reminder"]


async def test_the_end_is_the_last_word_and_no_reminder_follows_it(watch: Watch) -> None:
    await watch.go_on(EVERY)
    watch.failing = False
    await watch.go_on(2 * EVERY)
    assert actions(watch) == ["trigger", "reminder", "resolve"]


async def test_nobody_is_reminded_of_what_is_only_kept_firing(watch: Watch) -> None:
    await watch.go_on(EVERY - 2 * STEP)
    watch.failing = False
    await watch.go_on(2 * MINUTE)
    assert actions(watch) == ["trigger", "resolve"]


async def test_a_reminder_that_is_not_accepted_gives_way_to_the_end(watch: Watch, store: Store) -> None:
    channel = watch.channels[PageChannel.PAGERDUTY]
    accept, channel.answer = channel.answer, lambda _page: SendResult.retry("HTTP 500")
    await watch.go_on(EVERY)
    assert [page.action for page in channel.attempts[1:]] == [PageAction.REMINDER]
    await watch.go_on(EVERY)
    assert await store.value("SELECT count(*) FROM pages WHERE action = 'reminder'") == 1, "it waits for itself"
    channel.answer = accept
    watch.failing = False
    await watch.go_on(2 * MINUTE)
    assert actions(watch) == ["trigger", "resolve"]
    assert await store.value("SELECT state FROM pages WHERE action = 'reminder'") == "superseded"


async def test_a_reminder_that_is_not_accepted_is_taken_back_by_an_acknowledgement(watch: Watch, store: Store) -> None:
    channel = watch.channels[PageChannel.PAGERDUTY]
    accept, channel.answer = channel.answer, lambda _page: SendResult.retry("HTTP 500")
    await watch.go_on(EVERY)
    await acknowledge(store)
    channel.answer = accept
    await watch.go_on(EVERY)
    assert actions(watch) == ["trigger"]


async def test_an_acknowledgement_that_comes_while_a_reminder_is_decided_still_stops_it(
    watch: Watch, store: Store
) -> None:
    await acknowledge(store)
    reminder = PlannedPage("pagerduty", PageAction.REMINDER.value, OUTAGE_KEY, "{}")
    change = IncidentChange(1, CRITICAL_RATES[0], "{}", pages=(reminder,))
    await store.submit(RecordEvaluation({}, (change,), store.clock(), None))
    assert await store.value("SELECT count(*) FROM pages WHERE action = 'reminder'") == 0
    assert watch.said() == [("trigger", OUTAGE_KEY)]


async def test_a_page_that_is_not_accepted_yet_needs_no_reminder(store: Store) -> None:
    def refuse(_page: Page) -> SendResult:
        return SendResult.retry("HTTP 500")

    watch = Watch(store, [MemoryChannel(answer=refuse)])
    watch.failing = True
    await watch.go_on(2 * EVERY)
    assert {page.action for page in watch.channels[PageChannel.PAGERDUTY].attempts} == {PageAction.TRIGGER}


async def test_alertmanager_which_repeats_by_itself_gets_no_reminder(store: Store) -> None:
    watch = Watch(store, [MemoryChannel(), MemoryChannel(PageChannel.ALERTMANAGER)])
    watch.failing = True
    await watch.go_on(STEP)
    await watch.go_on(EVERY)
    assert actions(watch) == ["trigger", "reminder"]
    assert set(actions(watch, PageChannel.ALERTMANAGER)) == {"trigger"}


@pytest.mark.parametrize("frozen", ["maintenance", "stale truth"])
async def test_nobody_is_reminded_of_a_frozen_alert_before_it_thaws(watch: Watch, store: Store, frozen: str) -> None:
    now = store.clock()
    if frozen == "maintenance":
        planned = Maintenance("migration", now, now + 2 * EVERY, frozenset())
        watch.objectives = replace(OBJECTIVES, maintenance=(planned,))
        await watch.go_on(2 * EVERY - STEP)
        assert actions(watch) == ["trigger"]
        await watch.go_on(STEP)
    else:
        watch.judged = False
        await watch.go_on(EVERY + STEP)
        assert ("reminder", OUTAGE_KEY) not in watch.said()
        watch.judged = True
        await watch.go_on(STEP)
    assert ("reminder", OUTAGE_KEY) in watch.said()


async def test_where_reminders_are_off_there_are_none(store: Store) -> None:
    route = replace(OBJECTIVES.routes[Severity.CRITICAL], repeat_every=None)
    objectives = replace(OBJECTIVES, routes={**OBJECTIVES.routes, Severity.CRITICAL: route})
    watch = Watch(store, [MemoryChannel()], objectives=objectives)
    watch.failing = True
    await watch.go_on(3 * EVERY)
    assert actions(watch) == ["trigger"]


async def test_one_that_is_closed_by_hand_while_it_fires_is_said_again_after_the_interval(
    watch: Watch, store: Store
) -> None:
    await acknowledge(store)
    await watch.go_on(EVERY)
    await hand_back(store, "closed by hand")
    await watch.go_on(EVERY - STEP)
    assert actions(watch) == ["trigger"]
    await watch.go_on(STEP)
    assert actions(watch) == ["trigger", "reminder"]
    assert [event["event"] for event in await timeline(store)][2:4] == ["acknowledged", "closed by hand"]


async def test_what_happens_at_the_receiver_after_the_end_changes_nothing(watch: Watch, store: Store) -> None:
    watch.failing = False
    await watch.go_on(2 * MINUTE)
    assert actions(watch) == ["trigger", "resolve"]
    assert not await store.submit(HandBack(OUTAGE_KEY, store.clock(), "closed by hand"))
    assert [event["event"] for event in await timeline(store)][-1] == "page sent"


EVENTS = st.lists(st.sampled_from(("acknowledged", *HANDED_BACK)), min_size=1, max_size=8)


@given(events=EVENTS, data=st.data())
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
async def test_whatever_the_order_in_which_word_arrives_the_latest_event_decides(
    sqlite_url: str, events: list[str], data: st.DataObject
) -> None:
    happened = [(event, NOON + MINUTE + position) for position, event in enumerate(events)]
    arriving = data.draw(st.permutations(happened))
    async with open_store(sqlite_url) as store:
        for table in ("pages", "incident_events", "incidents", "alerts"):
            await store.alter(f"DELETE FROM {table}")  # noqa: S608 - names of our own
        watch = Watch(store, [MemoryChannel()])
        watch.failing = True
        await watch.go_on(STEP)
        for event, at in arriving:
            await store.submit(
                Acknowledge(OUTAGE_KEY, at) if event == "acknowledged" else HandBack(OUTAGE_KEY, at, event)
            )
        taken = await store.value("SELECT acknowledged_at FROM incidents") is not None
        assert taken == (events[-1] == "acknowledged")
