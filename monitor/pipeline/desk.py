"""The desk: takes bookings in, has them written, and sends word of them."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic_core import from_json

from monitor.domain.intake import FieldError, IntakeRules, InvalidBookingError, take_in
from monitor.domain.representation import show_booking
from monitor.domain.times import Now, rfc3339
from monitor.pipeline.making import Plan, Terms, plan
from monitor.pipeline.push.relay import PushRelay
from monitor.pipeline.realtime.hub import Event
from monitor.pipeline.realtime.relay import RealtimeRelay
from monitor.store.bookings import KeyReusedError, Made, find_parts
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer, describe
from monitor.telemetry.logs import get_logger
from monitor.telemetry.tracing import TraceContext, Tracing

log = get_logger(__name__)

IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,255}$"
"""What an Idempotency-Key can be: the visible characters of ASCII."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the one who made a booking gets."""

    booking_id: str
    body: bytes
    replayed: bool = False
    """Whether an earlier request with the same Idempotency-Key made the booking."""


class Desk:
    """Makes bookings."""

    def __init__(
        self,
        *,
        writer: Writer,
        readers: Readers,
        realtime: RealtimeRelay,
        push: PushRelay | None,
        tracing: Tracing,
        now: Now,
        rules: IntakeRules,
        terms: Terms,
    ) -> None:
        self._writer = writer
        self._readers = readers
        self._realtime = realtime
        self._push = push
        self._tracing = tracing
        self._now = now
        self._rules = rules
        self._terms = terms

    async def make(
        self, body: bytes, context: TraceContext, *, caller: str = "", idempotency_key: str | None = None
    ) -> Answer:
        """Make a booking of a JSON body; it is on disk when this returns.

        Raises InvalidBookingError, KeyReusedError, WriterBusyError or StoreUnavailableError; then there is none.
        """
        now = self._now()
        new = take_in(_json_object(body), now=now, rules=self._rules)
        planned = plan(
            new,
            now=now,
            terms=self._terms,
            traceparent=context.traceparent,
            idempotency_key=None if idempotency_key is None else _key(caller, idempotency_key),
            body_hash="" if idempotency_key is None else hashlib.sha256(body).hexdigest(),
        )
        try:
            shown = planned.show()  # now: while it is being written, this would be in the writer's way
            answer = Answer(planned.command.booking_id, planned.answer(shown))
            made = await self._writer.offer(planned.command)
        except KeyReusedError:
            raise  # the caller's own contradiction
        except BaseException as error:  # whatever kept it from being made, that is told, and goes on
            reason = str(error) if isinstance(error, StoreUnavailableError) else describe(error)
            log.error("booking.creation_failed", error=reason, **_about(planned, context))  # noqa: TRY400 - told where it is caught
            raise
        if made.replayed:
            return await self._replay(made)
        asyncio.get_running_loop().call_soon(self._send_word, planned, made, shown, context)  # once it is answered
        return answer

    def _send_word(self, planned: Plan, made: Made, shown: bytes, context: TraceContext) -> None:
        command, traceparent = planned.command, context.traceparent
        event = Event(planned.event_id, made.booking_id, command.provider_id, 1, shown, traceparent)
        self._realtime.dispatch(event)
        if self._push is not None and made.pushes:
            deadline = command.created_at + self._terms.response_deadline
            self._push.dispatch(made.pushes, made.booking_id, deadline, traceparent)
        about = {"booking_id": made.booking_id, **_about(planned, context)}
        log.info("booking.created", **about)
        log.info("chat_room.created", chat_room_id=planned.room_id, **about)
        log.info("notification.created", notification_id=planned.notification_id, **about)
        if self._tracing.exporting:
            self._tracing.record("booking.commit", context, command.created_at, self._now())

    async def _replay(self, made: Made) -> Answer:
        parts = await self._readers.run(find_parts, made.booking_id)
        if parts is None:
            raise KeyReusedError
        room, notification = parts.chat_room, parts.notification
        body: dict[str, Any] = {
            "booking": show_booking(parts.booking),
            "chat_room": None if room is None else {"id": room["id"], "expires_at": rfc3339(room["expires_at"])},
            "notification": None if notification is None else {"id": notification["id"]},
        }
        return Answer(made.booking_id, orjson.dumps(body), replayed=True)


def _about(planned: Plan, context: TraceContext) -> dict[str, str]:
    command = planned.command
    return {"provider_id": command.provider_id, "traffic": command.traffic, "trace_id": context.trace_id}


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidBookingError((FieldError("body", f"is a JSON object in UTF-8: {error}"),)) from error
    if not isinstance(value, dict):
        raise InvalidBookingError((FieldError("body", "is a JSON object"),))
    return value


def _key(caller: str, idempotency_key: str) -> str:
    return hashlib.sha256(f"{caller}\0{idempotency_key}".encode()).hexdigest()
