"""All experiments, in the order of the table."""

from __future__ import annotations

from benchmarks.experiments import footprint, judging, latency, paging, push, realtime, throughput
from benchmarks.runner import Experiment

EXPERIMENTS: tuple[Experiment, ...] = (
    Experiment("throughput", throughput.on_sqlite),
    Experiment("postgres", throughput.on_postgres),
    Experiment("writer", throughput.of_writer),
    Experiment("latency", latency.of_post),
    Experiment("realtime", realtime.of_frame),
    Experiment("replicas", realtime.of_replicas),
    Experiment("fan_out", realtime.of_fan_out),
    Experiment("judging", judging.of_due),
    Experiment("history", judging.of_history, slow=True),
    Experiment("scrape", latency.of_scrape),
    Experiment("paging", paging.of_fault),
    Experiment("push", push.of_encryption),
    Experiment("footprint", footprint.of_process),
)
