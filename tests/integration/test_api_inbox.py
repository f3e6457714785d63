"""A provider's inbox and push subscriptions, against the real service."""

from __future__ import annotations

import base64
import secrets
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.bookings import make, problem, wrong_fields
from support.service import RunningService, running_service

from monitor.pipeline.push import keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(
        vapid_private_key=keys.generate(), push_allowed_hosts="push.example", push_subscriptions_per_provider=3
    ) as service:
        yield service


def text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def subscription(**fields: Any) -> dict[str, Any]:
    """A subscription as a browser makes it."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    made = {
        "endpoint": f"https://push.example/send/{secrets.token_urlsafe(24)}",
        "expirationTime": None,
        "keys": {
            "p256dh": text(point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)),
            "auth": text(secrets.token_bytes(16)),
        },
    }
    return made | fields


def put(client: httpx.Client, provider_id: str, body: Any) -> httpx.Response:
    return client.put(f"/v1/providers/{provider_id}/push-subscriptions", json=body)


def drop(client: httpx.Client, provider_id: str, body: Any) -> httpx.Response:
    return client.request("DELETE", f"/v1/providers/{provider_id}/push-subscriptions", json=body)


def test_every_booking_is_a_notification_of_its_provider_newest_first(client: httpx.Client) -> None:
    made = [make(client, provider_id="t-inbox") for _ in range(3)]
    make(client, provider_id="t-inbox-of-another")
    inbox = client.get("/v1/providers/t-inbox/notifications").json()
    assert [one["id"] for one in inbox["notifications"]] == [one["notification"]["id"] for one in reversed(made)]
    assert {one["booking_id"] for one in inbox["notifications"]} == {one["booking"]["id"] for one in made}
    assert all(one["read_at"] is None and one["provider_id"] == "t-inbox" for one in inbox["notifications"])


def test_a_notification_names_no_person(client: httpx.Client) -> None:
    make(client, provider_id="t-discreet", customer_name="Recognisable Person", customer_phone="+62 811 111 222")
    shown = client.get("/v1/providers/t-discreet/notifications").text
    assert "Recognisable" not in shown
    assert "811 111" not in shown
    assert "62811111222" not in shown


def test_reading_counts_once_and_takes_a_notification_from_the_unread(client: httpx.Client) -> None:
    first, second = (make(client, provider_id="t-reader")["notification"]["id"] for _ in range(2))
    read = client.post(f"/v1/notifications/{first}/read").json()
    assert read["read_at"] is not None
    assert client.post(f"/v1/notifications/{first}/read").json() == read
    unread = client.get("/v1/providers/t-reader/notifications", params={"unread": "true"}).json()["notifications"]
    assert [one["id"] for one in unread] == [second]


def test_pages_of_an_inbox_are_complete(client: httpx.Client) -> None:
    made = [make(client, provider_id="t-inbox-pages")["notification"]["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = client.get("/v1/providers/t-inbox-pages/notifications", params=query).json()
        seen += [one["id"] for one in page["notifications"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert seen == sorted(made, reverse=True)


def test_the_inbox_of_a_provider_without_bookings_is_empty(client: httpx.Client) -> None:
    answer = client.get("/v1/providers/nobody/notifications")
    assert answer.json() == {"notifications": [], "next_cursor": None}


def test_what_does_not_exist_cannot_be_read(client: httpx.Client) -> None:
    problem(client.post(f"/v1/notifications/{uuid.uuid4()}/read"), 404)
    assert wrong_fields(client.post("/v1/notifications/7/read")) == {"notification_id"}
    assert wrong_fields(client.get("/v1/providers/a b/notifications")) == {"provider_id"}
    assert wrong_fields(client.get("/v1/providers/t-1/notifications", params={"unread": "perhaps"})) == {"unread"}


def test_a_push_subscription_is_kept_once_and_makes_a_push_owed(client: httpx.Client) -> None:
    body = subscription()
    first = put(client, "t-push", body)
    assert first.status_code == 200
    assert put(client, "t-push", body).json() == first.json()
    journey = client.get(f"/v1/bookings/{make(client, provider_id='t-push')['booking']['id']}/journey").json()
    assert "push" in {stage["stage"] for stage in journey["stages"]}
    assert [one["stage"] for one in journey["deliveries"]].count("push") == 1
    assert drop(client, "t-push", {"endpoint": body["endpoint"]}).status_code == 204
    problem(drop(client, "t-push", {"endpoint": body["endpoint"]}), 404)
    journey = client.get(f"/v1/bookings/{make(client, provider_id='t-push')['booking']['id']}/journey").json()
    assert "push" not in {stage["stage"] for stage in journey["stages"]}


def test_an_endpoint_belongs_to_the_provider_who_gave_it_last(client: httpx.Client) -> None:
    body = subscription()
    put(client, "t-before", body)
    put(client, "t-after", body)
    problem(drop(client, "t-before", {"endpoint": body["endpoint"]}), 404)
    assert drop(client, "t-after", {"endpoint": body["endpoint"]}).status_code == 204


def test_the_oldest_push_subscription_gives_way(client: httpx.Client) -> None:
    bodies = [subscription() for _ in range(4)]
    for body in bodies:
        assert put(client, "t-many", body).status_code == 200
    gone = [drop(client, "t-many", {"endpoint": body["endpoint"]}).status_code for body in bodies]
    assert gone == [404, 204, 204, 204]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"endpoint": "http://push.example/send/1"}, "endpoint"),
        ({"endpoint": "https://evil.example/send/1"}, "endpoint"),
        ({"endpoint": "https://push.example.evil.example/1"}, "endpoint"),
        ({"endpoint": "https://push.example@evil.example/1"}, "endpoint"),
        ({"endpoint": "https://127.0.0.1/1"}, "endpoint"),
        ({"endpoint": "https://push.example:8443/1"}, "endpoint"),
        ({"endpoint": "file:///etc/passwd"}, "endpoint"),
        ({"endpoint": "https://push.example/" + "x" * 3000}, "endpoint"),
        ({"endpoint": ""}, "endpoint"),
        ({"endpoint": None}, "endpoint"),
        ({"keys": None}, "keys"),
        ({"keys": {"p256dh": text(b"\x04" + b"\x01" * 64), "auth": text(bytes(16))}}, "keys.p256dh"),
        ({"keys": {"p256dh": "!", "auth": text(bytes(16))}}, "keys.p256dh"),
        ({"keys": subscription()["keys"] | {"auth": text(bytes(15))}}, "keys.auth"),
        ({"keys": {"auth": text(bytes(16))}}, "keys.p256dh"),
        ({"expirationTime": "soon"}, "expirationTime"),
        ({"expirationTime": -1}, "expirationTime"),
    ],
)
def test_a_push_subscription_that_is_not_in_order_is_refused_by_field(
    client: httpx.Client, fields: dict[str, Any], named: str
) -> None:
    body = subscription(**fields)
    assert wrong_fields(put(client, "t-wrong", body)) == {named}
    problem(drop(client, "t-wrong", {"endpoint": subscription()["endpoint"]}), 404)


def test_without_a_key_no_push_subscription_is_taken() -> None:
    with running_service() as service, service.client() as client:
        assert "VAPID_PRIVATE_KEY" in problem(put(client, "t-1", subscription()), 409)["detail"]
