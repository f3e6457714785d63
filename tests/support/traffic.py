"""Customers and providers who keep at it whatever happens to the service, and who remember what they were told."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from support.service import QUICK

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

HEARD = tuple(f"heard-{n}" for n in range(4))
"""Providers with a subscriber who acknowledges what it gets."""
UNHEARD = tuple(f"unheard-{n}" for n in range(4))
"""Providers without one."""
RETRY_SECONDS = 0.05
"""Before a customer or a provider tries again."""
THINK_SECONDS = 0.03
"""Between two bookings of a customer."""
UNDER_FAULTS: dict[str, Any] = {
    **QUICK,
    "delivery_first_delay": 0.5,
    "delivery_attempts": 100,
    "log_level": "error",
}
"""Settings with which bookings are made, delivered and judged between two faults, and no delivery is given up."""
FIXED_PORTS = range(15_000, 32_000)
"""Below the ports that Linux hands out by itself: nobody takes one of these while its service is down."""


@dataclass
class Told:
    """What the customers were told, and what the subscribers heard."""

    made: dict[str, str] = field(default_factory=dict)
    """The booking of each request that was answered 201, by the customer id that only this request has."""
    keyed: set[str] = field(default_factory=set)
    """The customer ids of requests with an Idempotency-Key, which were repeated until they were answered."""
    broken_off: set[str] = field(default_factory=set)
    """The customer ids of requests without a key that got no 201: there may be a booking, or none."""
    statuses: Counter[int] = field(default_factory=Counter)
    unreached: Counter[str] = field(default_factory=Counter)
    """Requests that got no answer at all, by customer."""
    replays: int = 0
    """Requests that were answered with the booking that an earlier one with the same key had made."""
    heard: dict[str, Counter[str]] = field(default_factory=dict)
    """How often each booking reached its provider, by provider."""
    faults: list[str] = field(default_factory=list)
    """Answers that no caller must ever get."""


class Traffic:
    """Customers who book, every other one with an Idempotency-Key, and the providers of `HEARD` who listen.

    `url` is asked anew for each request, as a service that starts again may have another.
    """

    def __init__(self, url: Callable[[], str], *, customers: int = 6, seed: int = 1) -> None:
        self.told = Told()
        self._url = url
        self.customers = customers
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._listening = [asyncio.create_task(self._listen(provider_id)) for provider_id in HEARD]
        self._booking = [asyncio.create_task(self._book(f"c{n}", keyed=n % 2 == 0)) for n in range(self.customers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = (*self._booking, *self._listening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def stop_booking(self) -> None:
        """Have no more bookings made: those under way are followed to their answer. The providers go on listening.

        Raises what a customer or a provider has failed with.
        """
        self._closing.set()
        await asyncio.gather(*self._booking)
        for task in self._listening:
            if task.done():
                task.result()

    async def _book(self, name: str, *, keyed: bool) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=15) as client:
            number = 0
            while not self._closing.is_set():
                number += 1
                if keyed:
                    await self._insist(client, f"{name}-{number}")
                else:
                    await self._try_once(client, f"{name}-{number}")
                await asyncio.sleep(self._chance.uniform(0, 2 * THINK_SECONDS))

    async def _insist(self, client: httpx.AsyncClient, customer_id: str) -> None:
        booking = make_booking(self._chance.choice(HEARD + UNHEARD), customer_id)
        self.told.keyed.add(customer_id)
        while not await self._ask(client, booking, {"Idempotency-Key": customer_id}):  # noqa: ASYNC110 - it asks
            await asyncio.sleep(RETRY_SECONDS)

    async def _try_once(self, client: httpx.AsyncClient, customer_id: str) -> None:
        if not await self._ask(client, make_booking(self._chance.choice(HEARD + UNHEARD), customer_id), {}):
            self.told.broken_off.add(customer_id)
            await asyncio.sleep(RETRY_SECONDS)

    async def _ask(self, client: httpx.AsyncClient, booking: dict[str, str | int], headers: dict[str, str]) -> bool:
        told = self.told
        try:
            answer = await client.post(f"{self._url()}/v1/bookings", json=booking, headers=headers)
        except httpx.TransportError:
            told.unreached[str(booking["customer_id"]).rpartition("-")[0]] += 1
            return False
        told.statuses[answer.status_code] += 1
        if answer.status_code == httpx.codes.CREATED:
            told.made[str(booking["customer_id"])] = answer.json()["booking"]["id"]
            told.replays += "idempotent-replayed" in answer.headers
            return True
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            told.faults.append(f"answered {answer.status_code}: {answer.text}")
        elif not answer.headers.get("retry-after", "").isdigit() or answer.json()["status"] != answer.status_code:
            told.faults.append(f"a 503 without Retry-After or problem: {answer.headers} {answer.text}")
        return False

    async def _listen(self, provider_id: str) -> None:
        heard = self.told.heard.setdefault(provider_id, Counter())
        query = {"provider_id": provider_id}
        while True:
            try:
                address = f"{self._url().replace('http', 'ws', 1)}/v1/realtime?{urlencode(query)}"
                async with connect(address, proxy=None, open_timeout=10, close_timeout=1) as subscription:
                    async for frame in subscription:
                        event = json.loads(frame)
                        if event["type"] == "booking.created":
                            heard[event["booking"]["id"]] += 1
                            await subscription.send(json.dumps({"type": "ack", "id": event["id"]}))
                            query["last_id"] = max(query.get("last_id", ""), event["id"])
            except (OSError, WebSocketException):
                await asyncio.sleep(RETRY_SECONDS)


def make_booking(provider_id: str, customer_id: str) -> dict[str, str | int]:
    """The body of a request for a booking."""
    return {
        "provider_id": provider_id,
        "provider_name": "A provider",
        "customer_id": customer_id,
        "customer_name": "A customer",
        "price_minor": 35_000_000,
        "currency": "IDR",
    }


def fixed_port() -> int:
    """A TCP port of 127.0.0.1 that stays ours while a service is restarted on it."""
    while True:
        port = random.choice(FIXED_PORTS)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
