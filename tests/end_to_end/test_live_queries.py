"""Rules and dashboards, as they are shipped, on a real Prometheus that scrapes the real service under a demo load."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
import yaml
from support.dashboards import DASHBOARDS, Question, filled_in, questions, several
from support.objectives import RULES
from support.pagerduty_receiver import PagerDutyReceiver
from support.paging import Site, site
from support.prometheus import PrometheusServer, Sample, prometheus_server
from support.service import PROGRAM
from support.vanishing import vanishing
from support.waiting import wait_until
from websockets.sync.client import connect

from monitor.domain.ledger import Mark
from monitor.domain.times import MINUTE
from monitor.domain.vocabulary import Severity, Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SHIPPED = yaml.safe_load((RULES / "prometheus" / "booking-monitor.yaml").read_text(encoding="utf-8"))
RECORDINGS = {r["record"]: r["expr"] for group in SHIPPED["groups"] for r in group["rules"] if "record" in r}
EXPRESSIONS = [(r.get("alert") or r["record"], r["expr"]) for group in SHIPPED["groups"] for r in group["rules"]]
ALERTS = {(r["alert"], r["labels"]["severity"]) for group in SHIPPED["groups"] for r in group["rules"] if "alert" in r}
DOWN = ("BookingMonitorDown", Severity.CRITICAL)
"""Fires before the first scrape, and for a moment after each one that took too long."""
JOB = "booking-monitor"
PATIENCE = 40
PROVIDER = "t-17"
LOST = ("chat_rooms", "notifications")
EVERY_OTHER = "demo-provider-*[02468]"
"""Every other provider of the demonstration."""
GRACE_SECONDS = 5
"""For events, so that the canaries' are acknowledged in time on a busy machine, too."""
LONG_OVERDUE_MS = 150_000
LONG_UNJUDGED_MS = 90_000
WEEK_MINUTES = 7 * 24 * 60
FULL_LOAD = 60_000
"""Bookings an hour at the busiest time of the day; at the quietest it is still two each second."""


@contextmanager
def prometheus_of(directory: Path, monitor: Site) -> Iterator[PrometheusServer]:
    """A Prometheus with the shipped rules, which are evaluated each second and wait for nothing."""
    groups = [
        {
            **group,
            "interval": "1s",
            "rules": [
                {key: value for key, value in rule.items() if key not in {"for", "keep_firing_for"}}
                for rule in group["rules"]
            ],
        }
        for group in SHIPPED["groups"]
    ]
    file = directory / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": groups}), encoding="utf-8")
    with prometheus_server(targets={JOB: monitor.address}, rule_files=[file]) as server:
        yield server


