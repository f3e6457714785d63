"""Faults around the real service (disk, clock, database, operators): it says what is wrong, and recovers by itself."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
from support.bookings import booking, make, problem
from support.bookkeeping import damages, half_made, miscounts, rows, store
from support.disk import small_disk
from support.exposition import metric
from support.inprocess import service_in_process
from support.postgres import postgres_server
from support.realtime import next_event, subscribed
from support.replicas import upgrade_store
from support.service import RunningService, running_service
from support.skewed_service import set_clock, skewed_service
from support.traffic import Traffic
from support.waiting import eventually, wait_until

from monitor.store.commands import Single

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

QUICK: dict[str, Any] = {"grace_chat_room": 1, "grace_notification": 1, "grace_realtime": 1, "settle": 0.2}
HOUR = 3600
STOP_SECONDS = 10
"""Within which the service ends, whatever it meets."""
HEARD_SECONDS = 8
"""Grace with which an event is acknowledged in time, and a test is done with its damage, on a busy machine, too."""


def url_of(service: RunningService) -> str:
    """SQLAlchemy URL of a service's embedded store."""
    return f"sqlite:///{service.database_path}"


def reasons(service: RunningService) -> list[str]:
    """Why the service is not ready; empty when it is."""
    with service.client() as client:
        answer = client.get("/readyz")
    found: list[str] = answer.json()["reasons"]
    assert answer.status_code == (503 if found else 200)
    return found


def wait_until_judged(service: RunningService) -> None:
    """Wait until no stage is undecided."""

    def judged() -> bool:
        with store(url_of(service)) as connection:
            return rows(connection, "SELECT count(*) FROM stages WHERE outcome IS NULL") == [0]

    wait_until(judged, what="everything is judged", timeout_seconds=30)


def outcomes(service: RunningService, booking_id: str) -> dict[str, tuple[str, str]]:
    """Outcome and reason of each stage of a booking."""
    with store(url_of(service)) as connection:
        query = f"SELECT stage, outcome, reason FROM stages WHERE booking_id = '{booking_id}'"  # noqa: S608 - an id of ours
        return {stage: (outcome, reason) for stage, outcome, reason in rows(connection, query)}


def instants(service: RunningService) -> list[int]:
    """When the bookings were made, in the order in which they were."""
    with store(url_of(service)) as connection:
        return rows(connection, "SELECT created_at FROM bookings ORDER BY rowid")


# The disk


def test_a_full_disk_is_answered_503_and_costs_nothing_once_there_is_room_again() -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk())
        service = stack.enter_context(RunningService(disk.directory, QUICK))
        client = stack.enter_context(service.client())
        made = [make(client)["booking"]["id"] for _ in range(5)]
        disk.fill(service.pid)
        for _ in range(1000):  # as long as there is room in the log that the disk was to have more of
            answer = client.post("/v1/bookings", json=_booking())
            if answer.status_code != 201:
                break
            made.append(answer.json()["booking"]["id"])
        problem(answer, 503)
        assert answer.headers["retry-after"] == "1"
        assert client.get(f"/v1/bookings/{made[0]}").status_code == 200
        assert service.metric("booking_writer_errors") > 0
        wait_until(lambda: service.metric("booking_job_runs", result="error") > 0, what="jobs fail, and it shows")
        disk.free(service.pid)
        wait_until(lambda: client.post("/v1/bookings", json=_booking()).status_code == 201, what="it recovers")
        wait_until_judged(service)
        assert service.stop() == 0
        with store(url_of(service)) as connection:
            assert damages(connection) == []
            assert half_made(connection) == []
            assert miscounts(connection) == []
            assert rows(connection, "SELECT id FROM bookings ORDER BY id")[:-1] == made


def test_readyz_says_so_when_a_full_disk_keeps_anything_from_being_judged() -> None:
    with small_disk() as disk, skewed_service(database_url=f"sqlite:///{disk.directory}/bookings.db") as service:
        assert reasons(service) == []
        disk.fill(service.pid)
        wait_until(lambda: service.metric("booking_job_runs", job="judge", result="error") > 0, what="judging fails")
        set_clock(service, 61)
        wait_until(lambda: reasons(service) == ["nothing could be judged for 60 s"], what="it is not ready")
        disk.free(service.pid)
        wait_until(lambda: reasons(service) == [], what="it is ready again")


def test_a_store_that_cannot_be_written_ends_the_start_with_a_clear_error() -> None:
    with small_disk() as disk:
        settings = {**QUICK, "database_url": f"sqlite:///{disk.directory}/bookings.db"}
        with running_service(**settings) as service, service.client() as client:
            made = make(client)["booking"]["id"]
            service.stop()
            disk.protect()
            error = refuses_to_start(service)
            assert re.search(r"cannot start: .*(Read-only file system|Permission denied).*bookings\.db", error)
            disk.unprotect()
            service.start()
            assert client.get(f"/v1/bookings/{made}").status_code == 200


