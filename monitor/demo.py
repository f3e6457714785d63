"""The demonstration: a service of its own under a load of realistic bookings, some failing in chosen ways."""

from __future__ import annotations

import asyncio
import json
import math
import random
import sqlite3
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from rich.console import Console
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from monitor.drill.sealed import Sealed, sealed
from monitor.settings import Settings
from monitor.telemetry import logs

FAULTS = ("chat-room", "realtime", "legacy")
PROVIDERS = 12
QUIETEST = 0.15
"""Share of the busiest hour's bookings that the quietest one has."""
BUSIEST_HOUR = 19
"""In UTC."""
_SERVICES = ("massage", "facial", "manicure", "physiotherapy")
_MINUTES = (60, 90, 120)


def parse_faults(given: list[str]) -> dict[str, float]:
    """Read `NAME` or `NAME:SHARE`. Raises ValueError that says what is allowed."""
    faults = {}
    for text in given:
        name, _, share = text.partition(":")
        try:
            ratio = float(share or 1)
        except ValueError:
            ratio = -1.0
        if name not in FAULTS or not 0 < ratio <= 1:
            raise ValueError(f"--fault {text!r}: allowed is {', '.join(FAULTS)}, with a share above 0 and up to 1")
        faults[name] = ratio
    return faults


def rate_at(hour: float, busiest: float) -> float:
    """Bookings an hour at an hour of the day: a wave between the busiest hour and the quietest."""
    wave = (1 + math.cos((hour - BUSIEST_HOUR) / 24 * 2 * math.pi)) / 2
    return busiest * (QUIETEST + (1 - QUIETEST) * wave)


async def run_demo(
    console: Console, settings: Settings, *, port: int, per_hour: float, faults: Mapping[str, float], seconds: float
) -> None:
    """Run until `seconds` have passed (0: until cancelled)."""
    logs.configure("error")
    with tempfile.TemporaryDirectory(prefix="booking-monitor-demo-") as directory:
        shown = settings.model_copy(
            update={
                "port": port,
                "host": "127.0.0.1",
                "database_url": SecretStr(f"sqlite:///{Path(directory) / 'demo.db'}"),
                "environment": "demo",
                "nats_url": None,
                "api_tokens": (),
                "pagerduty_routing_key": None,
                "webhook_url": None,
                "heartbeat_url": None,
            }
        )
        async with sealed(shown, port=port) as copy:
            console.print(f"The demonstration runs on [bold]{copy.url}[/]; stop it with Ctrl-C.")
            work = [
                asyncio.create_task(_book(copy, per_hour, faults)),
                asyncio.create_task(_break_rooms(copy, faults.get("chat-room", 0.0))),
                *(asyncio.create_task(_provider(copy, number, faults)) for number in range(PROVIDERS)),
            ]
            try:
                await asyncio.wait(work, timeout=seconds or None, return_when=asyncio.FIRST_EXCEPTION)
                for task in work:
                    if task.done():
                        task.result()
            finally:
                for task in work:
                    task.cancel()
                await asyncio.gather(*work, return_exceptions=True)


async def _book(copy: Sealed, per_hour: float, faults: Mapping[str, float]) -> None:
    while True:
        hour = time.time() / 3600 % 24
        await asyncio.sleep(random.expovariate(rate_at(hour, per_hour) / 3600))
        body = _booking(legacy=random.random() < faults.get("legacy", 0.0))
        try:
            await copy.client.post("/v1/bookings", json=body)
        except httpx.HTTPError:
            await asyncio.sleep(1)


def _booking(*, legacy: bool) -> dict[str, Any]:
    provider, customer = f"provider-{random.randrange(PROVIDERS)}", f"customer-{random.randrange(1000)}"
    common = {"location": "Somewhere 1", "notes": "A demonstration."}
    if legacy:
        return common | {
            "therapistId": provider,
            "therapistName": "Demo provider",
            "customerId": customer,
            "customerName": "Demo customer",
            "price": 350_000,
        }
    return common | {
        "provider_id": provider,
        "provider_name": "Demo provider",
        "provider_type": random.choice(("therapist", "place")),
        "customer_id": customer,
        "customer_name": "Demo customer",
        "service_type": random.choice(_SERVICES),
        "duration_minutes": random.choice(_MINUTES),
        "price_minor": random.randrange(20, 90) * 1_000_000,
        "currency": "IDR",
    }


async def _provider(copy: Sealed, number: int, faults: Mapping[str, float]) -> None:
    """A provider's dashboard: mostly connected, acknowledges after a moment, and answers most bookings."""
    provider_id = f"provider-{number}"
    url = f"{copy.url.replace('http', 'ws', 1)}/v1/realtime?provider_id={provider_id}"
    while True:
        try:
            async with connect(url, proxy=None) as socket:
                async for frame in socket:
                    event = json.loads(frame)
                    if event["type"] != "booking.created" or random.random() < faults.get("realtime", 0.0):
                        continue
                    await asyncio.sleep(random.uniform(0.02, 0.4))
                    await socket.send(json.dumps({"type": "ack", "id": event["id"]}))
                    action = random.choice(("accept", "accept", "accept", "decline"))
                    await copy.client.post(f"/v1/bookings/{event['booking_id']}/{action}")
        except (OSError, WebSocketException, httpx.HTTPError):
            await asyncio.sleep(1)


async def _break_rooms(copy: Sealed, share: float) -> None:
    """Let chat rooms vanish behind the service's back."""
    while share:
        await asyncio.sleep(0.5)
        with closing(sqlite3.connect(copy.database, timeout=5)) as connection, connection:
            connection.execute(
                "DELETE FROM chat_rooms WHERE created_at > ? AND abs(random()) % 1000 < ?",
                ((time.time() - 1) * 1000, share * 1000),
            )
