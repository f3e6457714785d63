"""The writer: one thread that owns the connection that writes, and commits what has queued up as one.

Groups form by themselves: while one transaction is being made durable the next commands queue up. A caller
hears of success only after the commit. A group that fails is rolled back, and then each of its commands runs
alone: it fails for itself and not for its neighbours. And one that runs into what another process may only just
have written is tried once more: it sees that then.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Generic, Protocol, TypeVar

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from monitor.store import driver
from monitor.store.commands import Command, InOneStatement

log = structlog.get_logger("monitor.store.writer")

T = TypeVar("T")


class StoreUnavailableError(Exception):
    """The store did not take a write: nothing is known to be stored, and trying again later is right."""


class WriterBusyError(StoreUnavailableError):
    """Too many commands are waiting for the writer."""


class GroupObserver(Protocol):
    """Is told of every transaction."""

    def observe_group(self, commands: int, seconds: float) -> None:
        """Take note of a committed group: how many commands, and how long it took from begin to commit."""
        ...

    def observe_failure(self) -> None:
        """Take note of a transaction that was rolled back, or for which there was no connection."""
        ...


@dataclass(slots=True)
class _Waiting(Generic[T]):
    command: Command[T]
    future: asyncio.Future[T]


_STOP = object()
_Answers = list[tuple[_Waiting[Any], Any]]
_Spent = list[tuple[int, float]]
"""How many commands each transaction had, and the seconds that it took."""


class Writer:
    """Runs commands in groups on a thread of its own. Made and used on one event loop."""

    def __init__(self, engine: Engine, observer: GroupObserver, *, queue_limit: int, group_limit: int) -> None:
        self._engine = engine
        self._observer = observer
        self._queue_limit = queue_limit
        self._group_limit = group_limit
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._refusal: str | None = None
        self._alive = False
        self._stalled = False
        self._under_way: tuple[float, list[_Waiting[Any]]] | None = None
        """The group that the thread carries out, and since when, in seconds of monotonic time."""

    @property
    def waiting(self) -> int:
        """Commands that were submitted and are not answered yet."""
        return self._waiting

    @property
    def alive(self) -> bool:
        """Whether commands are being carried out; no longer once those who waited have been told."""
        return self._alive

    def start(self) -> None:
        """Begin to take commands."""
        self._alive = True
        self._thread.start()

    async def stop(self) -> None:
        """Carry out what was submitted, then end the thread and close the connection."""
        self.refuse("the service is stopping")
        await asyncio.to_thread(self._thread.join)

    def refuse(self, reason: str) -> None:
        """Take no more commands; what was submitted is still carried out."""
        if self._refusal is None:
            self._refusal = reason
            self._queue.put(_STOP)

    def offer(self, command: Command[T]) -> asyncio.Future[T]:
        """Submit on behalf of a caller who can come back. Raises WriterBusyError when the queue is full."""
        if self._waiting >= self._queue_limit:
            raise WriterBusyError(f"{self._waiting} commands are waiting for the store")
        return self.submit(command)

    def submit(self, command: Command[T]) -> asyncio.Future[T]:
        """Submit a command; the future has its result after the commit, or raises StoreUnavailableError."""
        if self._refusal is not None:
            raise StoreUnavailableError(self._refusal)
        if self._stalled:
            raise StoreUnavailableError("the store does not answer")
        future: asyncio.Future[T] = self._loop.create_future()
        self._waiting += 1
        self._queue.put(_Waiting(command, future))
        return future

    def give_up_after(self, patience: float) -> None:
        """Let nobody wait any longer if the store has not answered for so many seconds. To be called now and then.

        What waits behind that is withdrawn, and nothing more is taken until the store answers. Of what the store was
        given nobody knows yet whether it will be stored.
        """
        under_way = self._under_way
        if under_way is None or time.monotonic() - under_way[0] < patience:
            return
        if not self._stalled:
            log.error("store.stalled", seconds=patience, waiting=self._waiting)
        self._stalled = True
        unavailable = StoreUnavailableError(f"the store has not answered for {patience:g} s")
        withdrawn = self._withdraw()
        self._waiting -= len(withdrawn)
        for waiting in (*under_way[1], *withdrawn):
            _tell(waiting, unavailable)

    def _withdraw(self) -> list[_Waiting[Any]]:
        """Take back what waits in the queue."""
        items: list[Any] = []
        with contextlib.suppress(queue.Empty):
            while True:
                items.append(self._queue.get_nowait())
        if _STOP in items:
            self._queue.put(_STOP)
        return [item for item in items if item is not _STOP]

    def _run(self) -> None:
        group: list[_Waiting[Any]] = []
        try:
            connection: Connection | None = None
            stopping = False
            while not stopping:
                group, stopping = self._take()
                connection = self._carry_out(connection, group)
                group = []
            _discard(connection)
        finally:
            self._loop.call_soon_threadsafe(self._ended, group)

    def _carry_out(self, connection: Connection | None, group: list[_Waiting[Any]]) -> Connection | None:
        """Answer every command of a group, whatever happens. Returns the connection if it is still good."""
        if not group:
            return connection
        answers: _Answers = []
        spent: _Spent = []
        self._under_way = time.monotonic(), group
        try:
            if connection is None:
                connection = driver.open_connection(self._engine)
            self._write(connection, group, answers, spent)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait are told and the next ones served
            if connection is None:
                self._observer.observe_failure()
            _discard(connection)
            connection = None
            unanswered = group[len(answers) :]
            log.error("store.write_failed", commands=len(unanswered), error=describe(error))  # noqa: TRY400 - a traceback would show the statement's values
            unavailable = StoreUnavailableError(describe(error))
            answers += [(waiting, unavailable) for waiting in unanswered]
        self._under_way = None  # first: who still sees it can rely on the answers to come
        self._loop.call_soon_threadsafe(self._answer, answers, spent)
        return connection

    def _ended(self, group: list[_Waiting[Any]]) -> None:
        """Refuse what comes from now on, and what waits: after a stop that is nothing, after a fault it is."""
        self._alive = False
        self._refusal = self._refusal or "the writer has ended"
        unavailable = StoreUnavailableError(self._refusal)
        self._answer([(waiting, unavailable) for waiting in (*group, *self._withdraw())], [])

    def _take(self) -> tuple[list[_Waiting[Any]], bool]:
        """Wait for a command, and take with it all that are waiting, up to the group limit."""
        group: list[_Waiting[Any]] = []
        item = self._queue.get()
        while True:
            if item is _STOP:
                return group, True
            group.append(item)
            if len(group) >= self._group_limit:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False

    def _write(
        self,
        connection: Connection,
        group: list[_Waiting[Any]],
        answers: _Answers,
        spent: _Spent,
        *,
        again: bool = False,
    ) -> None:
        """Write a group and add its answers in its order, and how many commands each transaction took how long.

        `again` is the second and last try of a command alone. Raises what the store does; the rest has no answer then.
        """
        begun = time.perf_counter()
        try:
            written = _transact(connection, group)
        except Exception as error:
            self._observer.observe_failure()
            if connection.invalidated or _about_the_store(error):
                raise
            if len(group) > 1:
                for waiting in group:
                    self._write(connection, [waiting], answers, spent)
            elif _met_another(error) and not again:
                self._write(connection, group, answers, spent, again=True)
            else:
                answers.append((group[0], StoreUnavailableError(describe(error)) if _in_the_way(error) else error))
            return
        answers += written
        spent.append((len(group), time.perf_counter() - begun))

    def _answer(self, answers: _Answers, spent: _Spent) -> None:
        self._stalled = False
        self._waiting -= len(answers)
        for waiting, result in answers:
            _tell(waiting, result)
        self._loop.call_soon(self._observe, spent)  # once those who wait have gone on

    def _observe(self, spent: _Spent) -> None:
        for commands, seconds in spent:
            self._observer.observe_group(commands, seconds)


def _tell(waiting: _Waiting[Any], result: Any) -> None:
    if waiting.future.done():
        return
    if isinstance(result, BaseException):
        waiting.future.set_exception(result)
    else:
        waiting.future.set_result(result)


def _kind(waiting: _Waiting[Any]) -> str:
    return type(waiting.command).__name__


def _transact(connection: Connection, group: list[_Waiting[Any]]) -> _Answers:
    """Carry out a group, one type of command after the other: always in the same order of types.

    So two replicas lock what they share (the rows of the counters, above all) in the same order, and neither waits
    for the other in a circle. Those of one type keep their order. It is the falling order of names, in which opening
    and putting come before closing and dropping. A group that is one statement is a transaction as it is.
    """
    if _is_one_statement(commands := [waiting.command for waiting in group]):
        return list(zip(group, commands[0].execute(connection, commands), strict=True))
    answers: _Answers = []
    driver.begin(connection)
    try:
        for kind, members in groupby(sorted(group, key=_kind, reverse=True), key=lambda waiting: type(waiting.command)):
            together = list(members)
            results = kind.execute(connection, [waiting.command for waiting in together])
            answers += zip(together, results, strict=True)
        driver.commit(connection)
    except BaseException:
        driver.roll_back(connection)
        raise
    return answers


def _is_one_statement(commands: list[Command[Any]]) -> bool:
    """Whether commands are written by one statement, which is a transaction by itself."""
    kind: type = type(commands[0])
    alike = all(type(command) is kind for command in commands)
    return alike and issubclass(kind, InOneStatement) and kind.is_one_statement(commands)


_STORE_FAULTS = ("OperationalError", "InterfaceError", "InternalError", "DatabaseError")
_ROLLED_BACK = "40"
"""The class of SQLSTATEs of a transaction that stood in another one's way, as in a deadlock."""
_TOO_MUCH = "54"
"""That of a command which asks for more than the database can do, as a value that is too long for an index."""
_ALREADY_THERE = "23505"
"""The SQLSTATE of a row with a key that another one has, which is there for good or was written meanwhile."""


