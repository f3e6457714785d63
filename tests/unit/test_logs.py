from __future__ import annotations

import io
import json
import logging
import re
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from monitor.telemetry import logs, privacy, tracing
from monitor.telemetry.logs import LogFormat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "Zq7 Wibble"
"""What must not be found in any line."""


class Written:
    """What has been logged."""

    def __init__(self) -> None:
        self.stream = io.BytesIO()

    @property
    def text(self) -> str:
        logs.flush()
        return self.stream.getvalue().decode()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    @property
    def event(self) -> dict[str, Any]:
        (event,) = self.events
        return event


@pytest.fixture
def configure() -> Iterator[Callable[..., Written]]:
    """Configure logging for one test, and leave it as it was."""
    names = ("", "uvicorn", "uvicorn.error", "uvicorn.access", *logs._QUIET)
    found = {name: logging.getLogger(name) for name in names}
    before = {name: (logger.level, list(logger.handlers), logger.propagate) for name, logger in found.items()}
    configuration = structlog.get_config()
    hooks = sys.excepthook, threading.excepthook, logging.raiseExceptions

    def go(level: str = "info", form: LogFormat = LogFormat.JSON) -> Written:
        written = Written()
        logs.configure(level, form, written.stream)
        return written

    yield go
    structlog.configure(**configuration)
    logs._sink.stream = None
    sys.excepthook, threading.excepthook, logging.raiseExceptions = hooks
    for name, (level, handlers, propagate) in before.items():
        found[name].setLevel(level)
        found[name].handlers[:] = handlers
        found[name].propagate = propagate


@pytest.fixture
def written(configure: Callable[..., Written]) -> Written:
    return configure()


def test_an_event_is_one_line_of_json_with_its_time_level_and_logger(written: Written) -> None:
    logs.get_logger("monitor.pipeline").info("booking.created", booking_id="b-1", traffic="real")
    event = written.event
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("timestamp"))
    assert event == {
        "level": "info",
        "logger": "monitor.pipeline",
        "event": "booking.created",
        "booking_id": "b-1",
        "traffic": "real",
    }


def test_events_below_the_level_are_not_written(configure: Callable[..., Written]) -> None:
    written = configure("error")
    log = logs.get_logger("monitor")
    log.warning("push.retried")
    log.error("push.failed", reason="push_rejected")
    assert [event["event"] for event in written.events] == ["push.failed"]


def test_an_unknown_level_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"'loud'; allowed are debug, info, warning, error, critical"):
        logs.configure("loud")


