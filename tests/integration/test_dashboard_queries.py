"""A real Prometheus answers every query of every dashboard, from what the service's metrics look like."""

from __future__ import annotations

import json
import math
import re
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TYPE_CHECKING

import pytest
from support.dashboards import DASHBOARDS, filled_in, questions
from support.prometheus import PrometheusServer, Sample, prometheus_server
from support.promtool import History, promtool, selector
from support.waiting import wait_until

from monitor.domain.ledger import DURATION_BUCKETS, REASONS, Count, Durations, Exemplar, Mark, Overdue, Snapshot
from monitor.domain.objectives import ALERT_KEYS
from monitor.domain.vocabulary import (
    SLIS,
    AlertName,
    AlertState,
    AttemptResult,
    CanaryResult,
    DeliveryState,
    PageChannel,
    PageState,
    RepairResult,
    Severity,
    Stage,
    Traffic,
    Transport,
    Window,
)
from monitor.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OBJECTIVES = {Stage.CHAT_ROOM: 0.95, Stage.NOTIFICATION: 0.98, Stage.REALTIME: 0.95}
SAMPLES_FOR_A_RATE = 3
EVENTS, BAD = 40, 9


def snapshot(step: int) -> Snapshot:
    """Every number that a ledger can have, each counter higher at each step."""
    now = time.time_ns() // 1_000_000
    windows = {(sli, Traffic.REAL, window): Count(EVENTS, BAD) for sli in SLIS for window in Window}
    windows |= {(sli, Traffic.CANARY, Window.H1): Count(60, 1) for sli in SLIS}
    exemplar = Exemplar(trace_id="0af7651916cd43dd8448eb211c80319c", seconds=0.02, at=now)
    durations = Durations((step,) * (len(DURATION_BUCKETS) + 1), 3.0 * step, {2: exemplar})
    return Snapshot(
        at=now,
        windows=windows,
        outcomes={
            (sli, traffic, *pair): step * (20 if pair[0].value == "good" else 1)
            for sli in SLIS
            for traffic in Traffic
            for pair in REASONS[sli]
        },
        durations={(stage, traffic): durations for stage in Stage for traffic in Traffic},
        overdue={(stage, traffic): Overdue(2, now - 90_000) for stage in Stage for traffic in Traffic},
        revenue_at_risk={"IDR": 35_000_000},
        bookings={(traffic, "embedded"): 10 * step for traffic in Traffic},
        legacy_fields={"therapistId": step},
        deliveries={(stage, state): 3 for stage in (Stage.PUSH, Stage.REALTIME) for state in DeliveryState},
        delivery_attempts={(stage, result): step for stage in (Stage.PUSH, Stage.REALTIME) for result in AttemptResult},
        repairs={(stage, result): step for stage in Stage for result in RepairResult},
        canary_runs=dict.fromkeys(CanaryResult, step),
        marks={Mark.JUDGED: now - 1000, Mark.CANARY_SUCCEEDED: now - 30_000},
        pages={(channel, state): 1 for channel in PageChannel for state in PageState},
        oldest_page_at=dict.fromkeys(PageChannel, now - 5000),
        alerts={
            (AlertName.CHAT_ROOM_LOW, Severity.CRITICAL, "chat_room", "real"): AlertState.FIRING,
            (AlertName.CHAT_ROOM_LOW, Severity.WARNING, "chat_room", "real"): AlertState.PENDING,
            (AlertName.REALTIME_LOW, Severity.CRITICAL, "realtime", "real"): AlertState.INACTIVE,
        },
    )


def worked(metrics: Metrics) -> None:
    """Let a process do a little of everything."""
    now = time.time_ns() // 1_000_000
    for job in metrics.jobs.values():
        job.succeeded(now)
        job.failed()
        job.missed()
    for transport in Transport:
        metrics.subscriptions[transport].set(4)
    metrics.leader.set(1)
    metrics.clock_offset.set(0.002)
    metrics.writer_queue_depth.set(5)
    metrics.writer_group_size.observe(7)
    metrics.writer_commit_seconds.observe(0.004)
    metrics.writer_errors.inc()
    metrics.request_answered("/v1/bookings", "POST", 201, 0.003)