def test_a_store_that_is_no_database_ends_the_start_with_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "booking-monitor.db").write_bytes(b"not a database" * 1000)
    error = refuses_to_start(RunningService(tmp_path, QUICK))
    assert "cannot start: the store sqlite:///./booking-monitor.db cannot be used" in error
    assert "file is not a database" in error


# The clock


def test_a_clock_set_back_an_hour_breaks_no_due_time_and_no_window() -> None:
    with skewed_service(**QUICK) as service, service.client() as client:
        first = make(client)["booking"]["id"]
        wait_until_judged(service)
        set_clock(service, -HOUR)
        second = make(client)["booking"]["id"]
        wait_until_judged(service)
        service.restart()
        third = make(client)["booking"]["id"]
        wait_until_judged(service)
        for booking_id in (first, second, third):
            assert outcomes(service, booking_id)["chat_room"] == ("good", "on_time")
        assert instants(service) == sorted(instants(service))
        wait_until(
            lambda: service.metric("booking_sli_events", sli="chat_room", traffic="real", window="5m") == 3,
            what="all three are in the window of five minutes",
        )
        assert service.metric("booking_clock_offset_seconds") == pytest.approx(HOUR, abs=60)
        assert reasons(service) == []
        with store(url_of(service)) as connection:
            assert miscounts(connection) == []
            dues = rows(connection, "SELECT DISTINCT due_at - created_at FROM stages")
            assert dues == [1000]


async def test_a_clock_set_ahead_an_hour_counts_everything_once_and_goes_on() -> None:
    settings: dict[str, Any] = QUICK | {"grace_realtime": HEARD_SECONDS}
    with skewed_service(**settings) as service, service.client() as client:
        async with subscribed(service.url, "t-17") as subscription:
            first = (await asyncio.to_thread(make, client))["booking"]
            await subscription.send(_ack(await next_event(subscription)))
            await asyncio.to_thread(wait_until_judged, service)
            set_clock(service, HOUR)
            ahead = time.time() + HOUR - 60
            await until(
                lambda: service.metric("booking_ledger_snapshot_timestamp_seconds") > ahead, "the service follows"
            )
            second = (await asyncio.to_thread(make, client))["booking"]
            await subscription.send(_ack(await next_event(subscription)))
            await asyncio.to_thread(wait_until_judged, service)
        for booking in (first, second):
            assert set(outcomes(service, booking["id"]).values()) == {("good", "on_time")}
        with store(url_of(service)) as connection:
            assert miscounts(connection) == []
        made = instants(service)
        assert made[-1] - made[0] > (HOUR - 60) * 1000
        await until(lambda: reasons(service) == [], "it is ready")


# Signals, and other instances


async def test_sigterm_under_load_leaves_no_booking_without_its_answer() -> None:
    with running_service(**QUICK) as service:
        async with (
            Traffic(lambda: service.url, customers=8) as traffic,
            httpx.AsyncClient(base_url=service.url, trust_env=False) as client,
            client.stream("GET", "/v1/realtime/events", params={"provider_id": "heard-0"}) as events,
        ):
            told = traffic.told
            await until(lambda: len(told.made) > 100, "bookings are made")
            begun = time.monotonic()
            assert await asyncio.to_thread(service.stop) == 0
            assert time.monotonic() - begun < STOP_SECONDS
            assert events.status_code == 200
            before = told.unreached.copy()
            await until(lambda: len(told.unreached - before) == traffic.customers, "all were answered or cut off")
        with store(url_of(service)) as connection:
            assert sorted(rows(connection, "SELECT id FROM bookings")) == sorted(told.made.values())
            assert rows(connection, "SELECT count(*) FROM live_subscriptions WHERE closed_at IS NULL") == [0]
        assert told.faults == []
        assert service.log_events("service.stopped")