def test_an_event_names_the_trace_of_its_task(written: Written) -> None:
    context = tracing.TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=True)
    token = tracing.current.set(context)
    try:
        logs.get_logger("monitor").info("booking.created")
        logs.get_logger("monitor").info("realtime.matched", trace_id="0af7651916cd43dd8448eb211c80319c")
    finally:
        tracing.current.reset(token)
    logs.get_logger("monitor").info("job.started")
    own, given_, none = written.events
    assert (own["trace_id"], own["span_id"]) == (context.trace_id, context.span_id)
    assert given_["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert "span_id" not in given_
    assert "trace_id" not in none


@pytest.mark.parametrize(
    "name",
    [
        "customer_name", "customerName", "CustomerName", "customer-phone", "customerWhatsApp", "provider_name",
        "therapistName", "location", "notes", "body", "message", "email", "home_address", "token", "access_token",
        "Authorization", "password", "endpoint", "extra", "hotelGuestName", "hotel_room_number", "p256dh", "url",
        "DATABASE_URL", "PAGERDUTY_ROUTING_KEY", "title", "name", "originalText", "api_key", "payload", "cookie",
    ],
)  # fmt: skip
def test_a_field_that_may_be_personal_or_secret_is_masked(written: Written, name: str) -> None:
    logs.get_logger("monitor").info("booking.created", **{name: SECRET})
    assert written.event[name] == privacy.MASK


@pytest.mark.parametrize(
    "name",
    [
        "customer_id", "provider_id", "booking_id", "message_id", "room_id", "notification_id", "trace_id", "stage",
        "alertname", "reason", "attempts", "seconds", "dedup_key", "host", "path", "job", "currency", "price_minor",
    ],
)  # fmt: skip
def test_ids_and_facts_are_not_masked(written: Written, name: str) -> None:
    logs.get_logger("monitor").info("booking.created", **{name: "x-1"})
    assert written.event[name] == "x-1"


@dataclass
class Customer:
    about: str


class Talkative:
    def __init__(self, about: str) -> None:
        self.about = about

    def __repr__(self) -> str:
        return self.about

    __str__ = __repr__


class TalkativeError(Exception):
    pass


def fail(error: Exception, cause: Exception | None = None) -> None:
    raise error from cause


def chained(text: str) -> BaseException:
    error = TalkativeError(text)
    try:
        try:
            fail(ValueError(text))
        except ValueError as cause:
            cause.add_note(text)
            fail(error, cause)
    except TalkativeError:
        pass
    return error


personal_names = st.sampled_from(["customer_name", "customerPhone", "notes", "body", "Authorization", "token", "email"])
harmless_names = st.sampled_from(["booking_id", "stage", "detail", "items", "count"])
harmless = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.uuids()
carriers: st.SearchStrategy[Any] = st.sampled_from(
    [
        {"customer_name": SECRET},
        {"deeper": [{"phone": SECRET}]},
        Customer(SECRET),
        Talkative(SECRET),
        SECRET.encode(),
        ValueError(SECRET),
        chained(SECRET),
        OSError(2, SECRET, SECRET),
        KeyError(SECRET),
    ]
)
values = st.recursive(
    harmless | carriers,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(harmless_names, inner, max_size=3)
        | st.dictionaries(personal_names, inner | st.just(SECRET), max_size=3)
    ),
    max_leaves=8,
)
fields = st.dictionaries(harmless_names, values, max_size=4)
personal_fields = st.dictionaries(personal_names, values | st.just(SECRET), max_size=3)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=fields, personal=personal_fields, form=st.sampled_from(LogFormat), crash=st.booleans())
@example(fields={"detail": "\ud800", "count": 2**70}, personal={}, form=LogFormat.JSON, crash=False)
@example(fields={"detail": "\ud800", "count": float("nan")}, personal={}, form=LogFormat.CONSOLE, crash=False)
def test_no_personal_value_leaks_and_no_event_is_lost_whatever_is_logged(
    configure: Callable[..., Written],
    fields: dict[str, Any],
    personal: dict[str, Any],
    form: LogFormat,
    *,
    crash: bool,
) -> None:
    written = configure("info", form)
    exc_info = {"exc_info": chained(SECRET)} if crash else {}
    logs.get_logger("monitor").error("booking.failed", **fields, **personal, **exc_info)
    assert "Wibble" not in written.text
    assert "booking.failed" in written.text
    if form is LogFormat.JSON:
        assert written.event["level"] == "error"


def test_a_value_can_neither_forge_a_line_nor_steer_the_terminal(configure: Callable[..., Written]) -> None:
    written = configure("info", LogFormat.CONSOLE)
    logs.get_logger("monitor").info("booking.created", detail="x\n2026 [critical] forged \x1b[2J")
    assert written.text.count("\n") == 1
    assert "\x1b" not in written.text


def test_an_exception_shows_where_it_was_raised_and_nothing_of_what_it_says(written: Written) -> None:
    guest = SECRET
    try:
        fail(TalkativeError(guest), ConnectionRefusedError(111, guest))
    except TalkativeError:
        logs.get_logger("monitor").exception("push.failed")
    first, cause = written.event["exception"]
    assert first["error"] == "TalkativeError"
    outer, inner = first["frames"]
    assert re.fullmatch(r".*test_logs:\d+ in test_an_exception_shows_where.*", outer)
    assert re.fullmatch(r".*test_logs:\d+ in fail", inner)
    assert cause == {"error": "ConnectionRefusedError(ECONNREFUSED)", "frames": [], "cause": True}
    assert written.event["level"] == "error"
    assert SECRET not in written.text


def test_a_group_of_exceptions_shows_its_members(written: Written) -> None:
    group = ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)])
    logs.get_logger("monitor").error("tasks.failed", exc_info=group)
    (link,) = written.event["exception"]
    assert [member[0]["error"] for member in link["members"]] == ["ValueError", "KeyError"]


def test_exceptions_that_name_each_other_end(written: Written) -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    logs.get_logger("monitor").error("tasks.failed", exc_info=first)
    assert [link["error"] for link in written.event["exception"]] == ["ValueError", "KeyError"]


