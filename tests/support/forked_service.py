"""The service as `booking-monitor serve` runs it, forked off a process that has loaded all of it already.

It is up in a fifth of a second. Where a test kills it again and again, the kills meet the service at its own work
instead of Python at its imports. Its pushes go to loopback and nowhere else.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.process import STOP_SECONDS
from support.service import RunningService
from support.traffic import fixed_port

if TYPE_CHECKING:
    from collections.abc import Mapping

TESTS = Path(__file__).parent.parent


class ForkedService(RunningService):
    """Needs a VAPID_PRIVATE_KEY. What is set in `settings` before the first start holds for all of them."""

    def __init__(
        self, directory: Path, settings: Mapping[str, Any], environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(directory, settings, {**(environment or {}), "PYTHONPATH": str(TESTS)})
        self._port = fixed_port()
        self._template: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        """Program and arguments of the process that the service is forked off."""
        return [*super().command()[:-2], sys.executable, "-m", "support.forked_service"]

    def launch(self) -> None:
        """Start the service, and leave it to itself."""
        if self._child is not None:
            raise RuntimeError("the service already runs")
        if self._template is None:
            with self.log.open("ab") as log:
                self._template = subprocess.Popen(
                    self.command(),
                    cwd=self.directory,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,  # `select` sees what is in the pipe, not what is in a buffer of ours
                )
        self._child = _Forked(self._template)

    def kill(self) -> None:
        """End the service with SIGKILL, as a crash does; nothing happens when it does not run."""
        if self._child is not None:
            self._child.kill()
            self._child.wait(STOP_SECONDS)
            self._child = None

    def close(self) -> None:
        """Kill the service, and end the process that it was forked off."""
        self.kill()
        self._client.close()
        if self._template is not None:
            self._template.communicate()


class _Forked:
    """A process that another one has forked off and waits for."""

    def __init__(self, template: subprocess.Popen[bytes]) -> None:
        assert template.stdin is not None
        assert template.stdout is not None
        self._said = template.stdout
        self._code: int | None = None
        template.stdin.write(b"\n")
        self.pid = int(self._said.readline())

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._exit_code(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired."""
        code = self._exit_code(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("the service", timeout or 0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.kill(self.pid, sig)

    def kill(self) -> None:
        """End it as a crash does."""
        self.send_signal(signal.SIGKILL)

    def _exit_code(self, seconds: float | None) -> int | None:
        if self._code is None and select.select([self._said], [], [], seconds)[0]:
            self._code = int(self._said.readline())
        return self._code


def main() -> None:
    """Fork off a service for each line that comes, one at a time; say its process id, and in the end its exit code."""
    import psycopg  # noqa: F401, PLC0415 - loaded once for all of them

    from support import loopback_service  # noqa: PLC0415 - loads the service: not on the path of the tests

    while os.read(0, 1):
        pid = os.fork()
        if pid == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(2, 1)
            loopback_service.main()
            return
        os.write(1, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
