from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from monitor.domain.ledger import DURATION_BUCKETS, REASONS, Count, Durations, Exemplar, Mark, Overdue, Snapshot
from monitor.domain.vocabulary import (
    SLIS,
    AlertState,
    AttemptResult,
    CanaryResult,
    DeliveryState,
    Outcome,
    PageChannel,
    PageState,
    Reason,
    RepairResult,
    Stage,
    Traffic,
    Transport,
    Window,
)
from monitor.telemetry import catalogue
from monitor.telemetry.catalogue import Kind
from monitor.telemetry.exposition import Format, RegistryWriter, negotiate
from monitor.telemetry.ledger_view import MAX_CURRENCIES
from monitor.telemetry.metrics import Metrics, reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client import Metric

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
OBJECTIVES = {Stage.CHAT_ROOM: 0.95, Stage.NOTIFICATION: 0.98, Stage.REALTIME: 0.95}
NOW = 1_790_000_000_000

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


def make() -> Metrics:
    return Metrics(
        objectives=OBJECTIVES,
        platforms=("embedded", "appwrite"),
        jobs=("judge", "sweep"),
        version="1.2.3",
        platform="embedded",
    )


def read(text: str, form: Format) -> list[Metric]:
    if form is Format.OPENMETRICS:
        return list(openmetrics.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it is untyped
    return list(text_string_to_metric_families(text))


def families(metrics: Metrics, accept: str | None) -> list[Metric]:
    text, content_type = metrics.render(accept)
    return read(text.decode(), Format(content_type))


def series(parsed: Iterable[Metric]) -> Series:
    return {(s.name, frozenset(s.labels.items())): s.value for family in parsed for s in family.samples}


def key(name: str, labels: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset((label, str(value)) for label, value in labels.items())


def shown(snapshot: Snapshot, accept: str | None = None) -> Series:
    metrics = make()
    metrics.update(snapshot)
    return series(families(metrics, accept))


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_every_combination_of_the_closed_sets_is_0_over_an_empty_ledger(accept: str | None) -> None:
    got = shown(Snapshot(at=NOW), accept)
    expected = [
        key(name, {"sli": sli, "traffic": traffic, "window": window})
        for name in ("booking_sli_events", "booking_sli_bad")
        for sli in SLIS
        for traffic in Traffic
        for window in Window
    ]
    expected += [
        key("booking_sli_outcomes_total", {"sli": sli, "traffic": traffic, "outcome": outcome, "reason": reason})
        for sli in SLIS
        for traffic in Traffic
        for outcome, reason in REASONS[sli]
    ]
    for stage in Stage:
        for traffic in Traffic:
            labels = {"stage": stage, "traffic": traffic}
            names = ("booking_overdue", "booking_overdue_oldest_seconds", "booking_stage_duration_seconds_count")
            expected += [key(name, labels) for name in (*names, "booking_stage_duration_seconds_sum")]
            bounds = [*map(str, map(float, DURATION_BUCKETS)), "+Inf"]
            expected += [key("booking_stage_duration_seconds_bucket", {**labels, "le": le}) for le in bounds]
        expected += [key("booking_repairs_total", {"stage": stage, "result": result}) for result in RepairResult]
    for stage in (Stage.PUSH, Stage.REALTIME):
        states = (DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.DEAD)
        expected += [key("booking_deliveries", {"stage": stage, "state": state}) for state in states]
        expected += [key("booking_delivery_attempts_total", {"stage": stage, "result": r}) for r in AttemptResult]
    expected += [
        key("booking_bookings_total", {"traffic": traffic, "platform": platform})
        for traffic in Traffic
        for platform in ("embedded", "appwrite")
    ]
    expected += [
        key("booking_legacy_fields_total", {"field": field})
        for field in ("therapistId", "therapistName", "therapistType")
    ]
    expected += [key("booking_canary_runs_total", {"result": result}) for result in CanaryResult]
    expected += [key("booking_pages", {"channel": c, "state": state}) for c in PageChannel for state in PageState]
    expected += [key("booking_page_oldest_seconds", {"channel": c, "state": "pending"}) for c in PageChannel]
    expected += [key("booking_canary_last_success_timestamp_seconds", {})]
    expected += [key("booking_ledger_judged_timestamp_seconds", {})]
    expected += [
        key("booking_job_runs_total", {"job": job, "result": result})
        for job in ("judge", "sweep")
        for result in ("ok", "error", "missed")
    ]
    expected += [key("booking_realtime_subscriptions", {"transport": transport}) for transport in Transport]
    expected += [key("booking_monitor_leader", {}), key("booking_writer_queue_depth", {})]
    assert {k: got.get(k) for k in expected} == dict.fromkeys(expected, 0.0)


def test_before_the_ledger_is_read_no_count_is_claimed() -> None:
    got = series(families(make(), None))
    ledger = {name for name, _ in got if any(name.startswith(spec.name) for spec in catalogue.LEDGER)}
    assert ledger == {"booking_sli_objective_ratio", "booking_ledger_snapshot_timestamp_seconds"}
    assert got[key("booking_ledger_snapshot_timestamp_seconds", {})] == 0


def test_the_objectives_are_shown_as_given() -> None:
    got = shown(Snapshot(at=NOW))
    assert {sli: got[key("booking_sli_objective_ratio", {"sli": sli})] for sli in SLIS} == OBJECTIVES


counts = st.integers(0, 10**12)


@settings(max_examples=30, deadline=None)
@given(
    windows=st.dictionaries(
        st.tuples(st.sampled_from(SLIS), st.sampled_from(Traffic), st.sampled_from(Window)),
        st.builds(Count, counts, counts),
    ),
    good=counts,
    histogram=st.lists(st.integers(0, 10**9), min_size=len(DURATION_BUCKETS) + 1, max_size=len(DURATION_BUCKETS) + 1),
    total=st.floats(0, 1e9),
    accept=st.sampled_from([None, OPENMETRICS]),
)
def test_a_parser_reads_back_what_the_ledger_said(
    windows: dict[tuple[Stage, Traffic, Window], Count],
    good: int,
    histogram: list[int],
    total: float,
    accept: str | None,
) -> None:
    place = Stage.CHAT_ROOM, Traffic.REAL
    got = shown(
        Snapshot(
            at=NOW,
            windows=windows,
            outcomes={(*place, Outcome.GOOD, Reason.ON_TIME): good},
            durations={place: Durations(tuple(histogram), total)},
        ),
        accept,
    )
    for (sli, traffic, window), count in windows.items():
        labels = {"sli": sli, "traffic": traffic, "window": window}
        assert got[key("booking_sli_events", labels)] == count.events
        assert got[key("booking_sli_bad", labels)] == count.bad
    outcome = {"sli": "chat_room", "traffic": "real", "outcome": "good", "reason": "on_time"}
    assert got[key("booking_sli_outcomes_total", outcome)] == good
    stage = {"stage": "chat_room", "traffic": "real"}
    assert got[key("booking_stage_duration_seconds_count", stage)] == sum(histogram)
    assert got[key("booking_stage_duration_seconds_sum", stage)] == total
    for i, bound in enumerate(DURATION_BUCKETS):
        bucket = key("booking_stage_duration_seconds_bucket", {**stage, "le": str(float(bound))})
        assert got[bucket] == sum(histogram[: i + 1])


def test_counts_marks_and_outboxes_are_shown_under_their_labels() -> None:
    got = shown(
        Snapshot(
            at=NOW,
            bookings={(Traffic.REAL, "appwrite"): 7},
            legacy_fields={"therapistId": 3},
            deliveries={(Stage.PUSH, DeliveryState.DEAD): 2, (Stage.PUSH, DeliveryState.DELIVERED): 9},
            delivery_attempts={(Stage.REALTIME, AttemptResult.UNACKNOWLEDGED): 4},
            repairs={(Stage.CHAT_ROOM, RepairResult.REPAIRED): 5},
            canary_runs={CanaryResult.FAILED: 6},
            marks={Mark.CANARY_SUCCEEDED: NOW - 1500, Mark.JUDGED: NOW - 250},
            pages={(PageChannel.PAGERDUTY, PageState.PENDING): 1},
            oldest_page_at={PageChannel.PAGERDUTY: NOW - 90_000},
        )
    )
    assert got[key("booking_bookings_total", {"traffic": "real", "platform": "appwrite"})] == 7
    assert got[key("booking_legacy_fields_total", {"field": "therapistId"})] == 3
    assert got[key("booking_deliveries", {"stage": "push", "state": "dead"})] == 2
    assert key("booking_deliveries", {"stage": "push", "state": "delivered"}) not in got
    assert got[key("booking_delivery_attempts_total", {"stage": "realtime", "result": "unacknowledged"})] == 4
    assert got[key("booking_repairs_total", {"stage": "chat_room", "result": "repaired"})] == 5
    assert got[key("booking_canary_runs_total", {"result": "failed"})] == 6
    assert got[key("booking_canary_last_success_timestamp_seconds", {})] == 1_789_999_998.5
    assert got[key("booking_ledger_judged_timestamp_seconds", {})] == 1_789_999_999.75
    assert got[key("booking_ledger_snapshot_timestamp_seconds", {})] == 1_790_000_000
    assert got[key("booking_pages", {"channel": "pagerduty", "state": "pending"})] == 1
    assert got[key("booking_page_oldest_seconds", {"channel": "pagerduty", "state": "pending"})] == 90


def test_the_oldest_overdue_booking_has_the_age_it_had_when_the_ledger_was_read() -> None:
    overdue = {
        (Stage.CHAT_ROOM, Traffic.REAL): Overdue(2, NOW - 12_500),
        (Stage.REALTIME, Traffic.REAL): Overdue(1, NOW + 40),
    }
    got = shown(Snapshot(at=NOW, overdue=overdue))
    assert got[key("booking_overdue", {"stage": "chat_room", "traffic": "real"})] == 2
    assert got[key("booking_overdue_oldest_seconds", {"stage": "chat_room", "traffic": "real"})] == 12.5
    assert got[key("booking_overdue_oldest_seconds", {"stage": "realtime", "traffic": "real"})] == 0


def test_an_alert_is_1_in_its_state_and_0_in_the_others() -> None:
    alert = {"alertname": "BookingOverdue", "severity": "warning", "sli": "push", "traffic": "real"}
    got = shown(Snapshot(at=NOW, alerts={("BookingOverdue", "warning", "push", "real"): AlertState.PENDING}))
    states = {state: got[key("booking_alert_state", {**alert, "state": state})] for state in AlertState}
    assert states == {"inactive": 0, "pending": 1, "firing": 0}


def test_an_alert_of_which_the_ledger_knows_nothing_is_inactive() -> None:
    alert = {"alertname": "BookingCanaryFailing", "severity": "critical", "sli": "", "traffic": "canary"}
    got = shown(Snapshot(at=NOW))
    states = {state: got[key("booking_alert_state", {**alert, "state": state})] for state in AlertState}
    assert states == {"inactive": 1, "pending": 0, "firing": 0}


def test_a_currency_goes_back_to_0_when_its_risk_is_over() -> None:
    metrics = make()
    idr = key("booking_revenue_at_risk", {"currency": "IDR"})
    metrics.update(Snapshot(at=NOW, revenue_at_risk={"IDR": 35_000_000}))
    assert series(families(metrics, None))[idr] == 35_000_000
    metrics.update(Snapshot(at=NOW + 1000))
    assert series(families(metrics, None))[idr] == 0


def test_the_number_of_currencies_is_bounded_and_the_largest_amounts_are_kept() -> None:
    got = shown(Snapshot(at=NOW, revenue_at_risk={f"X{i:02}": i for i in range(2 * MAX_CURRENCIES)}))
    amounts = [value for (name, _), value in got.items() if name == "booking_revenue_at_risk"]
    assert sorted(amounts) == list(range(MAX_CURRENCIES, 2 * MAX_CURRENCIES))


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=20), st.sampled_from([None, OPENMETRICS]))
def test_no_label_value_can_break_the_exposition(text: str, accept: str | None) -> None:
    text = text.encode("utf-8", "replace").decode().replace("\r", " ")  # a bare CR ends a line for the parser only
    got = shown(Snapshot(at=NOW, revenue_at_risk={text: 1}), accept)
    assert got[key("booking_revenue_at_risk", {"currency": text})] == 1


