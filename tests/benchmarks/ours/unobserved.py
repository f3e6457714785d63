"""The service with all observability off, also what cannot be set to off: no log lines, no metrics, no traces."""

from __future__ import annotations

from contextlib import ExitStack
from unittest.mock import patch

import uvloop
from prometheus_client import Counter, Gauge, Histogram

from monitor import serving, settings
from monitor.telemetry import logs
from monitor.telemetry.metrics import Metrics


def nothing(*_arguments: object, **_named: object) -> None:
    """Do nothing."""


if __name__ == "__main__":
    logs.configure("critical", logs.LogFormat.JSON)
    with ExitStack() as stack:
        for kind, name in ((Metrics, "request_answered"), (Counter, "inc"), (Gauge, "set"), (Histogram, "observe")):
            stack.enter_context(patch.object(kind, name, nothing))
        uvloop.run(serving.serve(settings.load(), nothing))