@contextmanager
def replica() -> Iterator[str]:
    """Serve `/metrics` as a replica does, one step further with each scrape; yields its `host:port`."""
    metrics = Metrics(
        objectives=OBJECTIVES, platforms=["embedded"], jobs=["judge", "canary"], version="1.0", platform="embedded"
    )
    steps = iter(range(1, 1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            metrics.update(snapshot(next(steps)))
            worked(metrics)
            body, kind = metrics.render(self.headers["Accept"])
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - named by the standard library
            """Keep the test's output free of the server's log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def prometheus() -> Iterator[PrometheusServer]:
    """A Prometheus that has scraped two replicas often enough for rates."""
    with (
        replica() as one,
        replica() as other,
        prometheus_server(targets={"booking-monitor": one, "booking-monitor-too": other}) as server,
    ):
        often = f"count(count_over_time(booking_sli_objective_ratio[1m]) >= {SAMPLES_FOR_A_RATE}) == 6"
        wait_until(lambda: server.query(often), what="both replicas were scraped often enough", timeout_seconds=60)
        yield server


def values(samples: list[Sample]) -> list[float]:
    return [sample.value for sample in samples if not math.isnan(sample.value)]


def ask(prometheus: PrometheusServer, title: str, **chosen: str) -> list[Sample]:
    """Answers to all queries of the panel of this title."""
    found = [q for path in DASHBOARDS for q in questions(path) if q.panel["title"] == title]
    assert found, title
    return [sample for q in found for sample in prometheus.query(filled_in(q.expr, **chosen))]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_panel_shows_data(prometheus: PrometheusServer, path: Path) -> None:
    silent = []
    for question in questions(path):
        expr = filled_in(question.expr)
        answers = ask(prometheus, question.panel["title"]) if question.either else prometheus.query(expr)
        if not values(answers) or (question.either and len(answers) != 1):
            silent.append((question.panel["title"], expr))

    assert silent == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_the_variables_have_something_to_choose(prometheus: PrometheusServer, path: Path) -> None:
    asked = [
        v["query"] for v in json.loads(path.read_text(encoding="utf-8"))["templating"]["list"] if v["type"] == "query"
    ]

    assert len(asked) == 3
    for query in asked:
        label_values = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert label_values is not None
        choices = prometheus.query(f"count by ({label_values[2]}) ({filled_in(label_values[1])})")
        assert all(sample.labels[label_values[2]] for sample in choices)
        assert len(choices) == 2, query


def test_two_replicas_do_not_double_the_ledger(prometheus: PrometheusServer) -> None:
    assert {sample.value for sample in ask(prometheus, "Events in the window")} == {EVENTS}
    assert {sample.value for sample in ask(prometheus, "Revenue at risk")} == {35_000_000}


def test_a_rate_is_the_share_of_good_bookings_and_red_below_its_objective(prometheus: PrometheusServer) -> None:
    (below,) = ask(prometheus, "Chat room creation, 24h")
    met = next(q.expr for f in DASHBOARDS for q in questions(f) if q.panel["title"] == "Chat room creation, 24h")

    assert below.value == pytest.approx(1 - BAD / EVENTS)
    assert prometheus.query(filled_in(met)) == []


def test_a_rate_of_no_bookings_is_no_data_and_not_100_percent(prometheus: PrometheusServer) -> None:
    for title in (
        "Chat room creation, 24h",
        "Chat room creation: evidence against the objective",
        "Chat room creation: burn by window",
    ):
        windows = {s.labels.get("window") for s in ask(prometheus, title, traffic="canary")}
        assert windows <= {Window.H1}, title

    assert ask(prometheus, "Chat room creation, 1h", traffic="canary")
    assert ask(prometheus, "Chat room creation, 24h", traffic="canary") == []


def test_evidence_is_chernoffs_bound_against_the_alpha_of_the_alerts(prometheus: PrometheusServer) -> None:
    evidence = {
        "Chat room creation: evidence against the objective": 0.05,
        "Notification delivery: evidence against the objective": 0.02,
    }

    for title, allowed in evidence.items():
        good = EVENTS - BAD
        nats = BAD * math.log(BAD / (EVENTS * allowed)) + good * math.log(good / (EVENTS * (1 - allowed)))
        shares = values(ask(prometheus, title))
        assert len(shares) == 4
        assert shares == pytest.approx([nats / math.log(1 / 0.0002)] * 4, rel=1e-3)


def test_an_objective_that_is_met_leaves_no_evidence(prometheus: PrometheusServer) -> None:
    (sample,) = ask(prometheus, "Chat room creation: evidence against the objective", traffic="canary")

    assert sample.value == 0


def test_the_state_of_alerts_is_a_number_that_the_panel_names(prometheus: PrometheusServer) -> None:
    states = {
        tuple(sample.labels.get(label, "") for label in ("alertname", "severity", "sli", "traffic")): sample.value
        for sample in ask(prometheus, "State of each alert")
    }

    assert states == {key.values: 0 for key in ALERT_KEYS} | {
        (AlertName.CHAT_ROOM_LOW, Severity.CRITICAL, "chat_room", "real"): 2,
        (AlertName.CHAT_ROOM_LOW, Severity.WARNING, "chat_room", "real"): 1,
    }


def test_the_course_of_alerts_leaves_out_those_of_which_there_is_nothing_to_tell(prometheus: PrometheusServer) -> None:
    course = {
        (sample.labels["alertname"], sample.labels["severity"], sample.labels["traffic"])
        for sample in ask(prometheus, "Alerts over time")
    }

    assert course == {
        (AlertName.CHAT_ROOM_LOW, Severity.CRITICAL, "real"),
        (AlertName.CHAT_ROOM_LOW, Severity.WARNING, "real"),
    }


@pytest.mark.parametrize(
    ("firing", "spells"),
    [
        ([0, 0, 0, 0, 0, 0], 0),
        ([1, 1, 1, 1, 1, 1], 1),
        ([1, 1, 1, 0, 0, 0], 1),
        ([0, 0, 0, 1, 1, 1], 1),
        ([0, 1, 0, 0, 1, 0], 2),
        ([1, 0, 0, 1, 1, 1], 2),
        ([None, None, None, 1, 1, 1], 1),
        ([None, None, 0, 1, 0, 1], 2),
    ],
)
def test_each_spell_of_an_alert_is_counted_once(tmp_path: Path, firing: list[float | None], spells: int) -> None:
    asked = [q for f in DASHBOARDS for q in questions(f) if q.panel["title"] == "Alerts in the time range shown"]
    labels = {"alertname": AlertName.OVERDUE, "severity": Severity.WARNING, "sli": "push", "traffic": "real"}
    metric = {**labels, "job": "booking-monitor", "instance": "one:8080", "state": AlertState.FIRING}
    history = History("spells", 60, {selector("booking_alert_state", metric): firing})
    history.expect(filled_in(asked[0].expr, time_range="5m"), 5, [(selector("", labels), spells)])
    file = tmp_path / "spells.yaml"
    file.write_text(json.dumps({"tests": [history.as_test()]}), encoding="utf-8")

    result = promtool("test", "rules", file)

    assert result.returncode == 0, result.stdout + result.stderr


def test_jobs_are_told_apart_though_prometheus_renames_their_label(prometheus: PrometheusServer) -> None:
    jobs = {s.labels["exported_job"] for s in ask(prometheus, "Time since each job's last success")}

    assert jobs == {"judge", "canary"}


def test_with_nothing_scraped_every_panel_is_without_data(prometheus: PrometheusServer) -> None:
    for path in DASHBOARDS:
        for question in questions(path):
            expr = filled_in(question.expr, job="nowhere")
            assert prometheus.query(expr) == [], question.panel["title"]
