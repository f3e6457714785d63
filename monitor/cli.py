"""The commands of `booking-monitor`. Each loads what it needs itself, so that none waits for what others need."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from monitor import __version__

app = typer.Typer(
    name="booking-monitor",
    help="Makes sure that a paid booking reaches its provider, and wakes somebody when it does not.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
database = typer.Typer(help="The store's tables.", no_args_is_help=True)
app.add_typer(database, name="db")
rules = typer.Typer(help="The alert rules for Prometheus.", no_args_is_help=True)
app.add_typer(rules, name="rules")
dashboards = typer.Typer(help="The dashboards for Grafana.", no_args_is_help=True)
app.add_typer(dashboards, name="dashboards")

out = Console()
err = Console(stderr=True)

FAILED = 1
MISUSED = 2

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Url = Annotated[str, typer.Option("--url", help="The running instance.", envvar="BOOKING_MONITOR_URL")]
Token = Annotated[
    str | None,
    typer.Option("--token", help="An API token, if the instance asks for one.", envvar="BOOKING_MONITOR_TOKEN"),
]
Objectives = Annotated[
    Path | None, typer.Option(help="The objectives file; without it the one in use.", dir_okay=False)
]
LOCAL = "http://127.0.0.1:8080"


@app.command()
def serve() -> None:
    """Start the service. On its embedded default it needs nothing else: SQLite, loopback, no tokens.

    Settings are environment variables BOOKING_MONITOR_*; `booking-monitor config` shows them all.
    """
    # As process 1 of a container a signal without a handler is ignored, and the imports below take a moment.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    import uvloop

    from monitor.alerting.objectives_file import ObjectivesError
    from monitor.pipeline.push.keys import InvalidVapidKeyError
    from monitor.service import StoreOutdatedError
    from monitor.serving import serve as run
    from monitor.store.engine import StoreInUseError
    from monitor.store.writer import StoreUnavailableError
    from monitor.telemetry import logs

    settings = _settings()
    logs.configure(settings.log_level, None if settings.log_format == "auto" else logs.LogFormat(settings.log_format))

    def started(url: str) -> None:
        err.print(f"[bold green]booking-monitor {__version__}[/] listens on [bold]{url}[/]")
        if not settings.api_tokens:
            err.print("[yellow]No API tokens are set: every program on this machine may use the API.[/]")

    try:
        uvloop.run(run(settings, started))
    except (
        OSError,
        StoreInUseError,
        StoreOutdatedError,
        StoreUnavailableError,
        ObjectivesError,
        InvalidVapidKeyError,
        ValueError,
    ) as error:
        _fail(f"cannot start: {error}", FAILED)


@app.command()
def check(
    url: Url = LOCAL,
    token: Token = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that each step may take.")] = 10,
    as_json: Json = False,
) -> None:
    """Send one synthetic booking through a running instance, and see that all four steps come true.

    The booking is marked as canary traffic and removed again. Exit code 0 if all passed, 1 if not.
    """
    import httpx

    from monitor.audit.probe import Step, Target, probe

    try:
        report = asyncio.run(probe(Target(url.rstrip("/"), token, timeout), clean_up=True))
    except httpx.InvalidURL as error:
        _fail(f"--url: {error}", MISUSED)
    if as_json:
        _print_json(
            {
                "ok": report.ok,
                "steps": {step.name.lower(): step in report.passed for step in Step},
                "seconds": {step.name.lower(): round(seconds, 3) for step, seconds in report.passed.items()},
                "errors": {step.name.lower(): error for step, error in report.errors.items()},
            }
        )
        raise typer.Exit(0 if report.ok else FAILED)
    width = max(len(step.value) for step in Step) + 1
    for step in Step:
        passed = step in report.passed
        verdict = "[green]PASS[/]" if passed else "[red]FAIL[/]"
        time = f"  [dim]{report.passed[step] * 1000:.0f} ms[/]" if passed else ""
        out.print(f"{'✅' if passed else '❌'} {step.value + ':':<{width}}  {verdict}{time}")
    if report.ok:
        out.print("\n🎉 ALL TESTS PASSED! Pipeline working correctly.")
        if not report.cleaned_up:
            err.print(f"[yellow]The synthetic booking {report.booking_id} could not be removed.[/]", soft_wrap=True)
        return
    out.print()
    for step in Step:
        if step in report.errors:
            out.print(f"[red]{step.value}[/]: {escape(report.errors[step])}", soft_wrap=True)
    raise typer.Exit(FAILED)


@app.command()
def watch(
    url: Url = LOCAL,
    token: Token = None,
    provider_id: Annotated[str | None, typer.Option(help="Only this provider's bookings.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
) -> None:
    """Show journeys live as they pass: whose, which stages came true after what time, and the outcome."""
    from monitor.calling import CallError
    from monitor.watching import watch_journeys

    try:
        watch_journeys(out, url.rstrip("/"), token, provider_id, once=once)
    except KeyboardInterrupt:
        return
    except CallError as error:
        _fail(str(error), FAILED)


@app.command()
def drill(
    scenario: Annotated[
        list[str] | None, typer.Argument(help="Only these: chat-room, notification, realtime-field, ...")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Send the pages to the PagerDuty of the settings, marked as drill.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Fire drill: put known faults into a sealed copy, and see that the right page leaves and resolves.

    The copy has your objectives and its own database in a temporary directory; it cannot touch production data.
    All scenarios run side by side and take about two minutes. Exit code 0 if each one led to its page, 1 if not.
    """
    from monitor.drilling import drill as run

    settings = _settings()
    if page and settings.pagerduty_routing_key is None:
        _fail("--page needs BOOKING_MONITOR_PAGERDUTY_ROUTING_KEY", MISUSED)
    try:
        courses = run(err if as_json else out, settings, scenario or [], page=page)
    except ValueError as error:
        _fail(str(error), MISUSED)
    if as_json:
        _print_json(
            [
                {
                    "scenario": course.scenario.name,
                    "ok": course.ok,
                    "failure": course.failure,
                    "cause": course.cause,
                    "seconds": {moment.name.lower(): round(at, 2) for moment, at in course.seconds.items()},
                }
                for course in courses
            ]
        )
    raise typer.Exit(0 if all(course.ok for course in courses) else FAILED)