@contextmanager
def demo(monitor: Site, *arguments: str) -> Iterator[None]:
    """Run `booking-monitor demo` on a service, until the block ends."""
    command = [PROGRAM, "demo", "--url", monitor.url, "--per-hour", str(FULL_LOAD), *arguments]
    with (
        (monitor.directory / "demo.log").open("w+", encoding="utf-8") as log,
        subprocess.Popen(command, cwd=monitor.directory, env={}, stdout=log, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            code = process.wait(PATIENCE)
        log.seek(0)
        assert code == 0, log.read()


def expect_many(monitor: Site) -> None:
    """Let this hour of the week have brought many bookings, three weeks in a row."""
    minute = time.time_ns() // 1_000_000 // MINUTE
    for week in (1, 2, 3):
        for ago in range(5):
            monitor.outside(
                "INSERT INTO sli_minutes (minute, sli, traffic, events, bad) VALUES (?, ?, ?, 100000, 0)",
                minute - week * WEEK_MINUTES - ago,
                Stage.CHAT_ROOM,
                Traffic.REAL,
            )


def fail_twice(monitor: Site) -> None:
    """Let two bookings fail in all that is promised: reason for a warning, and too little for more."""
    url = f"{monitor.url.replace('http', 'ws', 1)}/v1/realtime?provider_id={PROVIDER}"
    with connect(url, proxy=None) as silent:
        silent.recv()
        with vanishing(monitor.database_path, *LOST):
            monitor.book(2, provider_id=PROVIDER)
        events = [json.loads(silent.recv())["type"] for _ in range(2)]
    assert events == ["booking.created"] * 2


def selectors(expr: str) -> set[str]:
    """The series that an expression reads, but those of Prometheus itself about alerts, of which no others exist."""
    return set(re.findall(r"\bbooking_\w+(?::\w+)*(?:\{[^}]*\})?|\bup\{[^}]*\}", expr))


def fired(prometheus: PrometheusServer) -> set[tuple[str, str]]:
    """Name and severity of the alerts that have fired so far."""
    seen = prometheus.query('count by (alertname, severity) (count_over_time(ALERTS{alertstate="firing"}[5m]))')
    return {(sample.labels["alertname"], sample.labels["severity"]) for sample in seen}


def firing(prometheus: PrometheusServer) -> set[tuple[str, str]]:
    """Name and severity of the alerts that fire."""
    return {(a["labels"]["alertname"], a["labels"]["severity"]) for a in prometheus.alerts() if a["state"] == "firing"}


def vague(prometheus: PrometheusServer) -> list[str]:
    """Summaries of firing alerts that lack a number, as one of the queries in them gave nothing."""
    summaries = [alert["annotations"]["summary"] for alert in prometheus.alerts() if alert["state"] == "firing"]
    return [summary for summary in summaries if re.search("unknown number|Too many|error", summary)]


def clear(prometheus: PrometheusServer) -> None:
    """Wait until no summary is vague; one is for a moment if a scrape took too long."""
    found: list[str] = []

    def none() -> bool:
        found[:] = vague(prometheus)
        return not found

    with suppress(TimeoutError):
        wait_until(none, what="every summary has its numbers")
    assert found == []


def troubled(prometheus: PrometheusServer) -> list[tuple[str, str, str]]:
    """Rules that Prometheus could not evaluate."""
    return [
        (rule["name"], rule["health"], rule.get("lastError", ""))
        for rule in prometheus.rules()
        if rule["health"] != "ok" or rule.get("lastError")
    ]


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, PrometheusServer]]:
    """A service under a load of which about half fails, in each of the ways that rates are measured for."""
    directory = tmp_path_factory.mktemp("busy")
    with site(directory, canary_interval=1) as monitor, prometheus_of(directory, monitor) as prometheus:
        expect_many(monitor)
        with (
            vanishing(monitor.database_path, *LOST, providers=EVERY_OTHER),
            demo(monitor, "--fault", "realtime:0.5", "--fault", "legacy:0.2"),
        ):
            yield monitor, prometheus


def shown(prometheus: PrometheusServer, question: Question, **chosen: str) -> list[Sample]:
    """What a query shows: numbers, that is, and no NaN."""
    asked = [target["expr"] for target in question.panel["targets"]] if question.either else [question.expr]
    answers = [prometheus.query(filled_in(expr, rate_interval="15s", time_range="5m", **chosen)) for expr in asked]
    if question.either and all(answers):
        raise AssertionError(f"{question.panel['title']} is green and red at once")
    return [sample for answer in answers for sample in answer if math.isfinite(sample.value)]


def silent_after_a_while(prometheus: PrometheusServer, asked: Sequence[Question], **chosen: str) -> list[str]:
    """Titles and expressions of those that stay without data."""
    silent = list(asked)

    def all_answered() -> bool:
        silent[:] = [question for question in silent if not shown(prometheus, question, **chosen)]
        return not silent

    with suppress(TimeoutError):
        wait_until(all_answered, what="each query has shown data", timeout_seconds=PATIENCE)
    return [f"{question.panel['title']}: {question.expr}" for question in silent]


def test_every_recording_rule_has_data_under_load(busy: tuple[Site, PrometheusServer]) -> None:
    _, prometheus = busy
    silent = dict(RECORDINGS)

    def all_answered() -> bool:
        for name, expr in tuple(silent.items()):
            if prometheus.query(expr) and prometheus.query(name):
                del silent[name]
        return not silent

    with suppress(TimeoutError):
        wait_until(all_answered, what="each rule has shown data", timeout_seconds=PATIENCE)

    assert silent == {}
    assert troubled(prometheus) == []


def test_every_series_that_a_rule_reads_exists_under_load(busy: tuple[Site, PrometheusServer]) -> None:
    _, prometheus = busy
    read = {name: selectors(expr) for name, expr in EXPRESSIONS if name != "Watchdog"}
    silent = set().union(*read.values())

    def all_answered() -> bool:
        silent.difference_update({selector for selector in silent if prometheus.query(f"count({selector})")})
        return not silent

    with suppress(TimeoutError):
        wait_until(all_answered, what="each series was there", timeout_seconds=PATIENCE)

    assert all(read.values())
    assert silent == set()


