"""A small disk of our own that a test fills up and protects against writing."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTES = 24
"""Enough for the tables and some hundred bookings."""
BLOCK = b"\0" * 4096


class SmallDisk:
    """A file system in memory. Where none may be mounted (no root), a limit on the files of a process stands in."""

    def __init__(self, directory: Path, *, mounted: bool) -> None:
        self.directory = directory
        self._mounted = mounted
        self._ballast = directory / "ballast"

    def fill(self, pid: int) -> None:
        """Take all the room there is; `pid` is the process that is to find none."""
        if not self._mounted:
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (1, psutil.RLIM_INFINITY))
            return
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while ballast.write(BLOCK) == len(BLOCK):
                    pass
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self, pid: int) -> None:
        """Give the room back."""
        if self._mounted:
            self._ballast.unlink()
        else:
            psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))

    def protect(self) -> None:
        """Let nobody write any more; nothing may have a file open for it."""
        if self._mounted:
            subprocess.run(["mount", "-o", "remount,ro", str(self.directory)], check=True)
            return
        for path in (*self.directory.iterdir(), self.directory):
            path.chmod(0o500 if path.is_dir() else 0o400)

    def unprotect(self) -> None:
        """Let everybody write again."""
        if self._mounted:
            subprocess.run(["mount", "-o", "remount,rw", str(self.directory)], check=True)
            return
        for path in (self.directory, *self.directory.iterdir()):
            path.chmod(0o700 if path.is_dir() else 0o600)


@contextmanager
def small_disk(megabytes: int = MEGABYTES) -> Iterator[SmallDisk]:
    """Make one, and take it away again. What has files open on it must have ended by then."""
    with tempfile.TemporaryDirectory(prefix="disk-") as folder:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder]
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield SmallDisk(Path(folder), mounted=mounted)
        finally:
            if mounted:
                subprocess.run(["umount", folder], check=True)
