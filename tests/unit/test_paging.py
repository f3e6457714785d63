"""Which pages an incident calls for, and by which channels they leave."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.objectives import OBJECTIVES

from monitor.alerting.channels import PageAction
from monitor.alerting.paging import channels_of, plan_pages
from monitor.alerting.payload import IncidentReport, PageContent, build, report_dedup_key
from monitor.domain.objectives import ALERT_KEYS, CRITICAL_RATES, PAGE_UNDELIVERED, WARNING_RATES, AlertKey
from monitor.domain.vocabulary import PageChannel, Severity

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
