"""A demonstration from its start to its end: on a service of its own, or on one that runs already."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from rich.console import Console

from monitor.calling import call
from monitor.demo.faults import IN_THE_STORE, Fault
from monitor.demo.load import Load, Tally, hour_now, rate_at
from monitor.demo.progress import REPORT_SECONDS, observe
from monitor.drill.sealed import isolated, sealed
from monitor.settings import Settings
from monitor.telemetry import logs

CANARY_SECONDS = 10.0
"""Shorter than by default, so that canaries are seen soon."""
_LOCK_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the reader wants to see."""

    per_hour: float
    """Bookings at the busiest hour of the day."""
    faults: Mapping[Fault, float]
    """The share of bookings that each fault befalls."""
    seconds: float
    """For which it goes on; 0 is without an end."""


async def on_its_own(console: Console, settings: Settings, wishes: Wishes, *, port: int) -> None:
    """Demonstrate on a service of its own, which has nothing of the settings but the objectives and Grafana's address.

    Raises OSError if the port is taken, and ObjectivesError if the objectives cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="booking-monitor-demo-") as directory:
        database, log = Path(directory) / "demo.db", Path(directory) / "service.log"
        shown = isolated(
            database_url=SecretStr(f"sqlite:///{database}"),
            environment="demo",
            objectives_file=settings.objectives_file,
            grafana_url=settings.grafana_url,
            canary_interval=CANARY_SECONDS,
        )
        with log.open("ab", buffering=0) as stream:
            logs.configure("info", logs.LogFormat.JSON, stream)
            async with sealed(shown, port=port) as copy:
                console.print(f"The demonstration runs on [bold]{copy.url}[/]; stop it with Ctrl-C.", soft_wrap=True)
                console.print(f"Its log is in {log} as long as it runs.", highlight=False, soft_wrap=True)
                await _play(console, copy.client, wishes, partial(lose, database))


async def on_running(console: Console, url: str, token: str | None, wishes: Wishes) -> None:
    """Demonstrate on a running instance, where the bookings count as real ones.

    Raises CallError if it does not answer as it should, and ValueError for faults that need its store.
    """
    if unreachable := wishes.faults.keys() & IN_THE_STORE.keys():
        names = ", ".join(sorted(unreachable))
        raise ValueError(f"--fault {names} is put into the store, and so needs the demonstration's own service")
    await call(url, token, "GET", "/v1/slis", "slis", list[Any])
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=10) as client:
        console.print(
            f"Bookings go to [bold]{url}[/] and count there as real ones; stop it with Ctrl-C.", soft_wrap=True
        )
        await _play(console, client, wishes, None)


async def _play(
    console: Console, client: httpx.AsyncClient, wishes: Wishes, lose: Callable[[Fault, str], None] | None
) -> None:
    tally = Tally()
    faults = ", ".join(f"{fault} {share:.0%}" for fault, share in wishes.faults.items()) or "nothing"
    rate = rate_at(hour_now(), wishes.per_hour)
    console.print(
        f"About {rate:,.0f} bookings an hour at this time of the day. Going wrong: {faults}.", highlight=False
    )

    async def report() -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            console.print(await observe(client, tally), highlight=False, soft_wrap=True)

    try:
        async with asyncio.timeout(wishes.seconds or None), asyncio.TaskGroup() as both:
            both.create_task(Load(client, wishes.per_hour, wishes.faults, lose, tally).run())
            both.create_task(report())
    except TimeoutError:
        console.print(await observe(client, tally), highlight=False, soft_wrap=True)


def lose(database: Path, fault: Fault, booking_id: str) -> None:
    """Take what a fault of `IN_THE_STORE` makes vanish out of an SQLite store."""
    statement = f"DELETE FROM {IN_THE_STORE[fault]} WHERE booking_id = ?"  # noqa: S608 - a name of ours
    with closing(sqlite3.connect(database, timeout=_LOCK_SECONDS)) as connection, connection:
        connection.execute(statement, (booking_id,))
