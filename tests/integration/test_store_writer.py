"""The writer: groups, failures that stay where they belong, a store that goes away and comes back."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from structlog.testing import capture_logs
from support.postgres import postgres_server
from support.store import Store, open_store
from support.waiting import eventually

from monitor.domain.ledger import Mark
from monitor.domain.vocabulary import CanaryResult
from monitor.store.canaries import RecordCanary
from monitor.store.commands import Single
from monitor.store.judging import RecordMark
from monitor.store.writer import StoreUnavailableError, WriterBusyError

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy import Connection, Engine


@dataclass(frozen=True)
class Hold(Single[None]):
    """Keeps the writer at work until it is let go."""

    begun: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def run(self, connection: Connection) -> None:  # noqa: ARG002 - the interface's
        self.begun.set()
        assert self.go_on.wait(30)

    async def under_way(self) -> None:
        await asyncio.to_thread(self.begun.wait, 30)


@dataclass(frozen=True)
class Note(Single[str]):
    """Writes a row into a table of the service that takes any name."""

    name: str
    at: int = 1

    def run(self, connection: Connection) -> str:
        connection.execute(text("INSERT INTO marks (name, at) VALUES (:name, :at)"), {"name": self.name, "at": self.at})
        return self.name


@dataclass(frozen=True)
class Refuse(Single[str]):
    """Writes, then raises what is no database's error."""

    name: str

    def run(self, connection: Connection) -> str:
        Note(self.name).run(connection)
        raise LookupError(self.name)


@dataclass(frozen=True)
class Answer(Single[str]):
    """Returns an exception as its result: what it wrote stays."""

    name: str

    def run(self, connection: Connection) -> str | LookupError:
        Note(self.name).run(connection)
        return LookupError(self.name)


@dataclass(frozen=True)
class Raise(Single[None]):
    """Has PostgreSQL raise an error."""

    sqlstate: str

    def run(self, connection: Connection) -> None:
        connection.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{self.sqlstate}'; END $$"))


async def names(store: Store) -> set[str]:
    return {row["name"] for row in await store.rows("SELECT name FROM marks")}


async def test_what_comes_while_a_group_is_being_written_is_committed_together(store: Store) -> None:
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    notes = [store.writer.submit(Note(f"note {number}")) for number in range(150)]
    assert store.writer.waiting == 151
    hold.go_on.set()
    await held
    assert await asyncio.gather(*notes) == [f"note {number}" for number in range(150)]
    assert await store.sizes_of_groups(commands=151) == [1, 64, 64, 22]
    assert store.writer.waiting == 0
    assert len(await names(store)) == 150


async def test_commands_of_several_kinds_share_a_group_in_their_order(store: Store) -> None:
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    together = [
        store.writer.submit(RecordMark(Mark.JUDGED, 1)),
        store.writer.submit(Note("between")),
        store.writer.submit(RecordMark(Mark.JUDGED, 3)),
    ]
    hold.go_on.set()
    await asyncio.gather(held, *together)
    assert await store.sizes_of_groups(commands=4) == [1, 3]
    assert await store.value("SELECT at FROM marks WHERE name = 'judged'") == 3


async def test_a_command_that_fails_in_a_group_fails_alone(store: Store) -> None:
    await store.submit(Note("taken"))
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    group = [store.writer.submit(one) for one in (Note("a"), Refuse("b"), Note("taken"), Note("c"), Answer("d"))]
    hold.go_on.set()
    await held
    a, b, taken, c, d = await asyncio.gather(*group, return_exceptions=True)
    assert (a, c) == ("a", "c")
    assert isinstance(b, LookupError)
    assert isinstance(taken, IntegrityError)
    assert isinstance(d, LookupError)
    assert await names(store) == {"taken", "a", "c", "d"}
    the_row_may_be_another_process_s = store.writing.dialect.name == "postgresql"
    rolled_back = 1 + 1 + (2 if the_row_may_be_another_process_s else 1)  # the group, b, and what is taken
    assert store.groups.failures == rolled_back


@pytest.mark.parametrize(
    ("sqlstate", "meant", "rolled_back"),
    [("40P01", StoreUnavailableError, 1 + 2), ("23505", IntegrityError, 1 + 2), ("54000", DBAPIError, 1 + 1)],
)
async def test_a_command_that_is_in_the_way_is_tried_once_more_and_one_that_asks_too_much_fails_at_once(
    postgresql_url: str, sqlstate: str, meant: type[Exception], rolled_back: int
) -> None:
    async with open_store(postgresql_url) as store:
        hold = Hold()
        held = store.writer.submit(hold)
        await hold.under_way()
        group = [store.writer.submit(one) for one in (Note("a"), Raise(sqlstate), Note("c"))]
        hold.go_on.set()
        await held
        a, wrong, c = await asyncio.gather(*group, return_exceptions=True)
        assert (a, c) == ("a", "c")
        assert isinstance(wrong, meant)
        assert await names(store) == {"a", "c"}
        assert store.groups.failures == rolled_back


