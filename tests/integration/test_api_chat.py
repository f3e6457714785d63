"""Reading and writing chat rooms, against the real service."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from support.bookings import make, problem, row_counts, wrong_fields
from support.service import RunningService, running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    import httpx


def say(client: httpx.Client, room_id: str, **fields: Any) -> httpx.Response:
    body = {"sender_type": "customer", "sender_id": "c-9", "body": "Hello"} | fields
    return client.post(f"/v1/chat-rooms/{room_id}/messages", json=body)


def test_both_sides_write_and_read_in_order(client: httpx.Client) -> None:
    room_id = make(client)["chat_room"]["id"]
    texts = ["Selamat pagi!", "Good morning 🌅", "two\nlines", "'; DROP TABLE chat_messages; --"]
    for number, text in enumerate(texts):
        sender_type, sender_id = ("customer", "c-9") if number % 2 == 0 else ("provider", "t-17")
        answer = say(client, room_id, sender_type=sender_type, sender_id=sender_id, body=text)
        assert answer.status_code == 201
        shown = answer.json()
        assert (shown["room_id"], shown["kind"], shown["body"]) == (room_id, "text", text)
        assert (shown["sender_type"], shown["sender_id"]) == (sender_type, sender_id)
    messages = client.get(f"/v1/chat-rooms/{room_id}/messages").json()["messages"]
    assert [one["body"] for one in messages[1:]] == texts
    assert messages[0]["sender_type"] == "system"
    assert messages[0]["sender_id"] is None


def test_reading_goes_on_from_the_last_message_that_was_seen(client: httpx.Client) -> None:
    room_id = make(client)["chat_room"]["id"]
    for number in range(6):
        say(client, room_id, body=f"message {number}")
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    while page := client.get(f"/v1/chat-rooms/{room_id}/messages", params=query).json()["messages"]:
        seen += [one["body"] for one in page]
        query["after"] = page[-1]["id"]
    assert seen[1:] == [f"message {number}" for number in range(6)]


def test_messages_of_one_room_are_not_seen_in_another(client: httpx.Client) -> None:
    first, second = make(client)["chat_room"]["id"], make(client)["chat_room"]["id"]
    say(client, first, body="only here")
    assert len(client.get(f"/v1/chat-rooms/{second}/messages").json()["messages"]) == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"body": ""}, "body"),
        ({"body": "x" * 4001}, "body"),
        ({"body": "a\u0000b"}, "body"),
        ({"body": 5}, "body"),
        ({"body": None}, "body"),
        ({"sender_type": "system"}, "sender_type"),
        ({"sender_type": None}, "sender_type"),
        ({"sender_id": "c-10"}, "sender_id"),
        ({"sender_id": "t-17"}, "sender_id"),
        ({"sender_id": 9}, "sender_id"),
        ({"sender_type": "provider"}, "sender_id"),
    ],
)
def test_a_message_that_is_not_in_order_is_refused_by_field_and_not_stored(
    service: RunningService, client: httpx.Client, fields: dict[str, Any], named: str
) -> None:
    room_id = make(client)["chat_room"]["id"]
    before = row_counts(service.database_path)
    assert wrong_fields(say(client, room_id, **fields)) == {named}
    assert row_counts(service.database_path) == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"\xff", b'{"body": NaN}', b'{"body": "\\ud83d"}'])
def test_a_message_that_is_no_json_object_is_refused_and_not_stored(
    service: RunningService, client: httpx.Client, body: bytes
) -> None:
    room_id = make(client)["chat_room"]["id"]
    before = row_counts(service.database_path)
    answer = client.post(
        f"/v1/chat-rooms/{room_id}/messages", content=body, headers={"Content-Type": "application/json"}
    )
    assert wrong_fields(answer) == {"body"}
    assert row_counts(service.database_path) == before


def test_a_room_that_does_not_exist_is_not_found(client: httpx.Client) -> None:
    room_id = str(uuid.uuid4())
    problem(client.get(f"/v1/chat-rooms/{room_id}/messages"), 404)
    problem(say(client, room_id), 404)
    assert wrong_fields(client.get("/v1/chat-rooms/lobby/messages")) == {"room_id"}


def test_a_room_that_has_expired_can_be_read_and_takes_no_more() -> None:
    with running_service(chat_room_lifetime=0.5) as service, service.client() as client:
        room_id = make(client)["chat_room"]["id"]
        said = []

        def closed() -> bool:
            answer = say(client, room_id)
            said.append(answer.status_code)
            return answer.status_code == 409

        wait_until(closed, what="the chat room expires")
        assert "expired" in problem(say(client, room_id), 409)["detail"]
        messages = client.get(f"/v1/chat-rooms/{room_id}/messages", params={"limit": 200}).json()["messages"]
        assert sum(one["kind"] == "text" for one in messages) == said.count(201)
