"""Every metric that `/metrics` serves: its name, type, labels and meaning, in one place.

The instruments, the view of the ledger and the reference in `docs/metrics.md` are all made from this list.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.domain.ledger import DURATION_BUCKETS


class Kind(StrEnum):
    """The type of a metric, in the words of the exposition formats."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Source(StrEnum):
    """Where the numbers of a metric come from."""

    LEDGER = "ledger"
    """The same on every replica: aggregate over replicas with `max`."""
    PROCESS = "process"
    """This process only: aggregate over replicas with `sum`, or look at each."""


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """What is fixed about a metric."""

    name: str
    """As queries spell it; that of a counter ends in `_total`."""
    kind: Kind
    source: Source
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit of its name; the unbounded last one is implied."""


def _ledger(name: str, kind: Kind, labels: tuple[str, ...], text: str, buckets: tuple[float, ...] = ()) -> MetricSpec:
    return MetricSpec(name, kind, Source.LEDGER, labels, text, buckets)


def _process(name: str, kind: Kind, labels: tuple[str, ...], text: str, buckets: tuple[float, ...] = ()) -> MetricSpec:
    return MetricSpec(name, kind, Source.PROCESS, labels, text, buckets)


SLI_EVENTS = _ledger(
    "booking_sli_events",
    Kind.GAUGE,
    ("sli", "traffic", "window"),
    "Bookings that became due for the SLI within the window and count for it.",
)
SLI_BAD = _ledger(
    "booking_sli_bad",
    Kind.GAUGE,
    ("sli", "traffic", "window"),
    "Bookings among booking_sli_events without evidence at their due time.",
)
SLI_OBJECTIVE = _ledger(
    "booking_sli_objective_ratio", Kind.GAUGE, ("sli",), "Share of good bookings that is promised, from 0 to 1."
)
SLI_OUTCOMES = _ledger(
    "booking_sli_outcomes_total",
    Kind.COUNTER,
    ("sli", "traffic", "outcome", "reason"),
    "Stages judged so far, by outcome and reason. Survives restarts.",
)
STAGE_DURATION = _ledger(
    "booking_stage_duration_seconds",
    Kind.HISTOGRAM,
    ("stage", "traffic"),
    "Time from the creation of a booking to the evidence of a stage. Exemplars carry the trace_id.",
    DURATION_BUCKETS,
)
BOOKINGS = _ledger(
    "booking_bookings_total", Kind.COUNTER, ("traffic", "platform"), "Bookings entered in the ledger so far."
)
LEGACY_FIELDS = _ledger(
    "booking_legacy_fields_total", Kind.COUNTER, ("field",), "Bookings that arrived with a legacy field name."
)
OVERDUE = _ledger(
    "booking_overdue",
    Kind.GAUGE,
    ("stage", "traffic"),
    "Bookings that are past due for a stage and still without evidence.",
)
OVERDUE_OLDEST = _ledger(
    "booking_overdue_oldest_seconds",
    Kind.GAUGE,
    ("stage", "traffic"),
    "Time since the oldest overdue booking became due, 0 when none is overdue.",
)
REVENUE_AT_RISK = _ledger(
    "booking_revenue_at_risk",
    Kind.GAUGE,
    ("currency",),
    "Price of the real bookings that are overdue now, in minor units of the currency.",
)
DELIVERIES = _ledger(
    "booking_deliveries",
    Kind.GAUGE,
    ("stage", "state"),
    "Deliveries of the outbox that are not acknowledged, by state.",
)
DELIVERY_ATTEMPTS = _ledger(
    "booking_delivery_attempts_total", Kind.COUNTER, ("stage", "result"), "Attempts to deliver so far, by result."
)
REPAIRS = _ledger(
    "booking_repairs_total",
    Kind.COUNTER,
    ("stage", "result"),
    "Attempts to make a missing stage good so far, by result.",
)
CANARY_RUNS = _ledger("booking_canary_runs_total", Kind.COUNTER, ("result",), "Canary bookings so far, by result.")
CANARY_FAILURES = _ledger(
    "booking_canary_consecutive_failures", Kind.GAUGE, (), "Canaries that failed since one last succeeded."
)
SCHEMA_DRIFT = _ledger(
    "booking_schema_drift",
    Kind.GAUGE,
    ("kind",),
    "Real bookings of the last hour, or attributes of the platform, that no longer fit what the pipeline needs.",
)
EXPECTED_BOOKINGS = _ledger(
    "booking_expected_bookings",
    Kind.GAUGE,
    ("window",),
    "Real bookings that these hours of the week brought on average, 0 while the history is too short.",
)
CANARY_LAST_SUCCESS = _ledger(
    "booking_canary_last_success_timestamp_seconds",
    Kind.GAUGE,
    (),
    "When a canary last succeeded, in seconds since the epoch, 0 for never.",
)
ALERT_STATE = _ledger(
    "booking_alert_state",
    Kind.GAUGE,
    ("alertname", "severity", "sli", "traffic", "state"),
    "1 for the state that an alert of the built-in evaluator is in, 0 for its other states.",
)
PAGES = _ledger("booking_pages", Kind.GAUGE, ("channel", "state"), "Pages of the outbox, by state.")
PAGE_OLDEST = _ledger(
    "booking_page_oldest_seconds",
    Kind.GAUGE,
    ("channel", "state"),
    "Age of the oldest page that is not accepted yet, 0 when none waits.",
)
JUDGED = _ledger(
    "booking_ledger_judged_timestamp_seconds",
    Kind.GAUGE,
    (),
    "When due stages were last judged, in seconds since the epoch, 0 for never.",
)
SNAPSHOT = _ledger(
    "booking_ledger_snapshot_timestamp_seconds",
    Kind.GAUGE,
    (),
    "When the ledger's numbers shown here were read, in seconds since the epoch, 0 for not yet.",
)

JOB_RUNS = _process("booking_job_runs_total", Kind.COUNTER, ("job", "result"), "Runs of a periodic job, by result.")
JOB_LAST_SUCCESS = _process(
    "booking_job_last_success_timestamp_seconds",
    Kind.GAUGE,
    ("job",),
    "When a periodic job last succeeded, in seconds since the epoch, 0 for never.",
)
SUBSCRIPTIONS = _process(
    "booking_realtime_subscriptions", Kind.GAUGE, ("transport",), "Live realtime subscriptions of this process."
)
BUILD_INFO = _process(
    "booking_monitor_build_info",
    Kind.GAUGE,
    ("version", "platform"),
    "1, labelled with the version of the service and the booking platform it watches.",
)
LEADER = _process(
    "booking_monitor_leader", Kind.GAUGE, (), "1 on the replica that judges, evaluates and runs canaries, else 0."
)
CLOCK_OFFSET = _process(
    "booking_clock_offset_seconds",
    Kind.GAUGE,
    (),
    "How far the clock of this process is ahead of the system's; behind is negative.",
)
WRITER_QUEUE = _process(
    "booking_writer_queue_depth", Kind.GAUGE, (), "Commands that wait for the writer at this moment."
)
WRITER_GROUP = _process(
    "booking_writer_group_size",
    Kind.HISTOGRAM,
    (),
    "Commands that the writer committed as one transaction.",
    (1, 2, 4, 8, 16, 32, 64),
)
WRITER_COMMIT = _process(
    "booking_writer_commit_seconds",
    Kind.HISTOGRAM,
    (),
    "Time that the writer took for a transaction, commit included.",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1),
)
WRITER_ERRORS = _process(
    "booking_writer_errors_total",
    Kind.COUNTER,
    (),
    "Transactions of the writer that were rolled back, or for which there was no connection.",
)
HTTP_REQUESTS = _process(
    "booking_http_requests_total",
    Kind.COUNTER,
    ("route", "method", "status"),
    "HTTP requests answered, by route template, method and class of status.",
)
HTTP_DURATION = _process(
    "booking_http_request_duration_seconds",
    Kind.HISTOGRAM,
    ("route", "method", "status"),
    "Time to answer an HTTP request, by route template, method and class of status.",
    (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)
SCRAPE_ERRORS = _process(
    "booking_scrape_errors_total",
    Kind.COUNTER,
    ("source",),
    "Scrapes that had to show older numbers because the newer ones could not be rendered.",
)

LEDGER: tuple[MetricSpec, ...] = (
    SLI_EVENTS,
    SLI_BAD,
    SLI_OBJECTIVE,
    SLI_OUTCOMES,
    STAGE_DURATION,
    BOOKINGS,
    LEGACY_FIELDS,
    OVERDUE,
    OVERDUE_OLDEST,
    REVENUE_AT_RISK,
    DELIVERIES,
    DELIVERY_ATTEMPTS,
    REPAIRS,
    CANARY_RUNS,
    CANARY_FAILURES,
    CANARY_LAST_SUCCESS,
    SCHEMA_DRIFT,
    EXPECTED_BOOKINGS,
    ALERT_STATE,
    PAGES,
    PAGE_OLDEST,
    JUDGED,
    SNAPSHOT,
)
PROCESS: tuple[MetricSpec, ...] = (
    JOB_RUNS,
    JOB_LAST_SUCCESS,
    SUBSCRIPTIONS,
    BUILD_INFO,
    LEADER,
    CLOCK_OFFSET,
    WRITER_QUEUE,
    WRITER_GROUP,
    WRITER_COMMIT,
    WRITER_ERRORS,
    HTTP_REQUESTS,
    HTTP_DURATION,
    SCRAPE_ERRORS,
)
"""Beside these the standard collectors serve `process_*` and `python_info`."""
