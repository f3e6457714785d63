"""Starting servers and one-off measurements in processes of their own, and the disk that they share."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PROJECT = Path(__file__).resolve().parents[2]
TESTS = PROJECT / "tests"
MEMORY_FILE_SYSTEMS = frozenset({"tmpfs", "ramfs", "devtmpfs"})
OURS = ("BOOKING_MONITOR_", "OTEL_", "DBOS")
"""Variables with these prefixes are not handed down: only what a benchmark sets itself counts."""


class BenchmarkError(Exception):
    """A measurement that cannot be trusted or was not possible; the message says why."""


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory on the disk of the project, removed afterwards. Refuses a file system in memory."""
    parent = PROJECT / "build"
    parent.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="bench-", dir=parent))
    directory.chmod(0o755)
    try:
        kind = file_system(directory)
        if kind in MEMORY_FILE_SYSTEMS:
            raise BenchmarkError(f"{directory} is on {kind}: a commit there says nothing about a disk")
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def file_system(path: Path) -> str:
    """Type of the file system that holds a path, or `unknown` where the system does not tell."""
    mounts = Path("/proc/mounts")
    if not mounts.exists():
        return "unknown"
    found = [line.split()[1:3] for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [(len(point), kind) for point, kind in found if path.is_relative_to(point)]
    return max(holding)[1]


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a measured process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "PYTHONPATH": str(TESTS), **(extra or {})}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_json(module: str, job: Mapping[str, Any], *, timeout: float = 600) -> dict[str, Any]:
    """Run a module of this package with a job on stdin and read its answer, both JSON objects."""
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}"],
        input=json.dumps(job),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise BenchmarkError(f"{module}: {_last_lines(done.stderr, 1)}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@contextlib.contextmanager
def server(
    command: Sequence[str],
    *,
    directory: Path,
    ready: str,
    extra: Mapping[str, str] | None = None,
    timeout: float = 30,
) -> Iterator[Started]:
    """Run a server until the block ends, entered once the URL `ready` has answered 200.

    Raises BenchmarkError with the end of its log when it does not get that far.
    """
    log = directory / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as sink:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=directory, env=environment(extra), stdout=sink, stderr=subprocess.STDOUT
        )
        try:
            until_ready = _wait_until_ready(process, ready, begun, timeout)
            if until_ready is None:
                told = _last_lines(log.read_text(encoding="utf-8", errors="replace"))
                raise BenchmarkError(f"{command[-1]} was not ready at {ready}: {told}")
            yield Started(process.pid, until_ready)
        finally:
            stop(process)


class Started:
    """A server that runs: its process id, and how long it took to answer."""

    def __init__(self, pid: int, seconds_to_ready: float) -> None:
        self.pid = pid
        self.seconds_to_ready = seconds_to_ready


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here, with patience first."""
    process.terminate()
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, begun: float, timeout: float) -> float | None:
    parts = urlsplit(url)
    while process.poll() is None and time.perf_counter() - begun < timeout:
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=5)
        try:
            connection.request("GET", parts.path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return time.perf_counter() - begun
        except (OSError, http.client.HTTPException):
            pass  # not there yet: asked again until the time is up
        finally:
            connection.close()
        time.sleep(0.005)
    return None


def _last_lines(text: str, count: int = 4) -> str:
    return " | ".join(text.strip().splitlines()[-count:])[-600:] or "no output"