def test_the_console_shows_exceptions_as_text(configure: Callable[..., Written]) -> None:
    written = configure("info", LogFormat.CONSOLE)
    logs.get_logger("monitor").error("push.failed", exc_info=chained("x"))
    assert "TalkativeError\n    " in written.text
    assert "caused by ValueError\n    " in written.text


def test_libraries_log_in_the_same_form(written: Written) -> None:
    logging.getLogger("alembic.runtime").info("Running upgrade %s -> %s", "a1", "b2")
    event = written.event
    assert (event["logger"], event["level"], event["event"]) == (
        "alembic.runtime",
        "info",
        "Running upgrade a1 -> b2",
    )


@pytest.mark.parametrize("name", ["httpx", "apscheduler", "uvicorn.access", "sqlalchemy.engine"])
def test_chatty_libraries_are_heard_from_warning_on(configure: Callable[..., Written], name: str) -> None:
    written = configure("debug")
    logging.getLogger(name).info("HTTP Request: POST https://push.example/%s", SECRET)
    logging.getLogger(name).warning("slow")
    assert [event["event"] for event in written.events] == ["slow"]


@pytest.mark.parametrize(
    "message",
    [
        '127.0.0.1:5000 - "WebSocket /v1/realtime?provider_id=t-17&token=Wibble" [accepted]',
        "connecting to postgresql://monitor:Wibble@db/monitor",
        "header authorization: Bearer Wibble",
        "mail to wibble.Wibble@example.com bounced",
        "Task exception was never retrieved\nfuture: <Task exception=ValueError('Wibble')>",
    ],
)
def test_messages_of_libraries_are_scrubbed(written: Written, message: str) -> None:
    logging.getLogger("uvicorn.error").warning(message)
    assert "Wibble" not in written.text
    assert written.event["event"][:7] == message[:7]


def test_a_phone_number_in_a_message_is_masked_and_a_time_is_not(written: Written) -> None:
    logging.getLogger("x").warning("called +62 812-3456-7890 at 2026-11-22 15:35:01")
    assert written.event["event"] == "called [masked] at 2026-11-22 15:35:01"


def test_a_record_whose_arguments_do_not_fit_is_still_written(written: Written) -> None:
    logging.getLogger("x").warning("%s and %s", SECRET)  # noqa: PLE1206 - the mistake
    assert written.event["event"] == "%s and %s"


def test_an_exception_that_a_library_logs_keeps_its_message_to_itself(written: Written) -> None:
    try:
        fail(ValueError(SECRET))
    except ValueError:
        logging.getLogger("apscheduler").exception("Job raised an exception")
    assert written.event["exception"][0]["error"] == "ValueError"
    assert SECRET not in written.text


def test_an_exception_that_nobody_catches_in_a_thread_is_logged(written: Written) -> None:
    def crash() -> None:
        raise ValueError(SECRET)

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    assert (written.event["event"], written.event["level"]) == ("thread.crashed", "critical")
    assert written.event["exception"][0]["error"] == "ValueError"
    assert SECRET not in written.text


class Unreliable(io.BytesIO):
    broken = False

    def write(self, line: Any) -> int:
        if self.broken:
            raise BrokenPipeError
        return super().write(line)


def test_a_log_that_cannot_be_written_fails_nobody_and_is_owned_up_to_later(configure: Callable[..., Written]) -> None:
    written = configure()
    stream = Unreliable()
    written.stream = logs._sink.stream = stream
    log = logs.get_logger("monitor")
    stream.broken = True
    log.info("booking.created")
    log.info("booking.created")
    logs.flush()
    stream.broken = False
    log.info("booking.expired")
    expired, lost = written.events
    assert expired["event"] == "booking.expired"
    assert (lost["event"], lost["lines"]) == ("log.lines_lost", 2)


def test_loggers_made_before_the_configuration_follow_it(configure: Callable[..., Written]) -> None:
    log = logs.get_logger("monitor.early")
    written = configure()
    log.info("booking.created", id=UUID(int=7))
    assert written.event["id"] == str(UUID(int=7))


def test_texts_and_collections_are_cut_to_their_limits(written: Written) -> None:
    logs.get_logger("monitor").info("x", detail="a" * 10_000, items=list(range(1000)))
    assert len(written.event["detail"]) == privacy.MAX_TEXT
    assert len(written.event["items"]) == privacy.MAX_ITEMS
