"""The objectives of the project, as tests use them."""

from __future__ import annotations

from pathlib import Path

from monitor.alerting.objectives_file import parse

RULES = Path(__file__).parents[2] / "rules"
OBJECTIVES_FILE = RULES / "objectives.yaml"
OBJECTIVES_TEXT = OBJECTIVES_FILE.read_text(encoding="utf-8")
FILE = parse(OBJECTIVES_TEXT.encode())
OBJECTIVES = FILE.objectives
