"""The table of targets: `ask` is the least that is acceptable, `goal` what is aimed at.

Every number that decides is here. The sides and metrics that a row names are measured by the experiment of that name.
"""

from __future__ import annotations

from benchmarks.model import Better, Row

_SQLITE = "durable bookings/s over HTTP, 32 clients, SQLite FULL"
_POSTGRES = "durable bookings/s over HTTP, 32 clients, PostgreSQL"
_JUDGING = "judging 10,000 due stages"


def _more(
    experiment: str,
    texts: tuple[str, str, str],
    ours: str,
    peer: str | None,
    ask: float | None = None,
    goal: float | None = None,
) -> Row:
    """A row whose number is better when higher; `texts` are what, against what, and the unit."""
    return Row(experiment, *texts, Better.HIGHER, ours, peer, ask, goal)


def _less(
    experiment: str,
    texts: tuple[str, str, str],
    ours: str,
    peer: str | None,
    ask: float | None = None,
    goal: float | None = None,
) -> Row:
    """A row whose number is better when lower."""
    return Row(experiment, *texts, Better.LOWER, ours, peer, ask, goal)


# fmt: off
ROWS: tuple[Row, ...] = (
    _more("throughput", ("what the load generator can drive", "what it drove", "1/s"),
          "generator.per_second", "service.per_second"),
    _more("throughput", (_SQLITE, "raw sqlite3, one booking a commit", "1/s"),
          "service.per_second", "raw_sqlite.per_second", 0.7, 1.0),
    _more("throughput", (_SQLITE, "DBOS, workflow of 4 steps, SQLite", "1/s"),
          "service.per_second", "dbos.per_second", 20, 40),
    _more("throughput", (_SQLITE, "same server and route, no storage", "1/s"),
          "service.per_second", "no_storage.per_second", 0.6, 0.8),
    _more("throughput", ("the same with default observability", "everything off", "1/s"),
          "service.per_second", "unobserved.per_second", 0.8, 0.9),
    _more("throughput", ("the same, sending traces to a collector", "everything off", "1/s"),
          "exporting.per_second", "unobserved.per_second"),
    _more("postgres", (_POSTGRES, "pgbench, one statement, 8 clients", "1/s"),
          "service.per_second", "pgbench.per_second", 0.35, 0.6),
    _more("writer", ("writer alone, groups of 32", "raw sqlite3, groups of 32", "1/s"),
          "writer.per_second", "raw_sqlite.per_second", 0.6, 0.8),
    _less("latency", ("POST to 201, paced, p50", "bare POST + raw commit", "ms"),
          "service.p50", "bare.p50", 1.3, 1.1),
    _less("latency", ("POST to 201, paced, p99", "bare POST + raw commit", "ms"),
          "service.p99", "bare.p99", 1.4, 1.2),
    _less("realtime", ("201 to WebSocket frame, p50", "raw WebSocket on loopback", "ms"),
          "service.frame_p50", "raw_websocket.p50", 1.5, 1),
    _less("realtime", ("201 to WebSocket frame, p99", "raw WebSocket on loopback", "ms"),
          "service.frame_p99", "raw_websocket.p99", 3, 2),
    _less("replicas", ("201 to frame on another replica, p50", "NATS core, publish to subscriber", "ms"),
          "service.frame_p50", "nats.p50", 2, 1.5),
    _less("replicas", ("201 to frame on another replica, p99", "NATS core, publish to subscriber", "ms"),
          "service.frame_p99", "nats.p99", 3, 2),
    _less("fan_out", ("POST to the last of 100 subscribers, p99", "naive loop", "ms"),
          "service.last_p99", "naive.last_p99", 1.1, 0.7),
    _less("judging", (_JUDGING, "-", "s"), "fresh.seconds", None, 1, 0.3),
    _less("history", (f"{_JUDGING}, 5 million old journeys", "the same without history", "s"),
          "full.seconds", "fresh.seconds", 1.2, 1.05),
    _less("scrape", ("/metrics scrape, p50", "-", "ms"), "service.p50", None, 5, 1),
    _less("scrape", ("/metrics scrape after bookings of 1,000 providers", "the same without bookings", "ms"),
          "after_load.p50", "service.p50", 1.2, 1.05),
    _less("paging", ("fault to page accepted, once evident", "evaluation interval + one HTTP call", "s"),
          "service.seconds", "interval.seconds", 1, 1),
    _less("push", ("web push, encrypt + sign", "bare P-256 ECDH + ES256", "us"),
          "ours.microseconds", "bare.microseconds", 1.8, 1.3),
    _less("footprint", ("RSS after start", "minimal app, same imports", "MB"), "service.rss", "minimal.rss", 1.5, 1.2),
    _less("footprint", ("start to first 200", "minimal app, same imports", "s"),
          "service.start", "minimal.start", 1.6, 1.3),
    _less("footprint", ("idle CPU of one core", "-", "%"), "service.idle", None, 1, 0.5),
)
# fmt: on
