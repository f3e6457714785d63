"""Being stopped by a signal: the work that is under way is cancelled, and cleans up after itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHELL_ADDS = 128
"""A shell's exit code of a command that a signal ended is 128 and the signal's number."""


class StoppedError(Exception):
    """A signal stopped the work, which has cleaned up."""

    def __init__(self, by: signal.Signals) -> None:
        super().__init__(by.name)
        self.exit_code = _SHELL_ADDS + by


async def until_stopped(work: Coroutine[Any, Any, T]) -> T:
    """Await work, which SIGINT and SIGTERM cancel. Raises StoppedError when one did.

    A second signal does what it does by default, for somebody who does not want to wait for the cleaning up.
    """
    loop, task = asyncio.get_running_loop(), asyncio.create_task(work)
    stopped: list[signal.Signals] = []

    def stop(by: signal.Signals) -> None:
        stopped.append(by)
        leave()
        task.cancel()

    def leave() -> None:
        for one in SIGNALS:
            loop.remove_signal_handler(one)

    for one in SIGNALS:
        loop.add_signal_handler(one, stop, one)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        raise StoppedError(stopped[0]) from None
    finally:
        leave()
