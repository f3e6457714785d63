"""Commands of the alarm side: fire drill, demonstration, rules and dashboards."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.common import (
    FAILED,
    MISUSED,
    Json,
    Objectives,
    Token,
    check_url,
    err,
    fail,
    out,
    print_json,
    read_objectives,
    read_settings,
)


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
    from monitor.stopping import StoppedError

    settings = read_settings()
    if page and settings.pagerduty_routing_key is None:
        fail("--page needs BOOKING_MONITOR_PAGERDUTY_ROUTING_KEY", MISUSED)
    try:
        courses = run(err if as_json else out, settings, scenario or [], page=page)
    except ValueError as error:
        fail(str(error), MISUSED)
    except StoppedError as stopped:
        err.print("the drill was interrupted")
        raise typer.Exit(stopped.exit_code) from None
    if as_json:
        print_json(
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


def demo(
    url: Annotated[
        str | None,
        typer.Option(
            help="A running instance to send the bookings to, where they count as real ones.", callback=check_url
        ),
    ] = None,
    token: Token = None,
    port: Annotated[
        int, typer.Option(help="Port of the demonstration's own service; 0 takes a free one.", min=0, max=65_535)
    ] = 8080,
    per_hour: Annotated[
        float, typer.Option(help="Bookings an hour at the busiest time of the day.", min=1, max=100_000)
    ] = 3600,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="What goes wrong, as NAME or NAME:SHARE: chat-room, notification, realtime, legacy. May be repeated."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long it runs; 0 until interrupted.", min=0, max=366 * 86_400)] = 0,
) -> None:
    """Put a load of realistic bookings on a service, to see dashboards, alerts and pages alive.

    Without --url it is a service of its own, with its database in a temporary directory, which pages nobody. Point
    Prometheus at it, and open its status page. With --url pages leave as they do for any booking there.

    booking-monitor demo --fault chat-room:0.3 --fault realtime:0.5
    """
    from monitor.alerting.objectives_file import ObjectivesError
    from monitor.calling import CallError
    from monitor.demo.faults import parse_faults
    from monitor.demo.run import Wishes, on_its_own, on_running
    from monitor.stopping import StoppedError, until_stopped

    try:
        wishes = Wishes(per_hour, parse_faults(fault or []), seconds)
        if url is None:
            asyncio.run(until_stopped(on_its_own(out, read_settings(), wishes, port=port)))
        else:
            asyncio.run(until_stopped(on_running(out, url, token, wishes)))
    except (KeyboardInterrupt, StoppedError):
        return
    except CallError as error:
        fail(str(error), FAILED)
    except (OSError, ObjectivesError) as error:
        fail(f"cannot start: {error}", FAILED)
    except ValueError as error:
        fail(str(error), MISUSED)


def rules_build(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the rules are written.")] = Path("rules/prometheus"),
) -> None:
    """Write the Prometheus rules, and a PrometheusRule for Kubernetes, from the objectives file."""
    from monitor.alerting import prometheus_rules

    file = read_objectives(objectives)
    for path in prometheus_rules.write(file, directory):
        out.print(f"wrote {path}", highlight=False)


def rules_check(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the rules were written.")] = Path("rules/prometheus"),
    as_json: Json = False,
) -> None:
    """Say in plain words when each alert fires and how often for nothing; fail when the written rules are stale."""
    from monitor.alerting import explanation, prometheus_rules

    file = read_objectives(objectives)
    explained = explanation.explain(file)
    stale = [str(path) for path in prometheus_rules.outdated(file, directory)]
    if as_json:
        print_json({"stale": stale, "rules": [dataclasses.asdict(one) for one in explained]})
    else:
        from rich.table import Table

        table = Table("alert", "severity", "fires", "false alarms", title="When each alert fires", title_justify="left")
        for one in explained:
            table.add_row(one.alertname, one.severity.value, one.fires, one.false_alarms)
        out.print(table)
    if stale:
        fail(f"these files are stale, run `booking-monitor rules build`: {', '.join(stale)}", FAILED)


def dashboards_build(
    objectives: Objectives = None,
    directory: Annotated[Path, typer.Option(help="Where the dashboards are written.")] = Path("dashboards/json"),
) -> None:
    """Write the Grafana dashboards. Works in a checkout with its development environment only."""
    sys.path.insert(0, str(Path.cwd()))
    try:
        from dashboards.builder import build
    except ModuleNotFoundError as error:
        fail(f"the dashboards are built in a checkout, in its development environment: {error}", FAILED)
    for path in build(directory, read_objectives(objectives).objectives):
        out.print(f"wrote {path}", highlight=False)
