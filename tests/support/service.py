"""The real service, as a process of its own: `booking-monitor serve`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from support.exposition import metric
from support.process import HttpServer
from support.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

API_TOKEN = "the-api-token-of-these-tests"
"""For `running_service(api_tokens=API_TOKEN)`, and `client()` then shows it."""
PREFIX = "BOOKING_MONITOR_"
PROGRAM = str(Path(sys.executable).with_name("booking-monitor"))
QUIET = {"port": "0", "canary_interval": "0", "log_format": "json"}
"""A free port, and no bookings but the test's own."""
QUICK: dict[str, Any] = {
    "grace_chat_room": 1,
    "grace_notification": 1,
    "grace_realtime": 1,
    "settle": 0.2,
    "acknowledge_timeout": 0.5,
    "evaluation_interval": 1,
}
"""Settings with which a fault shows within seconds."""


class RunningService(HttpServer):
    """One instance, in a directory of its own that holds its database and its log."""

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory)
        self.settings = QUIET | {name: str(value) for name, value in settings.items()}
        self._environment = dict(environment or {})

    def command(self) -> list[str]:
        """Program and arguments; of our own environment nothing is passed on."""
        settings = self.settings | {"port": str(self.port)}
        variables = self._environment | {PREFIX + name.upper(): value for name, value in settings.items()}
        return [find_tool("env"), "-i", *(f"{name}={value}" for name, value in variables.items()), PROGRAM, "serve"]

    def ready(self) -> bool:
        """Whether the service would take traffic."""
        if not self.listening():
            return False
        try:
            return self._client.get(f"{self.url}/readyz").is_success
        except httpx.TransportError:
            return False

    @property
    def database_path(self) -> Path:
        """The embedded store's file, unless `database_url` names another store."""
        return self.directory / "booking-monitor.db"

    @property
    def token(self) -> str | None:
        """An API token that the service takes, if it asks for one."""
        return API_TOKEN if API_TOKEN in self.settings.get("api_tokens", "").split(",") else None

    def client(self, token: str | None = None, **options: Any) -> httpx.Client:
        """A client of this service that shows `token`, or else the API token if the service asks for one."""
        shown = token or self.token
        headers = {"Authorization": f"Bearer {shown}"} if shown else {}
        return httpx.Client(
            base_url=self.url,
            trust_env=False,
            **{"timeout": 10, **options, "headers": headers | options.get("headers", {})},
        )

    def exposition(self) -> str:
        """What stands at `/metrics`."""
        with self.client() as client:
            return client.get("/metrics").raise_for_status().text

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all that has these labels."""
        return metric(self.exposition(), name, **labels)

    def output(self) -> str:
        """All that the service wrote to its standard output and error, over all its starts."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def log_events(self, event: str | None = None) -> list[dict[str, Any]]:
        """The log, or those of its lines that tell of `event`."""
        whole = self.output().split("\n")[:-1]  # the last one may still be being written
        lines = [json.loads(line) for line in whole if line.startswith("{") and line.endswith("}")]
        return [line for line in lines if event in (None, line.get("event"))]


@contextmanager
def running_service(environment: Mapping[str, str] | None = None, **settings: Any) -> Iterator[RunningService]:
    """Run the service with settings (`canary_interval=1` is BOOKING_MONITOR_CANARY_INTERVAL=1) and, where a test
    needs them, further variables. It can be stopped, killed, paused and restarted on the same data and port."""
    with (
        tempfile.TemporaryDirectory(prefix="service-") as folder,
        RunningService(Path(folder), settings, environment) as service,
    ):
        yield service


def booking_monitor(
    *arguments: str, environment: Mapping[str, str] | None = None, **settings: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command of `booking-monitor` to its end, in an empty directory."""
    variables = dict(environment or {}) | {PREFIX + name.upper(): str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory(prefix="command-") as folder:
        return subprocess.run(
            [PROGRAM, *arguments], cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False
        )
