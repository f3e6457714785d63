"""Writing the dashboards as the files that Grafana is provisioned with."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from dashboards.builder import itself, objectives, pipeline
from dashboards.builder.layout import assemble

if TYPE_CHECKING:
    from pathlib import Path

    from monitor.domain.objectives import Objectives

SERVICE = "http://localhost:8080"
"""Where a reader's browser finds the service, unless told otherwise."""


def build(directory: Path, promised: Objectives, *, service: str = SERVICE) -> list[Path]:
    """Write every dashboard into a directory, as `<uid>.json`, and return the paths in the order of reading.

    `promised` gives what the alerts go by and where the runbooks are; `service` is the base URL of the status page.
    The directory is made where it does not exist. Equal input gives equal bytes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    for story in (pipeline.story(promised), objectives.story(), itself.story(promised)):
        dashboard = assemble(story, service=service.rstrip("/"), runbooks=promised.runbook_base_url)
        path = directory / f"{story.uid}.json"
        text = json.dumps(dashboard, cls=JSONEncoder, indent=2, ensure_ascii=False)
        path.write_text(text + "\n", encoding="utf-8")
        written.append(path)
    return written
