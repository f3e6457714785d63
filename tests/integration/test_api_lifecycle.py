"""What may become of a booking, against the real service: answers, cancelling, completing, expiry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from support.bookings import make, problem
from support.service import running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    import httpx

STANDING = {
    (): ("pending", "awaiting_response"),
    ("accept",): ("confirmed", "confirmed"),
    ("decline",): ("cancelled", "declined"),
    ("cancel",): ("cancelled", "awaiting_response"),
    ("accept", "cancel"): ("cancelled", "confirmed"),
    ("accept", "complete"): ("completed", "confirmed"),
}
"""Every way that a booking can go, and where it then stands."""
LEGAL = {(): {"accept", "decline", "cancel"}, ("accept",): {"cancel", "complete"}}
ACTIONS = ("accept", "decline", "cancel", "complete")


def take(client: httpx.Client, booking_id: str, action: str) -> httpx.Response:
    return client.post(f"/v1/bookings/{booking_id}/{action}")


def chat(client: httpx.Client, room_id: str) -> list[str]:
    return [one["kind"] for one in client.get(f"/v1/chat-rooms/{room_id}/messages").json()["messages"]]


@pytest.mark.parametrize("way", STANDING, ids=lambda way: "-".join(way) or "made")
def test_every_legal_way_ends_where_it_should_and_the_chat_is_told(client: httpx.Client, way: tuple[str, ...]) -> None:
    made = make(client)
    booking_id = made["booking"]["id"]
    for action in way:
        assert take(client, booking_id, action).status_code == 200
    shown = client.get(f"/v1/bookings/{booking_id}").json()
    assert (shown["status"], shown["provider_response_status"]) == STANDING[way]
    told = {"accept": "accepted", "decline": "declined", "cancel": "cancelled", "complete": "completed"}
    assert chat(client, made["chat_room"]["id"]) == ["booking_received", *(f"booking_{told[action]}" for action in way)]


@pytest.mark.parametrize("way", STANDING, ids=lambda way: "-".join(way) or "made")
@pytest.mark.parametrize("action", ACTIONS)
def test_an_illegal_step_is_a_conflict_that_says_what_is_allowed_and_changes_nothing(
    client: httpx.Client, way: tuple[str, ...], action: str
) -> None:
    if action in LEGAL.get(way, set()) or action in way[-1:]:
        return
    made = make(client)
    booking_id = made["booking"]["id"]
    for step in way:
        take(client, booking_id, step)
    before = client.get(f"/v1/bookings/{booking_id}").json()
    messages = chat(client, made["chat_room"]["id"])
    detail = problem(take(client, booking_id, action), 409)["detail"]
    assert detail.startswith(f"cannot {action} a booking that is {before['status']}")
    allowed = ", ".join(sorted(LEGAL.get(way, set()))) or "nothing"
    assert detail.endswith(f"allowed now: {allowed}")
    assert client.get(f"/v1/bookings/{booking_id}").json() == before
    assert chat(client, made["chat_room"]["id"]) == messages


@pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
def test_a_repeated_step_changes_nothing_more(client: httpx.Client, action: str) -> None:
    made = make(client)
    booking_id = made["booking"]["id"]
    first = take(client, booking_id, action).json()
    assert take(client, booking_id, action).json() == first
    assert len(chat(client, made["chat_room"]["id"])) == 2


def test_of_two_answers_at_once_one_counts(client: httpx.Client) -> None:
    for _ in range(10):
        made = make(client)
        with ThreadPoolExecutor(2) as threads:
            answers = list(
                threads.map(lambda action, id_=made["booking"]["id"]: take(client, id_, action), ("accept", "decline"))
            )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert len(chat(client, made["chat_room"]["id"])) == 2


@pytest.mark.parametrize("action", ["expire", "delete", "ACCEPT", "accept/"])
def test_there_is_no_other_step(client: httpx.Client, action: str) -> None:
    problem(take(client, make(client)["booking"]["id"], action), 404)


def test_an_unanswered_booking_expires_at_its_deadline_and_tells_its_chat() -> None:
    with running_service(response_deadline=0.5) as service, service.client() as client:
        made = make(client)
        booking_id = made["booking"]["id"]

        def expired() -> bool:
            return bool(client.get(f"/v1/bookings/{booking_id}").json()["status"] == "expired")

        wait_until(expired, what="the booking expires")
        shown = client.get(f"/v1/bookings/{booking_id}").json()
        assert shown["provider_response_status"] == "timed_out"
        assert shown["updated_at"] >= shown["response_deadline"]
        assert chat(client, made["chat_room"]["id"]) == ["booking_received", "booking_expired"]
        for action in ACTIONS:
            assert "allowed now: nothing" in problem(take(client, booking_id, action), 409)["detail"]
        wait_until(lambda: service.log_events("booking.expired"), what="the log tells")
        assert [event["booking_id"] for event in service.log_events("booking.expired")] == [booking_id]


def test_an_answer_in_time_keeps_a_booking_from_expiring() -> None:
    with running_service(response_deadline=5) as service, service.client() as client:
        answered, open_ = make(client)["booking"]["id"], make(client)["booking"]["id"]
        assert take(client, answered, "accept").status_code == 200
        wait_until(
            lambda: service.log_events("booking.expired"), what="the unanswered booking expires", timeout_seconds=30
        )
        assert client.get(f"/v1/bookings/{answered}").json()["status"] == "confirmed"
        assert client.get(f"/v1/bookings/{open_}").json()["status"] == "expired"
