"""Every alert has a runbook, and whoever follows one at night finds that each command in it runs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer.main
import yaml
from support.bookings import make
from support.objectives import RULES
from support.service import API_TOKEN, QUICK, running_service
from support.waiting import wait_until

from monitor.alerting.prometheus_rules import WATCHDOG
from monitor.cli import app
from monitor.domain.vocabulary import AlertName, Reason
from monitor.settings import PREFIX, reference
from monitor.telemetry import catalogue

if TYPE_CHECKING:
    from collections.abc import Iterator

RUNBOOKS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((RULES / "runbooks").glob("*.md"))}
GENERATED: dict[str, Any] = yaml.safe_load((RULES / "prometheus" / "booking-monitor.yaml").read_text(encoding="utf-8"))
ALERTS = [rule for group in GENERATED["groups"] for rule in group["rules"] if "alert" in rule]
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
BLOCK = re.compile(r"^( *)```sh\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(text: str) -> list[str]:
    return ["\n".join(line.removeprefix(found[1]) for line in found[2].splitlines()) for found in BLOCK.finditer(text)]


STEPS = [(name, step) for name, text in RUNBOOKS.items() for step in blocks(text)]


def test_every_alert_has_a_runbook_and_no_runbook_is_of_another() -> None:
    assert set(RUNBOOKS) == {*AlertName, "BookingMonitorDown", WATCHDOG} == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_links_to_its_own_runbook(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook_url"].endswith(f"/{rule['alert']}.md")


@pytest.mark.parametrize("name", RUNBOOKS)
def test_a_runbook_says_what_it_means_what_it_costs_how_to_look_and_what_to_do(name: str) -> None:
    text = RUNBOOKS[name]
    assert text.startswith(f"# {name}\n")
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_name_in_a_runbook_is_one_of_the_product(name: str) -> None:
    text = RUNBOOKS[name]
    settings = {setting for setting, _, _ in reference()}
    assert set(re.findall(rf"{PREFIX}[A-Z_]*[A-Z]", text)) <= settings
    metrics = {spec.name for spec in (*catalogue.LEDGER, *catalogue.PROCESS)}
    for metric in re.findall(r"\bbooking_[a-z_]+[a-z]\b(?!\|)", re.sub(r"\^booking_\S*", "", text)):
        assert metric in metrics
    if "cause class" in text:
        assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) <= set(Reason)
    for path in re.findall(r"`((?:deploy|rules|docs)/[^`\s]+)`", text):
        assert (RULES.parent / path).exists(), path


@pytest.mark.parametrize("name", RUNBOOKS)
def test_every_command_in_a_runbook_exists(name: str) -> None:
    group: Any = typer.main.get_group(app)
    for words in re.findall(r"booking-monitor ((?:[a-z-]+ ?)+)", RUNBOOKS[name]):
        if f"-u booking-monitor {words}" in RUNBOOKS[name]:
            continue
        command = group
        for word in words.split():
            if word.startswith("-") or not hasattr(command, "commands"):
                break
            assert word in command.commands, words
            command = command.commands[word]


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """Where, and with which variables, somebody follows a runbook: one booking was made and judged."""
    folder = tmp_path_factory.mktemp("runbooks")
    shutil.copytree(RULES, folder / "rules")
    with running_service(api_tokens=API_TOKEN, provider_token_secret="s" * 32, **QUICK) as service:
        with service.client() as client:
            booking = make(client)["booking"]["id"]
            wait_until(
                lambda: any(one["windows"]["5m"]["events"] for one in client.get("/v1/slis").json()["slis"]),
                what="the booking is judged",
            )
        programs = (str(Path(sys.executable).parent), os.environ["PATH"])
        yield (
            folder,
            {
                "PATH": os.pathsep.join(programs),
                "HOME": str(folder),
                "MONITOR": service.url,
                "TOKEN": API_TOKEN,
                "BOOKING": booking,
                f"{PREFIX}DATABASE_URL": f"sqlite:///{folder}/other.db",
            },
        )


@pytest.mark.parametrize(("name", "step"), STEPS, ids=[f"{name}-{step[:40]}" for name, step in STEPS])
def test_a_step_of_a_runbook_runs(name: str, step: str, surroundings: tuple[Path, dict[str, str]]) -> None:
    folder, variables = surroundings
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (name, done.stdout, done.stderr)
