"""The image is built from what is in the tree, and runs without rights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from support.process import free_port
from support.tools import find_tool

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    re.sub(r"\\\n\s*", " ", line) for line in re.findall(r"^[A-Z]+ (?:.*\\\n)*.*$", TEXT, flags=re.MULTILINE)
]


def final(keyword: str) -> str:
    """Argument of the last instruction of a kind: the one that holds for the image."""
    return [line.removeprefix(f"{keyword} ").strip() for line in INSTRUCTIONS if line.startswith(f"{keyword} ")][-1]


def test_hadolint_finds_nothing() -> None:
    done = subprocess.run([find_tool("hadolint"), ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_service_is_the_first_process_and_runs_as_a_numbered_user_without_rights() -> None:
    assert json.loads(final("ENTRYPOINT")) == ["booking-monitor"]
    assert json.loads(final("CMD")) == ["serve"]
    assert final("USER") == "10001:10001"
    assert final("STOPSIGNAL") == "SIGTERM"


def test_it_works_in_its_volume_where_the_default_database_lies() -> None:
    assert final("WORKDIR") == final("VOLUME") == "/var/lib/booking-monitor"


def test_whatever_comes_from_a_registry_is_installed_by_its_hash() -> None:
    installs = [part for line in INSTRUCTIONS for part in line.split("&&") if re.search(r"pip .*\binstall\b", part)]
    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-index" in install


def test_everything_that_is_copied_exists_and_is_not_ignored() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    copied = {
        source
        for line in INSTRUCTIONS
        if line.startswith("COPY ") and "--from=" not in line
        for source in line.split()[1:-1]
    }
    assert copied == allowed
    assert not [source for source in copied if not (ROOT / source).exists()]


def test_the_label_says_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f'org.opencontainers.image.version="{version}"' in TEXT


class Answers(BaseHTTPRequestHandler):
    """A service that answers its health route with `status`."""

    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_image_is_healthy_when_the_service_says_so(
    status: int, *, healthy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Answers, "status", status)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            assert health_check(server.server_port) is healthy
        finally:
            server.shutdown()
            thread.join()


def test_the_image_is_not_healthy_when_nothing_answers() -> None:
    assert not health_check(free_port())


def health_check(port: int) -> bool:
    """Run the image's health check against a port of this machine."""
    _, *arguments = json.loads(final("HEALTHCHECK").partition("CMD ")[2])
    environment = {"BOOKING_MONITOR_PORT": str(port)}
    return (
        subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False).returncode == 0
    )
