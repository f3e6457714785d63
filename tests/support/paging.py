"""A service whose bookings fail from outside, and the receivers of its pages."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from support.bookings import make
from support.objectives import OBJECTIVES_TEXT
from support.pagerduty_receiver import ROUTING_KEY, PagerDutyReceiver
from support.service import QUICK, RunningService
from support.vanishing import vanishing
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

ENOUGH_BAD = 3
"""A total outage pages at the third due booking."""
ENOUGH_GOOD = 20
"""Good bookings after which those few bad ones are no evidence any more."""
PATIENCE = 40
"""Seconds to wait for what takes a few on an idle machine."""
PRICE_MINOR = 350_000


class Site(RunningService):
    """A running service, what a test does to its bookings, and what it then says of itself."""

    def book(self, count: int, **fields: Any) -> list[str]:
        """Make bookings, and return their ids."""
        with self.client() as client:
            priced = {"price_minor": PRICE_MINOR, "currency": "IDR", **fields}
            return [make(client, **priced)["booking"]["id"] for _ in range(count)]

    def lose_chat_rooms(self, count: int = ENOUGH_BAD) -> list[str]:
        """Make bookings whose chat rooms vanish at once."""
        with vanishing(self.database_path, "chat_rooms"):
            return self.book(count)

    def recover(self) -> None:
        """Have bookings made that are in order."""
        self.book(ENOUGH_GOOD)

    def outside(self, statement: str, *values: Any) -> None:
        """Change the store behind the service's back."""
        with closing(sqlite3.connect(self.database_path, timeout=10)) as connection, connection:
            connection.execute("PRAGMA legacy_alter_table = ON")
            connection.execute(statement, values)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What stands in the store."""
        with closing(sqlite3.connect(f"file:{self.database_path}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def let_waits_pass(self) -> None:
        """Make the time pass that pages wait before they are sent again."""
        self.outside("UPDATE pages SET next_attempt_at = 0 WHERE state = 'pending'")

    def get(self, path: str) -> Any:
        """The JSON of a route; a failure is one of the test."""
        with self.client() as client:
            return _json(client.get(path))

    def incidents(self) -> list[dict[str, Any]]:
        """All incidents, the oldest first, each with its timeline and pages."""
        listed = self.get("/v1/incidents")["incidents"]
        return [self.get(f"/v1/incidents/{incident['number']}") for incident in reversed(listed)]

    def pages(self, channel: str) -> list[tuple[str, str, int]]:
        """Action, state and attempts of each page on a channel, the oldest first."""
        found = self.rows(f"SELECT action, state, attempts FROM pages WHERE channel = '{channel}' ORDER BY id")  # noqa: S608 - a name of ours
        return [(action, state, attempts) for action, state, attempts in found]

    def evaluations(self) -> float:
        """How many evaluations succeeded since the last start."""
        return self.metric("booking_job_runs", job="evaluate", result="ok")

    def evaluate_again(self, times: int = 3) -> None:
        """Wait until the alerts were evaluated so often once more."""
        until = self.evaluations() + times
        wait_until(lambda: self.evaluations() >= until, what="the alerts are evaluated", timeout_seconds=PATIENCE)


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()


def objectives(path: Path, **alerts: dict[str, Any]) -> Path:
    """Write the project's objectives with nothing kept firing, no warnings of rates, and some alerts changed."""
    content = yaml.safe_load(OBJECTIVES_TEXT)
    content["rates"]["critical"]["keep_firing_for"] = "0s"
    content["rates"]["warning"]["for"] = "1d"
    content["prometheus"]["interval"] = "1s"
    for name, changes in alerts.items():
        content["alerts"][name] |= changes
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@contextmanager
def site(directory: Path, **settings: Any) -> Iterator[Site]:
    """Run a service with short times; `objectives_file` may be given."""
    file = settings.pop("objectives_file", None) or objectives(directory / "objectives.yaml")
    with (
        tempfile.TemporaryDirectory(prefix="site-") as folder,
        Site(Path(folder), {**QUICK, "objectives_file": file, **settings}) as service,
    ):
        yield service


@contextmanager
def stalled(database: Path) -> Iterator[None]:
    """Hold the embedded store, so that nobody else can write."""
    with closing(sqlite3.connect(database, isolation_level=None, timeout=10)) as outside:
        outside.execute("BEGIN IMMEDIATE")
        yield
        outside.execute("ROLLBACK")


def to_pagerduty(receiver: PagerDutyReceiver | str) -> dict[str, str]:
    """Settings with which pages leave to a local PagerDuty, or to an address."""
    url = receiver if isinstance(receiver, str) else receiver.url
    return {"pagerduty_url": url, "pagerduty_routing_key": ROUTING_KEY}
