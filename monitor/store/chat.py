"""Chat: reading a room, writing into it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select

from monitor.domain.chat import MessageKind
from monitor.domain.ids import new_id
from monitor.domain.rows import Fields
from monitor.store.commands import Single
from monitor.store.statements import insert_rows
from monitor.store.tables import chat_messages, chat_rooms


class UnknownRoomError(Exception):
    """There is no such chat room."""


class RoomClosedError(Exception):
    """The chat room takes no more messages."""


@dataclass(frozen=True, slots=True)
class Post(Single[Fields]):
    """Writes a message of a customer or a provider into a room."""

    room_id: str
    sender_type: str
    sender_id: str
    body: str
    now: int

    def run(self, connection: Connection) -> Fields | UnknownRoomError | RoomClosedError:
        """Return each message as it was written, or why it was not."""
        room = find_room(connection, self.room_id)
        if room is None:
            return UnknownRoomError(self.room_id)
        if self.now >= room["expires_at"]:
            return RoomClosedError(self.room_id)
        row = {
            "id": new_id(self.now),
            "room_id": self.room_id,
            "kind": MessageKind.TEXT.value,
            "sender_type": self.sender_type,
            "sender_id": self.sender_id,
            "body": self.body,
            "created_at": self.now,
        }
        insert_rows(connection, chat_messages, [tuple(row.values())])
        return row


def find_room(connection: Connection, room_id: str) -> Fields | None:
    """A chat room by its id."""
    return connection.execute(select(chat_rooms).where(chat_rooms.c.id == room_id)).mappings().one_or_none()


def messages(connection: Connection, room_id: str, *, after: str | None, limit: int) -> Sequence[Fields]:
    """Messages of a room, oldest first, from the one after `after` on."""
    query = select(chat_messages).where(chat_messages.c.room_id == room_id).order_by(chat_messages.c.id).limit(limit)
    if after is not None:
        query = query.where(chat_messages.c.id > after)
    return connection.execute(query).mappings().all()
