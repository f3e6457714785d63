"""Commands that speak with a running instance."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from monitor.cli.common import FAILED, LOCAL, Json, Token, Url, err, fail, out, plain, print_json

REDRIVE_SECONDS = 300
"""For an instance to plan all of its dead deliveries anew, which after a long fault may be a great many."""


def check(
    url: Url = LOCAL,
    token: Token = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds that each step may take.")] = 10,
    as_json: Json = False,
) -> None:
    """Send one synthetic booking through a running instance, and see that all four steps come true.

    The booking is marked as canary traffic and removed again. Exit code 0 if all passed, 1 if not.
    """
    from monitor.audit.probe import Step, Target, probe
    from monitor.stopping import StoppedError, until_stopped

    try:
        report = asyncio.run(until_stopped(probe(Target(url, token, timeout), clean_up=True)))
    except StoppedError as error:
        raise typer.Exit(error.exit_code) from error
    if as_json:
        print_json(
            {
                "ok": report.ok,
                "steps": {step.name.lower(): step in report.passed for step in Step},
                "seconds": {step.name.lower(): round(seconds, 3) for step, seconds in report.passed.items()},
                "errors": {step.name.lower(): error for step, error in report.errors.items()},
                "left_behind": report.left_behind,
            }
        )
        raise typer.Exit(0 if report.ok else FAILED)
    width = max(len(step.value) for step in Step) + 1
    for step in Step:
        passed = step in report.passed
        verdict = "[green]PASS[/]" if passed else "[red]FAIL[/]"
        time = f"  [dim]{report.passed[step] * 1000:.0f} ms[/]" if passed else ""
        out.print(f"{'✅' if passed else '❌'} {step.value + ':':<{width}}  {verdict}{time}")
    if report.left_behind is not None:
        err.print(f"[yellow]{plain(report.left_behind)}[/]", soft_wrap=True)
    if report.ok:
        out.print("\n🎉 ALL TESTS PASSED! Pipeline working correctly.")
        return
    out.print()
    for step in Step:
        if step in report.errors:
            out.print(f"[red]{step.value}[/]: {plain(report.errors[step])}", soft_wrap=True)
    raise typer.Exit(FAILED)


def watch(
    url: Url = LOCAL,
    token: Token = None,
    provider_id: Annotated[str | None, typer.Option(help="Only this provider's bookings.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Print once and end.")] = False,
) -> None:
    """Show journeys live as they pass: whose, which stages came true after what time, and the outcome."""
    from monitor.calling import CallError
    from monitor.stopping import StoppedError, until_stopped
    from monitor.watching import watch_journeys

    try:
        asyncio.run(until_stopped(watch_journeys(out, url, token, provider_id, once=once)))
    except StoppedError:
        return
    except CallError as error:
        fail(str(error), FAILED)


def redrive(
    url: Url = LOCAL,
    token: Token = None,
    stage: Annotated[str | None, typer.Option(help="Only `realtime` or `push`.")] = None,
    booking_id: Annotated[str | None, typer.Option(help="Only this booking's.")] = None,
) -> None:
    """Drive dead deliveries again, from their first attempt."""
    from pydantic import NonNegativeInt

    from monitor.calling import CallError, call
    from monitor.stopping import StoppedError, until_stopped

    body = {name: value for name, value in (("stage", stage), ("booking_id", booking_id)) if value is not None}
    try:
        redriven = asyncio.run(
            until_stopped(
                call(
                    url,
                    token,
                    "POST",
                    "/v1/deliveries/redrive",
                    "redriven",
                    NonNegativeInt,
                    json=body,
                    seconds=REDRIVE_SECONDS,
                )
            )
        )
    except CallError as error:
        fail(str(error), FAILED)
    except StoppedError as error:
        raise typer.Exit(error.exit_code) from error
    out.print(f"{redriven} deliveries are being driven again")
