"""Making and reading bookings, against the real service."""

from __future__ import annotations

import sqlite3
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from support.bookings import booking, make, problem, row_counts, wrong_fields
from support.service import API_TOKEN, RunningService, booking_monitor, running_service
from support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

OTHER_TOKEN = "another-token-of-these-tests"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(api_tokens=f"{API_TOKEN},{OTHER_TOKEN}") as service:
        yield service


def tomorrow() -> str:
    return (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def test_a_booking_is_answered_with_everything_that_was_made_for_it(client: httpx.Client) -> None:
    when = tomorrow()
    fields = {
        "provider_id": "t-full",
        "customer_phone": "+62 812-3456-7890",
        "service_type": "massage",
        "duration_minutes": 60,
        "price_minor": 35_000_000,
        "currency": "IDR",
        "location": "Jl. Pantai Kuta 8, Kuta",
        "scheduled_for": when,
        "notes": "Ring twice.\nDog is friendly.",
    }
    answer = client.post("/v1/bookings", json=booking(**fields))
    assert answer.status_code == 201
    made = answer.json()
    shown = made["booking"]
    assert {name: shown[name] for name in fields} == fields
    assert shown["status"] == "pending"
    assert shown["provider_response_status"] == "awaiting_response"
    assert shown["traffic"] == "real"
    assert shown["extra"] is None
    created = datetime.fromisoformat(shown["created_at"])
    assert datetime.fromisoformat(shown["response_deadline"]) - created == timedelta(minutes=5)
    assert datetime.fromisoformat(made["chat_room"]["expires_at"]) - created == timedelta(minutes=25)
    assert uuid.UUID(shown["id"]).version == 7
    assert answer.headers["location"] == f"/v1/bookings/{shown['id']}"
    assert client.get(answer.headers["location"]).json() == shown
    inbox = client.get("/v1/providers/t-full/notifications").json()["notifications"]
    assert [one["id"] for one in inbox] == [made["notification"]["id"]]
    messages = client.get(f"/v1/chat-rooms/{made['chat_room']['id']}/messages").json()["messages"]
    assert [(one["kind"], one["sender_type"]) for one in messages] == [("booking_received", "system")]


def test_a_journey_shows_every_stage_that_is_owed_and_its_deliveries(client: httpx.Client) -> None:
    made = make(client, provider_id="t-journey")
    journey = client.get(f"/v1/bookings/{made['booking']['id']}/journey").json()
    created = datetime.fromisoformat(journey["created_at"])
    due = {
        stage["stage"]: (datetime.fromisoformat(stage["due_at"]) - created).total_seconds()
        for stage in journey["stages"]
    }
    assert due == {"chat_room": 5, "message": 5, "notification": 10, "realtime": 10}
    assert [delivery["stage"] for delivery in journey["deliveries"]] == ["realtime"]
    assert all(stage["outcome"] is None for stage in journey["stages"])


def test_a_trace_that_the_caller_began_is_that_of_the_journey(client: httpx.Client) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    headers = {"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    made = client.post("/v1/bookings", json=booking(), headers=headers).json()
    assert client.get(f"/v1/bookings/{made['booking']['id']}/journey").json()["trace_id"] == trace_id


def test_unknown_fields_are_kept_as_they_came(client: httpx.Client) -> None:
    extra = {
        "hotelRoomNumber": "1204",
        "affiliateCode": None,
        "nested": {"deep": [1, 2.5, True, None, "Ünïcödé 🧘\u0000"]},
        "größe": 9_007_199_254_740_993,
        "": "empty",
        "__proto__": {"admin": True},
    }
    made = make(client, **extra)["booking"]
    expected = {name: value for name, value in extra.items() if value is not None}
    assert made["extra"] == expected
    assert client.get(f"/v1/bookings/{made['id']}").json()["extra"] == expected


@pytest.mark.parametrize("name", ["id", "status", "created_at", "response_deadline", "provider_response_status"])
def test_a_caller_cannot_set_what_is_ours(client: httpx.Client, name: str) -> None:
    made = make(client, **{name: "confirmed"})["booking"]
    assert made[name] != "confirmed"
    assert made["extra"] == {name: "confirmed"}


@pytest.mark.parametrize(
    "text",
    [
        "I Gusti Ayu Ngurah Dewi",
        "Nguyễn Thị Ánh",
        "محمد",
        "李小龙",
        "👩🏽‍🔧 Zoë",
        "e\u0301",
        "\u202eevil",
        "O'Brien; DROP TABLE",
    ],
)
def test_odd_names_are_stored_to_the_character(client: httpx.Client, text: str) -> None:
    made = make(client, customer_name=text)["booking"]
    assert client.get(f"/v1/bookings/{made['id']}").json()["customer_name"] == text


def test_a_number_that_is_whole_may_be_written_as_a_fraction(client: httpx.Client) -> None:
    made = make(client, duration_minutes=60.0, price_minor=1.5e7)["booking"]
    assert (made["duration_minutes"], made["price_minor"]) == (60, 15_000_000)


def test_of_a_field_that_is_given_twice_the_last_counts(client: httpx.Client) -> None:
    body = '{"provider_id":"t-1","provider_id":"t-2","provider_name":"A","customer_id":"c","customer_name":"B"}'
    answer = client.post("/v1/bookings", content=body, headers={"Content-Type": "application/json"})
    assert answer.json()["booking"]["provider_id"] == "t-2"


PAST = "2020-01-01T10:00:00Z"
WRONG: list[tuple[dict[str, Any], set[str]]] = [
    ({"provider_id": None}, {"provider_id"}),
    ({"provider_id": ""}, {"provider_id"}),
    ({"provider_id": 17}, {"provider_id"}),
    ({"provider_id": "a b"}, {"provider_id"}),
    ({"provider_id": "../../etc"}, {"provider_id"}),
    ({"provider_id": "x" * 129}, {"provider_id"}),
    ({"provider_id": ["t-1"]}, {"provider_id"}),
    ({"provider_name": None}, {"provider_name"}),
    ({"provider_name": " "}, {"provider_name"}),
    ({"provider_name": "A\u0000B"}, {"provider_name"}),
    ({"provider_name": "x" * 201}, {"provider_name"}),
    ({"provider_type": "Therapist!"}, {"provider_type"}),
    ({"customer_id": None, "customer_name": None}, {"customer_id", "customer_name"}),
    ({"customer_id": {"id": 1}}, {"customer_id"}),
    ({"customer_name": "two\nlines"}, {"customer_name"}),
    ({"customer_phone": "call me"}, {"customer_phone"}),
    ({"duration_minutes": "60"}, {"duration_minutes"}),
    ({"duration_minutes": 0}, {"duration_minutes"}),
    ({"duration_minutes": 1.5}, {"duration_minutes"}),
    ({"duration_minutes": True}, {"duration_minutes"}),
    ({"duration_minutes": 10**9}, {"duration_minutes"}),
    ({"price_minor": -1}, {"price_minor"}),
    ({"price_minor": 10**13}, {"price_minor"}),
    ({"price_minor": 10**400}, {"price_minor"}),
    ({"price_minor": 0.5}, {"price_minor"}),
    ({"price": -350_000}, {"price"}),
    ({"price": 1e300}, {"price"}),
    ({"price": "350000"}, {"price"}),
    ({"price": True}, {"price"}),
    ({"totalCost": {"amount": 1}}, {"totalCost"}),
    ({"price_minor": 1, "currency": "XXX"}, {"currency"}),
    ({"price_minor": 1, "currency": "idr"}, {"currency"}),
    ({"price": 1, "currency": ["IDR"]}, {"currency"}),
    ({"scheduled_for": PAST}, {"scheduled_for"}),
    ({"scheduled_for": "2099-01-01T10:00:00"}, {"scheduled_for"}),
    ({"scheduled_for": "tomorrow"}, {"scheduled_for"}),
    ({"scheduled_for": 1_800_000_000}, {"scheduled_for"}),
    ({"scheduled_for": "9999-12-31T23:59:59-23:59"}, {"scheduled_for"}),
    ({"startTime": PAST}, {"startTime"}),
    ({"date": "01/12/2026"}, {"date"}),
    ({"date": 20_261_201}, {"date"}),
    ({"date": "2099-12-01", "time": "2 pm"}, {"time"}),
    ({"notes": "x" * 4001}, {"notes"}),
    ({"notes": "bell \u0007"}, {"notes"}),
    ({"location": 5}, {"location"}),
    ({"traffic": "synthetic"}, {"traffic"}),
    ({"therapistId": "t-18"}, {"therapistId"}),
    ({"providerId": "t-18", "therapistId": "t-19"}, {"providerId", "therapistId"}),
    ({"therapistName": "Someone Else"}, {"therapistName"}),
    ({"providerType": "place"}, {"providerType"}),
    ({"service": "hot stone"}, {"service"}),
    ({"blob": "x" * 17_000}, {"extra"}),
    ({"counter": 2**64}, {"counter"}),
    ({"provider_id": None, "price_minor": -1, "currency": "ZZZ"}, {"provider_id", "price_minor", "currency"}),
]


@pytest.mark.parametrize(("fields", "named"), WRONG, ids=[str(fields)[:60] for fields, _ in WRONG])
def test_a_booking_that_is_not_in_order_is_refused_by_field_and_nothing_is_stored(
    service: RunningService, client: httpx.Client, fields: dict[str, Any], named: set[str]
) -> None:
    before = row_counts(service.database_path)
    answer = client.post("/v1/bookings", json=booking(**fields), headers={"Idempotency-Key": str(uuid.uuid4())})
    assert wrong_fields(answer) == named
    assert row_counts(service.database_path) == before


MALFORMED = [
    b"",
    b"{",
    b"[]",
    b"null",
    b'"booking"',
    b"provider_id=t-1",
    b'{"provider_id": NaN}',
    b'{"price_minor": Infinity}',
    b'{"provider_id": "t-1",}',
    b'{"provider_name": "\\ud800"}',
    b'{"notes": "caf\xe9"}',
    b"\xef\xbb\xbf{}",
    '{"notes": "x"}'.encode("utf-16"),
    b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"notes": "raw \x01 control"}',
]


@pytest.mark.parametrize("body", MALFORMED, ids=[str(body)[:40] for body in MALFORMED])
def test_a_body_that_is_no_json_object_is_refused_and_nothing_is_stored(
    service: RunningService, client: httpx.Client, body: bytes
) -> None:
    before = row_counts(service.database_path)
    answer = client.post("/v1/bookings", content=body, headers={"Content-Type": "application/json"})
    assert wrong_fields(answer) == {"body"}
    assert row_counts(service.database_path) == before


@pytest.mark.parametrize("booking_id", ["91b4fb65-1196-43ce-9422-9e26e42df7d9", "00000000-0000-0000-0000-000000000000"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/journey"), ("POST", "/accept"), ("POST", "/cancel"), ("DELETE", "")],
)
def test_a_booking_that_does_not_exist_is_not_found(
    client: httpx.Client, method: str, path: str, booking_id: str
) -> None:
    problem(client.request(method, f"/v1/bookings/{booking_id}{path}"), 404)


@pytest.mark.parametrize("booking_id", ["1", "x" * 5000, "%00", "%ff%fe", "'; DROP TABLE bookings; --", "{id}"])
def test_an_id_that_is_none_is_refused_by_name(client: httpx.Client, booking_id: str) -> None:
    assert wrong_fields(client.get(f"/v1/bookings/{booking_id}")) == {"booking_id"}


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "Pending"}, "status"),
        ({"provider_id": "a b"}, "provider_id"),
        ({"provider_id": "\x00"}, "provider_id"),
        ({"cursor": "next"}, "cursor"),
    ],
)
def test_a_query_that_is_not_in_order_is_refused_by_field(
    client: httpx.Client, query: dict[str, str], named: str
) -> None:
    assert wrong_fields(client.get("/v1/bookings", params=query)) == {named}


