"""A real Alertmanager, from Debian's package."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.process import HttpServer
from support.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

SILENT: Mapping[str, Any] = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
"""A configuration that takes alerts and tells nobody."""


class AlertmanagerServer(HttpServer):
    """One Alertmanager on loopback, without a cluster."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        super().__init__(directory)
        # JSON is YAML.
        (directory / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")

    def command(self) -> list[str]:
        """Program and arguments."""
        return [
            find_tool("prometheus-alertmanager"),
            f"--config.file={self.directory}/alertmanager.yml",
            f"--storage.path={self.directory}/data",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        ]

    def post_alerts(self, alerts: Sequence[Mapping[str, Any]]) -> None:
        """Send alerts as Prometheus does. Raises httpx.HTTPStatusError when they are refused."""
        self._client.post(f"{self.url}/api/v2/alerts", json=alerts).raise_for_status()

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts that are held: `labels`, `annotations`, `status`, `fingerprint`, `receivers`, times."""
        answer = self._client.get(f"{self.url}/api/v2/alerts").raise_for_status()
        held: list[dict[str, Any]] = answer.json()
        return held


@contextmanager
def alertmanager_server(config: Mapping[str, Any] = SILENT) -> Iterator[AlertmanagerServer]:
    """Run an Alertmanager of one's own; `config` is what its configuration file holds."""
    with (
        tempfile.TemporaryDirectory(prefix="alertmanager-") as folder,
        AlertmanagerServer(Path(folder), config) as server,
    ):
        yield server
