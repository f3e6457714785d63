"""*Booking Monitor itself*, for its maintainer: can what it says be believed, and does it keep up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dashboards.builder.layout import Section, Story, runbook
from dashboards.builder.panels import (
    ANY_IS_BAD,
    GREEN,
    PLAIN,
    RED,
    column,
    lines,
    link,
    now,
    number,
    override,
    query,
    rows,
    stale,
)
from dashboards.builder.pipeline import explore_traces
from dashboards.builder.promql import age, ledger, own_rate, per_minute, select
from monitor.alerting.objectives_file import MONITOR_DOWN
from monitor.domain.vocabulary import AlertName

if TYPE_CHECKING:
    from monitor.domain.objectives import Objectives

JOB = "exported_job"
"""The label `job` of a metric, as Prometheus renames it on a scrape: its own `job` is the scrape job."""
JOB_LEGEND = f"{{{{{JOB}}}}}"
FAILED_RUNS = select("booking_job_runs_total", 'result!="ok"')
QUANTILES = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
ALL_UP = ((None, RED), (1, GREEN))


def story(promised: Objectives) -> Story:
    """Tell what the maintainer asks, in that order."""
    return Story(
        "booking-monitor-itself",
        "Booking Monitor itself",
        "Whether the monitor lives, judges in time, keeps up with its writes and gets its pages out.",
        span="6h",
        refresh="30s",
        sections=[_alive(promised), _ledger(), _jobs(), _writer(), _pages(), _http(), _process()],
    )


def _alive(promised: Objectives) -> Section:
    numbers = [
        number(
            "Replicas up",
            "Share of the chosen replicas that Prometheus can scrape.",
            "percentunit",
            [now(f"avg({select('up')})")],
            steps=ALL_UP,
            links=[runbook(MONITOR_DOWN)],
        ),
        number(
            "Leaders",
            "Replicas that hold the lease to judge, evaluate and run canaries: one, and no more.",
            "none",
            [now(f"sum({select('booking_monitor_leader')})")],
            steps=((None, RED), (1, GREEN), (2, RED)),
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
        number(
            "Age of the judgement",
            "Time since due bookings were last judged.",
            "s",
            [now(age("booking_ledger_judged_timestamp_seconds"))],
            steps=stale(promised.ledger_stale),
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
        number(
            "Oldest waiting page",
            "Age of the oldest page that no channel has accepted yet; 0 when none waits.",
            "s",
            [now(f"max({ledger('booking_page_oldest_seconds', by='channel')})")],
            steps=stale(promised.page_undelivered),
            links=[runbook(AlertName.PAGE_UNDELIVERED)],
        ),
        number(
            "Writes waiting",
            "Commands that wait for the writer, on the replica that has most.",
            "none",
            [now(f"max({select('booking_writer_queue_depth')})")],
            steps=PLAIN,
        ),
        number(
            "Jobs that failed",
            "Runs of periodic jobs that ended in an error or did not take place, in the time range shown.",
            "none",
            [now(f"sum(increase({FAILED_RUNS}[$__range]))")],
            steps=ANY_IS_BAD,
            decimals=0,
        ),
    ]
    replicas = rows(
        "Replicas",
        "What runs where, which replica leads, and how far its clock is ahead of the store's.",
        "none",
        {
            "Runs": column(f"max by (instance, version, platform) ({select('booking_monitor_build_info')})"),
            "Leads": column(f"max by (instance) ({select('booking_monitor_leader')})"),
            "Clock ahead": column(f"max by (instance) ({select('booking_clock_offset_seconds')})"),
        },
        size=(24, 6),
        order="Leads",
        overrides=[override("byName", "Clock ahead", unit="s", decimals=3)],
    )
    return Section("Is it alive", [numbers, [replicas]])


def _ledger() -> Section:
    snapshot = select("booking_ledger_snapshot_timestamp_seconds")
    panels = [
        lines(
            "Age of the ledger's snapshot",
            "How old the numbers are that each replica shows.",
            "s",
            [query(f"time() - max by (instance) ({snapshot} > 0)", "{{instance}}")],
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
        lines(
            "Age of the judgement over time",
            "Time since due bookings were last judged. While it is old, rate alerts are frozen.",
            "s",
            [query(age("booking_ledger_judged_timestamp_seconds"), "judged")],
            links=[runbook(AlertName.LEDGER_STALE)],
        ),
        lines(
            "Legacy field names",
            "Bookings that arrived with a field name of old clients, by field.",
            "cpm",
            [query(per_minute("booking_legacy_fields_total", by="field"), "{{field}}")],
            links=[runbook(AlertName.SCHEMA_DRIFT)],
        ),
    ]
    return Section("Ledger", [panels])


def _jobs() -> Section:
    size = (8, 8)
    success = select("booking_job_last_success_timestamp_seconds")
    panels = [
        lines(
            "Time since each job's last success",
            "On the replica where the job succeeded last. A gap: it never did.",
            "s",
            [query(f"time() - (max by ({JOB}) ({success}) > 0)", JOB_LEGEND)],
            size=size,
        ),
        lines(
            "Runs of the jobs",
            "Runs that succeeded, over the replicas together.",
            "ops",
            [query(own_rate("booking_job_runs_total", 'result="ok"', by=JOB), JOB_LEGEND)],
            size=size,
        ),
        rows(
            "Jobs that failed in the time range shown",
            "Runs that ended in an error, and runs that did not take place because they came too late.",
            "none",
            {"Runs": column(f"sum by ({JOB}, result) (increase({FAILED_RUNS}[$__range]))")},
            size=(8, 8),
            order="Runs",
            decimals=0,
        ),
    ]
    return Section("Jobs", [panels])


def _writer() -> Section:
    queue = lines(
        "Writes waiting over time",
        "Commands that wait for the writer, by replica. When its queue is full, bookings are answered 503.",
        "none",
        [query(f"max by (instance) ({select('booking_writer_queue_depth')})", "{{instance}}")],
        size=(6, 8),
    )
    groups = lines(
        "Commands in a transaction",
        "How many commands the writer committed together, on average: the more wait, the more it takes at once.",
        "none",
        [query(_mean("booking_writer_group_size"), "{{instance}}")],
        size=(6, 8),
    )
    commits = lines(
        "Time of a transaction",
        "Time that the writer took for a transaction, commit included, over the replicas together.",
        "s",
        [query(_quantile("booking_writer_commit_seconds", q), name) for q, name in QUANTILES],
        size=(6, 8),
    )
    errors = lines(
        "Transactions",
        "Transactions of the writer that were committed, and that were rolled back, over the replicas together.",
        "ops",
        [
            query(f"sum(rate({select('booking_writer_commit_seconds_count')}[$__rate_interval]))", "all"),
            query(f"sum(rate({select('booking_writer_errors_total')}[$__rate_interval]))", "rolled back"),
        ],
        size=(6, 8),
    )
    return Section("Writer", [[queue, groups, commits, errors]])


def _pages() -> Section:
    links = [runbook(AlertName.PAGE_UNDELIVERED)]
    panels = [
        lines(
            "Outbox of pages",
            "Pages by channel and state. Dead ones were given up; superseded ones came too late to be true.",
            "none",
            [query(ledger("booking_pages", by="channel, state"), "{{channel}} {{state}}")],
            size=(12, 8),
            links=links,
        ),
        lines(
            "Oldest page not accepted",
            "Age of the oldest page that waits, by channel; 0 when none does.",
            "s",
            [query(ledger("booking_page_oldest_seconds", by="channel"), "{{channel}}")],
            size=(12, 8),
            links=links,
        ),
    ]
    return Section("Pages", [panels])


def _http() -> Section:
    panels = [
        lines(
            "Requests",
            "HTTP requests answered, by route, over the replicas together.",
            "reqps",
            [query(own_rate("booking_http_requests_total", by="method, route"), "{{method}} {{route}}")],
        ),
        lines(
            "Requests by status",
            "HTTP requests by class of status. 5xx is ours to mend, 4xx the caller's.",
            "reqps",
            [query(own_rate("booking_http_requests_total", by="status"), "{{status}}")],
        ),
        lines(
            "Time to answer",
            "The time within which half, 95 % and 99 % of the requests were answered.",
            "s",
            [query(_quantile("booking_http_request_duration_seconds", q), name) for q, name in QUANTILES],
            links=[link("Traces of the service", explore_traces())],
        ),
    ]
    return Section("HTTP", [panels])


def _process() -> Section:
    size = (6, 8)

    def own(metric: str) -> str:
        return f"max by (instance) ({select(metric)})"

    panels = [
        lines(
            "CPU",
            "Cores that each replica keeps busy.",
            "none",
            [query(own_rate("process_cpu_seconds_total", by="instance"), "{{instance}}")],
            size=size,
        ),
        lines(
            "Memory",
            "Resident memory of each replica.",
            "bytes",
            [query(own("process_resident_memory_bytes"), "{{instance}}")],
            size=size,
        ),
        lines(
            "File descriptors",
            "Share of the allowed file descriptors that each replica holds open; each subscriber takes one.",
            "percentunit",
            [query(f"{own('process_open_fds')}\n/ {own('process_max_fds')}", "{{instance}}")],
            size=size,
            most=1,
        ),
        lines(
            "Scrapes that showed older numbers",
            "Scrapes whose newer numbers could not be rendered, by what they came from.",
            "ops",
            [query(own_rate("booking_scrape_errors_total", by="source"), "{{source}}")],
            size=size,
        ),
    ]
    return Section("Process", [panels])


def _quantile(histogram: str, quantile: float) -> str:
    return f"histogram_quantile({quantile}, {own_rate(f'{histogram}_bucket', by='le')})"


def _mean(histogram: str) -> str:
    return f"{own_rate(f'{histogram}_sum', by='instance')}\n/ {own_rate(f'{histogram}_count', by='instance')}"
