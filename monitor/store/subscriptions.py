"""Live subscriptions: who was connected, and when. What decides whether a realtime event was owed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from monitor.domain.ledger import Mark
from monitor.store.commands import Single
from monitor.store.deliveries import plan_for_provider
from monitor.store.statements import insert_rows, update_rows
from monitor.store.tables import bookings, live_subscriptions, marks


@dataclass(frozen=True, slots=True)
class OpenSubscription:
    """Notes that a provider is connected, and plans what waited for it."""

    subscription_id: str
    provider_id: str
    transport: str
    replica: str
    now: int

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[OpenSubscription]) -> Sequence[None]:
        """Write them."""
        insert_rows(
            connection,
            live_subscriptions,
            [(one.subscription_id, one.provider_id, one.transport, one.replica, one.now, None) for one in commands],
        )
        for one in commands:
            plan_for_provider(connection, one.provider_id, one.now)
        return [None] * len(commands)


@dataclass(frozen=True, slots=True)
class CloseSubscription:
    """Notes that a subscriber is gone."""

    subscription_id: str
    now: int

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[CloseSubscription]) -> Sequence[None]:
        """Write them; the first end counts."""
        first = {one.subscription_id: one.now for one in reversed(commands)}
        update_rows(
            connection,
            live_subscriptions,
            ("closed_at",),
            [(at, subscription_id) for subscription_id, at in first.items()],
            only_where="live_subscriptions.closed_at IS NULL",
        )
        return [None] * len(commands)


@dataclass(frozen=True, slots=True)
class CloseAll(Single[int]):
    """Closes what an earlier process on the embedded store left open, as of its last sign of life."""

    now: int

    def run(self, connection: Connection) -> int:
        """Return how many were closed."""
        ended = min(last_sign_of_life(connection) or self.now, self.now)
        return connection.execute(
            update(live_subscriptions).where(live_subscriptions.c.closed_at.is_(None)).values(closed_at=ended)
        ).rowcount


def last_sign_of_life(connection: Connection) -> int:
    """The latest time that the store knows of, in milliseconds since the epoch; 0 when it is empty."""
    judged = connection.execute(select(marks.c.at).where(marks.c.name == Mark.JUDGED.value)).scalar_one_or_none()
    newest = connection.execute(
        select(bookings.c.created_at).order_by(bookings.c.id.desc()).limit(1)
    ).scalar_one_or_none()
    return max((at for at in (judged, newest) if at is not None), default=0)
