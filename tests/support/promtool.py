"""promtool: checks rule files, and plays series through them."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from support.tools import find_tool

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


def promtool(*arguments: str | Path, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run promtool and return what it said, whatever its exit code."""
    command = [find_tool("promtool"), *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=110, check=False)


def objections(exposition: str) -> str:
    """What promtool objects to in metrics, in the text format; empty where there is nothing."""
    lint = promtool("check", "metrics", stdin=exposition)
    return lint.stdout + lint.stderr + (f"exit code {lint.returncode}" if lint.returncode else "")


def selector(name: str, labels: Mapping[str, str]) -> str:
    """Write a series as PromQL does."""
    return name + "{" + ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items()) + "}"


@dataclass(slots=True)
class History:
    """Series by the step, and what expressions must give at steps."""

    name: str
    step_seconds: int
    series: dict[str, list[float | None]] = field(default_factory=dict)
    """Values by series; None for no sample."""
    expected: list[tuple[str, int, list[tuple[str, float]]]] = field(default_factory=list)
    """Expression, step, and the samples it gives there."""

    def expect(self, expression: str, step: int, samples: Iterable[tuple[str, float]]) -> None:
        """Demand that the expression gives exactly these samples at this step."""
        self.expected.append((expression, step, list(samples)))

    def as_test(self) -> dict[str, Any]:
        """Write it in the form of `promtool test rules`."""
        return {
            "name": self.name,
            "interval": f"{self.step_seconds}s",
            "input_series": [
                {"series": series, "values": " ".join("_" if value is None else repr(value) for value in values)}
                for series, values in self.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": expression,
                    "eval_time": f"{step * self.step_seconds}s",
                    "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
                }
                for expression, step, samples in self.expected
            ],
        }


def play(histories: Sequence[History], rules: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Play histories through a rule file; exit code 0 when every expression gave what was expected."""
    tests = {
        "rule_files": [str(rules)],
        "evaluation_interval": f"{histories[0].step_seconds}s",
        "tests": [history.as_test() for history in histories],
    }
    path = directory / "histories.yaml"
    # JSON is YAML.
    path.write_text(json.dumps(tests), encoding="utf-8")
    return promtool("test", "rules", path)
