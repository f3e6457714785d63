"""Chat rooms."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from monitor.domain.representation import show_message
from monitor.domain.rows import Fields
from monitor.service import Service
from monitor.store import chat
from monitor.web import schemas
from monitor.web.auth import Caller
from monitor.web.context import AnyCaller, EntityId, JsonRoute, Limit, ServiceHere, answer, problems
from monitor.web.problems import ProblemError, invalid_field
from monitor.web.schemas import UUID_PATTERN

router = APIRouter(tags=["chat"], route_class=JsonRoute)


@router.get("/v1/chat-rooms/{room_id}/messages", response_model=schemas.Messages, responses=problems(404))
async def list_messages(
    room_id: EntityId,
    service: ServiceHere,
    caller: AnyCaller,
    after: Annotated[str | None, Query(pattern=UUID_PATTERN, description="Id of the last message seen.")] = None,
    limit: Limit = 100,
) -> Response:
    """Messages of a chat room, oldest first."""
    await _room(service, caller, room_id)
    rows = await service.readers.run(chat.messages, room_id, after=after, limit=limit)
    return answer({"messages": [show_message(row) for row in rows]})


@router.post(
    "/v1/chat-rooms/{room_id}/messages",
    status_code=201,
    response_model=schemas.Message,
    responses=problems(404, 409, 413, 415),
)
async def post_message(
    room_id: EntityId, message: schemas.NewMessage, service: ServiceHere, caller: AnyCaller
) -> Response:
    """Write into a chat room, for its customer or its provider."""
    room = await _room(service, caller, room_id)
    if caller.provider_id is not None and message.sender_type != "provider":
        raise ProblemError(403, "A provider writes as `provider`.")
    if message.sender_id != room[f"{message.sender_type}_id"]:
        raise invalid_field("sender_id", f"is the id of this chat room's {message.sender_type}")
    posted: Any = await service.writer.offer(
        chat.Post(room_id, message.sender_type, message.sender_id, message.body, service.clock())
    )
    return answer(show_message(posted), 201)


async def _room(service: Service, caller: Caller, room_id: str) -> Fields:
    room = await service.readers.run(chat.find_room, room_id)
    if room is None or caller.provider_id not in (None, room["provider_id"]):
        raise chat.UnknownRoomError(room_id)
    return room
