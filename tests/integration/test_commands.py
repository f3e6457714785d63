"""The commands that touch a store or a running instance."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from support.bookings import make, row_counts
from support.lost_answers import lossy_way
from support.process import reserved_port
from support.service import API_TOKEN, RunningService, running_service
from typer.testing import CliRunner

from monitor.cli import app
from monitor.cli.common import FAILED, MISUSED
from monitor.store.deliveries import REDRIVEN_AT_ONCE
from monitor.store.engine import EmbeddedLock, parse_url
from monitor.store.revision import NEWEST

RUNNER = CliRunner()
SECRET = "a-secret-of-these-tests-that-is-long-enough"
ENOUGH_SECONDS = "4"
"""For a step that comes true, on a busy machine, too."""


NAIVE_JOURNEY = (
    b'{"booking_id":"b","provider_id":"t","traffic":"real","status":"pending","created_at":"2026-01-01T00:00:00",'
    b'"stages":[{"stage":"chat_room","evidence_at":"2026-01-01T00:00:00Z","outcome":null}]}'
)
"""Its times cannot be compared: one has no zone."""


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(api_tokens=API_TOKEN, provider_token_secret=SECRET) as running:
        yield running


@pytest.fixture
def stranger(request: pytest.FixtureRequest) -> Iterator[str]:
    """URL of a web server that is no booking-monitor, and answers everything with 200 or with what a test says."""
    status, body = getattr(request, "param", (200, b"<html>"))

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@contextmanager
def altered(service: RunningService, undo: str) -> Iterator[Callable[[str], object]]:
    """Change the store of a running service behind its back, and undo it at the end."""
    with closing(sqlite3.connect(service.database_path, isolation_level=None)) as connection:
        try:
            yield connection.execute
        finally:
            connection.execute(undo)


def test_db_upgrade_makes_the_tables_once(database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", database_url)
    first, second = (RUNNER.invoke(app, ["db", "upgrade"]) for _ in range(2))
    assert (first.exit_code, first.output) == (0, f"upgraded from empty to {NEWEST}\n")
    assert (second.exit_code, second.output) == (0, "already up to date\n")


def test_db_upgrade_leaves_an_embedded_store_alone_that_is_in_use(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", sqlite_url)
    lock = EmbeddedLock(parse_url(sqlite_url))
    lock.acquire()
    try:
        result = RUNNER.invoke(app, ["db", "upgrade"])
    finally:
        lock.release()
    assert result.exit_code == FAILED
    assert "is in use by another booking-monitor" in result.stderr


@pytest.mark.parametrize("words", [["serve"], ["db", "upgrade"]])
def test_a_store_that_is_not_there_is_said_without_its_password(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "0")
    with reserved_port() as port:
        monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", f"postgresql://u:hunter2@127.0.0.1:{port}/d")
        result = RUNNER.invoke(app, words)
    assert result.exit_code == FAILED
    assert "Connection refused" in result.stderr
    assert "hunter2" not in result.output + result.stderr


@pytest.mark.parametrize("path", ["directory", "file/store.db", "/proc/store.db", "loop"])
@pytest.mark.parametrize("words", [["serve"], ["db", "upgrade"]], ids=" ".join)
def test_a_file_that_cannot_be_the_store_is_said(
    words: list[str], path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "0")
    monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", f"sqlite:///{path}")
    result = RUNNER.invoke(app, words)
    assert result.exit_code == FAILED
    (line,) = result.stderr.splitlines()
    assert re.fullmatch(rf"error: cannot (start|upgrade): .*{path.partition('/')[0]}.*", line)


@pytest.mark.parametrize("words", [["serve"], ["db", "upgrade"]], ids=" ".join)
def test_a_store_of_a_newer_release_is_left_alone(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "0")
    assert RUNNER.invoke(app, ["db", "upgrade"]).exit_code == 0
    with closing(sqlite3.connect("booking-monitor.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    result = RUNNER.invoke(app, words)
    assert result.exit_code == FAILED
    (line,) = result.stderr.splitlines()
    assert re.match("error: cannot (start|upgrade): the store is at revision 9999, ", line)


@pytest.mark.parametrize("words", [["serve"], ["db", "upgrade"]], ids=" ".join)
def test_a_host_that_cannot_be_looked_up_is_a_misuse(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_PORT", "0")
    monkeypatch.setenv("BOOKING_MONITOR_DATABASE_URL", "postgresql://u:hunter2@a..b/d")
    result = RUNNER.invoke(app, words)
    assert result.exit_code == MISUSED
    (line,) = result.stderr.splitlines()
    assert re.match("error: cannot (start|upgrade): ", line)
    assert "hunter2" not in line


def test_check_passes_on_a_running_instance_and_leaves_nothing_behind(service: RunningService) -> None:
    result = RUNNER.invoke(app, ["check", "--url", service.url, "--token", API_TOKEN])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for line, step in zip(
        lines,
        ("Booking Creation", "Chat Room Creation", "Notification Creation", "Realtime Subscription"),
        strict=False,
    ):
        assert line.startswith(f"✅ {step}: ")
        assert " PASS  " in line
        assert line.endswith(" ms")
    assert lines[-1] == "🎉 ALL TESTS PASSED! Pipeline working correctly."
    with sqlite3.connect(service.database_path) as connection:
        assert connection.execute("SELECT COUNT(*) FROM bookings").fetchone() == (0,)
        assert connection.execute("SELECT COUNT(*) FROM stages").fetchone() == (0,)


def test_check_answers_machines_in_json(service: RunningService) -> None:
    result = RUNNER.invoke(
        app, ["check", "--json"], env={"BOOKING_MONITOR_URL": service.url, "BOOKING_MONITOR_TOKEN": API_TOKEN}
    )
    report = json.loads(result.output)
    assert result.exit_code == 0
    assert report["ok"]
    assert report["steps"] == dict.fromkeys(("booking", "chat_room", "notification", "realtime"), True)
    assert set(report["seconds"]) == set(report["steps"])
    assert report["errors"] == {}


@pytest.mark.parametrize("token", ["a-token-that-nobody-knows", None])
def test_check_fails_with_its_reason_where_it_is_not_let_in(service: RunningService, token: str | None) -> None:
    result = RUNNER.invoke(app, ["check", "--url", service.url, *(["--token", token] if token else [])])
    assert result.exit_code == FAILED
    assert result.output.count("FAIL") == 4
    assert "Booking Creation: POST /v1/bookings answered 401, not 201" in result.output


def test_check_names_the_one_step_that_fails_and_cleans_up_all_the_same(service: RunningService) -> None:
    before = row_counts(service.database_path)
    with altered(service, "DROP TRIGGER swallow") as alter:
        alter("CREATE TRIGGER swallow BEFORE INSERT ON notifications BEGIN SELECT RAISE(IGNORE); END")
        result = RUNNER.invoke(app, ["check", "--url", service.url, "--token", API_TOKEN, "--timeout", ENOUGH_SECONDS])
    assert result.exit_code == FAILED
    assert [line.split()[-1] == "FAIL" for line in result.stdout.splitlines()[:4]] == [False, False, True, False]
    assert result.stdout.splitlines()[5:] == [f"Notification Creation: not seen within {ENOUGH_SECONDS} s"]
    assert row_counts(service.database_path) == before


def test_check_removes_its_booking_though_it_never_heard_of_it(service: RunningService) -> None:
    before = row_counts(service.database_path)
    with lossy_way(service.port, b"POST /v1/bookings ", times=1) as way:
        result = RUNNER.invoke(app, ["check", "--url", way.url, "--token", API_TOKEN, "--timeout", ENOUGH_SECONDS])
    assert way.lost == 1
    assert result.exit_code == FAILED
    assert "Booking Creation: ReadTimeout" in result.stdout
    assert result.stderr == ""
    assert row_counts(service.database_path) == before


def test_check_says_that_it_may_have_left_a_booking_behind() -> None:
    with (
        running_service() as service,
        lossy_way(service.port, b"POST /v1/bookings ", times=2) as way,
    ):
        command = ["check", "--url", way.url, "--timeout", ENOUGH_SECONDS]
        result = RUNNER.invoke(app, command)
        report = json.loads(RUNNER.invoke(app, [*command, "--json"]).stdout)
        made = row_counts(service.database_path)["bookings"]
    assert result.exit_code == FAILED
    assert "synthetic booking, if there is one, could not be removed: ReadTimeout" in result.stderr
    assert made == 1, "asked twice, the service made one booking"
    assert report["left_behind"] is None


def test_check_fails_where_nobody_listens() -> None:
    with reserved_port() as port:
        result = RUNNER.invoke(app, ["check", "--url", f"http://127.0.0.1:{port}", "--timeout", "1"])
    assert result.exit_code == FAILED
    errors = [line.partition(":")[0] for line in result.output.splitlines()[5:]]
    assert errors == ["Booking Creation", "Chat Room Creation", "Notification Creation", "Realtime Subscription"]


@pytest.mark.parametrize("stranger", [(200, b"<html>"), (201, b"<html>"), (201, b"[]")], indirect=True)
def test_check_fails_at_a_stranger(stranger: str) -> None:
    result = RUNNER.invoke(app, ["check", "--url", stranger, "--timeout", "1"])
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == FAILED
    assert result.stdout.count("FAIL") == 4
    assert "Realtime Subscription: the answer is not a booking-monitor's (" in result.output


def test_watch_shows_the_journeys_of_an_instance(service: RunningService) -> None:
    with service.client() as client:
        made = client.post(
            "/v1/bookings",
            json={"provider_id": "t-17", "provider_name": "Ayu", "customer_id": "c-9", "customer_name": "Sam"},
        ).json()
    result = RUNNER.invoke(app, ["watch", "--once", "--url", service.url, "--token", API_TOKEN])
    assert result.exit_code == 0
    assert made["booking"]["id"][-12:] in result.output
    nobody = ["watch", "--once", "--url", service.url, "--token", API_TOKEN, "--provider-id", "nobody"]
    assert "No journeys yet" in RUNNER.invoke(app, nobody).output


def test_redrive_says_how_many_deliveries_it_drives(service: RunningService) -> None:
    result = RUNNER.invoke(app, ["redrive", "--url", service.url, "--token", API_TOKEN, "--stage", "push"])
    assert (result.exit_code, result.output) == (0, "0 deliveries are being driven again\n")
    refused = RUNNER.invoke(app, ["redrive", "--url", service.url, "--token", API_TOKEN, "--stage", "chat_room"])
    assert refused.exit_code == FAILED
    assert f"{service.url} answered 422: " in refused.stderr


def test_redrive_drives_all_that_are_dead_however_many(service: RunningService) -> None:
    count = 2 * REDRIVEN_AT_ONCE + 1
    with service.client() as client, altered(service, "DELETE FROM deliveries WHERE id LIKE 'dead-%'") as alter:
        booking_id = make(client, provider_id="t-dead")["booking"]["id"]
        alter(
            f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
            INSERT INTO deliveries (id, booking_id, stage, target, state, attempts, created_at, attempts_before)
            SELECT 'dead-' || i, '{booking_id}', 'realtime', 't-dead', 'dead', 12, 1, 0 FROM n"""  # noqa: S608 - ours
        )
        result = RUNNER.invoke(app, ["redrive", "--url", service.url, "--token", API_TOKEN])
        assert (result.exit_code, result.output) == (0, f"{count} deliveries are being driven again\n")
        again = RUNNER.invoke(app, ["redrive", "--url", service.url, "--token", API_TOKEN])
        assert again.output == "0 deliveries are being driven again\n"


