"""Sending finished spans to an OpenTelemetry collector over OTLP/HTTP.

Spans are handed to the SDK's batch processor as finished records. A tracer would open a span, give it an id of its
own and decide on sampling again; here ids, times and the decision are known beforehand. The exporter takes its
headers, timeout, compression and certificates from the process's own OTEL_EXPORTER_OTLP_* variables, the batch
processor its sizes from OTEL_BSP_*.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from monitor.telemetry.privacy import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

Attribute = str | int | float | bool
"""What an attribute of a span may be."""

_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_OK = Status(StatusCode.UNSET)
_ERROR = Status(StatusCode.ERROR)
_ERROR_TYPE = "error.type"
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
_INT64 = range(-(2**63), 2**63)
_NS_PER_MS = 1_000_000


class Exporter:
    """Batches finished spans and sends them. A full queue drops spans; it never makes a booking wait."""

    def __init__(self, service_name: str, version: str, endpoint: str) -> None:
        self._resource = Resource.create({SERVICE_NAME: service_name, SERVICE_VERSION: version})
        self._scope = InstrumentationScope("booking-monitor", version)
        self._processor = BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint))

    def export(
        self,
        name: str,
        trace_id: str,
        span_id: str,
        parent_id: str | None,
        start_ms: int,
        end_ms: int,
        attributes: Mapping[str, Attribute] | None,
        error: str | None,
    ) -> None:
        """Queue a span. Ids are hexadecimal, times milliseconds since the epoch."""
        trace = int(trace_id, 16)
        shown = _attributes(attributes or {})
        if error is not None:
            shown[_ERROR_TYPE] = error if _WORD.fullmatch(error) else "error"
        self._processor.on_end(
            ReadableSpan(
                name,
                context=SpanContext(trace, int(span_id, 16), is_remote=False, trace_flags=_SAMPLED),
                parent=None
                if parent_id is None
                else SpanContext(trace, int(parent_id, 16), is_remote=True, trace_flags=_SAMPLED),
                resource=self._resource,
                attributes=shown,
                kind=SpanKind.INTERNAL,
                status=_OK if error is None else _ERROR,
                start_time=start_ms * _NS_PER_MS,
                end_time=max(start_ms, end_ms) * _NS_PER_MS,
                instrumentation_scope=self._scope,
            )
        )

    def shutdown(self, timeout_seconds: float) -> bool:
        """Send what waits and stop; False when it is not done after the time given."""
        done = threading.Event()

        def stop() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK has left it untyped
            done.set()

        threading.Thread(target=stop, name="otlp-shutdown", daemon=True).start()
        return done.wait(timeout_seconds)


def _attributes(attributes: Mapping[str, Attribute]) -> dict[str, Attribute]:
    """Keep to what every collector reads: one value that protobuf cannot encode would cost the whole batch."""
    return {
        name: value if isinstance(value, bool | float) or (isinstance(value, int) and value in _INT64) else _text(value)
        for name, value in mask(dict(attributes)).items()
        if value is not None
    }


def _text(value: object) -> str:
    return str(value).encode("utf-8", "replace").decode()
