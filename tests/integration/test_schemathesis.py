"""Requests generated from the OpenAPI document, good and bad, against the running service."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from support.promtool import objections
from support.service import API_TOKEN, QUICK, running_service
from support.tools import find_tool

from monitor.pipeline.push import keys

if TYPE_CHECKING:
    import httpx

TESTS = Path(__file__).parent.parent


@pytest.mark.timeout(300)
def test_no_generated_request_meets_a_server_error_or_a_breach_of_the_contract(tmp_path: Path) -> None:
    settings: dict[str, Any] = {**QUICK, "vapid_private_key": keys.generate(), "push_allowed_hosts": "push.example"}
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
            check_metrics(client)


def check_metrics(client: httpx.Client) -> None:
    """See that the metrics are well-formed in both formats, after all that was sent."""
    text = client.get("/metrics", headers={"Accept": "text/plain"}).text
    assert objections(text) == ""
    families = {family.name: family for family in text_string_to_metric_families(text)}
    openmetrics = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}).text
    parsed = parse_openmetrics(openmetrics)  # type: ignore[no-untyped-call]  # the library has left it untyped
    assert {family.name for family in parsed} == families.keys()
    assert [sample.value for sample in families["booking_bookings"].samples if sample.labels["traffic"] == "real"] > [0]
    assert any(sample.value for sample in families["booking_sli_outcomes"].samples), "nothing is judged yet"
