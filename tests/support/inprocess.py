"""The service within the test's own process, served by its own server: for tests that give it a part of their own."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from monitor import serving
from monitor.service import Service
from monitor.settings import Settings
from monitor.web.app import create_app
from support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from monitor.pipeline.push.relay import Sender


@dataclass(frozen=True, slots=True)
class InProcess:
    """A service that runs, and a client of it."""

    service: Service
    url: str
    api: httpx.AsyncClient


@asynccontextmanager
async def service_in_process(
    directory: Path, *, sender: Sender | None = None, **settings: Any
) -> AsyncIterator[InProcess]:
    """Run the service on a free port, with an SQLite store in `directory` unless settings name another."""
    chosen = Settings(
        _env_file=None,
        **{"database_url": f"sqlite:///{directory}/booking-monitor.db", "port": 0, "canary_interval": 0, **settings},
    )
    with serving.listen(chosen) as listening:
        port = listening.getsockname()[1]
        service = Service(chosen, sender=sender)
        await service.start(port)
        server = serving.Server(create_app(service), chosen)
        serve = asyncio.create_task(server.serve([listening]))

        async def started() -> bool:
            return server.started or serve.done()

        try:
            await eventually(started, what="the server is started")
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as api:
                yield InProcess(service, url, api)
        finally:
            service.hub.close()
            server.end()
            await serve
            await service.stop()
