"""The commands of `booking-monitor`. Each loads what it needs itself, so that none waits for what others need."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor import __version__
from monitor.cli import alarms, instance, service
from monitor.cli.common import out

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


for _command in (
    service.serve,
    instance.check,
    instance.watch,
    alarms.drill,
    alarms.demo,
    service.config,
    instance.redrive,
):
    app.command()(_command)
app.command("push-key")(service.push_key)
database.command("upgrade")(service.upgrade)
rules.command("build")(alarms.rules_build)
rules.command("check")(alarms.rules_check)
dashboards.command("build")(alarms.dashboards_build)


def main() -> None:
    """Run a command."""
    app()
