"""The committed dashboards, and what Grafana makes of their queries."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = sorted((Path(__file__).parents[2] / "dashboards" / "json").glob("*.json"))
ALL = ".+"
"""What the choice "All" of the variables `job` and `instance` stands for."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """One query of a panel, and the panel with all of them."""

    panel: Json
    expr: str

    @property
    def either(self) -> bool:
        """Whether it is one of two that exclude each other: a rate is green or red."""
        return self.panel["type"] == "stat" and len(self.panel["targets"]) > 1


def questions(path: Path) -> list[Question]:
    """All queries of a dashboard."""
    dashboard: Json = json.loads(path.read_text(encoding="utf-8"))
    return [Question(p, t["expr"]) for p in dashboard["panels"] for t in p.get("targets", ())]


def filled_in(
    expr: str,
    *,
    traffic: str = "real",
    job: str = ALL,
    instance: str = ALL,
    rate_interval: str = "30s",
    time_range: str = "1m",
) -> str:
    """What Grafana makes of a query whose reader chose these."""
    values = {
        "$__rate_interval": rate_interval,
        "$__range": time_range,
        "$traffic": traffic,
        "$job": job,
        "$instance": instance,
    }
    for variable, value in values.items():
        expr = expr.replace(variable, value)
    assert not re.search(r"(?<!\\)\$", expr), expr
    return expr


def several(*values: str) -> str:
    """What Grafana puts for a variable with these values chosen.

    As `interpolateQueryExpr` and `prometheusSpecialRegexEscape` in grafana/grafana, packages/grafana-prometheus.
    """
    escaped = [re.sub(r"[$^*{}\[\]'+?.()|]", r"\\\\\g<0>", value.replace("\\", "\\\\\\\\")) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"
