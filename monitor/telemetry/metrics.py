"""What `GET /metrics` serves: the process's own metrics, and the last snapshot of the ledger.

Rendering happens when somebody scrapes and at no other time. It reads memory only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)

from monitor.domain.vocabulary import Transport
from monitor.telemetry import catalogue
from monitor.telemetry.catalogue import MetricSpec, Source
from monitor.telemetry.exposition import Format, RegistryWriter, negotiate
from monitor.telemetry.ledger_view import LedgerView
from monitor.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from monitor.domain.ledger import Snapshot
    from monitor.domain.vocabulary import Stage

_log = get_logger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "other"


class JobResult(StrEnum):
    """How a run of a periodic job ended."""

    OK = "ok"
    ERROR = "error"
    MISSED = "missed"
    """It did not run: its time had passed, or the run before had not ended."""


class JobMetrics:
    """The metrics of one periodic job, bound to its name."""

    def __init__(self, runs: Counter, last_success: Gauge, job: str) -> None:
        self._runs = {result: runs.labels(job, result) for result in JobResult}
        self._last_success = last_success.labels(job)

    def succeeded(self, now: int) -> None:
        """Count a run that succeeded, at `now` milliseconds since the epoch."""
        self._runs[JobResult.OK].inc()
        self._last_success.set(now / 1000)

    def failed(self) -> None:
        """Count a run that ended in an error."""
        self._runs[JobResult.ERROR].inc()

    def missed(self) -> None:
        """Count a run that did not take place."""
        self._runs[JobResult.MISSED].inc()


class Metrics:
    """All metrics of one service. Its attributes are instruments, bound once, cheap to call from any thread.

    `objectives` are ratios by SLI, `platforms` and `jobs` the closed sets of those labels; `version` and
    `platform` say what runs here.
    """

    def __init__(
        self,
        *,
        objectives: Mapping[Stage, float],
        platforms: Iterable[str],
        jobs: Iterable[str],
        version: str,
        platform: str,
    ) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has left it untyped
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        runs, last_success = self._counter(catalogue.JOB_RUNS), self._gauge(catalogue.JOB_LAST_SUCCESS)
        subscriptions = self._gauge(catalogue.SUBSCRIPTIONS)
        errors = self._counter(catalogue.SCRAPE_ERRORS)

        self.jobs: Mapping[str, JobMetrics] = {job: JobMetrics(runs, last_success, job) for job in jobs}
        self.subscriptions: Mapping[Transport, Gauge] = {t: subscriptions.labels(t) for t in Transport}
        self.leader = self._gauge(catalogue.LEADER)
        self.clock_offset = self._gauge(catalogue.CLOCK_OFFSET)
        self.writer_queue_depth = self._gauge(catalogue.WRITER_QUEUE)
        self.writer_group_size = self._histogram(catalogue.WRITER_GROUP)
        self.writer_commit_seconds = self._histogram(catalogue.WRITER_COMMIT)
        self.writer_errors = self._counter(catalogue.WRITER_ERRORS)
        self._gauge(catalogue.BUILD_INFO).labels(version, platform).set(1)

        self._requests = self._counter(catalogue.HTTP_REQUESTS)
        self._request_seconds = self._histogram(catalogue.HTTP_DURATION)
        self._by_request: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._snapshot: Snapshot | None = None
        self._view = LedgerView(objectives, platforms)
        self._written: dict[Format, tuple[Snapshot | None, str]] = {}
        self._ledger = _Part(errors.labels(Source.LEDGER), self._write_ledger)
        self._process = _Part(errors.labels(Source.PROCESS), RegistryWriter(self.registry).write)

    def show_objectives(self, objectives: Mapping[Stage, float]) -> None:
        """Show these ratios by SLI from the next snapshot on."""
        self._view.show_objectives(objectives)

    def update(self, snapshot: Snapshot) -> None:
        """Show this snapshot from now on. Call it once before the first scrape: see `LedgerView.write`."""
        self._snapshot = snapshot

    def render(self, accept: str | None) -> tuple[bytes, str]:
        """Answer a scrape: the exposition and its content type, for the request's Accept header. Never raises."""
        form = negotiate(accept)
        end = "# EOF\n" if form is Format.OPENMETRICS else ""
        return f"{self._ledger.render(form)}{self._process.render(form)}{end}".encode(), form.value

    def request_answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an HTTP request. `route` is the route's template, never the path that was asked for."""
        key = route, method if method in _METHODS else _OTHER_METHOD, status // 100
        children = self._by_request.get(key)
        if children is None:
            labels = key[0], key[1], f"{key[2]}xx"
            children = self._requests.labels(*labels), self._request_seconds.labels(*labels)
            self._by_request[key] = children
        children[0].inc()
        children[1].observe(seconds)

    def _write_ledger(self, form: Format) -> str:
        snapshot, written = self._snapshot, self._written.get(form)
        if written is None or written[0] is not snapshot:
            written = self._written[form] = snapshot, self._view.write(snapshot, form)
        return written[1]

    def _counter(self, spec: MetricSpec) -> Counter:
        return Counter(spec.name, spec.help, spec.labels, registry=self.registry)

    def _gauge(self, spec: MetricSpec) -> Gauge:
        return Gauge(spec.name, spec.help, spec.labels, registry=self.registry)

    def _histogram(self, spec: MetricSpec) -> Histogram:
        return Histogram(spec.name, spec.help, spec.labels, buckets=spec.buckets, registry=self.registry)


