"""`booking-monitor demo` as its user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from support.paging import Site, site
from support.service import API_TOKEN, PREFIX, PROGRAM, booking_monitor
from support.waiting import wait_until
from support.webhook_receiver import WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

BUSY = ("--per-hour", "100000")
PATIENCE = 30


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service that asks for a token."""
    with site(tmp_path_factory.mktemp("guarded"), api_tokens=API_TOKEN) as service:
        yield service


@contextmanager
def demonstration(
    directory: Path, *arguments: str, how: signal.Signals = signal.SIGINT, settings: Mapping[str, Any] | None = None
) -> Iterator[Callable[[], list[str]]]:
    """Run it on a service of its own until the block ends; yields what tells the lines that it has printed so far."""
    its_own = directory / "its own"
    its_own.mkdir()
    variables = {PREFIX + name.upper(): str(value) for name, value in (settings or {}).items()}
    with (
        (directory / "said").open("w+") as said,
        subprocess.Popen(
            [PROGRAM, "demo", "--port", "0", *arguments],
            cwd=directory,
            env=variables | {"TMPDIR": str(its_own), "PYTHONUNBUFFERED": "1"},
            stdout=said,
            stderr=subprocess.STDOUT,
        ) as process,
    ):

        def lines() -> list[str]:
            assert process.poll() is None, (directory / "said").read_text()
            return (directory / "said").read_text().splitlines()

        try:
            yield lines
            assert list(its_own.iterdir())
        finally:
            process.send_signal(how)
            code = process.wait(PATIENCE)
    text = (directory / "said").read_text()
    assert code == 0, text
    assert "Traceback" not in text
    assert list(its_own.iterdir()) == []


def test_it_shows_its_faults_as_alerts_and_pages_nobody_whatever_is_set_up(tmp_path: Path) -> None:
    with WebhookReceiver() as anybody:
        channels = {
            "alertmanager_url": anybody.url,
            "pagerduty_url": anybody.url,
            "pagerduty_routing_key": "0" * 32,
            "webhook_url": anybody.url,
            "webhook_secret": "0" * 32,
            "heartbeat_url": anybody.url,
            "heartbeat_interval": 1,
        }
        faults = ("--fault", "chat-room:0.5", "--fault", "notification")
        with demonstration(tmp_path, *BUSY, *faults, settings=channels) as lines:
            firing = ("BookingChatRoomCreationLow (critical)", "BookingNotificationDeliveryLow (critical)")
            (last, *_) = wait_until(
                lambda: [line for line in lines() if all(alert in line for alert in firing)],
                what="both fire",
                timeout_seconds=60,
            )
        assert anybody.requests == []
    rates = {name: float(rate) for name, rate in re.findall(r"(chat room|notification|realtime) ([\d.]+) %", last)}
    assert 20 < rates["chat room"] < 80
    assert rates["notification"] == 0
    assert rates["realtime"] > 95
    assert "Realtime" not in last


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_it_ends_when_it_is_asked_to_and_leaves_nothing(tmp_path: Path, how: signal.Signals) -> None:
    with demonstration(tmp_path, how=how) as lines:
        wait_until(
            lambda: any("bookings an hour" in line for line in lines()), what="it runs", timeout_seconds=PATIENCE
        )


def test_a_running_instance_is_put_under_load_with_its_token(guarded: Site) -> None:
    result = booking_monitor("demo", "--url", guarded.url, "--token", API_TOKEN, "--seconds", "4", *BUSY)

    assert result.returncode == 0, result.stderr
    taken = re.search(r"([\d,]+) bookings  ", result.stdout.splitlines()[-1])
    assert taken is not None, result.stdout
    made = int(taken[1].replace(",", ""))
    assert made > 0
    wait_until(
        lambda: guarded.metric("booking_bookings", traffic="real", platform="embedded") >= made,
        what="the ledger has them",
    )
    wait_until(
        lambda: guarded.metric("booking_delivery_attempts", stage="realtime", result="ok") > 0,
        what="providers acknowledged",
    )


@pytest.mark.parametrize("token", [None, "a-token-that-nobody-knows"])
def test_without_the_token_it_says_so(guarded: Site, token: str | None) -> None:
    result = booking_monitor("demo", "--url", guarded.url, *(("--token", token) if token else ()))

    assert result.returncode == 1
    assert "answered 401" in result.stderr
    assert result.stdout == ""


def test_an_address_where_nothing_answers_is_named() -> None:
    result = booking_monitor("demo", "--url", "http://127.0.0.1:9/")

    assert result.returncode == 1
    assert "http://127.0.0.1:9 does not answer" in result.stderr
    assert "Traceback" not in result.stderr