def _about_the_store(error: Exception) -> bool:
    """Whether the store is at fault (disk full, connection lost) and not the command, or another's command."""
    faulty = isinstance(error, DBAPIError) and type(error).__name__ in _STORE_FAULTS
    return faulty and not _state(error).startswith((_ROLLED_BACK, _TOO_MUCH))


def _in_the_way(error: Exception) -> bool:
    """Whether a command met another one's, and may well succeed later."""
    return _state(error).startswith(_ROLLED_BACK)


def _met_another(error: Exception) -> bool:
    """Whether what a command met may be another process's doing, so that the next try ends otherwise."""
    return _in_the_way(error) or _state(error) == _ALREADY_THERE


def _state(error: Exception) -> str:
    """The SQLSTATE of an error; empty where it has none."""
    return str(getattr(error.orig, "sqlstate", None) or "") if isinstance(error, DBAPIError) else ""


def describe(error: BaseException) -> str:
    """What went wrong, without the values of the statement: they hold personal data."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    lines = str(cause).splitlines() if isinstance(error, DBAPIError) and _about_the_store(error) else []
    return f"{type(cause).__name__}: {lines[0]}" if lines else type(cause).__name__


def _discard(connection: Connection | None) -> None:
    if connection is None:
        return
    try:
        connection.close()
    except SQLAlchemyError as error:
        log.warning("store.close_failed", error=describe(error))