def test_exemplars_carry_the_trace_in_openmetrics_and_do_not_exist_in_the_text_format() -> None:
    metrics = make()
    place = Stage.REALTIME, Traffic.REAL
    exemplar = Exemplar("4bf92f3577b34da6a3ce929d0e0e4736", 0.007, NOW)
    buckets = (0, 1, *(0,) * (len(DURATION_BUCKETS) - 1))
    metrics.update(Snapshot(at=NOW, durations={place: Durations(buckets, 0.007, {1: exemplar})}))
    found = {
        (s.labels["le"], s.labels["stage"]): s.exemplar
        for family in families(metrics, OPENMETRICS)
        for s in family.samples
        if s.exemplar is not None
    }
    ((bucket, got),) = found.items()
    assert bucket == ("0.01", "realtime")
    assert (got.labels, got.value, float(str(got.timestamp))) == ({"trace_id": exemplar.trace_id}, 0.007, NOW / 1000)
    assert b" # {" not in metrics.render(None)[0]


def use(metrics: Metrics) -> None:
    metrics.request_answered("/v1/bookings", "POST", 201, 0.0015)
    metrics.request_answered("/v1/bookings/{id}", "GET", 404, 7)
    metrics.jobs["judge"].succeeded(NOW)
    metrics.jobs["sweep"].failed()
    metrics.jobs["sweep"].missed()
    metrics.subscriptions[Transport.SSE].inc(3)
    metrics.leader.set(1)
    metrics.clock_offset.set(-0.25)
    metrics.writer_queue_depth.set_function(lambda: 12)
    metrics.writer_group_size.observe(9)
    metrics.writer_commit_seconds.observe(0.0003)
    metrics.writer_errors.inc()


