"""A real Prometheus, from Debian's package."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.process import HttpServer
from support.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    """With the metric's name as `__name__`, where it has one."""
    value: float


class PrometheusServer(HttpServer):
    """One Prometheus on loopback."""

    def __init__(self, directory: Path, config: Mapping[str, Any]) -> None:
        super().__init__(directory)
        # JSON is YAML.
        (directory / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")

    def command(self) -> list[str]:
        """Program and arguments."""
        return [
            find_tool("prometheus"),
            f"--config.file={self.directory}/prometheus.yml",
            f"--storage.tsdb.path={self.directory}/data",
            f"--web.listen-address={self.address}",
            # An alert that fires before the Alertmanager is discovered is lost, and only sent again after this time.
            "--rules.alert.resend-delay=1s",
        ]

    def query(self, expression: str) -> list[Sample]:
        """Evaluate an expression that gives an instant vector, now. Raises ValueError when it cannot be evaluated."""
        data = self._get("query", query=expression)
        if data["resultType"] != "vector":
            raise ValueError(f"{expression!r} gives a {data['resultType']}, not a vector")
        return [Sample(element["metric"], float(element["value"][1])) for element in data["result"]]

    def alerts(self) -> list[dict[str, Any]]:
        """Return the active alerts: `labels`, `annotations`, `state` (`pending` or `firing`), `activeAt`, `value`."""
        return list(self._get("alerts")["alerts"])

    def rules(self) -> list[dict[str, Any]]:
        """Return the rules of all groups: `name`, `query`, `health`, `type` and, where one failed, `lastError`."""
        return [rule for group in self._get("rules")["groups"] for rule in group["rules"]]

    def _get(self, resource: str, **parameters: str) -> dict[str, Any]:
        answer = self._client.get(f"{self.url}/api/v1/{resource}", params=parameters).json()
        if answer["status"] != "success":
            raise ValueError(f"{resource} {parameters}: {answer['error']}")
        data: dict[str, Any] = answer["data"]
        return data


@contextmanager
def prometheus_server(
    *,
    targets: Mapping[str, str] | None = None,
    rule_files: Sequence[Path] = (),
    alertmanager: str | None = None,
    interval_seconds: int = 1,
) -> Iterator[PrometheusServer]:
    """Run a Prometheus of one's own.

    `targets` gives for each job the `host:port` that it scrapes, `alertmanager` is the `host:port` that alerts
    go to. Each target is scraped and each rule evaluated every `interval_seconds`.
    """
    every = f"{interval_seconds}s"
    config: dict[str, Any] = {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": [str(path.resolve()) for path in rule_files],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in (targets or {}).items()
        ],
    }
    if alertmanager is not None:
        config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
    with (
        tempfile.TemporaryDirectory(prefix="prometheus-") as folder,
        PrometheusServer(Path(folder), config) as server,
    ):
        yield server
