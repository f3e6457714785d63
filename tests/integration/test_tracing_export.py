from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from support.otlp_collector import Collector, attributes, collecting

from monitor.telemetry.privacy import MASK
from monitor.telemetry.tracing import TraceContext, Tracing, configure

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_790_000_000_000
FLUSH_SECONDS = 10
CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def tracing_to(collector: Collector, **environment: str) -> Tracing:
    base = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER": "always_on"}
    return configure("booking-monitor", "1.2.3", {**base, **environment})


def test_later_spans_hang_below_the_span_that_the_booking_stored(collector: Collector) -> None:
    tracing = tracing_to(collector)
    context = tracing.start(CALLER)
    stored = context.traceparent
    tracing.record_root("POST /v1/bookings", context, NOW, NOW + 12, {"booking.id": "b-1"})
    tracing.record("realtime.delivery", stored, NOW + 12, NOW + 30, {"attempt": 2, "stage": "realtime"})
    assert tracing.shutdown(FLUSH_SECONDS)

    root, child = collector.spans["POST /v1/bookings"], collector.spans["realtime.delivery"]
    assert root.trace_id == child.trace_id == bytes.fromhex("4bf92f3577b34da6a3ce929d0e0e4736")
    assert root.parent_span_id.hex() == "00f067aa0ba902b7"
    assert root.span_id.hex() == context.span_id == stored.split("-")[2]
    assert child.parent_span_id == root.span_id
    assert len({root.span_id, child.span_id}) == 2
    assert (root.start_time_unix_nano, root.end_time_unix_nano) == (NOW * 10**6, (NOW + 12) * 10**6)
    assert attributes(child) == {"attempt": 2, "stage": "realtime"}
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert collector.paths == ["/v1/traces"]


def test_the_service_says_who_it_is(collector: Collector) -> None:
    tracing = tracing_to(collector, OTEL_SERVICE_NAME="bookings-eu")
    tracing.record_root("booking", tracing.start(), NOW, NOW)
    assert tracing.shutdown(FLUSH_SECONDS)
    resource = collector.requests[0].resource_spans[0].resource
    said = {a.key: a.value.string_value for a in resource.attributes}
    assert (said["service.name"], said["service.version"]) == ("bookings-eu", "1.2.3")


def test_the_endpoint_for_traces_is_used_as_it_stands(collector: Collector) -> None:
    tracing = tracing_to(collector, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/custom")
    tracing.record_root("booking", tracing.start(), NOW, NOW)
    assert tracing.shutdown(FLUSH_SECONDS)
    assert collector.paths == ["/custom"]


def test_of_an_unsampled_booking_only_the_bad_outcome_is_sent(collector: Collector) -> None:
    tracing = tracing_to(collector, OTEL_TRACES_SAMPLER="always_off")
    context = tracing.start()
    tracing.record_root("booking", context, NOW, NOW)
    tracing.record("commit", context, NOW, NOW + 3)
    tracing.record_always("judge chat_room", context.traceparent, NOW, NOW + 5000, error="never_attempted")
    assert tracing.shutdown(FLUSH_SECONDS)
    ((name, span),) = collector.spans.items()
    assert name == "judge chat_room"
    assert span.trace_id.hex() == context.trace_id
    assert span.parent_span_id.hex() == context.span_id
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span) == {"error.type": "never_attempted"}


def test_nothing_personal_is_sent_and_no_value_costs_the_batch(collector: Collector) -> None:
    tracing = tracing_to(collector)
    context = tracing.start()
    hostile: dict[str, Any] = {"customer_name": "Wibble", "huge": 2**80, "broken": "\ud800", "object": object()}
    tracing.record_root("booking", context, NOW, NOW, hostile, error="no room for Wibble")
    tracing.record("commit", context, NOW, NOW - 5)
    assert tracing.shutdown(FLUSH_SECONDS)
    got = attributes(collector.spans["booking"])
    assert got["customer_name"] == MASK
    assert got["error.type"] == "error"
    assert not any(b"Wibble" in request.SerializeToString() for request in collector.requests)
    assert collector.spans["commit"].end_time_unix_nano == NOW * 10**6


def test_a_stored_traceparent_that_is_damaged_is_left_out(collector: Collector) -> None:
    tracing = tracing_to(collector)
    for damaged in (None, "", "00-xyz"):
        tracing.record("commit", damaged, NOW, NOW)
        tracing.record_always("judge", damaged, NOW, NOW)
    tracing.record_root("booking", tracing.start(), NOW, NOW)
    assert tracing.shutdown(FLUSH_SECONDS)
    assert list(collector.spans) == ["booking"]


def test_the_end_of_the_service_does_not_wait_for_a_collector_that_hangs(collector: Collector) -> None:
    collector.answering.clear()
    tracing = tracing_to(collector)
    tracing.record_root("booking", TraceContext("1" * 32, "2" * 16, sampled=True), NOW, NOW)
    assert not tracing.shutdown(0.2)
    assert collector.requests == []


def test_who_does_not_export_does_not_load_the_sdk() -> None:
    program = (
        "import sys\n"
        "from monitor.telemetry import logs, metrics, tracing\n"
        "tracing.configure('booking-monitor', '1', {}).start()\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'requests'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
