"""A fire drill that somebody breaks off: it ends soon, says so and leaves nothing behind."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from support.service import PROGRAM
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PATIENCE_SECONDS = 25
ENDS_WITHIN_SECONDS = 10
"""On a busy machine; a free one needs about one."""


def begun(files: Path) -> bool:
    """The drill has its directory, and its copies only just start."""
    return any(files.glob("booking-monitor-drill-*/chat-room"))


def playing(files: Path) -> bool:
    """The fault is there: bookings were taken."""
    return any(booked(path) for path in files.glob("booking-monitor-drill-*/chat-room/drill.db"))


def stalled(files: Path) -> bool:
    """The database is locked, from the drill's own hand."""
    return any(booked(path) and locked(path) for path in files.glob("booking-monitor-drill-*/database/drill.db"))


def booked(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            return bool(connection.execute("SELECT count(*) FROM bookings").fetchone()[0])
    except sqlite3.OperationalError:  # there are no tables yet
        return False


def locked(path: Path) -> bool:
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0.5)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        connection.execute("ROLLBACK")
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("scenarios", "moment"),
    [((), begun), (("chat-room",), playing), (("database",), stalled)],
    ids=["starting", "playing", "stalled"],
)
def test_an_interrupted_drill_ends_soon_and_leaves_nothing_behind(
    tmp_path: Path, how: signal.Signals, scenarios: tuple[str, ...], moment: Callable[[Path], bool]
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with subprocess.Popen(
        [PROGRAM, "drill", *scenarios],
        cwd=tmp_path,
        env={"TMPDIR": str(files)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            wait_until(lambda: moment(files), what="the drill is under way", timeout_seconds=PATIENCE_SECONDS)
            process.send_signal(how)
            _, said = process.communicate(timeout=ENDS_WITHIN_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 128 + how
    assert said == "the drill was interrupted\n"
    assert list(files.iterdir()) == []