async def test_an_error_shows_no_values_of_the_statement(store: Store) -> None:
    await store.submit(Note("once"))
    with pytest.raises(IntegrityError) as caught:
        await store.submit(Note("once", at=4_711_000_815))
    assert "4711000815" not in str(caught.value)


async def test_a_full_queue_refuses_offers_and_still_takes_what_must_not_be_refused(database_url: str) -> None:
    async with open_store(database_url, queue_limit=3) as store:
        hold = Hold()
        held = store.writer.submit(hold)
        await hold.under_way()
        offered = [store.writer.offer(Note(f"offer {number}")) for number in range(2)]
        with pytest.raises(WriterBusyError, match="3 commands are waiting"):
            store.writer.offer(Note("too much"))
        submitted = store.writer.submit(Note("an acknowledgement"))
        hold.go_on.set()
        await asyncio.gather(held, *offered, submitted)
        assert await names(store) == {"offer 0", "offer 1", "an acknowledgement"}
        assert await store.writer.offer(Note("now there is room")) == "now there is room"


async def test_stopping_carries_out_what_was_taken_and_refuses_the_rest(store: Store) -> None:
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    notes = [store.writer.submit(Note(f"note {number}")) for number in range(100)]
    stopping = asyncio.create_task(store.writer.stop())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailableError, match="stopping"):
        store.writer.submit(Note("late"))
    hold.go_on.set()
    await stopping
    assert not store.writer.alive
    await asyncio.gather(held, *notes)
    assert len(await names(store)) == 100


async def test_a_caller_who_gave_up_does_not_keep_the_others_from_their_answers(store: Store) -> None:
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    given_up, patient = store.writer.submit(Note("given up")), store.writer.submit(Note("patient"))
    given_up.cancel()
    hold.go_on.set()
    await held
    assert await patient == "patient"
    assert await names(store) == {"given up", "patient"}


async def test_a_store_that_stalls_is_waited_for_no_longer_and_what_it_was_not_given_is_withdrawn(store: Store) -> None:
    first, second = Hold(), Hold()
    answered = store.writer.submit(first)
    await first.under_way()
    given: list[asyncio.Future[Any]] = [store.writer.submit(second), store.writer.submit(Note("given"))]
    first.go_on.set()
    await answered
    await second.under_way()
    withdrawn = store.writer.submit(Note("withdrawn"))

    store.writer.give_up_after(30)
    assert not withdrawn.done()
    with capture_logs() as lines:
        for _ in range(2):
            store.writer.give_up_after(0)
    assert [line["event"] for line in lines] == ["store.stalled"]
    for future in (*given, withdrawn):
        with pytest.raises(StoreUnavailableError, match="has not answered for 0 s"):
            await future
    with pytest.raises(StoreUnavailableError, match="does not answer"):
        store.writer.submit(Note("refused"))
    assert store.writer.waiting == len(given)

    second.go_on.set()
    await store.sizes_of_groups(commands=3)
    assert await store.submit(Note("after")) == "after"
    assert await names(store) == {"given", "after"}
    assert store.writer.waiting == 0


async def test_a_stall_does_not_keep_the_writer_from_ending_afterwards(store: Store) -> None:
    hold = Hold()
    held = store.writer.submit(hold)
    await hold.under_way()
    stopping = asyncio.create_task(store.writer.stop())
    await asyncio.sleep(0)
    store.writer.give_up_after(0)
    with pytest.raises(StoreUnavailableError):
        await held
    hold.go_on.set()
    await stopping
    assert not store.writer.alive


async def test_a_query_that_takes_too_long_is_waited_for_no_longer(database_url: str) -> None:
    go_on = threading.Event()
    async with open_store(database_url, connections=1, patience=0.2) as store:
        with pytest.raises(StoreUnavailableError, match=r"has not answered for 0\.2 s"):
            await store.readers.run(lambda _: go_on.wait(30))
        with pytest.raises(StoreUnavailableError):
            await store.rows("SELECT 1")
        go_on.set()

        async def answered() -> bool:
            with suppress(StoreUnavailableError):
                return bool(await store.rows("SELECT 1"))
            return False

        await eventually(answered, what="queries are answered again")


@pytest.mark.timeout(90)
async def test_a_database_that_dies_and_returns_costs_errors_but_no_restart() -> None:
    with postgres_server() as server:
        async with open_store(server.url()) as store:
            await store.submit(Note("before"))
            server.kill()
            with pytest.raises(StoreUnavailableError):
                await store.submit(Note("meanwhile"))
            with pytest.raises(StoreUnavailableError):
                await store.rows("SELECT 1")
            assert store.groups.failures >= 1
            assert store.writer.alive
            server.start()
            # the first attempts may still meet connections that died with the server
            assert await store.submit(Note("after")) == "after"
            assert await names(store) == {"before", "after"}


