"""The commands, as far as they need no server: what they teach, what they refuse, what they hide."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
from rich.console import Console
from typer.testing import CliRunner

from monitor import __version__
from monitor.cli import app
from monitor.cli.common import FAILED, MISUSED
from monitor.pipeline.push.keys import application_server_key, load_private_key
from monitor.settings import CLIENT_VARIABLES, PREFIX, reference
from monitor.watching import Passing, journey_table

RUNNER = CliRunner()


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run in an empty directory, with none of our variables; `serve` takes signals, which are given back."""
    for name in (*CLIENT_VARIABLES, *(name for name, _, _ in reference())):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def commands(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with its words."""
    for name, command in (group or typer.main.get_group(app)).commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())


def test_without_a_command_the_help_is_shown() -> None:
    result = RUNNER.invoke(app)
    assert result.exit_code == MISUSED
    for words in COMMANDS:
        assert words[0] in result.output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_help_of_every_command_teaches(words: tuple[str, ...]) -> None:
    result = RUNNER.invoke(app, [*words, "--help"])
    assert result.exit_code == 0
    command = COMMANDS[words]
    assert command.help, "a command says what it does"
    assert command.help.split("\n")[0].endswith(".")
    for parameter in command.params:
        if isinstance(parameter, click.Option | typer.core.TyperOption):
            assert parameter.help, f"{parameter.name} is not explained"


@pytest.mark.parametrize(
    "words", [["nonsense"], ["check", "--nonsense"], ["db", "downgrade"], ["check", "--timeout", "0"]]
)
def test_a_command_that_cannot_be_meant_is_a_misuse(words: list[str]) -> None:
    assert RUNNER.invoke(app, words).exit_code == MISUSED


def test_the_version_is_told() -> None:
    result = RUNNER.invoke(app, ["--version"])
    assert (result.exit_code, result.output.strip()) == (0, __version__)


def test_the_settings_are_shown_with_their_meaning_and_secrets_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_MONITOR_API_TOKENS", "hunter2-hunter2-hunter2,hunter2-hunter2-hunter3")
    monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", "postgresql://u:hunter2@127.0.0.1/d")
    monkeypatch.setenv("BOOKING_MONITOR_ENVIRONMENT", "staging")
    result = RUNNER.invoke(app, ["config"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert "BOOKING_MONITOR_ENVIRONMENT = staging" in lines
    assert "BOOKING_MONITOR_API_TOKENS = **********,**********" in lines
    assert "BOOKING_MONITOR_DATABASE_URL = **********" in lines
    assert {name for name, _, _ in reference()} == {line.split(" ")[0] for line in lines if line.startswith(PREFIX)}
    assert "hunter2" not in result.output


def test_the_settings_are_given_to_machines_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOKING_MONITOR_PROVIDER_TOKEN_SECRET", "hunter2-hunter2-hunter2-hunter2-hunter2")
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "9000")
    result = RUNNER.invoke(app, ["config", "--json"])
    values = json.loads(result.output)
    assert list(values) == [name for name, _, _ in reference()]
    assert values["BOOKING_MONITOR_PORT"] == 9000
    assert values["BOOKING_MONITOR_PROVIDER_TOKEN_SECRET"] == "**********"
    assert values["BOOKING_MONITOR_NATS_URL"] is None
    assert "hunter2" not in result.output


@pytest.mark.parametrize("words", [["config"], ["serve"], ["db", "upgrade"]])
def test_settings_that_cannot_be_used_are_a_misuse(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "x")
    monkeypatch.setenv("BOOKING_MONITOR_PROT", "1")
    result = RUNNER.invoke(app, words)
    assert result.exit_code == MISUSED
    assert result.stdout == ""
    assert "BOOKING_MONITOR_PROT: there is no such setting\n" in result.stderr
    assert "BOOKING_MONITOR_PORT: Input should be a valid integer" in result.stderr


@pytest.mark.parametrize("words", [["config"], ["serve"], ["db", "upgrade"], ["demo"]], ids=" ".join)
@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"BOOKING_MONITOR_PORT=9000\n#\xff\n", "is not UTF-8"), (b"\nBOOKING_MONITOR_PORT 9000\n", "is not NAME=value")],
)
def test_a_line_of_the_file_env_that_cannot_be_read_is_said_once(
    words: list[str], content: bytes, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    Path(".env").write_bytes(content)
    result = RUNNER.invoke(app, words)
    assert result.exit_code == MISUSED
    assert (result.stdout, result.stderr.splitlines()) == (
        "",
        ["error: the settings cannot be used:", f".env, line 2: {problem}"],
    )
    assert caplog.records == []


def test_a_push_key_is_made_of_two_halves_that_belong_together() -> None:
    first, second = (json.loads(RUNNER.invoke(app, ["push-key"]).output) for _ in range(2))
    assert first["private_key"] != second["private_key"]
    assert application_server_key(load_private_key(first["private_key"])) == first["application_server_key"]


def test_exit_codes_are_distinct() -> None:
    assert len({0, FAILED, MISUSED}) == 3


def test_journeys_are_a_row_each_with_the_time_of_every_stage() -> None:
    def stage(name: str, evidence_at: str | None, outcome: str | None) -> dict[str, Any]:
        return {"stage": name, "evidence_at": evidence_at, "outcome": outcome}

    journey = Passing.model_validate(
        {
            "created_at": "2026-12-01T14:00:00.000Z",
            "booking_id": "019ab0c1-0000-7000-8000-0123456789ab",
            "provider_id": "t-17",
            "traffic": "real",
            "status": "pending",
            "stages": [
                stage("chat_room", "2026-12-01T14:00:00.004Z", "good"),
                stage("message", None, None),
                stage("notification", "2026-12-01T14:00:12.500Z", "late"),
                stage("realtime", None, "failed"),
            ],
        }
    )
    table = journey_table([journey])
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    assert cells == [
        ["14:00:00"],
        ["0123456789ab"],
        ["t-17"],
        ["pending"],
        ["4 ms"],
        ["…"],
        ["late 12.5 s"],
        [""],
        ["failed"],
    ]


@pytest.mark.parametrize("provider_id", ["t-17", "canary-8a5bc0c8eee9983f", "p" * 128])
@pytest.mark.parametrize(("evidence_at", "outcome"), [(None, "exempt"), ("2026-12-01T14:00:12.500Z", "late")])
def test_every_stage_of_a_journey_is_seen_in_a_terminal_of_eighty_columns(
    provider_id: str, evidence_at: str | None, outcome: str
) -> None:
    names = ("chat_room", "message", "notification", "push", "realtime")
    journey = Passing.model_validate(
        {
            "created_at": "2026-12-01T14:00:00.000Z",
            "booking_id": "019ab0c1-0000-7000-8000-0123456789ab",
            "provider_id": provider_id,
            "traffic": "real",
            "status": "confirmed",
            "stages": [{"stage": name, "evidence_at": evidence_at, "outcome": outcome} for name in names],
        }
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(journey_table([journey]))
    _, headings, row = capture.get().rstrip().splitlines()
    assert all(
        heading in headings for heading in ("provider", "status", "room", "message", "notified", "push", "realti")
    )
    assert row.startswith("14:00:00 0123456789ab ")
    assert row.count(outcome[:4]) == len(names)
