"""Requests generated from the OpenAPI document, good and bad, against the running service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.service import API_TOKEN, running_service
from support.tools import find_tool

from monitor.pipeline.push import keys

TESTS = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_no_generated_request_meets_a_server_error_or_a_breach_of_the_contract(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"vapid_private_key": keys.generate(), "push_allowed_hosts": "push.example"}
    with running_service(api_tokens=API_TOKEN, realtime_heartbeat=0.2, **settings) as service:
        done = subprocess.run(
            [
                find_tool("schemathesis"),
                "--config-file",
                str(TESTS / "support" / "schemathesis.toml"),
                "run",
                f"{service.url}/openapi.json",
                "--header",
                f"Authorization: Bearer {API_TOKEN}",
            ],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(TESTS), "COLUMNS": "160"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "generated" in done.stdout
        assert service.log_events("request.failed") == []
        with service.client() as client:
            assert client.get("/readyz").status_code == 200
