"""A provider's inbox: notifications, and the push subscriptions of its devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, update

from monitor.domain.ids import new_id
from monitor.domain.rows import Fields
from monitor.store.commands import Single
from monitor.store.statements import insert_rows
from monitor.store.tables import notifications, push_subscriptions


def page(connection: Connection, provider_id: str, *, before: str | None, unread: bool, limit: int) -> Sequence[Fields]:
    """Notifications of a provider, newest first; `before` is the id of the last one of the page before."""
    query = (
        select(notifications)
        .where(notifications.c.provider_id == provider_id)
        .order_by(notifications.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(notifications.c.id < before)
    if unread:
        query = query.where(notifications.c.read_at.is_(None))
    return connection.execute(query).mappings().all()


@dataclass(frozen=True, slots=True)
class MarkRead(Single[Fields | None]):
    """Notes that a notification was read; the first time counts."""

    notification_id: str
    now: int
    provider_id: str | None = None
    """Only if it is this provider's, where given."""

    def run(self, connection: Connection) -> Fields | None:
        """Return each notification, or None where there is none."""
        mine = notifications.c.id == self.notification_id
        if self.provider_id is not None:
            mine &= notifications.c.provider_id == self.provider_id
        connection.execute(
            update(notifications).where(mine, notifications.c.read_at.is_(None)).values(read_at=self.now)
        )
        return connection.execute(select(notifications).where(mine)).mappings().one_or_none()


@dataclass(frozen=True, slots=True)
class PutPushSubscription(Single[str]):
    """Keeps a push subscription; an endpoint belongs to the provider who gave it last.

    One that had expired comes back as a new one: nothing was owed to it in between.
    """

    provider_id: str
    endpoint: str
    p256dh: str
    auth: str
    expires_at: int | None
    now: int
    limit: int
    """How many one provider can have: the oldest give way."""

    def run(self, connection: Connection) -> str:
        """Return the id of each subscription."""
        known = select(push_subscriptions).where(push_subscriptions.c.endpoint == self.endpoint)
        row = connection.execute(known).one_or_none()
        values = {
            "provider_id": self.provider_id,
            "p256dh": self.p256dh,
            "auth": self.auth,
            "expires_at": self.expires_at,
        }
        lasts = row is not None and (row.expires_at is None or row.expires_at > self.now)
        if row is not None and row.provider_id == self.provider_id and lasts:
            connection.execute(update(push_subscriptions).where(push_subscriptions.c.id == row.id).values(values))
            return str(row.id)
        if row is not None:
            connection.execute(delete(push_subscriptions).where(push_subscriptions.c.id == row.id))
        subscription_id = new_id(self.now)
        insert_rows(
            connection,
            push_subscriptions,
            [
                (
                    subscription_id,
                    self.provider_id,
                    self.endpoint,
                    self.p256dh,
                    self.auth,
                    self.expires_at,
                    self.now,
                )
            ],
        )
        self._make_room(connection)
        return subscription_id

    def _make_room(self, connection: Connection) -> None:
        mine = push_subscriptions.c.provider_id == self.provider_id
        count = connection.execute(select(func.count()).select_from(push_subscriptions).where(mine)).scalar_one()
        if count > self.limit:
            oldest = (
                select(push_subscriptions.c.id).where(mine).order_by(push_subscriptions.c.id).limit(count - self.limit)
            )
            ids = list(connection.execute(oldest).scalars())
            connection.execute(delete(push_subscriptions).where(push_subscriptions.c.id.in_(ids)))


@dataclass(frozen=True, slots=True)
class DropPushSubscription(Single[bool]):
    """Removes a push subscription by its id or its endpoint."""

    subscription_id: str | None = None
    endpoint: str | None = None
    provider_id: str | None = None
    """Only if it is this provider's, where given."""

    def run(self, connection: Connection) -> bool:
        """Say of each whether there was one."""
        statement = delete(push_subscriptions)
        if self.subscription_id is not None:
            statement = statement.where(push_subscriptions.c.id == self.subscription_id)
        else:
            statement = statement.where(push_subscriptions.c.endpoint == self.endpoint)
        if self.provider_id is not None:
            statement = statement.where(push_subscriptions.c.provider_id == self.provider_id)
        return connection.execute(statement).rowcount > 0