def test_the_process_reports_its_own_work() -> None:
    metrics = make()
    use(metrics)
    got = series(families(metrics, None))
    request = {"route": "/v1/bookings", "method": "POST", "status": "2xx"}
    assert got[key("booking_http_requests_total", request)] == 1
    assert got[key("booking_http_request_duration_seconds_bucket", {**request, "le": "0.0025"})] == 1
    assert got[key("booking_http_request_duration_seconds_bucket", {**request, "le": "0.001"})] == 0
    assert got[key("booking_job_runs_total", {"job": "judge", "result": "ok"})] == 1
    assert got[key("booking_job_last_success_timestamp_seconds", {"job": "judge"})] == NOW / 1000
    assert got[key("booking_job_runs_total", {"job": "sweep", "result": "error"})] == 1
    assert got[key("booking_job_runs_total", {"job": "sweep", "result": "missed"})] == 1
    assert got[key("booking_realtime_subscriptions", {"transport": "sse"})] == 3
    assert got[key("booking_clock_offset_seconds", {})] == -0.25
    assert got[key("booking_writer_queue_depth", {})] == 12
    assert got[key("booking_writer_group_size_bucket", {"le": "16.0"})] == 1
    assert got[key("booking_monitor_build_info", {"version": "1.2.3", "platform": "embedded"})] == 1


