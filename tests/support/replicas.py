"""Several replicas of the service, as processes of their own, on one PostgreSQL and one NATS."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from support.nats import NatsServer, nats_server
from support.service import RunningService, booking_monitor, running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def upgrade_store(database_url: str) -> None:
    """Run `booking-monitor db upgrade`."""
    booking_monitor("db", "upgrade", database_url=database_url).check_returncode()


@dataclass(frozen=True, slots=True)
class Replicas:
    """Two replicas, and what they share."""

    first: RunningService
    second: RunningService
    nats: NatsServer
    database_url: str

    @property
    def leaders(self) -> list[RunningService]:
        """Those of the running ones that say that they lead."""
        return [one for one in (self.first, self.second) if leads(one)]

    def leader_and_follower(self) -> tuple[RunningService, RunningService]:
        """Wait until one leads, and return it and the other one."""
        [leader] = wait_until(lambda: len(self.leaders) == 1 and self.leaders, what="one replica leads") or []
        return leader, self.second if leader is self.first else self.first


@contextmanager
def two_replicas(database_url: str, **settings: Any) -> Iterator[Replicas]:
    """Run two replicas on an empty database, with a NATS of their own."""
    upgrade_store(database_url)
    with ExitStack() as stack:
        nats = stack.enter_context(nats_server())
        first, second = (
            stack.enter_context(running_service(database_url=database_url, nats_url=nats.url, **settings))
            for _ in range(2)
        )
        yield Replicas(first, second, nats, database_url)


def leads(service: RunningService) -> bool:
    """Whether a replica says that it leads."""
    return service.metric("booking_monitor_leader") == 1


def ledger_numbers(service: RunningService) -> dict[str, float]:
    """What a replica shows of the ledger: all that does not depend on when it was read."""
    cumulative = ("booking_sli_outcomes_total", "booking_bookings_total", "booking_delivery_attempts_total")
    lines = [line.rpartition(" ") for line in service.exposition().splitlines() if line.startswith(cumulative)]
    return {name: float(value) for name, _, value in lines}