async def test_a_connection_that_is_lost_in_the_middle_of_a_group_fails_that_group_only(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as store:
        hold = Hold()
        held = store.writer.submit(hold)
        await hold.under_way()
        cut = store.writer.submit(Disconnect())
        neighbour = store.writer.submit(Note("in the same group"))
        hold.go_on.set()
        await held
        for future in (cut, neighbour):
            with pytest.raises(StoreUnavailableError):
                await future
        assert await store.submit(Note("after")) == "after"
        assert await names(store) == {"after"}


class Disconnect(Single[None]):
    """Ends the session it runs in, as an administrator or a failover does."""

    def run(self, connection: Connection) -> None:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_a_disk_that_is_full_costs_errors_but_no_restart(sqlite_url: str) -> None:
    async with open_store(sqlite_url) as store:
        await store.submit(Note("before"))
        await store.submit(Limit(pages=1))
        with pytest.raises(StoreUnavailableError, match="full"):
            await store.submit(Note("x" * 200_000))
        # the limit went with the connection that met it
        assert await store.submit(Note("y" * 200_000))
        assert len(await names(store)) == 2


@dataclass(frozen=True)
class Limit(Single[None]):
    """Lets the file of the database grow no more."""

    pages: int

    def run(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {self.pages}")


async def test_two_writers_that_meet_on_one_row_both_get_their_answer(postgresql_url: str) -> None:
    """Each finds no row and inserts it; the second waits for the first, fails, and looks again."""
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        meeting = threading.Barrier(2)
        both = [Meet(meeting), Meet(meeting)]
        answers = await asyncio.gather(one.submit(both[0]), other.submit(both[1]))
        assert sorted(answers) == ["found", "wrote"]


@dataclass(frozen=True)
class Meet(Single[str]):
    """Writes a row if it is not there, both sides having looked before either writes."""

    meeting: threading.Barrier

    def run(self, connection: Connection) -> str:
        found = connection.execute(text("SELECT 1 FROM marks WHERE name = 'met'")).first()
        if found is not None:
            return "found"
        self.meeting.wait(30)
        Note("met").run(connection)
        return "wrote"


async def test_every_command_of_a_group_may_meet_what_another_process_has_just_written(postgresql_url: str) -> None:
    """The first one has the group fail; the second one is overtaken while it is carried out alone."""
    async with open_store(postgresql_url) as store:
        hold = Hold()
        held = store.writer.submit(hold)
        await hold.under_way()
        overtaken = [store.writer.submit(Overtaken(name, store.writing)) for name in ("a", "b")]
        hold.go_on.set()
        await held
        assert await asyncio.gather(*overtaken) == ["found", "found"]
        assert store.groups.failures == 2


@dataclass(frozen=True)
class Overtaken(Single[str]):
    """Writes a row if it is not there, which somebody else does between the look and the writing."""

    name: str
    engine: Engine

    def run(self, connection: Connection) -> str:
        if connection.execute(text("SELECT 1 FROM marks WHERE name = :name"), {"name": self.name}).first() is not None:
            return "found"
        with self.engine.begin() as other:
            Note(self.name).run(other)
        return Note(self.name).run(connection)


async def test_two_writers_in_each_others_way_both_get_their_answer(postgresql_url: str) -> None:
    """PostgreSQL ends one of two transactions that wait for each other; its commands are carried out again."""
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        await one.submit_all([Note("a"), Note("b")])
        crossing = threading.Barrier(2, timeout=0.5)
        await asyncio.gather(one.submit(Cross("a", "b", crossing)), other.submit(Cross("b", "a", crossing)))
        assert [row["at"] for row in await one.rows("SELECT at FROM marks")] == [3, 3]
        assert one.groups.failures + other.groups.failures > 0, "one is ended, or each ends itself"


@dataclass(frozen=True)
class Cross(Single[None]):
    """Counts up two rows, one before and one after it has met the other."""

    first: str
    second: str
    crossing: threading.Barrier

    def run(self, connection: Connection) -> None:
        count_up = text("UPDATE marks SET at = at + 1 WHERE name = :name")
        connection.execute(count_up, {"name": self.first})
        with suppress(threading.BrokenBarrierError):
            self.crossing.wait()
        connection.execute(count_up, {"name": self.second})


async def test_the_embedded_store_reads_from_a_file_with_odd_characters_in_its_name(tmp_path: Path) -> None:
    odd = tmp_path / "a 100% odd #name.db"
    async with open_store(f"sqlite:///{odd}") as store:
        await store.submit(Note("here"))
        assert await names(store) == {"here"}
    assert {path.name for path in tmp_path.iterdir()} == {odd.name}  # noqa: ASYNC240 - a folder of one file


async def test_readers_cannot_write(store: Store) -> None:
    with pytest.raises(StoreUnavailableError):
        await store.rows("INSERT INTO marks (name, at) VALUES ('x', 1) RETURNING name")
    assert await names(store) == set()


async def test_a_canary_that_fails_is_counted_and_does_not_move_the_mark(store: Store) -> None:
    await store.submit(RecordCanary(CanaryResult.OK, 5, None))
    await store.submit_all([RecordCanary(CanaryResult.FAILED, 9, None), RecordCanary(CanaryResult.OK, 3, None)])
    counted = await store.rows("SELECT first, total FROM counters WHERE name = 'canary_runs'")
    assert {row["first"]: row["total"] for row in counted} == {"ok": 2, "failed": 1}
    assert await store.value("SELECT at FROM marks WHERE name = 'canary_succeeded'") == 5