def test_pages_of_bookings_are_complete_and_newest_first(client: httpx.Client) -> None:
    made = [make(client, provider_id="t-pages")["booking"]["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] = {"provider_id": "t-pages", "limit": 2}
    while True:
        page = client.get("/v1/bookings", params=query).json()
        seen += [one["id"] for one in page["bookings"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == sorted(made, reverse=True)
    journeys = client.get("/v1/journeys", params={"provider_id": "t-pages", "limit": 200}).json()["journeys"]
    assert [one["booking_id"] for one in journeys] == seen


@pytest.mark.parametrize(
    ("name", "key", "damage"),
    [
        ("bookings", "id", "UPDATE bookings SET extra = '{bad' WHERE id = ?"),
        ("bookings", "id", "UPDATE bookings SET provider_name = x'ff00' WHERE id = ?"),
        ("journeys", "booking_id", "UPDATE bookings SET created_at = 999999999999999999 WHERE id = ?"),
        ("journeys", "booking_id", "UPDATE stages SET due_at = 'x' WHERE booking_id = ?"),
        ("journeys", "booking_id", "UPDATE stages SET stage = 'odd' WHERE booking_id = ? AND stage = 'message'"),
    ],
)
def test_a_list_names_the_one_whose_rows_are_damaged_and_shows_the_others(
    service: RunningService, client: httpx.Client, name: str, key: str, damage: str
) -> None:
    route = f"/v1/{name}"
    provider_id = f"t-{uuid.uuid4()}"
    first, damaged, last = [make(client, provider_id=provider_id)["booking"]["id"] for _ in range(3)]
    with closing(sqlite3.connect(service.database_path, isolation_level=None)) as connection:
        connection.execute(damage, (damaged,))
        newer = client.get(route, params={"provider_id": provider_id, "limit": 2}).json()
        older = client.get(route, params={"provider_id": provider_id, "limit": 2, "cursor": damaged}).json()
        connection.execute("DELETE FROM stages WHERE booking_id = ?", (damaged,))  # they would be in the judge's way
    assert [one[key] for one in newer[name]] == [last]
    assert (newer["unreadable"], newer["next_cursor"]) == ([damaged], damaged)
    assert [one[key] for one in older[name]] == [first]
    assert (older["unreadable"], older["next_cursor"]) == ([], None)
    wait_until(
        lambda: damaged in {line["booking_id"] for line in service.log_events("booking.unreadable")},
        what="it is logged",
    )


def test_bookings_are_found_by_status(client: httpx.Client) -> None:
    made = [make(client, provider_id="t-status")["booking"]["id"] for _ in range(2)]
    client.post(f"/v1/bookings/{made[0]}/accept")
    found = {
        status: [
            one["id"]
            for one in client.get("/v1/bookings", params={"provider_id": "t-status", "status": status}).json()[
                "bookings"
            ]
        ]
        for status in ("pending", "confirmed", "cancelled")
    }
    assert found == {"pending": [made[1]], "confirmed": [made[0]], "cancelled": []}


def test_a_real_booking_is_never_removed_and_a_canary_leaves_nothing(
    service: RunningService, client: httpx.Client
) -> None:
    real = make(client)["booking"]["id"]
    problem(client.delete(f"/v1/bookings/{real}"), 409)
    assert client.get(f"/v1/bookings/{real}").status_code == 200
    before = row_counts(service.database_path)
    canary = make(client, traffic="canary")["booking"]["id"]
    assert client.delete(f"/v1/bookings/{canary}").status_code == 204
    problem(client.get(f"/v1/bookings/{canary}"), 404)
    problem(client.delete(f"/v1/bookings/{canary}"), 404)
    assert row_counts(service.database_path) == before


def keyed(client: httpx.Client, key: str, **fields: Any) -> httpx.Response:
    return client.post("/v1/bookings", json=booking(**fields), headers={"Idempotency-Key": key})


def test_identical_requests_at_once_with_one_key_make_one_booking(service: RunningService) -> None:
    before = row_counts(service.database_path)
    key = str(uuid.uuid4())
    with service.client() as client, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: keyed(client, key), range(48)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["booking"]["id"] for answer in answers}) == 1
    assert len({answer.json()["chat_room"]["id"] for answer in answers}) == 1
    assert sum(answer.headers.get("idempotent-replayed") != "true" for answer in answers) == 1
    after = row_counts(service.database_path)
    assert {table: after[table] - before[table] for table in ("bookings", "chat_rooms", "notifications")} == {
        "bookings": 1,
        "chat_rooms": 1,
        "notifications": 1,
    }


def test_a_key_with_another_body_is_a_conflict_and_changes_nothing(
    service: RunningService, client: httpx.Client
) -> None:
    key = str(uuid.uuid4())
    first = keyed(client, key).json()
    before = row_counts(service.database_path)
    assert "Idempotency-Key" in problem(keyed(client, key, notes="another"), 409)["detail"]
    assert row_counts(service.database_path) == before
    again = keyed(client, key)
    assert again.json() == first
    assert again.headers["idempotent-replayed"] == "true"


def test_the_key_of_another_caller_is_another_key(service: RunningService, client: httpx.Client) -> None:
    key = str(uuid.uuid4())
    with service.client(OTHER_TOKEN) as other:
        first, second = keyed(client, key).json(), keyed(other, key, notes="another").json()
    assert first["booking"]["id"] != second["booking"]["id"]


def test_a_replay_shows_the_booking_as_it_is_now(client: httpx.Client) -> None:
    key = str(uuid.uuid4())
    made = keyed(client, key).json()["booking"]
    client.post(f"/v1/bookings/{made['id']}/accept")
    assert keyed(client, key).json()["booking"]["status"] == "confirmed"


def test_a_failed_request_does_not_use_its_key_up(client: httpx.Client) -> None:
    key = str(uuid.uuid4())
    problem(keyed(client, key, price_minor=-1), 422)
    assert keyed(client, key).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "é".encode("latin-1")])
