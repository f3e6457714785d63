"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], T], *, what: str, timeout_seconds: float = 15) -> T:
    """Call `condition` until it returns something true, and return that.

    Raises TimeoutError, naming `what` was awaited and the last value seen.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s; last seen {value!r}")
        time.sleep(POLL_SECONDS)
    return value


async def eventually(condition: Callable[[], Awaitable[T]], *, what: str, timeout_seconds: float = 15) -> T:
    """Await `condition` until it returns something true, and return that; the event loop goes on meanwhile.

    Raises TimeoutError, naming `what` was awaited and the last value seen.
    """
    deadline = time.monotonic() + timeout_seconds
    while not (value := await condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_seconds} s; last seen {value!r}")
        await asyncio.sleep(POLL_SECONDS)
    return value