def test_a_made_up_method_makes_no_series_of_its_own() -> None:
    metrics = make()
    for i in range(50):
        metrics.request_answered("unmatched", f"X{i}", 405, 0.001)
    got = series(families(metrics, None))
    requests = {labels: value for (name, labels), value in got.items() if name == "booking_http_requests_total"}
    assert requests == {frozenset({("route", "unmatched"), ("method", "other"), ("status", "4xx")}): 50}


@pytest.mark.parametrize("form", list(Format))
def test_our_writer_and_that_of_the_library_say_the_same(form: Format) -> None:
    metrics = make()
    use(metrics)
    ours = RegistryWriter(metrics.registry).write(form)
    if form is Format.OPENMETRICS:
        ours += "# EOF\n"
        theirs = generate_openmetrics(metrics.registry)  # type: ignore[no-untyped-call]  # left untyped by the library
    else:
        theirs = generate_latest(metrics.registry)
    parsed = [read(text, form) for text in (ours, theirs.decode())]
    static = [[f for f in side if not f.name.startswith("process_")] for side in parsed]
    assert static[0] == static[1]
    assert [(f.name, f.type, f.documentation) for f in parsed[0]] == [
        (f.name, f.type, f.documentation) for f in parsed[1]
    ]


@pytest.mark.parametrize("accept", [None, OPENMETRICS])
def test_what_is_served_is_what_the_catalogue_lists(accept: str | None) -> None:
    metrics = make()
    metrics.update(
        Snapshot(at=NOW, revenue_at_risk={"IDR": 1}, alerts={("BookingOverdue", "warning", "", "real"): "firing"})
    )
    use(metrics)
    served = {f.name: f for f in families(metrics, accept) if not f.name.startswith(("process_", "python_info"))}
    listed = {spec.name.removesuffix("_total"): spec for spec in (*catalogue.LEDGER, *catalogue.PROCESS)}
    assert served.keys() == listed.keys()
    for name, spec in listed.items():
        family = served[name]
        assert (family.type, family.documentation) == (spec.kind, spec.help)
        labels = {frozenset(s.labels) - {"le"} for s in family.samples}
        assert labels in ({frozenset(spec.labels)}, set())
        assert labels or name == "booking_scrape_errors"


