from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.telemetry.tracing import DEFAULT_RATIO, Sampling, TraceContext, Tracing, configure, parse

if TYPE_CHECKING:
    from monitor.telemetry.otlp import Exporter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
EVERYTHING = 1 << 64

hexadecimal = "0123456789abcdef"
trace_ids = st.text(hexadecimal, min_size=32, max_size=32).filter(lambda s: set(s) != {"0"})
span_ids = st.text(hexadecimal, min_size=16, max_size=16).filter(lambda s: set(s) != {"0"})


def test_a_valid_traceparent_is_read() -> None:
    assert parse(f"00-{TRACE}-{SPAN}-01") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, sampled=False)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-extra",
        f"00-{TRACE}-{SPAN}-01-",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0G",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
        f"01-{TRACE}-{SPAN}-01extra",
        f"01-{TRACE}-{SPAN}-01-{'x' * 1000}",
        f"\u0660\u0660-{TRACE}-{SPAN}-01",
    ],
)
def test_anything_else_begins_a_new_trace(header: str | None) -> None:
    assert parse(header) is None
    context = Tracing(Sampling(follow_parent=True, bound=0), None).start(header)
    assert context.trace_id != TRACE
    assert context.parent_id is None


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    assert parse(f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse(f"01-{TRACE}-{SPAN}-03") == TraceContext(TRACE, SPAN, sampled=True)
    assert parse(f"01-{TRACE}-{SPAN}-02") == TraceContext(TRACE, SPAN, sampled=False)


@settings(deadline=None)
@given(trace_ids, span_ids, st.booleans())
def test_what_we_send_is_what_the_next_reads(trace_id: str, span_id: str, sampled: bool) -> None:  # noqa: FBT001 - drawn
    context = TraceContext(trace_id, span_id, sampled=sampled)
    assert parse(context.traceparent) == context


@settings(deadline=None)
@given(st.text())
def test_no_header_breaks_the_start_and_the_context_is_always_valid(header: str) -> None:
    context = Tracing(Sampling(follow_parent=True, bound=EVERYTHING), None).start(header)
    assert parse(context.traceparent) is not None


def test_a_span_in_the_callers_trace_has_an_id_of_its_own_and_knows_its_parent() -> None:
    tracing = Tracing(Sampling(follow_parent=True, bound=0), None)
    first, second = (tracing.start(f"00-{TRACE}-{SPAN}-01") for _ in range(2))
    assert (first.trace_id, first.parent_id, first.sampled) == (TRACE, SPAN, True)
    assert len({first.span_id, second.span_id, SPAN}) == 3


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("", "", Sampling(follow_parent=True, bound=round(DEFAULT_RATIO * EVERYTHING))),
        ("", "0.5", Sampling(follow_parent=True, bound=EVERYTHING // 2)),
        ("always_on", "", Sampling(follow_parent=False, bound=EVERYTHING)),
        ("always_off", "", Sampling(follow_parent=False, bound=0)),
        ("traceidratio", "0.25", Sampling(follow_parent=False, bound=EVERYTHING // 4)),
        ("traceidratio", "", Sampling(follow_parent=False, bound=EVERYTHING)),
        ("parentbased_always_on", "", Sampling(follow_parent=True, bound=EVERYTHING)),
        ("parentbased_always_off", "", Sampling(follow_parent=True, bound=0)),
        ("PARENTBASED_TRACEIDRATIO", "1", Sampling(follow_parent=True, bound=EVERYTHING)),
    ],
)
def test_the_sampler_is_that_of_the_environment(sampler: str, argument: str, expected: Sampling) -> None:
    environment = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}
    assert Sampling.from_environment(environment) == expected


@pytest.mark.parametrize(("parent_flag", "expected"), [("01", True), ("00", False)])
def test_a_parent_based_sampler_does_as_the_caller_did(parent_flag: str, *, expected: bool) -> None:
    for bound in (0, EVERYTHING):
        context = Tracing(Sampling(follow_parent=True, bound=bound), None).start(f"00-{TRACE}-{SPAN}-{parent_flag}")
        assert context.sampled is expected


def test_a_ratio_takes_the_same_traces_whoever_decides() -> None:
    tracing = Tracing(Sampling(follow_parent=False, bound=EVERYTHING // 2), None)
    low, high = f"{TRACE[:16]}7{'f' * 15}", f"{TRACE[:16]}8{'0' * 15}"
    assert tracing.start(f"00-{low}-{SPAN}-00").sampled
    assert not tracing.start(f"00-{high}-{SPAN}-01").sampled
    for _ in range(200):
        context = tracing.start()
        assert context.sampled == (context.trace_id[16] < "8")


@pytest.mark.parametrize(
    ("flags", "bad", "kept"), [("01", False, True), ("00", False, False), ("01", True, True), ("00", True, True)]
)
def test_a_span_is_kept_where_its_trace_is_sampled_and_always_where_it_is_bad(
    flags: str, *, bad: bool, kept: bool
) -> None:
    exporter = cast("Exporter", object())
    exporting, silent = (Tracing(Sampling(follow_parent=True, bound=0), one) for one in (exporter, None))
    assert exporting.keeps(f"00-{TRACE}-{SPAN}-{flags}", bad=bad) is kept
    assert not exporting.keeps(None, bad=bad)
    assert not silent.keeps(f"00-{TRACE}-{SPAN}-{flags}", bad=bad)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER is 'sometimes'; allowed are always_on"),
        ({"OTEL_TRACES_SAMPLER_ARG": "2"}, "OTEL_TRACES_SAMPLER_ARG is '2'; it has to be a number from 0 to 1"),
        ({"OTEL_TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG is 'nan'"),
        ({"OTEL_TRACES_SAMPLER_ARG": "much"}, "OTEL_TRACES_SAMPLER_ARG is 'much'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER is 'zipkin'; allowed are otlp and none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is a URL with a host"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_ENDPOINT is a URL with a host"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:99999"}, "OTEL_EXPORTER_OTLP_ENDPOINT is a URL with a host"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; allowed is http/protobuf",
        ),
    ],
)
def test_a_setting_that_cannot_be_followed_is_refused_by_name(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        configure("booking-monitor", "1.0.0", environment)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_a_collector_every_booking_still_has_a_context_and_nothing_is_recorded(
    environment: dict[str, str],
) -> None:
    tracing = configure("booking-monitor", "1.0.0", environment)
    assert not tracing.exporting
    context = tracing.start()
    assert not context.sampled
    assert tracing.start(f"00-{TRACE}-{SPAN}-01").sampled
    tracing.record_root("booking", context, 0, 1)
    tracing.record("commit", context.traceparent, 0, 1)
    tracing.record_always("judge", "no traceparent", 0, 1, error="missing")
    assert tracing.shutdown(0)
