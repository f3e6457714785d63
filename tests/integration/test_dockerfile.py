"""The image is built from what is in the tree, and runs without rights."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from zipfile import ZipFile

import pytest
from support.process import reserved_port
from support.service import booking_monitor, running_service
from support.tools import find_tool

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [
    re.sub(r"\\\n\s*", " ", line) for line in re.findall(r"^[A-Z]+ (?:.*\\\n)*.*$", TEXT, flags=re.MULTILINE)
]
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
COPIES = [line.split()[1:] for line in INSTRUCTIONS if line.startswith("COPY ") and "--from=" not in line]
"""Sources of each COPY from the tree, and where they go."""


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
    allowed = {line.removeprefix("!").rstrip("/") for line in IGNORED if line.startswith("!")}
    copied = {source for *sources, _ in COPIES for source in sources}
    assert copied == allowed
    assert not [source for source in copied if not (ROOT / source).exists()]


def is_ignored(path: Path) -> bool:
    """Whether a path within the tree is kept out of the build: the last pattern that fits it decides."""
    fitting = [
        line
        for line in IGNORED
        if any(fnmatch(str(one), line.removeprefix("!").rstrip("/")) for one in (path, *path.parents))
    ]
    return bool(fitting) and not fitting[-1].startswith("!")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is installed in the image, unpacked: built of what is copied, as the Dockerfile builds it."""
    context, dist, unpacked = (tmp_path_factory.mktemp(name) for name in ("context", "dist", "unpacked"))
    for *sources, target in COPIES:
        for source in (ROOT / one for one in sources):
            for file in source.rglob("*") if source.is_dir() else [source]:
                if file.is_file() and not is_ignored(file.relative_to(ROOT)):
                    place = context / target / (file.relative_to(source) if source.is_dir() else file.name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
    [build] = [part for line in INSTRUCTIONS for part in line.split("&&") if "pip wheel" in part]
    _, python, *arguments = shlex.split(build)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *(str(dist) if one == "/dist" else one for one in arguments)],
        cwd=context,
        env=os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = dist.glob("*.whl")
    with ZipFile(built) as archive:
        archive.extractall(unpacked)
    return unpacked


def test_the_wheel_in_the_image_holds_the_package_and_the_objectives(wheel: Path) -> None:
    package = ROOT / "monitor"
    wanted = {
        path.relative_to(package) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {path.relative_to(wheel / "monitor") for path in (wheel / "monitor").rglob("*") if path.is_file()}
    assert packed == wanted | {Path("objectives.yaml")}
    assert (wheel / "monitor/objectives.yaml").read_text() == (ROOT / "rules/objectives.yaml").read_text()


def test_the_service_runs_from_that_wheel_alone(wheel: Path) -> None:
    environment = {"PYTHONPATH": str(wheel), "PYTHONDONTWRITEBYTECODE": "1"}
    where = subprocess.run(
        [sys.executable, "-c", "import monitor; print(monitor.__file__)"],
        cwd=wheel.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(where.stdout.strip()) == wheel / "monitor/__init__.py"
    assert booking_monitor("config", environment=environment).returncode == 0
    with running_service(environment) as service, service.client() as client:
        assert {rate["objective"] for rate in client.get("/v1/slis").json()["slis"]} == {0.95, 0.98}
        page = client.get("/")
        for link in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
            assert client.get(link).is_success, link
        assert page.is_success
        assert booking_monitor("check", "--url", service.url, environment=environment).returncode == 0


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
    with reserved_port() as port:
        assert not health_check(port)


def health_check(port: int) -> bool:
    """Run the image's health check against a port of this machine."""
    _, *arguments = json.loads(final("HEALTHCHECK").partition("CMD ")[2])
    environment = {"BOOKING_MONITOR_PORT": str(port)}
    return (
        subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False).returncode == 0
    )
