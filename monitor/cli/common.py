"""What the commands share: options, and how they speak."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

out = Console()
err = Console(stderr=True)

FAILED = 1
MISUSED = 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def check_url(text: str | None) -> str | None:
    """The value of `--url` as it goes on the wire, without slashes at its end; ends the command where it is no URL."""
    if text is None:
        return None
    import httpx

    from monitor.domain.urls import WANTED, is_web_url

    try:
        url = httpx.URL(text)
        fit = is_web_url(text) and bool(url.host)
    except (httpx.InvalidURL, ValueError):  # of a host that cannot be looked up, or characters that cannot be sent
        fit = False
    if not fit:
        fail(f"--url {WANTED}; given {text!r}", MISUSED)
    return str(url).rstrip("/")


def check_token(text: str | None) -> str | None:
    """The value of `--token`; ends the command where no header can carry it, and does not show it."""
    if text is not None and not (text.isascii() and text.isprintable() and text == text.strip()):
        fail("--token is made of printable ASCII characters, with no space around them", MISUSED)
    return text


Url = Annotated[
    str, typer.Option("--url", help="The running instance.", envvar="BOOKING_MONITOR_URL", callback=check_url)
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        help="An API token, if the instance asks for one.",
        envvar="BOOKING_MONITOR_TOKEN",
        callback=check_token,
    ),
]
Objectives = Annotated[
    Path | None, typer.Option(help="The objectives file; without it the one in use.", dir_okay=False)
]
LOCAL = "http://127.0.0.1:8080"


def read_settings() -> Any:
    """The settings; ends the command where they cannot be used."""
    from monitor.settings import SettingsError, load

    try:
        return load()
    except SettingsError as error:
        fail(f"the settings cannot be used:\n{error}", MISUSED)


def read_objectives(path: Path | None) -> Any:
    """The objectives of a file, or of the one in use; ends the command where they cannot be used."""
    from monitor.alerting.objectives_file import ObjectivesError, default_path, load

    try:
        return load(path or read_settings().objectives_file or default_path())
    except (ObjectivesError, OSError) as error:
        fail(f"the objectives cannot be used:\n{error}", MISUSED)


def plain(text: str) -> str:
    """Text to print as it is: part of it may be what somebody else's server says, and that steers no terminal."""
    return escape("".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text))


def fail(message: str, code: int) -> NoReturn:
    """Say why, and end the command with an exit code."""
    err.print(f"[bold red]error[/]: {plain(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def print_json(value: Any) -> None:
    """Print for machines."""
    sys.stdout.write(json.dumps(value, indent=2) + os.linesep)