@database.command("upgrade")
def upgrade() -> None:
    """Bring the store's tables to this release. `serve` does it itself for the embedded store."""
    from sqlalchemy.exc import SQLAlchemyError

    from monitor.store import engine, migrations
    from monitor.store.writer import describe

    url = engine.parse_url(_settings().database_url.get_secret_value())
    lock = engine.EmbeddedLock(url)
    try:
        lock.acquire()
        before, after = migrations.upgrade(engine.writing_engine(url))
    except engine.StoreInUseError as error:
        _fail(str(error), FAILED)
    except SQLAlchemyError as error:
        _fail(f"the store did not take the upgrade: {describe(error)}", FAILED)
    finally:
        lock.release()
    out.print("already up to date" if before == after else f"upgraded from {before or 'empty'} to {after}")


@app.command()
def config(as_json: Json = False) -> None:
    """Show the effective settings, with their meaning. Secrets are masked."""
    from pydantic import SecretStr

    from monitor.settings import PREFIX, reference

    settings = _settings()
    values: dict[str, Any] = {}
    for name, _, _ in reference():
        value = getattr(settings, name.removeprefix(PREFIX).lower())
        if isinstance(value, tuple):
            value = ",".join(str(part) for part in value)
        elif isinstance(value, SecretStr):
            value = "**********" if value.get_secret_value() else ""
        values[name] = value if isinstance(value, int | float | None) else str(value)
    if as_json:
        _print_json(values)
        return
    for name, _, meaning in reference():
        value = "" if values[name] is None else str(values[name])
        out.print(f"[bold]{name}[/] = {escape(value)}", highlight=False, soft_wrap=True)
        out.print(Padding(f"[dim]{escape(meaning)}[/]", (0, 0, 0, 4)), highlight=False)


@app.command()
def redrive(
    url: Url = LOCAL,
    token: Token = None,
    stage: Annotated[str | None, typer.Option(help="Only `realtime` or `push`.")] = None,
    booking_id: Annotated[str | None, typer.Option(help="Only this booking's.")] = None,
) -> None:
    """Drive dead deliveries again, from their first attempt."""
    from monitor.calling import CallError, call

    body = {name: value for name, value in (("stage", stage), ("booking_id", booking_id)) if value is not None}
    try:
        redriven = call(url, token, "POST", "/v1/deliveries/redrive", "redriven", json=body)
    except CallError as error:
        _fail(str(error), FAILED)
    out.print(f"{redriven} deliveries are being driven again")