def test_a_request_that_never_ends_does_not_keep_the_service_from_stopping() -> None:
    with running_service(**QUICK) as service, socket.create_connection(("127.0.0.1", service.port)) as caller:
        caller.sendall(
            b"POST /v1/bookings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        with service.client() as client:
            make(client)
        begun = time.monotonic()
        assert service.stop() == 0
        assert time.monotonic() - begun < STOP_SECONDS


def test_a_database_that_hangs_does_not_keep_the_service_from_stopping() -> None:
    with postgres_server() as postgres, postgres.fresh_database() as url:
        upgrade_store(url)
        with running_service(database_url=url, **QUICK) as service:
            with paused(postgres.pid), ThreadPoolExecutor() as pool, service.client() as client:
                waiting = pool.submit(client.post, "/v1/bookings", json=booking(), timeout=20)
                wait_until(lambda: service.metric("booking_writer_queue_depth") > 0, what="the booking to wait")
                begun = time.monotonic()
                assert service.stop() == 1
                assert time.monotonic() - begun < STOP_SECONDS
                assert "stopping" in problem(waiting.result(), 503)["detail"]
                assert waiting.result().headers["Retry-After"] == "1"
            assert service.log_events("booking.creation_failed")
            assert service.log_events("service.stop_overdue")


def test_a_database_that_hangs_is_answered_503_in_time_and_takes_bookings_again_once_it_goes_on() -> None:
    with postgres_server() as postgres, postgres.fresh_database() as url:
        upgrade_store(url)
        with (
            running_service(database_url=url, store_timeout=1, **QUICK) as service,
            service.client() as client,
            ThreadPoolExecutor(20) as pool,
        ):
            made = make(client)["booking"]["id"]

            def ask(number: int) -> httpx.Response:
                if number % 2:
                    return client.get("/v1/bookings", timeout=20)
                return client.post(
                    "/v1/bookings", json=booking(), headers={"Idempotency-Key": f"k-{number}"}, timeout=20
                )

            with paused(postgres.pid):
                for answer in pool.map(ask, range(20)):
                    assert "did not answer" in problem(answer, 503)["detail"]
                    assert answer.headers["Retry-After"] == "1"
                wait_until(lambda: service.log_events("store.stalled"), what="it is logged")
            wait_until(lambda: ask(0).status_code == 201, what="bookings are made again")
            answers = [ask(number) for number in range(0, 20, 2)]
            assert {answer.status_code for answer in answers} == {201}
            listed = client.get("/v1/bookings").json()["bookings"]
            once = {made, *(answer.json()["booking"]["id"] for answer in answers)}
            assert sorted(one["id"] for one in listed) == sorted(once)


def test_a_second_service_on_the_same_file_refuses_to_start(tmp_path: Path) -> None:
    with running_service(**QUICK) as service, service.client() as client:
        alias = tmp_path / "alias.db"
        alias.symlink_to(service.database_path)
        for path in (service.database_path, alias):
            error = refuses_to_start(RunningService(tmp_path, {"database_url": f"sqlite:///{path}"}))
            assert "booking-monitor.db is in use by another booking-monitor" in error
        assert make(client)


# What others do to the store


async def test_what_is_deleted_behind_its_back_is_judged_missing_repaired_and_stays_bad() -> None:
    deletions = {
        "chat_rooms": "DELETE FROM chat_rooms WHERE booking_id = ?",
        "chat_messages": "DELETE FROM chat_messages WHERE room_id = (SELECT id FROM chat_rooms WHERE booking_id = ?)",
        "notifications": "DELETE FROM notifications WHERE booking_id = ?",
        "deliveries": "DELETE FROM deliveries WHERE booking_id = ?",
        "bookings": "DELETE FROM bookings WHERE id = ?",
    }
    hurt = {
        "chat_rooms": {"chat_room", "message"},
        "chat_messages": {"chat_room", "message"},
        "notifications": {"notification"},
        "deliveries": {"realtime"},
        "bookings": {"chat_room", "message", "notification", "realtime"},
    }
    settings: dict[str, Any] = QUICK | {name: HEARD_SECONDS for name in QUICK if name.startswith("grace")}
    with running_service(**settings) as service, service.client() as client:
        async with subscribed(service.url, "t-17") as subscription, acknowledging(subscription):
            made = {table: (await asyncio.to_thread(make, client))["booking"]["id"] for table in deletions}
            await until(lambda: all(_is_heard(client, one) for one in made.values()), "all are heard")
            with closing(sqlite3.connect(service.database_path, isolation_level=None)) as outside:
                outside.execute("PRAGMA foreign_keys = ON")
                for table, statement in deletions.items():
                    assert outside.execute(statement, (made[table],)).rowcount == 1
            await asyncio.to_thread(wait_until_judged, service)
            repairable = sum(len(stages) for table, stages in hurt.items() if table != "bookings")
            await until(
                lambda: service.metric("booking_repairs", result="repaired") == repairable, "what can be is made good"
            )
        for table, booking_id in made.items():
            reason = "target_missing" if table == "bookings" else "never_attempted"
            for stage, outcome in outcomes(service, booking_id).items():
                assert outcome == (("missing", reason) if stage in hurt[table] else ("good", "on_time")), (table, stage)
        for sli, missing in (("chat_room", 2), ("notification", 1), ("realtime", 1)):
            labels = {"sli": sli, "outcome": "missing"}
            outcomes_of = "booking_sli_outcomes"
            assert service.metric(outcomes_of, reason="never_attempted", **labels) == missing
            assert service.metric(outcomes_of, reason="target_missing", **labels) == 1
        with store(url_of(service)) as connection:
            assert [line for line in half_made(connection) if made["bookings"] not in line] == []
            assert [line for line in miscounts(connection) if line.startswith("sli")] == []
            unrepaired = "SELECT DISTINCT booking_id FROM stages WHERE outcome = 'missing' AND evidence_at IS NULL"
            assert rows(connection, unrepaired) == [made["bookings"]]


def test_a_database_that_another_program_locks_is_answered_503_until_it_lets_go() -> None:
    with running_service(**QUICK) as service, service.client(timeout=20) as client:
        made = make(client)["booking"]["id"]
        with closing(sqlite3.connect(service.database_path, isolation_level=None)) as outside:
            outside.execute("BEGIN IMMEDIATE")
            answer = client.post("/v1/bookings", json=_booking())
            problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
            assert client.get(f"/v1/bookings/{made}").status_code == 200
            wait_until(lambda: service.metric("booking_job_runs", result="error") > 0, what="jobs fail, and it shows")
            outside.execute("ROLLBACK")
        wait_until(lambda: client.post("/v1/bookings", json=_booking()).status_code == 201, what="it recovers")
        wait_until_judged(service)
        assert service.stop() == 0
        with store(url_of(service)) as connection:
            assert damages(connection) == []
            assert miscounts(connection) == []
            assert rows(connection, "SELECT count(*) FROM bookings") == [2]


# Faults of our own


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_writer_that_dies_is_told_to_all_who_wait_and_makes_the_service_unready(tmp_path: Path) -> None:
    async with service_in_process(tmp_path) as running:
        waiting = [running.service.writer.submit(command) for command in (Deadly(), Deadly())]
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert [str(end) for end in ends] == ["the writer has ended"] * 2
        answer = await running.api.post("/v1/bookings", json=_booking())
        problem(answer, 503)
        assert answer.headers["retry-after"] == "1"
        ready = await running.api.get("/readyz")
        assert ready.status_code == 503
        assert ready.json()["reasons"] == ["the writer has ended"]
        assert running.service.writer.waiting == 0


async def test_a_job_that_raises_is_counted_and_runs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with service_in_process(tmp_path) as running:

        async def fail(_fence: object) -> int:
            raise ZeroDivisionError

        monkeypatch.setattr(running.service._judge, "run", fail)
        await eventually(lambda: _runs(running.api, "judge", "error", 2), what="two runs have failed")
        monkeypatch.undo()
        await eventually(lambda: _runs(running.api, "judge", "ok", 1), what="a run succeeds")


class Deadly(Single[None]):
    """A command that ends the thread it runs in, as nothing that is caught can."""

    def run(self, _connection: Connection) -> None:
        raise SystemExit


def refuses_to_start(service: RunningService) -> str:
    """Start a service that cannot; returns what it said on standard error, in one line."""
    ended = subprocess.run(service.command(), cwd=service.directory, capture_output=True, timeout=30, check=False)
    assert ended.returncode == 1
    said = ended.stderr.decode()
    assert "Traceback" not in said
    return " ".join(line for line in said.splitlines() if not line.startswith("{"))


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """Let a process and its children hang."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def acknowledging(subscription: Any) -> AsyncIterator[None]:
    """Acknowledge all that comes, meanwhile."""

    async def answer() -> None:
        while True:
            await subscription.send(_ack(await next_event(subscription, STOP_SECONDS * 6)))

    task = asyncio.create_task(answer())
    yield
    task.cancel()


def _ack(event: dict[str, Any]) -> str:
    return f'{{"type":"ack","id":"{event["id"]}"}}'


def _booking() -> dict[str, str]:
    return {"provider_id": "t-17", "provider_name": "Ayu", "customer_id": "c-9", "customer_name": "Sam"}


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition that may take its time to tell, and let the event loop go on meanwhile."""
    await eventually(lambda: asyncio.to_thread(condition), what=what, timeout_seconds=30)


def _is_heard(client: httpx.Client, booking_id: str) -> bool:
    journey = client.get(f"/v1/bookings/{booking_id}/journey").json()
    return any(stage["stage"] == "realtime" and stage["evidence_at"] for stage in journey["stages"])


async def _runs(api: httpx.AsyncClient, job: str, result: str, least: int) -> bool:
    return metric((await api.get("/metrics")).text, "booking_job_runs", job=job, result=result) >= least
