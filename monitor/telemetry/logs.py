"""Structured log events: one JSON object a line on standard error, or aligned text on a terminal.

Events are named `subject.happening` (`booking.created`, `push.failed`) and carry fields; ids belong in the fields.
Every event gets its time, its level and, where there is one, its trace; personal data is masked (see
`monitor.telemetry.privacy`). Records of libraries that use the standard library's logging come out the same way.
"""

from __future__ import annotations

import atexit
import logging
import re
import sys
import threading
import time
from collections import deque
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson
import structlog

from monitor.telemetry import privacy
from monitor.telemetry.tracing import current

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from structlog.typing import EventDict, FilteringBoundLogger

BATCH_SECONDS = 0.02
"""For which lines are collected before they are written together."""
LEVELS = ("debug", "info", "warning", "error", "critical")

_QUIET = (
    "apscheduler",
    "asyncio",
    "httpcore",
    "httpx",
    "nats",
    "opentelemetry",
    "sqlalchemy",
    "urllib3",
    "uvicorn.access",
    "websockets",
)
"""Loggers whose INFO records hold URLs or say what is counted anyway: heard from WARNING on."""

_EVENT_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)*", re.ASCII)


class LogFormat(StrEnum):
    """How events are written."""

    JSON = "json"
    CONSOLE = "console"


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; keep it in the module."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


def configure(level: str, form: LogFormat | None = None, stream: BinaryIO | None = None) -> None:
    """Send all events from `level` on to `stream`, standard error by default.

    The default format is JSON, or the console's when standard error is a terminal. Loggers keep the level that was
    set when they were first used, so configure once, at the start. Raises ValueError for an unknown level.
    """
    if level not in LEVELS:
        raise ValueError(f"the log level is {level!r}; allowed are {', '.join(LEVELS)}")
    terminal = stream is None and sys.stderr.isatty()
    if form is None:
        form = LogFormat.CONSOLE if terminal else LogFormat.JSON
    _sink.flush()
    _sink.stream = stream
    _processors[:] = [_enrich, _render_json if form is LogFormat.JSON else _Console(colors=terminal)]
    structlog.configure(
        processors=_processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Named,
        cache_logger_on_first_use=True,
    )
    _route_standard_library(logging.getLevelNamesMapping()[level.upper()])
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def flush() -> None:
    """Write what was logged so far, now. It is written at the end of the process in any case."""
    _sink.flush()


class _Sink:
    """Writes lines, in batches from a thread of its own: a write per line would stop the event loop each time.

    A log that cannot be written must not fail a booking: lost lines are counted and told later.
    """

    def __init__(self) -> None:
        self.stream: BinaryIO | None = None
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._paused = threading.Event()
        self._lock = threading.Lock()
        self._lost = 0
        self._writer: threading.Thread | None = None

    def msg(self, line: bytes) -> None:
        self._lines.append(line)
        if not self._wake.is_set() and not sys.is_finalizing():  # in the end no thread can be started any more
            self._begin()

    def flush(self) -> None:
        """Write what waits, now."""
        with self._lock:
            lines = list(self._take())
            if not lines:
                return
            stream = sys.stderr.buffer if self.stream is None else self.stream
            if self._lost:
                fields = {"timestamp": _timestamp(), "level": "warning", "event": "log.lines_lost"}
                lines.append(_dumps({**fields, "lines": self._lost}))
            try:
                stream.write(b"".join(lines))
                stream.flush()
                self._lost = 0
            except (OSError, ValueError):  # a closed stream is a ValueError
                self._lost += len(lines)

    def _take(self) -> Iterator[bytes]:
        while self._lines:
            yield self._lines.popleft()

    def _begin(self) -> None:
        with self._lock:
            if self._writer is None or not self._writer.is_alive():  # none yet, or none in this fork
                self._writer = threading.Thread(target=self._run, name="log", daemon=True)
                self._writer.start()
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._paused.wait(BATCH_SECONDS)  # never set: a pause in which more lines come together
            self._wake.clear()
            self.flush()


_sink = _Sink()
atexit.register(_sink.flush)


