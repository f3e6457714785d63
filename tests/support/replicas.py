"""Several replicas of the service, as processes of their own, on one PostgreSQL and one NATS."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.nats import NatsServer, nats_server
from support.service import PREFIX, RunningService, running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def upgrade_store(database_url: str) -> None:
    """Run `booking-monitor db upgrade`."""
    program = str(Path(sys.executable).with_name("booking-monitor"))
    subprocess.run(
        [program, "db", "upgrade"], env={f"{PREFIX}DATABASE_URL": database_url}, check=True, capture_output=True
    )


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
        return [one for one in (self.first, self.second) if metric(one, "booking_monitor_leader") == 1]

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


def exposition(service: RunningService) -> str:
    """The metrics of a replica."""
    with service.client() as client:
        return client.get("/metrics").raise_for_status().text


def metric(service: RunningService, name: str) -> float:
    """The value of a metric without labels."""
    found = re.search(rf"^{name} (\S+)$", exposition(service), re.MULTILINE)
    assert found is not None, f"there is no {name}"
    return float(found[1])


def ledger_numbers(service: RunningService) -> dict[str, float]:
    """What a replica shows of the ledger: all that does not depend on when it was read."""
    cumulative = ("booking_sli_outcomes_total", "booking_bookings_total", "booking_delivery_attempts_total")
    lines = [line.rpartition(" ") for line in exposition(service).splitlines() if line.startswith(cumulative)]
    return {name: float(value) for name, _, value in lines}
