"""W3C trace context, as it is kept with a booking: `00-<trace id>-<span id>-<flags>`."""

from __future__ import annotations

_LENGTH = 55
_SAMPLED = 0x01


def trace_id(traceparent: str | None) -> str | None:
    """The trace id (32 hexadecimal digits) of a stored trace context."""
    return None if traceparent is None or len(traceparent) != _LENGTH else traceparent[3:35]


def sampled_trace_id(traceparent: str | None) -> str | None:
    """The trace id if its spans are being recorded."""
    if traceparent is None or len(traceparent) != _LENGTH or not int(traceparent[-2:], 16) & _SAMPLED:
        return None
    return traceparent[3:35]
