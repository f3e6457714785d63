"""A sealed copy of the service: its own process-local instance, its own database in a temporary directory.

Of the user's settings it takes the objectives, the environment's name and, where asked, PagerDuty. Nothing else of
theirs is reachable from it: no database, no NATS, no other channel, no collector of traces.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr
from starlette.types import ASGIApp

from monitor.pipeline.push.relay import Sender
from monitor.service import Service
from monitor.serving import Server
from monitor.settings import Settings
from monitor.web.app import create_app

GRACE_SECONDS = 1.0
"""Shortened in the drill, so that a fault shows soon."""
_QUICK = {
    "grace_chat_room": GRACE_SECONDS,
    "grace_notification": GRACE_SECONDS,
    "grace_realtime": GRACE_SECONDS,
    "settle": 0.2,
    "acknowledge_timeout": GRACE_SECONDS / 2,
    "evaluation_interval": 1.0,
}
"""Seconds."""
_KEPT = ("objectives_file", "public_url", "grafana_url")
"""Settings that are the user's in the copy too."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed copy that runs."""

    service: Service
    client: httpx.AsyncClient
    url: str
    database: Path

    async def book(self, **changes: Any) -> str:
        """Send a booking, and return its id. Raises httpx.HTTPError if it is not taken."""
        body = {
            "provider_id": "drill-provider",
            "provider_name": "Drill provider",
            "customer_id": "drill-customer",
            "customer_name": "Drill customer",
            "price_minor": 100_000,
            "currency": "EUR",
        }
        answer = await self.client.post("/v1/bookings", json={**body, **changes})
        answer.raise_for_status()
        return str(answer.json()["booking"]["id"])


def seal(settings: Settings, directory: Path, *, routing_key: str, pagerduty_url: str) -> Settings:
    """The settings of a sealed copy that lives in a directory: the defaults, with a few of the user's.

    The environment is named for the directory as well: copies side by side that page the same receiver must not have
    their incidents taken for one.
    """
    return isolated(
        **_QUICK,
        **{name: getattr(settings, name) for name in _KEPT},
        port=0,
        database_url=SecretStr(f"sqlite:///{directory / 'drill.db'}"),
        environment=f"{settings.environment}-drill-{directory.name}",
        canary_interval=0,
        drill=True,
        pagerduty_routing_key=SecretStr(routing_key),
        pagerduty_url=pagerduty_url,
    )


def isolated(**chosen: Any) -> Settings:
    """The default settings with these: nothing that the environment or a `.env` file says is among them."""
    defaults = {name: field.get_default() for name, field in Settings.model_fields.items()}
    return Settings.model_construct(**defaults | chosen)


@asynccontextmanager
async def sealed(settings: Settings, *, sender: Sender | None = None, port: int = 0) -> AsyncIterator[Sealed]:
    """Run a sealed copy. Raises OSError if the port is taken, and what `Service.start` raises."""
    os.environ["OTEL_SDK_DISABLED"] = "true"
    service = Service(settings, sender=sender)
    with socket.create_server(("127.0.0.1", port)) as listening:
        port = listening.getsockname()[1]
        await service.start(port)
        url = f"http://127.0.0.1:{port}"
        try:
            async with (
                serving(create_app(service), settings, listening),
                httpx.AsyncClient(base_url=url, trust_env=False, timeout=10) as client,
            ):
                database = Path(settings.database_url.get_secret_value().removeprefix("sqlite:///"))
                yield Sealed(service, client, url, database)
        finally:
            await service.stop()


@asynccontextmanager
async def serving(app: ASGIApp, settings: Settings, listening: socket.socket) -> AsyncIterator[None]:
    """Serve an application on a socket while the block runs, as the service itself is served."""
    server = Server(app, settings)
    task = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        server.end()
        await task