def test_counters_and_only_counters_are_named_total() -> None:
    specs = (*catalogue.LEDGER, *catalogue.PROCESS)
    assert len({spec.name for spec in specs}) == len(specs)
    for spec in specs:
        assert spec.name.endswith("_total") == (spec.kind is Kind.COUNTER), spec.name
        assert spec.help.endswith("."), spec.name


def test_created_series_are_off_and_the_standard_ones_are_there() -> None:
    text = make().render(OPENMETRICS)[0]
    assert b"_created" not in text
    assert b"process_cpu_seconds_total" in text
    assert b"python_info{" in text


def test_numbers_that_cannot_be_shown_leave_the_last_good_ones_and_are_counted() -> None:
    metrics = make()
    metrics.update(Snapshot(at=NOW))
    metrics.render(None)
    metrics.update(Snapshot(at=NOW + 1000, bookings={(Traffic.REAL, "embedded"): None}))  # type: ignore[dict-item]  # the fault
    got = series(families(metrics, None))
    assert got[key("booking_ledger_snapshot_timestamp_seconds", {})] == NOW / 1000
    assert got[key("booking_scrape_errors_total", {"source": "ledger"})] == 1
    metrics.update(Snapshot(at=NOW + 2000))
    assert series(families(metrics, None))[key("booking_ledger_snapshot_timestamp_seconds", {})] == NOW / 1000 + 2


def test_a_gauge_whose_function_fails_does_not_hide_the_ledger() -> None:
    def broken() -> float:
        raise RuntimeError

    metrics = make()
    metrics.update(Snapshot(at=NOW))
    metrics.render(None)
    metrics.writer_queue_depth.set_function(broken)
    got = series(families(metrics, None))
    assert got[key("booking_ledger_snapshot_timestamp_seconds", {})] == NOW / 1000
    assert got[key("booking_monitor_leader", {})] == 0


def test_a_snapshot_is_rendered_once_per_format_and_only_when_somebody_scrapes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = make()
    write, calls = metrics._view.write, []

    def counted(snapshot: Snapshot | None, form: Format) -> str:
        calls.append(form)
        return write(snapshot, form)

    monkeypatch.setattr(metrics._view, "write", counted)
    for second in range(60):
        metrics.update(Snapshot(at=NOW + second * 1000))
    assert calls == []
    for _ in range(3):
        metrics.render(None)
        metrics.render(OPENMETRICS)
    assert calls == [Format.TEXT, Format.OPENMETRICS]


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, Format.TEXT),
        ("", Format.TEXT),
        ("*/*", Format.TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", Format.TEXT),
        ("text/plain;version=0.0.4", Format.TEXT),
        ("application/openmetrics-text", Format.OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Format.OPENMETRICS),
        ("application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format.TEXT),
        (OPENMETRICS, Format.OPENMETRICS),
        (PROMETHEUS_3, Format.OPENMETRICS),
        ("application/openmetrics-text;version=abc", Format.TEXT),
    ],
)
def test_the_format_is_what_the_scraper_asked_for(accept: str | None, form: Format) -> None:
    assert negotiate(accept) is form


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_no_accept_header_is_refused(accept: str) -> None:
    assert negotiate(accept) in Format


def test_the_reference_in_the_docs_is_that_of_the_code() -> None:
    docs = Path(__file__).parents[2] / "docs" / "metrics.md"
    assert docs.read_text(encoding="utf-8") == reference(), (
        "make it anew: python -c 'from monitor.telemetry.metrics import reference as r; print(r(), end=\"\")'"
        " > docs/metrics.md"
    )