@app.command("push-key")
def push_key() -> None:
    """Make a key for Web Push: the private half for VAPID_PRIVATE_KEY, the public half for browsers."""
    from monitor.pipeline.push import keys

    private = keys.generate()
    _print_json(
        {"private_key": private, "application_server_key": keys.application_server_key(keys.load_private_key(private))}
    )


@rules.command("build")
def rules_build(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the rules are written.")] = Path("rules/prometheus"),
) -> None:
    """Write the Prometheus rules, and a PrometheusRule for Kubernetes, from the objectives file."""
    from monitor.alerting import prometheus_rules

    file = _objectives(objectives)
    for path in prometheus_rules.write(file, directory):
        out.print(f"wrote {path}", highlight=False)


@rules.command("check")
def rules_check(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the rules were written.")] = Path("rules/prometheus"),
    as_json: Json = False,
) -> None:
    """Say in plain words when each alert fires and how often for nothing; fail when the written rules are stale."""
    from monitor.alerting import explanation, prometheus_rules

    file = _objectives(objectives)
    explained = explanation.explain(file)
    stale = [str(path) for path in prometheus_rules.outdated(file, directory)]
    if as_json:
        _print_json({"stale": stale, "rules": [dataclasses.asdict(one) for one in explained]})
    else:
        from rich.table import Table

        table = Table("alert", "severity", "fires", "false alarms", title="When each alert fires", title_justify="left")
        for one in explained:
            table.add_row(one.alertname, one.severity.value, one.fires, one.false_alarms)
        out.print(table)
    if stale:
        _fail(f"these files are stale, run `booking-monitor rules build`: {', '.join(stale)}", FAILED)


@dashboards.command("build")
def dashboards_build(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the dashboards are written.")] = Path("dashboards/json"),
) -> None:
    """Write the Grafana dashboards. Works in a checkout with its development environment only."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        from dashboards.builder import build
    except ModuleNotFoundError as error:
        _fail(f"the dashboards are built in a checkout, in its development environment: {error}", FAILED)
    for path in build(directory, _objectives(objectives).objectives, service=LOCAL):
        out.print(f"wrote {path}", highlight=False)


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port of the demonstration's own service.")] = 8080,
    per_hour: Annotated[float, typer.Option(help="Bookings an hour at the busiest time of the day.", min=1)] = 3600,
    fault: Annotated[
        list[str] | None, typer.Option(help="What goes wrong, as NAME or NAME:SHARE: chat-room, realtime, legacy.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long it runs; 0 until interrupted.", min=0)] = 0,
) -> None:
    """Run a service of its own under a load of realistic bookings, to see dashboards, alerts and pages alive.

    It has a database in a temporary directory, and pages nobody. Point Prometheus at it, and open its status page.
    """
    from monitor.demo import parse_faults, run_demo

    try:
        faults = parse_faults(fault or [])
    except ValueError as error:
        _fail(str(error), MISUSED)
    try:
        asyncio.run(run_demo(out, _settings(), port=port, per_hour=per_hour, faults=faults, seconds=seconds))
    except KeyboardInterrupt:
        return
    except OSError as error:
        _fail(f"cannot start: {error}", FAILED)


def _version(value: bool) -> None:
    if value:
        out.print(__version__)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    pass


def _settings() -> Any:
    from monitor.settings import SettingsError, load

    try:
        return load()
    except SettingsError as error:
        _fail(f"the settings cannot be used:\n{error}", MISUSED)


def _objectives(path: Path | None) -> Any:
    from monitor.alerting.objectives_file import ObjectivesError, load
    from monitor.service import default_objectives

    try:
        return load(path or _settings().objectives_file or default_objectives())
    except (ObjectivesError, OSError) as error:
        _fail(f"the objectives cannot be used:\n{error}", MISUSED)


def _fail(message: str, code: int) -> Any:
    err.print(f"[bold red]error[/]: {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + os.linesep)


def main() -> None:
    """Run a command."""
    app()
