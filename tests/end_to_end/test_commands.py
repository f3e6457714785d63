"""The program as an operator runs it, beside a running service."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import termios
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from support.bookings import make, row_counts
from support.process import reserved_port
from support.service import API_TOKEN, PROGRAM, QUICK, RunningService, booking_monitor, running_service
from support.tools import find_tool
from support.waiting import wait_until
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

CTRL_C = b"\x03"
STEPS = ("Booking Creation", "Chat Room Creation", "Notification Creation", "Realtime Subscription")


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(api_tokens=API_TOKEN, **QUICK) as service:
        yield service


@dataclass(frozen=True, slots=True)
class Terminal:
    """A program in a terminal of its own."""

    process: subprocess.Popen[bytes]
    _master: int
    _shown: bytearray = field(default_factory=bytearray)

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._master, keys)

    def shown(self) -> str:
        """All that was written so far, without what moves the cursor or colours the text."""
        while select.select([self._master], [], [], 0)[0]:
            self._shown.extend(os.read(self._master, 4096))
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self._shown.decode(errors="replace"))


@contextmanager
def in_terminal(*arguments: str) -> Iterator[Terminal]:
    """Run a command of `booking-monitor` as somebody who sits before it; it is killed in the end if it still runs."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, (40, 160))
    with subprocess.Popen(
        # So that Ctrl-C reaches it, the terminal is not only its input and output but the one that controls it.
        [find_tool("setsid"), "--ctty", PROGRAM, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"TERM": "xterm-256color"},
    ) as process:
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(slave)
            os.close(master)


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """What `check` says of each step."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("✅", "❌"))]
    return {step: "PASS" if "PASS" in line else "FAIL" for step in STEPS for line in lines if step in line}


def test_check_passes_on_a_sound_service_and_leaves_nothing_behind(service: RunningService) -> None:
    before = row_counts(service.database_path)
    done = booking_monitor("check", "--url", service.url, "--token", API_TOKEN)
    assert done.returncode == 0
    assert verdicts(done) == dict.fromkeys(STEPS, "PASS")
    assert "ALL TESTS PASSED" in done.stdout
    assert row_counts(service.database_path) == before


def test_check_takes_url_and_token_from_the_environment(service: RunningService) -> None:
    done = booking_monitor("check", "--json", url=f"{service.url}/", token=API_TOKEN)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["errors"] == {}
    assert set(report["steps"].values()) == {True}


@pytest.mark.parametrize("token", [(), ("--token", "wrong")], ids=["no token", "a wrong token"])
def test_check_fails_without_the_right_token_and_says_so(service: RunningService, token: tuple[str, ...]) -> None:
    done = booking_monitor("check", "--url", service.url, *token)
    assert done.returncode == 1
    assert verdicts(done) == dict.fromkeys(STEPS, "FAIL")
    assert "401" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}", "http://no-such-host.invalid"])
def test_check_fails_where_no_service_is(url: str) -> None:
    with reserved_port() as port:
        done = booking_monitor("check", "--url", url.format(port=port), "--timeout", "2")
    assert done.returncode == 1
    assert verdicts(done) == dict.fromkeys(STEPS, "FAIL")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://127.0.0.1", "", "http://"])
def test_check_refuses_what_is_no_url(url: str) -> None:
    done = booking_monitor("check", "--url", url)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"error: --url is a URL with a host: it begins with https:// or http://; given {url!r}"
    ]


def test_check_fails_in_time_where_the_service_hangs(service: RunningService) -> None:
    service.pause()
    try:
        done = booking_monitor("check", "--url", service.url, "--token", API_TOKEN, "--timeout", "1")
    finally:
        service.resume()
    assert done.returncode == 1
    assert "PASS" not in done.stdout


@pytest.mark.parametrize("command", [("watch", "--once"), ("redrive",)], ids=" ".join)
def test_the_other_commands_say_why_they_cannot(service: RunningService, command: tuple[str, ...]) -> None:
    refused = booking_monitor(*command, "--url", service.url)
    assert refused.returncode == 1
    assert "401" in refused.stderr
    with reserved_port() as port:
        absent = booking_monitor(*command, "--url", f"http://127.0.0.1:{port}")
    assert absent.returncode == 1
    assert "does not answer" in absent.stderr
    assert "Traceback" not in refused.stderr + absent.stderr


def test_watch_shows_each_journey_once(service: RunningService) -> None:
    with service.client() as client:
        made = [make(client, provider_id="t-watched")["booking"]["id"] for _ in range(3)]
        make(client, provider_id="t-unwatched")
    done = booking_monitor(
        "watch",
        "--once",
        "--url",
        service.url,
        "--token",
        API_TOKEN,
        "--provider-id",
        "t-watched",
        environment={"COLUMNS": "200"},
    )
    assert done.returncode == 0
    assert [done.stdout.count(booking_id[-12:]) for booking_id in made] == [1, 1, 1]
    assert "t-unwatched" not in done.stdout
    assert done.stdout.count("t-watched") == 3
    assert done.stdout.count("pending") == 3


def test_watch_shows_a_booking_and_its_outcomes_as_it_passes_until_it_is_interrupted(service: RunningService) -> None:
    with in_terminal("watch", "--url", service.url, "--token", API_TOKEN, "--provider-id", "t-live") as watch:
        wait_until(lambda: "No journeys yet" in watch.shown(), what="there is nothing to see yet")
        with service.client() as client:
            booking_id = make(client, provider_id="t-live")["booking"]["id"]
        row = re.compile(rf"{booking_id[-12:]} +t-live +pending +([\d.]+ m?s +){{3}}exempt")
        wait_until(lambda: row.search(watch.shown()), what="the booking is there, with its outcomes")
        assert watch.process.poll() is None
        watch.press(CTRL_C)
        assert watch.process.wait(timeout=10) == 0
        assert "Traceback" not in watch.shown()


def test_redrive_sends_dead_deliveries_again() -> None:
    with running_service(delivery_attempts=1, acknowledge_timeout=0.2) as service, service.client() as client:
        with connect(f"{service.url.replace('http', 'ws', 1)}/v1/realtime?provider_id=t-1", proxy=None) as silent:
            silent.recv(timeout=5)
            booking_id = make(client, provider_id="t-1")["booking"]["id"]

            def state() -> str:
                journey = client.get(f"/v1/bookings/{booking_id}/journey").json()
                return str(journey["deliveries"][0]["state"])

            wait_until(lambda: state() == "dead", what="the delivery is given up")
        with connect(f"{service.url.replace('http', 'ws', 1)}/v1/realtime?provider_id=t-1", proxy=None) as willing:
            willing.recv(timeout=5)
            done = booking_monitor("redrive", "--url", service.url, "--stage", "realtime", "--booking-id", booking_id)
            assert (done.returncode, done.stdout.split()[0]) == (0, "1")
            event = json.loads(willing.recv(timeout=10))
            assert event["booking"]["id"] == booking_id
            willing.send(json.dumps({"type": "ack", "id": event["id"]}))
            wait_until(lambda: state() == "delivered", what="the delivery is acknowledged")
        again = booking_monitor("redrive", "--url", service.url)
        assert again.stdout.split()[0] == "0"
