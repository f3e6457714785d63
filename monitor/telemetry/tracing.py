"""Trace contexts for every booking, and spans for whoever collects them.

A booking's W3C trace context is made when its request arrives and is stored with it. Whatever happens to the
booking later (commit, delivery, acknowledgement, judgement) is recorded as a finished span under that context,
with explicit times, so that nothing is kept open meanwhile. Without an OTLP endpoint contexts are still made, and
recording returns at once; the OpenTelemetry SDK is then not even imported.
"""

from __future__ import annotations

import random
import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from monitor.domain.urls import WANTED, is_web_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from monitor.telemetry.otlp import Attribute, Exporter

DEFAULT_RATIO = 0.01
"""Share of new traces that is sampled when neither OTEL_TRACES_SAMPLER nor OTEL_TRACES_SAMPLER_ARG is set."""

_IDS = 1 << 64
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MAX_TRACEPARENT = 512
_SAMPLED, _UNSAMPLED = "01", "00"
_bits = random.getrandbits  # ids have to be unique, not secret


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The place of a span in its trace."""

    trace_id: str
    """32 lower-case hexadecimal digits."""
    span_id: str
    """16 lower-case hexadecimal digits."""
    sampled: bool
    parent_id: str | None = None
    """Span id of the caller, where the trace was begun by one."""

    @property
    def traceparent(self) -> str:
        """The W3C header by which the next service, or a later step of the booking, joins the trace."""
        return f"00-{self.trace_id}-{self.span_id}-{_SAMPLED if self.sampled else _UNSAMPLED}"


current: ContextVar[TraceContext | None] = ContextVar("current", default=None)
"""The trace that log events of the running task belong to, where they do not name one themselves."""


def parse(traceparent: str | None) -> TraceContext | None:
    """Read a `traceparent` as https://www.w3.org/TR/trace-context/ section 3.2 has it; None for anything else."""
    if traceparent is None or len(traceparent) > _MAX_TRACEPARENT:
        return None
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    version, trace_id, span_id, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if trace_id == "0" * 32 or span_id == "0" * 16:
        return None
    return TraceContext(trace_id, span_id, sampled=int(flags, 16) & 1 == 1)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which traces are recorded: the samplers of the OpenTelemetry specification, as two numbers."""

    follow_parent: bool
    """Whether a caller's decision is taken over."""
    bound: int
    """A new trace is sampled when the low 64 bits of its id are below this."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Sampling:
        """Read OTEL_TRACES_SAMPLER and OTEL_TRACES_SAMPLER_ARG.

        Raises ValueError, naming the variable, when one of them is not what OpenTelemetry defines.
        """
        name = environment.get("OTEL_TRACES_SAMPLER", "").strip().lower()
        default = "1" if name else str(DEFAULT_RATIO)
        if not name:
            name = "parentbased_traceidratio"
        kind = name.removeprefix("parentbased_")
        if kind not in ("always_on", "always_off", "traceidratio"):
            raise ValueError(
                f"OTEL_TRACES_SAMPLER is {name!r}; allowed are always_on, always_off, traceidratio and each of "
                "them with the prefix parentbased_"
            )
        if kind == "traceidratio":
            ratio = _ratio(environment.get("OTEL_TRACES_SAMPLER_ARG", "").strip() or default)
        else:
            ratio = float(kind == "always_on")
        return cls(name != kind, round(ratio * _IDS))


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG is {text!r}; it has to be a number from 0 to 1")
    return ratio


class Tracing:
    """Makes trace contexts and records spans. All methods may be called from any thread."""

    def __init__(self, sampling: Sampling, exporter: Exporter | None) -> None:
        self._sampling = sampling
        self._exporter = exporter

    @property
    def exporting(self) -> bool:
        """Whether spans go anywhere."""
        return self._exporter is not None

    def keeps(self, traceparent: str | None, *, bad: bool) -> bool:
        """Whether a span below a stored trace context would be kept: those of sampled traces are, and all bad ones.

        To be asked before a span's attributes are put together, which most bookings can do without.
        """
        return self._exporter is not None and traceparent is not None and (bad or traceparent.endswith(_SAMPLED))

    def start(self, traceparent: str | None = None) -> TraceContext:
        """Begin a span: in the caller's trace when its header is valid, else as the root of a new trace."""
        span_id = f"{_bits(64) or 1:016x}"
        parent = parse(traceparent)
        sampling = self._sampling
        if parent is None:
            low = _bits(64) or 1
            return TraceContext(f"{_bits(64):016x}{low:016x}", span_id, low < sampling.bound)
        sampled = parent.sampled if sampling.follow_parent else int(parent.trace_id[16:], 16) < sampling.bound
        return TraceContext(parent.trace_id, span_id, sampled, parent.span_id)

    def record_root(
        self,
        name: str,
        context: TraceContext,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute] | None = None,
        error: str | None = None,
    ) -> None:
        """Record the span that `start` began, under which all others of the booking are hung.

        Times are milliseconds since the epoch. `error` is a word for the kind of failure (such as a `Reason`),
        never a message.
        """
        if self._exporter is not None and context.sampled:
            self._exporter.export(
                name, context.trace_id, context.span_id, context.parent_id, start_ms, end_ms, attributes, error
            )

    def record(
        self,
        name: str,
        parent: TraceContext | str | None,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute] | None = None,
        error: str | None = None,
    ) -> None:
        """Record a finished span below a context or stored traceparent, if its trace is sampled."""
        if self._exporter is not None:
            context = parse(parent) if isinstance(parent, str) else parent
            if context is not None and context.sampled:
                self._child(context, name, start_ms, end_ms, attributes, error)

    def record_always(
        self,
        name: str,
        parent: TraceContext | str | None,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute] | None = None,
        error: str | None = None,
    ) -> None:
        """Record a finished span although its trace may not be sampled: for what `keeps` says is to be kept."""
        if self._exporter is not None:
            context = parse(parent) if isinstance(parent, str) else parent
            if context is not None:
                self._child(context, name, start_ms, end_ms, attributes, error)

    def shutdown(self, timeout_seconds: float) -> bool:
        """Send what waits, and stop. False when that took longer than the time given; it then goes on alone."""
        return self._exporter is None or self._exporter.shutdown(timeout_seconds)

    def _child(
        self,
        parent: TraceContext,
        name: str,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute] | None,
        error: str | None,
    ) -> None:
        if self._exporter is not None:
            span_id = f"{_bits(64) or 1:016x}"
            self._exporter.export(name, parent.trace_id, span_id, parent.span_id, start_ms, end_ms, attributes, error)