class WriterObserver:
    """Tells the metrics what the writer does."""

    def __init__(self, metrics: Metrics) -> None:
        self._size = metrics.writer_group_size
        self._seconds = metrics.writer_commit_seconds
        self._errors = metrics.writer_errors

    def observe_group(self, commands: int, seconds: float) -> None:
        """Take note of a committed group."""
        self._size.observe(commands)
        self._seconds.observe(seconds)

    def observe_failure(self) -> None:
        """Take note of a transaction that was rolled back, or for which there was no connection."""
        self._errors.inc()


class _Part:
    """A part of the exposition that falls back to its last good text, so that one fault cannot hide the rest."""

    def __init__(self, errors: Counter, write: Callable[[Format], str]) -> None:
        self._errors = errors
        self._write = write
        self._last_good = dict.fromkeys(Format, "")

    def render(self, form: Format) -> str:
        try:
            self._last_good[form] = self._write(form)
        except Exception:  # noqa: BLE001 - whatever it is, a scrape answers; it is counted and logged
            self._errors.inc()
            _log.exception("metrics.render_failed")
        return self._last_good[form]


def reference() -> str:
    """Write the reference of all metrics, in Markdown: the content of `docs/metrics.md`."""
    return _REFERENCE.format(ledger=_table(catalogue.LEDGER), process=_table(catalogue.PROCESS))


def _table(specs: Iterable[MetricSpec]) -> str:
    rows = ("| name | type | labels | meaning |", "|---|---|---|---|")
    return "\n".join((*rows, *(f"| `{s.name}` | {s.kind} | {', '.join(s.labels)} | {s.help} |" for s in specs)))


_REFERENCE = """# Metrics

`GET /metrics` answers in the Prometheus text format 0.0.4, or in OpenMetrics 1.0.0 when the scraper accepts it
(Prometheus does by default). Exemplars, which carry the `trace_id` of a booking, exist in OpenMetrics only.

A scrape reads memory, never the database. Label values come from closed sets: no metric is labelled with a
booking, a customer or a provider.

## From the ledger

Every replica shows the same numbers, so aggregate over replicas with `max`, for example
`max without (instance) (booking_sli_bad)`. They survive restarts. Each combination of labels is there from the
first reading of the ledger on, with 0 where nothing happened; only `booking_revenue_at_risk` starts with the first
booking in a currency. The windows `25s`, `30m` and `2h` are the short companions of the alerting windows.

{ledger}

## From the process

Each replica shows its own numbers. The standard metrics `process_*` and `python_info` are served as well. The series of
`booking_http_requests_total` and `booking_http_request_duration_seconds` appear when a route is first asked for with a
method and answered with a class of status; all others are there from the start.

{process}
"""