class _Named:
    """What a logger hands its rendered events to; the processors read its name."""

    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        self.name = name

    def msg(self, line: bytes) -> None:
        _sink.msg(line)

    debug = info = warning = error = critical = msg


_processors: list[Any] = []
"""The chain of all loggers; changed in place, so that those which have cached it follow."""


def _enrich(logger: _Named, level: str, event: EventDict) -> EventDict:
    """Add time, level and trace, make data of an exception, and mask what is personal."""
    fields = {"timestamp": _timestamp(), "level": level, "logger": logger.name, **event}
    name = fields["event"]
    if type(name) is not str or not _is_event_name(name):
        fields["event"] = privacy.scrub(str(privacy.clean(name)))
    if "trace_id" not in fields and (context := current.get()) is not None:
        fields["trace_id"] = context.trace_id
        fields["span_id"] = context.span_id
    error = _exception(fields.pop("exc_info", None))
    privacy.mask(fields)
    if error is not None:
        fields["exception"] = privacy.traceback(error)
    return fields


@lru_cache(maxsize=1024)
def _is_event_name(text: str) -> bool:
    return _EVENT_NAME.fullmatch(text) is not None


def _exception(exc_info: object) -> BaseException | None:
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return exc_info[1] if len(exc_info) > 1 and isinstance(exc_info[1], BaseException) else None
    return sys.exception() if exc_info else None


def _render_json(_logger: object, _level: str, event: EventDict) -> bytes:
    return _dumps(event)


def _dumps(event: EventDict) -> bytes:
    try:
        return orjson.dumps(event, option=orjson.OPT_APPEND_NEWLINE)
    except orjson.JSONEncodeError:  # half of a surrogate pair, or an integer beyond 64 bits
        return orjson.dumps(_encodable(event), option=orjson.OPT_APPEND_NEWLINE)


def _encodable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_encodable(name): _encodable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_encodable(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return "<int>"
    return value


class _Console:
    """Renders for a person's eyes. Texts are quoted, so that no value can forge a line or steer the terminal."""

    def __init__(self, *, colors: bool) -> None:
        self._render = structlog.dev.ConsoleRenderer(colors=colors, repr_native_str=True)

    def __call__(self, logger: object, level: str, event: EventDict) -> bytes:
        if "exception" in event:
            event["exception"] = "\n".join(_lines(event["exception"], ""))
        return f"{self._render(logger, level, event)}\n".encode("utf-8", "replace")


def _lines(chain: list[dict[str, Any]], indent: str) -> list[str]:
    lines = []
    for link in chain:
        lines.append(f"{indent}{'caused by ' if link.get('cause') else ''}{link['error']}")
        lines += [f"{indent}    {frame}" for frame in link["frames"]]
        for member in link.get("members", ()):
            lines += _lines(member, indent + "  | ")
    return lines


_second: tuple[int, str] = (-1, "")


def _timestamp() -> str:
    """Return the time in UTC as RFC 3339 with milliseconds; the part down to the second is made once a second."""
    global _second  # noqa: PLW0603 - a cache; whoever loses a race only makes the text again
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    cached = _second
    if cached[0] != seconds:
        cached = _second = seconds, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{cached[1]}.{milliseconds:03d}Z"


class _Bridge(logging.Handler):
    """Takes the records of the standard library's logging. Their text is foreign, so it is scrubbed."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError, KeyError):  # a record whose arguments do not fit its message
            text = str(record.msg)
        fields: EventDict = {"event": privacy.scrub(text)}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        level = record.levelname.lower()
        if level not in LEVELS:
            level = "info"
        logger = _Named(record.name)
        enrich, render = _processors
        logger.msg(render(logger, level, enrich(logger, level, fields)))


def _route_standard_library(level: int) -> None:
    root = logging.getLogger()
    root.handlers[:] = [_Bridge()]
    root.setLevel(level)
    logging.raiseExceptions = False  # else a failing handler prints the record's arguments
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if isinstance(error, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        get_logger(__name__).critical("process.crashed", exc_info=error)
        _sink.flush()


def _uncaught_in_thread(crash: threading.ExceptHookArgs) -> None:
    get_logger(__name__).critical("thread.crashed", exc_info=crash.exc_value)