@pytest.mark.parametrize("traffic", Traffic)
@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_of_every_panel_has_data_under_load(
    busy: tuple[Site, PrometheusServer], path: Path, traffic: Traffic
) -> None:
    _, prometheus = busy

    assert silent_after_a_while(prometheus, questions(path), traffic=traffic) == []


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_every_query_has_data_for_the_instances_that_the_reader_chose(
    busy: tuple[Site, PrometheusServer], path: Path
) -> None:
    monitor, prometheus = busy
    ours, others = (JOB, monitor.address), ("booking-monitor (old)", "10.0.0.7:8080")
    one = [several(name) for name in ours]
    two = [several(*names) for names in zip(others, ours, strict=True)]

    for job, instance in (one, two):
        assert silent_after_a_while(prometheus, questions(path), job=job, instance=instance) == []
    for job, instance in zip(map(several, (others[0], ours[0])), map(several, (ours[1], others[1])), strict=True):
        assert [q.expr for q in questions(path) if shown(prometheus, q, job=job, instance=instance)] == []


@pytest.mark.timeout(180)
def test_every_alert_fires_on_what_it_is_for(tmp_path: Path) -> None:
    slis = {name for name, severity in ALERTS if (name, Severity.WARNING) in ALERTS} & {
        name for name, severity in ALERTS if (name, Severity.CRITICAL) in ALERTS
    }

    with (
        PagerDutyReceiver() as pagerduty,
        site(
            tmp_path,
            canary_interval=1,
            grace_realtime=GRACE_SECONDS,
            repair_attempts=0,
            pagerduty_url=pagerduty.url,
            pagerduty_routing_key="f" * 32,  # unknown there, so that pages are refused for good
        ) as monitor,
        prometheus_of(tmp_path, monitor) as prometheus,
    ):

        def fires(*alerts: tuple[str, str]) -> None:
            with suppress(TimeoutError):
                wait_until(lambda: fired(prometheus) >= set(alerts), what="they fire", timeout_seconds=PATIENCE)
            assert set(alerts) - fired(prometheus) == set(), monitor.log_tail()

        fires(("Watchdog", "none"))
        wait_until(lambda: prometheus.query(f'up{{job="{JOB}"}} == 1'), what="the service is scraped")
        others: set[tuple[str, str]] = set()

        def quiet() -> bool:
            others.clear()
            others.update(firing(prometheus) - {("Watchdog", "none")})
            return not others

        with suppress(TimeoutError):
            wait_until(quiet, what="nothing else fires", timeout_seconds=PATIENCE)
        assert others == set(), monitor.log_tail()

        fail_twice(monitor)
        fires(*((sli, Severity.WARNING) for sli in slis))
        assert not fired(prometheus) & {(sli, Severity.CRITICAL) for sli in slis}
        clear(prometheus)

        monitor.outside("UPDATE stages SET due_at = due_at - ? WHERE outcome = 'missing'", LONG_OVERDUE_MS)
        fires(("BookingOverdue", Severity.WARNING))

        expect_many(monitor)
        fires(("BookingTrafficAbsent", Severity.WARNING))

        with (
            vanishing(monitor.database_path, *LOST, providers=EVERY_OTHER),
            demo(monitor, "--fault", "realtime:0.8", "--fault", "legacy"),
        ):
            fires(*((sli, Severity.CRITICAL) for sli in slis), ("BookingSchemaDrift", Severity.CRITICAL))
            fires(("BookingPageUndelivered", Severity.CRITICAL))

        monitor.outside(
            f"CREATE TRIGGER no_canaries BEFORE INSERT ON bookings WHEN NEW.traffic = '{Traffic.CANARY}'"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        fires(("BookingCanaryFailing", Severity.CRITICAL))

        clear(prometheus)
        before = firing(prometheus) - {DOWN}
        monitor.outside(
            f"CREATE TRIGGER no_judging BEFORE UPDATE ON marks WHEN NEW.name = '{Mark.JUDGED}' AND NEW.at >= OLD.at"
            " BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        monitor.outside("UPDATE marks SET at = at - ? WHERE name = ?", LONG_UNJUDGED_MS, Mark.JUDGED)
        fires(("BookingLedgerStale", Severity.CRITICAL))
        wait_until(lambda: not prometheus.query("booking_sli:events:fresh"), what="the rates are frozen")
        wait_until(lambda: firing(prometheus) >= before, what="what fired fires still")
        assert troubled(prometheus) == []

        monitor.stop()
        wait_until(lambda: DOWN in firing(prometheus), what="it fires again", timeout_seconds=PATIENCE)
        assert fired(prometheus) == ALERTS