@pytest.mark.parametrize("words", [["watch", "--once"], ["redrive"]])
def test_a_call_says_what_it_met_instead_of_an_instance(
    words: list[str], stranger: str, service: RunningService
) -> None:
    with reserved_port() as port:
        met = {
            stranger: "answered 200, and not as a booking-monitor does",
            f"http://127.0.0.1:{port}": "does not answer: ConnectError",
            service.url: "answered 401: ",
        }
        for url, message in met.items():
            result = RUNNER.invoke(app, [*words, "--url", url])
            assert result.exit_code == FAILED
            assert f"error: {url} {message}" in result.stderr


@pytest.mark.parametrize(
    "more",
    [
        ("--url", ""),
        ("--url", "nonsense"),
        ("--url", "ftp://127.0.0.1"),
        ("--url", "http://127.0.0.1:port"),
        ("--url", "http://127.0.0.1:99999"),
        ("--url", "http://127.0.0.1:-1"),
        ("--url", "http://xn--a"),
        ("--url", "http://\udcff"),
        ("--token", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
        ("--token", "a\nb"),
        ("--token", " a"),
    ],
)
@pytest.mark.parametrize("words", [["check"], ["watch", "--once"], ["redrive"], ["demo"]], ids=" ".join)
def test_what_cannot_be_called_is_a_misuse_in_one_line_of_words(words: list[str], more: tuple[str, str]) -> None:
    result = RUNNER.invoke(app, [*words, *more])
    assert result.exit_code == MISUSED
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith(("error: --url is a URL with a host", "error: --token is made of printable ASCII"))


def test_a_url_is_taken_however_it_is_written(service: RunningService) -> None:
    written = service.url.replace("http://", "HTTP://") + "//"
    result = RUNNER.invoke(app, ["check", "--url", written, "--token", API_TOKEN])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    "stranger",
    [
        (200, b'{"journeys": [{"provider_id": "\\u001b[2J"}], "redriven": "\\u001b[2J"}'),
        (200, b'{"journeys": [' + NAIVE_JOURNEY + b'], "redriven": -5}'),
        (200, b"[" * 200_000),
        (500, b'{"detail": "\\u001b[2J"}'),
    ],
    indirect=True,
    ids=["steering", "odd", "deep", "steering-detail"],
)
@pytest.mark.parametrize("words", [["watch", "--once"], ["redrive"]], ids=" ".join)
def test_whatever_a_server_says_ends_in_an_error_and_does_not_steer_the_terminal(
    words: list[str], stranger: str
) -> None:
    result = RUNNER.invoke(app, [*words, "--url", stranger])
    assert result.exit_code == FAILED
    assert f"error: {stranger} answered " in result.stderr
    assert "\x1b[2J" not in result.output


def test_serve_says_which_address_it_cannot_have(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BOOKING_MONITOR_PORT", str(service.port))
    result = RUNNER.invoke(app, ["serve"])
    assert result.exit_code == FAILED
    assert f"cannot listen on 127.0.0.1 port {service.port}: Address already in use" in result.stderr