def test_a_key_that_is_none_is_refused_by_name(client: httpx.Client, key: str | bytes) -> None:
    answer = client.post(
        "/v1/bookings", json=booking(), headers=[(b"Idempotency-Key", key.encode() if isinstance(key, str) else key)]
    )
    assert wrong_fields(answer) == {"Idempotency-Key"}


@pytest.mark.parametrize("crash", [False, True], ids=["stop", "kill"])
def test_a_key_is_remembered_over_a_restart(crash: bool) -> None:  # noqa: FBT001 - a parameter of the test
    with running_service() as service:
        with service.client() as client:
            made = keyed(client, "once").json()
        if crash:
            service.kill()
            service.start()
        else:
            service.restart()
        with service.client() as client:
            again = keyed(client, "once")
            assert again.json() == made
            assert again.headers["idempotent-replayed"] == "true"
            problem(keyed(client, "once", notes="another"), 409)
        assert row_counts(service.database_path)["bookings"] == 1


def test_two_replicas_that_get_one_key_at_once_make_one_booking(postgresql_url: str) -> None:
    assert booking_monitor("db", "upgrade", database_url=postgresql_url).returncode == 0
    with (
        running_service(database_url=postgresql_url) as one,
        running_service(database_url=postgresql_url) as two,
        one.client() as first,
        two.client() as second,
        ThreadPoolExecutor(16) as threads,
    ):
        for number in range(20):
            clients = [first, second] * 4
            answers = list(threads.map(lambda client, key=f"key-{number}": keyed(client, key), clients))
            assert {answer.status_code for answer in answers} == {201}
            assert len({answer.json()["booking"]["id"] for answer in answers}) == 1
        assert len(first.get("/v1/bookings", params={"limit": 200}).json()["bookings"]) == 20
