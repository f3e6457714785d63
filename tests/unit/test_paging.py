"""Which pages an incident calls for, and by which channels they leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.objectives import OBJECTIVES

from monitor.alerting.channels import SendResult
from monitor.alerting.paging import RESENDING, after, channels_of, plan_pages, reminders_due
from monitor.alerting.payload import IncidentReport, PageContent, build, report_dedup_key
from monitor.domain.objectives import ALERT_KEYS, CRITICAL_RATES, PAGE_UNDELIVERED, WARNING_RATES, AlertKey
from monitor.domain.times import MINUTE, SECOND
from monitor.domain.vocabulary import PageAction, PageChannel, PageState, Severity
from monitor.store.alerts import LastWord

ALL = tuple(PageChannel)
CHANNELS = st.sets(st.sampled_from(ALL))


def report(number: int = 7) -> IncidentReport:
    key = CRITICAL_RATES[0]
    return IncidentReport(number, key.alertname, key.severity, "production", fired_at=1_000, evaluated_at=2_000)


@pytest.mark.parametrize("action", PageAction)
def test_each_channel_gets_the_same_page_under_the_same_key(action: PageAction) -> None:
    pages = plan_pages(report(), action, ALL)
    assert [page.channel for page in pages] == [channel.value for channel in ALL]
    assert {page.dedup_key for page in pages} == {report_dedup_key(report())}
    assert {page.action for page in pages} == {action.value}
    assert all(PageContent.model_validate_json(page.content) == build(report()) for page in pages)


def test_the_key_belongs_to_the_incident_and_to_no_other() -> None:
    (one,), (other,) = (plan_pages(report(number), PageAction.TRIGGER, [PageChannel.WEBHOOK]) for number in (7, 8))
    assert one.dedup_key != other.dedup_key


def test_without_channels_there_are_no_pages() -> None:
    assert plan_pages(report(), PageAction.TRIGGER, ()) == ()


def test_an_alert_goes_where_its_severity_is_routed_as_far_as_that_is_set_up() -> None:
    routes = {**OBJECTIVES.routes}
    routes[Severity.WARNING] = replace(routes[Severity.WARNING], channels=(PageChannel.WEBHOOK, PageChannel.PAGERDUTY))
    objectives = replace(OBJECTIVES, routes=routes)
    configured = (PageChannel.PAGERDUTY, PageChannel.ALERTMANAGER)
    assert channels_of(WARNING_RATES[0], objectives, configured, ()) == (PageChannel.PAGERDUTY,)
    assert channels_of(CRITICAL_RATES[0], objectives, configured, ()) == configured


def test_word_of_a_stuck_channel_goes_by_the_others() -> None:
    stuck = {PageChannel.PAGERDUTY}
    others = channels_of(PAGE_UNDELIVERED, OBJECTIVES, ALL, stuck)
    assert others == tuple(channel for channel in ALL if channel is not PageChannel.PAGERDUTY)


def test_where_there_is_no_other_channel_it_goes_by_the_stuck_one() -> None:
    configured = (PageChannel.PAGERDUTY,)
    assert channels_of(PAGE_UNDELIVERED, OBJECTIVES, configured, configured) == configured


@given(st.sampled_from(ALERT_KEYS), CHANNELS, CHANNELS)
def test_a_page_never_goes_where_nothing_is_set_up_and_is_never_dropped_where_something_is(
    key: AlertKey, configured: set[PageChannel], stuck: set[PageChannel]
) -> None:
    chosen = channels_of(key, OBJECTIVES, configured, stuck)
    assert set(chosen) <= configured
    assert bool(chosen) == bool(configured)


EVERY = 30 * MINUTE
WORDS = st.builds(
    LastWord, st.just(7), st.sampled_from(ALL), st.sampled_from(PageState), st.none() | st.integers(0, 4 * EVERY)
)


@given(st.lists(WORDS, max_size=3), CHANNELS, st.integers(0, 4 * EVERY))
def test_a_channel_is_reminded_only_where_it_took_a_page_long_enough_ago(
    said: list[LastWord], routed: set[PageChannel], now: int
) -> None:
    due = reminders_due(said, routed, EVERY, now)
    assert set(due) <= routed - RESENDING
    for word in said:
        taken = word.state is PageState.SENT and word.sent_at is not None and word.sent_at <= now - EVERY
        if word.channel in routed - RESENDING and taken:
            assert word.channel in due
    assert len(due) <= sum(word.state is PageState.SENT for word in said)
    assert reminders_due(said, routed, None, now) == ()


@pytest.mark.parametrize(
    ("result", "state", "delay"),
    [
        (SendResult.accept(), PageState.SENT, None),
        (SendResult.reject("HTTP 400"), PageState.DEAD, None),
        (SendResult.retry("HTTP 500"), PageState.PENDING, 30 * SECOND),
        (SendResult.retry("HTTP 429", 90), PageState.PENDING, 90 * SECOND),
        (SendResult.retry("held back", 0.5, attempted=False), PageState.PENDING, 500),
    ],
)
def test_a_page_that_was_not_taken_waits_as_long_as_the_receiver_asks_and_30_s_at_least(
    result: SendResult, state: PageState, delay: int | None
) -> None:
    assert after(result, 1, 0.5) == (state, delay)


def test_a_page_is_given_up_after_its_last_attempt() -> None:
    assert after(SendResult.retry("HTTP 500"), 300, 0.5) == (PageState.DEAD, None)
