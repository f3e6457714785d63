"""Texts that are remembered from one start to the next."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from monitor.domain.ledger import Note
from monitor.store.commands import Single
from monitor.store.statements import upsert
from monitor.store.tables import notes


@dataclass(frozen=True, slots=True)
class WriteNote(Single[None]):
    """Remembers a text."""

    note: Note
    value: str

    def run(self, connection: Connection) -> None:
        """Write it over the one before."""
        upsert(connection, notes, {"name": self.note.value, "value": self.value})


def read_notes(connection: Connection) -> dict[Note, str]:
    """All texts that are remembered."""
    return {Note(row.name): row.value for row in connection.execute(select(notes))}
