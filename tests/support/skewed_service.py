"""The service as `booking-monitor serve` runs it, with a system clock that a test sets: only its own, not ours.

What reads the system's clock in this process (the service's clock, the scheduler, the log) reads it through names
of Python's, and these are put behind a file that holds the skew. Clocks that nobody can set stay as they are.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.service import RunningService

SKEW = "skew"
"""Name of the file in the service's directory that holds the seconds by which its clock is ahead."""
_WALL_CLOCK_READERS = ("apscheduler.schedulers.base", "apscheduler.executors.base", "monitor.jobs")
"""Modules that ask `datetime` for the time."""


def set_clock(service: RunningService, ahead_seconds: float) -> None:
    """Set the system clock that this service sees, to so much ahead of the true time."""
    new = service.directory / f"{SKEW}.new"
    new.write_text(str(ahead_seconds), encoding="ascii")
    new.replace(service.directory / SKEW)


@contextmanager
def skewed_service(port: int | None = None, **settings: Any) -> Iterator[RunningService]:
    """Run it as a process, on a free port unless one is given; settings as of `running_service`."""
    from support.service import RunningService  # noqa: PLC0415 - not on the path of the process that we start

    class SkewedService(RunningService):
        def command(self) -> list[str]:
            return [*super().command()[:-2], sys.executable, __file__, str(self.directory / SKEW)]

    with tempfile.TemporaryDirectory(prefix="service-") as folder:
        service = SkewedService(Path(folder), settings)
        service._port = port
        set_clock(service, 0)
        with service:
            yield service


def main(skew: Path) -> None:
    """Serve until a signal comes, by a clock that is `skew` ahead."""
    import monitor.serving  # noqa: F401, PLC0415 - brings in all modules whose clocks are put behind the file
    from monitor.cli import service  # noqa: PLC0415 - see above

    def ahead() -> float:
        return float(skew.read_text(encoding="ascii"))

    true_time, true_time_ns = time.time, time.time_ns

    class Skewed(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + timedelta(seconds=ahead())

    time.time = lambda: true_time() + ahead()
    time.time_ns = lambda: true_time_ns() + round(ahead() * 1e9)
    for name in _WALL_CLOCK_READERS:
        setattr(sys.modules[name], "datetime", Skewed)  # noqa: B010 - it is not theirs to export
    service.serve()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
