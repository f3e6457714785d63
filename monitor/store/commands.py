"""What the writer carries out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from sqlalchemy import Connection

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Command(Protocol[R_co]):
    """Something to write. Commands of one type that stand together in the queue are carried out at once."""

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[Any], /) -> Sequence[R_co | Exception]:
        """Write them all and return a result for each. May run again after a rollback: it keeps no state.

        A result that is an exception is raised to the one who submitted that command.
        """
        ...


class InOneStatement(ABC):
    """A command of which a group may be written by one statement."""

    __slots__ = ()

    @classmethod
    @abstractmethod
    def is_one_statement(cls, commands: Sequence[Any], /) -> bool:
        """Whether `execute` runs a single statement for these: it is a transaction by itself, and needs no other."""


class Single(ABC, Generic[R]):
    """A command that gains nothing from being carried out together with others of its type."""

    __slots__ = ()

    @abstractmethod
    def run(self, connection: Connection) -> R | Exception:
        """Write it, and return its result."""

    @classmethod
    def execute(cls, connection: Connection, commands: Sequence[Single[R]]) -> Sequence[R | Exception]:
        """Write one after the other."""
        return [command.run(connection) for command in commands]
