"""The servers that the other tests rely on are real, answer, and can be made to fail."""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import nats as nats_client
import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from support.alertmanager import alertmanager_server
from support.nats import NatsServer, nats_server
from support.postgres import PostgresServer, postgres_server
from support.process import reserved_port
from support.prometheus import prometheus_server
from support.tools import find_tool
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Engine


@pytest.fixture
def connect() -> Iterator[Callable[[str], Engine]]:
    engines: list[Engine] = []

    def make(url: str) -> Engine:
        engines.append(create_engine(url))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def test_postgresql_18_answers_with_its_version(postgresql_url: str, connect: Callable[[str], Engine]) -> None:
    with connect(postgresql_url).connect() as connection:
        assert connection.execute(text("SELECT version()")).scalar_one().startswith("PostgreSQL 18.")


@pytest.mark.parametrize("attempt", ["first", "second"])
def test_each_test_gets_an_empty_database(database_url: str, connect: Callable[[str], Engine], attempt: str) -> None:
    engine = connect(database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE leftovers (attempt TEXT)"))
        connection.execute(text("INSERT INTO leftovers VALUES (:attempt)"), {"attempt": attempt})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT attempt FROM leftovers")).scalars().all() == [attempt]


def test_a_fresh_database_is_dropped_even_while_clients_are_connected(
    postgres: PostgresServer, connect: Callable[[str], Engine]
) -> None:
    with postgres.fresh_database() as url:
        held = connect(url).connect()
    with pytest.raises(OperationalError):
        held.execute(text("SELECT 1"))
    held.close()
    with pytest.raises(OperationalError, match="does not exist"):
        connect(url).connect()


def test_what_postgresql_committed_outlives_its_crash(connect: Callable[[str], Engine]) -> None:
    with postgres_server() as server, server.fresh_database() as url:
        engine = connect(url)
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE kept AS SELECT 42 AS answer"))
        server.kill()
        with pytest.raises(OperationalError), engine.connect() as connection:
            connection.execute(text("SELECT answer FROM kept"))
        server.start()
        engine.dispose()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT answer FROM kept")).scalar_one() == 42
        server.restart()
        engine.dispose()
        with engine.connect() as connection:
            assert connection.execute(text("SELECT answer FROM kept")).scalar_one() == 42


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
def test_postgresql_waits_for_the_disk_when_asked(
    *, durable: bool, fsync: str, connect: Callable[[str], Engine]
) -> None:
    with postgres_server(durable=durable) as server, connect(server.url()).connect() as connection:
        assert connection.execute(text("SHOW fsync")).scalar_one() == fsync


def test_pgbench_and_psql_find_the_server(postgres: PostgresServer) -> None:
    environment = {**os.environ, **postgres.environment}
    for command in (["pgbench", "-i", "-q"], ["pgbench", "-t", "5"], ["psql", "-c", "SELECT 1"]):
        program = str(postgres.programs / command[0])
        done = subprocess.run([program, *command[1:]], env=environment, check=True, capture_output=True, text=True)
        assert "error" not in done.stderr


async def test_nats_carries_a_message_from_publisher_to_subscriber(nats: NatsServer) -> None:
    client = await nats_client.connect(nats.url)
    subscription = await client.subscribe("bookings")
    await client.publish("bookings", b"created")
    assert (await subscription.next_msg(timeout=5)).data == b"created"
    await client.close()


def test_nats_comes_back_at_its_address_after_a_crash() -> None:
    with nats_server() as server:
        before = server.url
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))
        server.start()
        assert server.url == before


async def test_a_paused_nats_delivers_nothing_until_it_is_resumed() -> None:
    with nats_server() as server:
        client = await nats_client.connect(server.url)
        subscription = await client.subscribe("bookings")
        await client.flush(timeout=5)
        server.pause()
        await client.publish("bookings", b"created")
        with pytest.raises(NatsTimeoutError):
            await subscription.next_msg(timeout=0.3)
        server.resume()
        assert (await subscription.next_msg(timeout=5)).data == b"created"
        await client.close()


def test_prometheus_scrapes_its_target_and_answers_a_query(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(
        """
groups:
  - name: everything
    rules:
      - {record: "targets:up:sum", expr: "sum(up)"}
      - {alert: TargetUp, expr: "up == 1", labels: {severity: none}}
"""
    )
    with (
        alertmanager_server() as target,
        prometheus_server(targets={"target": target.address}, rule_files=[rules]) as it,
    ):
        (sample,) = wait_until(lambda: it.query("targets:up:sum == 1"), what="the target is scraped and summed")
        assert (sample.labels, sample.value) == ({"__name__": "targets:up:sum"}, 1.0)
        (alert,) = wait_until(it.alerts, what="the alert fires")
        assert (alert["state"], alert["labels"]["alertname"]) == ("firing", "TargetUp")
        assert [(rule["name"], rule["health"]) for rule in it.rules()] == [("targets:up:sum", "ok"), ("TargetUp", "ok")]
        with pytest.raises(ValueError, match="parse error"):
            it.query("sum(")


def test_prometheus_sends_its_alerts_to_alertmanager(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text('groups: [{name: everything, rules: [{alert: Watchdog, expr: "vector(1)"}]}]')
    with alertmanager_server() as receiver, prometheus_server(rule_files=[rules], alertmanager=receiver.address):
        (alert,) = wait_until(receiver.alerts, what="the alert arrives")
        assert alert["labels"] == {"alertname": "Watchdog"}


def test_alertmanager_holds_the_alert_it_was_sent() -> None:
    with alertmanager_server() as server:
        server.post_alerts([{"labels": {"alertname": "Watchdog"}, "annotations": {"summary": "always"}}])
        (alert,) = server.alerts()
        assert alert["labels"] == {"alertname": "Watchdog"}
        assert alert["receivers"] == [{"name": "nobody"}]


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="ended with exit code 1") as failure, alertmanager_server({"route": 5}):
        pass
    assert any("cannot unmarshal" in note for note in failure.value.__notes__)


def test_a_missing_server_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="no-such-server is not installed"):
        find_tool("no-such-server")


def test_nothing_listens_on_a_reserved_port_until_a_server_of_ours_does() -> None:
    with reserved_port() as port:
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
            with socket.create_server(("127.0.0.1", port)):
                socket.create_connection(("127.0.0.1", port)).close()
