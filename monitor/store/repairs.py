"""Making good what is missing of a booking in our own store, and keeping account of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select, update

from monitor.domain.chat import MessageKind, system_message
from monitor.domain.due import DueStage
from monitor.domain.ids import new_id
from monitor.domain.ledger import Counter
from monitor.domain.lifecycle import Status
from monitor.domain.notifying import notification_row
from monitor.domain.vocabulary import DeliveryState, RepairResult, Stage, Traffic
from monitor.store.bookings import find
from monitor.store.commands import Single
from monitor.store.evidence import push_subscriptions_of
from monitor.store.judging import DUE_COLUMNS
from monitor.store.leases import Fence, check_fence
from monitor.store.rows import delivery_row
from monitor.store.statements import add_counts, insert_rows, is_one_of
from monitor.store.tables import bookings, chat_messages, chat_rooms, counters, deliveries, notifications, stages

_OPEN = (Status.PENDING.value, Status.EXPIRED.value)
WAITING = bookings.c.id.is_(None) | bookings.c.status.in_(_OPEN)
"""Bookings that can be overdue: an answer proves that the provider heard, and a cancelled one is awaited by nobody.

One whose row has vanished is: whoever it was for is still waiting.
"""


@dataclass(frozen=True, slots=True)
class OverdueStage:
    """A stage that was judged bad and has no evidence yet."""

    due: DueStage
    repairs: int
    repaired_at: int | None


_OVERDUE = (
    select(stages.c.booking_id, stages.c.stage, *DUE_COLUMNS, stages.c.repairs, stages.c.repaired_at)
    .outerjoin_from(stages, bookings, bookings.c.id == stages.c.booking_id)
    .where(
        is_one_of(stages.c.outcome, "missing", "failed"),
        stages.c.evidence_at.is_(None),
        stages.c.due_at > bindparam("due_after"),
        WAITING,
    )
    .order_by(stages.c.due_at)
    .limit(bindparam("limit"))
)


def find_overdue(connection: Connection, due_after: int, limit: int) -> list[OverdueStage]:
    """Overdue stages with a due time after `due_after`, the longest due first."""
    rows = connection.execute(_OVERDUE, {"due_after": due_after, "limit": limit})
    return [
        OverdueStage(DueStage(booking_id, Stage(stage), Traffic(traffic), *rest), repairs, repaired_at)
        for booking_id, stage, traffic, *rest, repairs, repaired_at in rows
    ]


@dataclass(frozen=True, slots=True)
class RepairStage(Single[bool]):
    """Writes what is missing of a stage, or plans its delivery at once."""

    due: DueStage
    now: int
    chat_room_lifetime: int
    """Milliseconds."""
    fence: Fence | None

    def run(self, connection: Connection) -> bool:
        """Say whether there was a booking to repair. Raises FencedOffError, and then nothing is written."""
        check_fence(connection, self.fence)
        provider_id = self.due.provider_id
        if provider_id is None or find(connection, self.due.booking_id) is None:
            return False
        match self.due.stage:
            case Stage.CHAT_ROOM | Stage.MESSAGE:
                self._repair_room(connection, provider_id)
            case Stage.NOTIFICATION:
                self._repair_notification(connection, provider_id)
                self._repair_pushes(connection, provider_id)
            case Stage.PUSH:
                self._repair_pushes(connection, provider_id)
            case Stage.REALTIME:
                self._repair_realtime(connection, provider_id)
        return True

    def _repair_room(self, connection: Connection, provider_id: str) -> None:
        mine = chat_rooms.c.booking_id == self.due.booking_id
        room_id = connection.execute(select(chat_rooms.c.id).where(mine)).scalar_one_or_none()
        if room_id is None:
            room_id = new_id(self.now)
            expires_at = self.now + self.chat_room_lifetime
            row = (room_id, self.due.booking_id, provider_id, self.due.customer_id, self.now, expires_at)
            insert_rows(connection, chat_rooms, [row])
        else:
            connection.execute(
                update(chat_rooms).where(mine).values(provider_id=provider_id, customer_id=self.due.customer_id)
            )
        received = select(chat_messages.c.id).where(
            chat_messages.c.room_id == room_id, chat_messages.c.kind == MessageKind.BOOKING_RECEIVED.value
        )
        if connection.execute(received.limit(1)).first() is None:
            message = system_message(new_id(self.now), room_id, MessageKind.BOOKING_RECEIVED, self.now)
            insert_rows(connection, chat_messages, [message])

    def _repair_notification(self, connection: Connection, provider_id: str) -> None:
        mine = select(notifications.c.id).where(
            notifications.c.booking_id == self.due.booking_id, notifications.c.provider_id == provider_id
        )
        if connection.execute(mine.limit(1)).first() is None:
            row = notification_row(new_id(self.now), provider_id, self.due.booking_id, self.now)
            insert_rows(connection, notifications, [row])

    def _repair_pushes(self, connection: Connection, provider_id: str) -> None:
        self._drive(connection, Stage.PUSH)
        planned = select(deliveries.c.target).where(
            deliveries.c.booking_id == self.due.booking_id, deliveries.c.stage == Stage.PUSH.value
        )
        known = set(connection.execute(planned).scalars())
        rows = [
            delivery_row(new_id(self.now), self.due.booking_id, Stage.PUSH, one.id, self.now, self.now)
            for one in push_subscriptions_of(connection, [provider_id])[provider_id]
            if one.id not in known and one.was_live(self.due.created_at)
        ]
        insert_rows(connection, deliveries, rows)

    def _repair_realtime(self, connection: Connection, provider_id: str) -> None:
        mine = (deliveries.c.booking_id == self.due.booking_id) & (deliveries.c.stage == Stage.REALTIME.value)
        connection.execute(delete(deliveries).where(mine, deliveries.c.target != provider_id))
        if connection.execute(select(deliveries.c.id).where(mine)).first() is not None:
            self._drive(connection, Stage.REALTIME)
            return
        row = delivery_row(new_id(self.now), self.due.booking_id, Stage.REALTIME, provider_id, self.now, self.now)
        insert_rows(connection, deliveries, [row])

    def _drive(self, connection: Connection, stage: Stage) -> None:
        connection.execute(
            update(deliveries)
            .where(
                deliveries.c.booking_id == self.due.booking_id,
                deliveries.c.stage == stage.value,
                deliveries.c.state.in_(
                    [DeliveryState.PENDING.value, DeliveryState.RETRYING.value, DeliveryState.DEAD.value]
                ),
            )
            .values(state=DeliveryState.RETRYING.value, next_attempt_at=self.now, attempts_before=deliveries.c.attempts)
        )


@dataclass(frozen=True, slots=True)
class RecordRepair(Single[None]):
    """Keeps account of a repair: another try, and its result once that is known."""

    due: DueStage
    now: int
    tried: bool
    """Whether a repair was tried just now."""
    evidence_at: int | None
    """When evidence came, if it did."""
    result: RepairResult | None
    """The result to count: None while it is open, and for evidence that came by itself."""
    fence: Fence | None

    def run(self, connection: Connection) -> None:
        """Write it; evidence that is already known is not overwritten."""
        check_fence(connection, self.fence)
        changes: dict[str, Any] = {"repairs": stages.c.repairs + 1, "repaired_at": self.now} if self.tried else {}
        if self.evidence_at is not None:
            changes["evidence_at"] = self.evidence_at
        if not changes:
            return
        mine = (stages.c.booking_id == self.due.booking_id) & (stages.c.stage == self.due.stage.value)
        statement = update(stages).where(mine, stages.c.evidence_at.is_(None)).values(**changes)
        if connection.execute(statement).rowcount and self.result is not None:
            row = (Counter.REPAIRS.value, self.due.stage.value, self.result.value, 1)
            add_counts(connection, counters, [row])
