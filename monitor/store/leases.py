"""Leases: which replica judges, and which replicas are alive.

A lease has a token that grows each time it changes hands. Whoever writes on the strength of a lease shows
its token in the same transaction, so that a holder that was paused and lost it cannot write any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, select, update

from monitor.store.commands import Single
from monitor.store.statements import insert_rows
from monitor.store.tables import leases, live_subscriptions

LEADER = "leader"
_REPLICA = "replica:"


_LEASE = select(leases).where(leases.c.name == bindparam("lease")).with_for_update()
_HELD = _LEASE.with_only_columns(leases.c.token).where(leases.c.holder == bindparam("by"))
_KEEP = (
    update(leases)
    .where(leases.c.name == bindparam("lease"))
    .values(holder=bindparam("by"), token=bindparam("with_token"), expires_at=bindparam("until"))
)


class FencedOffError(Exception):
    """The lease has passed to somebody else; nothing was written."""


@dataclass(frozen=True, slots=True)
class Fence:
    """A claim to hold a lease."""

    name: str
    holder: str
    token: int


def check_fence(connection: Connection, fence: Fence | None) -> None:
    """Make sure, until the transaction ends, that a lease is still held. None is a store for one process."""
    if fence is None:
        return
    held = connection.execute(_HELD, {"lease": fence.name, "by": fence.holder}).scalar_one_or_none()
    if held != fence.token:
        raise FencedOffError(f"the lease {fence.name} has passed on from {fence.holder}")


@dataclass(frozen=True, slots=True)
class RenewLease(Single[Fence | None]):
    """Takes or keeps a lease for `lifetime` milliseconds, if nobody else has it.

    `now` is only a fallback: on PostgreSQL the database's clock decides, so that replicas agree.
    """

    name: str
    holder: str
    lifetime: int
    now: int

    def run(self, connection: Connection) -> Fence | None:
        """Return a fence for each lease that is held, None for one that somebody else holds."""
        now = _store_now(connection, self.now)
        row = connection.execute(_LEASE, {"lease": self.name}).one_or_none()
        if row is None:
            inserted = insert_rows(
                connection, leases, [(self.name, self.holder, 1, now + self.lifetime)], skip_existing=True
            )
            return Fence(self.name, self.holder, 1) if inserted else None
        if row.holder != self.holder and row.expires_at > now:
            return None
        token = row.token if row.holder == self.holder else row.token + 1
        given = {"lease": self.name, "by": self.holder, "with_token": token, "until": now + self.lifetime}
        connection.execute(_KEEP, given)
        return Fence(self.name, self.holder, token)


@dataclass(frozen=True, slots=True)
class ReleaseLeases:
    """Gives up all leases of a holder, so that another one need not wait for their end."""

    holder: str

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[ReleaseLeases]) -> Sequence[None]:
        """Let them end now; their rows stay for their tokens' sake, but a replica's own goes."""
        for command in commands:
            mine = leases.c.holder == command.holder
            connection.execute(delete(leases).where(mine, leases.c.name.startswith(_REPLICA)))
            connection.execute(update(leases).where(mine).values(expires_at=0))
        return [None] * len(commands)


def replica_lease(replica: str) -> str:
    """Name of the lease by which a replica says that it is alive."""
    return _REPLICA + replica


@dataclass(frozen=True, slots=True)
class BuryReplicas(Single[int]):
    """Closes the live subscriptions of replicas whose lease has ended, as of their last sign of life."""

    now: int
    lifetime: int
    """Milliseconds from the last renewal of a lease to its end."""
    fence: Fence | None

    def run(self, connection: Connection) -> int:
        """Return how many replicas were found dead."""
        check_fence(connection, self.fence)
        now = _store_now(connection, self.now)
        dead = connection.execute(
            select(leases.c.name, leases.c.holder, leases.c.expires_at).where(
                leases.c.name.startswith(_REPLICA), leases.c.expires_at <= now
            )
        ).all()
        for name, holder, expires_at in dead:
            connection.execute(
                update(live_subscriptions)
                .where(live_subscriptions.c.replica == holder, live_subscriptions.c.closed_at.is_(None))
                .values(closed_at=expires_at - self.lifetime)
            )
            connection.execute(delete(leases).where(leases.c.name == name))
        return len(dead)


def _store_now(connection: Connection, fallback: int) -> int:
    if connection.dialect.name != "postgresql":
        return fallback
    return int(connection.execute(select(func.extract("epoch", func.clock_timestamp()) * 1000)).scalar_one())
