"""Commands that run the service and keep its store."""

from __future__ import annotations

import gc
import signal
import sys
from typing import Any

from rich.markup import escape
from rich.padding import Padding

from monitor import __version__
from monitor.cli.common import FAILED, MISUSED, Json, err, fail, out, print_json, read_settings


def serve() -> None:
    """Start the service. On its embedded default it needs nothing else: SQLite, loopback, no tokens.

    Settings are environment variables BOOKING_MONITOR_*; `booking-monitor config` shows them all.
    """
    # As process 1 of a container a signal without a handler is ignored, and the imports below take a moment.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    gc.disable()  # what they make stays: looking for garbage in it takes a quarter of the start
    import uvloop

    from monitor.alerting.objectives_file import ObjectivesError
    from monitor.service import StoreOutdatedError
    from monitor.serving import serve as run
    from monitor.store.engine import StoreInUseError
    from monitor.store.writer import StoreUnavailableError
    from monitor.telemetry import logs

    settings = read_settings()
    logs.configure(settings.log_level, None if settings.log_format == "auto" else logs.LogFormat(settings.log_format))

    def started(url: str) -> None:
        err.print(f"[bold green]booking-monitor {__version__}[/] listens on [bold]{url}[/]")
        if not settings.api_tokens:
            err.print("[yellow]No API tokens are set: every program on this machine may use the API.[/]")

    try:
        uvloop.run(run(settings, started))
    except (OSError, StoreInUseError, StoreOutdatedError, StoreUnavailableError) as error:
        fail(f"cannot start: {error}", FAILED)
    except ObjectivesError as error:
        fail(f"cannot start: BOOKING_MONITOR_OBJECTIVES_FILE: {error}", MISUSED)
    except ValueError as error:
        fail(f"cannot start: {error}", MISUSED)


def config(as_json: Json = False) -> None:
    """Show the effective settings, with their meaning. Secrets are masked."""
    from pydantic import SecretStr

    from monitor.settings import PREFIX, reference

    settings = read_settings()
    values: dict[str, Any] = {}
    for name, _, _ in reference():
        value = getattr(settings, name.removeprefix(PREFIX).lower())
        if isinstance(value, tuple):
            value = ",".join(str(part) for part in value)
        elif isinstance(value, SecretStr):
            value = "**********" if value.get_secret_value() else ""
        values[name] = value if isinstance(value, int | float | None) else str(value)
    if as_json:
        print_json(values)
        return
    for name, _, meaning in reference():
        value = "" if values[name] is None else str(values[name])
        out.print(f"[bold]{name}[/] = {escape(value)}", highlight=False, soft_wrap=True)
        out.print(Padding(f"[dim]{escape(meaning)}[/]", (0, 0, 0, 4)), highlight=False)


def upgrade() -> None:
    """Bring the store's tables to this release. `serve` does it itself for the embedded store."""
    from sqlalchemy.exc import SQLAlchemyError

    from monitor.store import engine, migrations, revision
    from monitor.store.writer import describe

    url = engine.parse_url(read_settings().database_url.get_secret_value())
    lock = engine.EmbeddedLock(url)
    try:
        lock.acquire()
        before, after = migrations.upgrade(engine.writing_engine(url))
    except (OSError, engine.StoreInUseError, revision.UnknownRevisionError) as error:
        fail(f"cannot upgrade: {error}", FAILED)
    except ValueError as error:
        fail(f"cannot upgrade: {error}", MISUSED)
    except SQLAlchemyError as error:
        fail(f"the store did not take the upgrade: {describe(error)}", FAILED)
    finally:
        lock.release()
    out.print("already up to date" if before == after else f"upgraded from {before or 'empty'} to {after}")


def push_key() -> None:
    """Make a key for Web Push: the private half for VAPID_PRIVATE_KEY, the public half for browsers."""
    from monitor.pipeline.push import keys

    private = keys.generate()
    print_json(
        {"private_key": private, "application_server_key": keys.application_server_key(keys.load_private_key(private))}
    )
