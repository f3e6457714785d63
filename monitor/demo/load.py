"""The customers and the providers of a demonstration."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from monitor.demo.faults import IN_THE_STORE, Fault, befalls

PROVIDERS = 12
QUIETEST = 0.15
"""Share of the busiest hour's bookings that the quietest one has."""
BUSIEST_HOUR = 19
"""In UTC."""
RETRY_SECONDS = 1.0
"""Before a customer or a provider who got no answer tries again."""
THINK_SECONDS = (0.02, 0.3)
"""Shortest and longest time that a provider's dashboard takes to acknowledge an event."""
_chance = random.Random()  # noqa: S311 - no secret
_SERVICES = ("massage", "facial", "manicure", "physiotherapy")
_MINUTES = (60, 90, 120)


def rate_at(hour: float, busiest: float) -> float:
    """Bookings an hour at an hour of the day: a wave between the busiest hour and the quietest."""
    wave = (1 + math.cos((hour - BUSIEST_HOUR) / 24 * 2 * math.pi)) / 2
    return busiest * (QUIETEST + (1 - QUIETEST) * wave)


def hour_now() -> float:
    """The hour of the day in UTC, with its fraction."""
    return time.time() / 3600 % 24


@dataclass(slots=True)
class Tally:
    """What became of the requests for bookings."""

    taken: int = 0
    refused: int = 0
    """Answered with something else than 201."""
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """Customers who book at the service that `client` calls, and providers who listen there and answer."""

    client: httpx.AsyncClient
    per_hour: float
    """Bookings at the busiest hour of the day."""
    faults: Mapping[Fault, float]
    """The share of bookings that each fault befalls."""
    lose: Callable[[Fault, str], None] | None
    """Puts a fault of `IN_THE_STORE` into a booking, where the store is at hand; may block."""
    tally: Tally

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as everybody:
            everybody.create_task(self._customers())
            for number in range(PROVIDERS):
                everybody.create_task(self._provider(f"demo-provider-{number}"))

    async def _customers(self) -> None:
        while True:
            await asyncio.sleep(_chance.expovariate(rate_at(hour_now(), self.per_hour) / 3600))
            try:
                answer = await self.client.post("/v1/bookings", json=self._booking())
            except httpx.HTTPError:
                self.tally.unanswered += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if answer.status_code != httpx.codes.CREATED:
                self.tally.refused += 1
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.tally.taken += 1
            if self.lose is not None:
                booking_id = answer.json()["booking"]["id"]
                for fault in IN_THE_STORE:
                    if befalls(fault, booking_id, self.faults):
                        await asyncio.to_thread(self.lose, fault, booking_id)

    def _booking(self) -> dict[str, Any]:
        provider, customer = f"demo-provider-{_chance.randrange(PROVIDERS)}", f"demo-customer-{_chance.randrange(1000)}"
        common = {"location": "Somewhere 1", "notes": "A demonstration."}
        if _chance.random() < self.faults.get(Fault.LEGACY, 0.0):
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
            "provider_type": _chance.choice(("therapist", "place")),
            "customer_id": customer,
            "customer_name": "Demo customer",
            "service_type": _chance.choice(_SERVICES),
            "duration_minutes": _chance.choice(_MINUTES),
            "price_minor": _chance.randrange(20, 90) * 1_000_000,
            "currency": "IDR",
        }

    async def _provider(self, provider_id: str) -> None:
        """A provider's dashboard: mostly connected, acknowledges after a moment, and answers most bookings."""
        while True:
            try:
                granted = await self.client.post(f"/v1/providers/{provider_id}/token")
                query = urlencode({"provider_id": provider_id, "token": granted.raise_for_status().json()["token"]})
                url = str(self.client.base_url.join("/v1/realtime")).replace("http", "ws", 1)
                async with connect(f"{url}?{query}", proxy=None) as socket:
                    async for frame in socket:
                        event = json.loads(frame)
                        if event["type"] == "booking.created":
                            await self._answer(socket, event["id"], event["booking_id"])
            except (OSError, WebSocketException, httpx.HTTPError, ValueError, KeyError):
                await asyncio.sleep(RETRY_SECONDS)

    async def _answer(self, socket: Any, event_id: str, booking_id: str) -> None:
        if befalls(Fault.REALTIME, booking_id, self.faults):
            return
        await asyncio.sleep(_chance.uniform(*THINK_SECONDS))
        await socket.send(json.dumps({"type": "ack", "id": event_id}))
        action = _chance.choice(("accept", "accept", "accept", "decline"))
        await self.client.post(f"/v1/bookings/{booking_id}/{action}")