def configure(service_name: str, version: str, environment: Mapping[str, str]) -> Tracing:
    """Set tracing up from the OTEL_* variables of `environment`.

    Spans are exported when OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set, and neither
    OTEL_SDK_DISABLED is `true` nor OTEL_TRACES_EXPORTER is `none`. Raises ValueError, naming the variable, when
    one of them cannot be followed.
    """
    sampling = Sampling.from_environment(environment)
    endpoint = _endpoint(environment)
    if endpoint is None:
        return Tracing(Sampling(follow_parent=True, bound=0), None)
    from monitor.telemetry.otlp import Exporter  # noqa: PLC0415 - who does not export need not load the SDK

    return Tracing(sampling, Exporter(environment.get("OTEL_SERVICE_NAME") or service_name, version, endpoint))


def _endpoint(environment: Mapping[str, str]) -> str | None:
    disabled = environment.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporter = environment.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if exporter not in ("", "otlp", "none"):
        raise ValueError(f"OTEL_TRACES_EXPORTER is {exporter!r}; allowed are otlp and none")
    variable, path = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""
    if not environment.get(variable):
        variable, path = "OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"
    base = environment.get(variable, "").strip()
    if disabled or exporter == "none" or not base:
        return None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = environment.get(name)
        if protocol and protocol != "http/protobuf":
            raise ValueError(f"{name} is {protocol!r}; allowed is http/protobuf (collectors take it on port 4318)")
        if protocol:
            break
    if not is_web_url(base):
        raise ValueError(f"{variable} {WANTED}")
    return base.removesuffix("/") + path if path else base
