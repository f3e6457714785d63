"""Personal data stays in the store and in answers: never in the log, a metric or a trace, whatever goes wrong."""

from __future__ import annotations

import base64
import json
import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from support.bookings import booking
from support.service import API_TOKEN, RunningService, booking_monitor, running_service
from support.waiting import wait_until
from support.webhook_receiver import WebhookReceiver
from websockets.sync.client import connect

from monitor.pipeline.push import keys

if TYPE_CHECKING:
    import httpx

PERSON: dict[str, Any] = {
    "customer_name": "Zephyrine Quillfeather",
    "customer_phone": "+62 899-7310-4482",
    "location": "Jalan Rahasia 71, Canggu",
    "notes": "Allergic to sandalwood",
    "provider_name": "Ketut Wirabhumi",
    "hotelRoomNumber": "suite-9917",
    "guest": {"passport": "X4410927"},
}
"""What must not be seen anywhere; the last two are kept as `extra`."""
CHAT = "Meet me behind the temple"
SUBSCRIBER = "fFzQ9wmR3p-device-of-ketut"
KEY = "order-of-zephyrine-1"
TOKEN = "a-guessed-token-of-somebody"
JSON = {"Content-Type": "application/json"}
SEEN_NOWHERE = [  # each too long to come about in a number or an id by chance
    "Zephyrine",
    "Quillfeather",
    "899-7310",
    "89973104482",
    "Rahasia",
    "sandalwood",
    "Wirabhumi",
    "suite-9917",
    "X4410927",
    CHAT,
    "temple",
    SUBSCRIBER,
    KEY,
    TOKEN,
    API_TOKEN,
]


def found_in(text: str) -> list[str]:
    return [secret for secret in SEEN_NOWHERE if secret.lower() in text.lower()]


def go_through_everything(service: RunningService, client: httpx.Client) -> None:
    """Send what is personal by every route, in good requests and in bad ones."""
    made = client.post("/v1/bookings", json=booking(**PERSON), headers={"Idempotency-Key": KEY}).json()
    client.post("/v1/bookings", json=booking(**PERSON), headers={"Idempotency-Key": KEY})
    client.post("/v1/bookings", json=booking(**PERSON, traffic="canary"), headers={"Idempotency-Key": KEY})
    booking_id, room_id = made["booking"]["id"], made["chat_room"]["id"]
    room = f"/v1/chat-rooms/{room_id}/messages"
    client.post(room, json={"sender_type": "customer", "sender_id": "c-9", "body": CHAT})
    for path in (f"/v1/bookings/{booking_id}", f"/v1/bookings/{booking_id}/journey", room, "/v1/bookings"):
        assert client.get(path).is_success
    for action in ("accept", "accept", "decline", "complete"):
        client.post(f"/v1/bookings/{booking_id}/{action}")
    subscription = {
        "endpoint": f"https://push.example/{SUBSCRIBER}",
        "keys": {"p256dh": "BJ" + "x" * 85, "auth": base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")},
    }
    client.put("/v1/providers/t-17/push-subscriptions", json=subscription)
    client.request("DELETE", "/v1/providers/t-17/push-subscriptions", json={"endpoint": subscription["endpoint"]})
    url = f"{service.url.replace('http', 'ws', 1)}/v1/realtime?provider_id=t-17"
    headers = {"Authorization": f"Bearer {API_TOKEN}"}
    with connect(url, proxy=None, additional_headers=headers) as socket_:
        socket_.recv(timeout=5)
        client.post("/v1/bookings", json=booking(**PERSON))
        event = json.loads(socket_.recv(timeout=5))
        assert event["booking"]["customer_name"] == PERSON["customer_name"]
        socket_.send(json.dumps({"type": "ack", "id": event["id"]}))
        socket_.send(CHAT)
        socket_.send(json.dumps({"type": CHAT, "id": CHAT}))
        socket_.recv(timeout=5)
    fail_everywhere(service, client, room)


def fail_everywhere(service: RunningService, client: httpx.Client, room: str) -> None:
    """Put what is personal where it does not belong."""
    name: str = PERSON["customer_name"]
    for wrong in ({"price_minor": -1}, {"provider_id": name}, {"customer_phone": name}, {"traffic": name}):
        client.post("/v1/bookings", json=booking(**(PERSON | wrong)))
    text = json.dumps(booking(**PERSON))
    for content in (text[:-1], text + text, text.replace("Quill", "\udc80Quill").encode("utf-8", "surrogateescape")):
        client.post("/v1/bookings", content=content, headers=JSON)
    client.post("/v1/bookings", content=text, headers={"Content-Type": f"text/{SUBSCRIBER}"})
    client.post("/v1/bookings", content=text + " " * 70_000, headers=JSON)
    client.post(room, json={"sender_type": CHAT, "sender_id": CHAT, "body": [CHAT]})
    client.post("/v1/deliveries/redrive", json={CHAT: CHAT})
    for path in (f"/v1/{name}", f"/v1/bookings/{name}", f"/v1/bookings?provider_id={name}", f"/{KEY}?q={CHAT}"):
        client.get(path)
        client.delete(path)
    with service.client(TOKEN) as stranger:
        stranger.get("/v1/bookings")
        stranger.get(f"/v1/realtime/events?provider_id=t-17&token={TOKEN}")
    client.get("/healthz", headers={"traceparent": CHAT, "User-Agent": name, "Cookie": KEY, "Host": SUBSCRIBER})
    with socket.create_connection(("127.0.0.1", service.port)) as bare:
        bare.sendall(f"{name}\r\n\r\n".encode())
        bare.recv(4096)


def test_nothing_personal_reaches_log_metrics_or_traces() -> None:
    settings: dict[str, Any] = {
        "api_tokens": API_TOKEN,
        "vapid_private_key": keys.generate(),
        "push_allowed_hosts": "push.example",
        "grace_chat_room": 0.2,
        "grace_notification": 0.2,
        "grace_realtime": 0.2,
        "settle": 0.1,
        "acknowledge_timeout": 0.2,
        "log_level": "debug",
    }
    with WebhookReceiver() as collector:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with running_service(environment, **settings) as service, service.client() as client:
            go_through_everything(service, client)

            def judged() -> bool:
                return all(
                    stage["outcome"]
                    for journey in client.get("/v1/journeys").json()["journeys"]
                    for stage in journey["stages"]
                )

            wait_until(judged, what="every stage is judged")
            for accept in ("text/plain", "application/openmetrics-text"):
                assert found_in(client.get("/metrics", headers={"Accept": accept}).text) == []
            service.stop()
            assert service.log_events("booking.created")
            assert found_in(service.output()) == []
        traces = b"".join(request.body for request in collector.requests)
        assert b"/v1/bookings" in traces
        assert found_in(traces.decode("latin-1")) == []


def test_a_store_that_fails_tells_nothing_personal() -> None:
    with running_service(api_tokens=API_TOKEN, log_level="debug") as service, service.client() as client:
        with closing(sqlite3.connect(service.database_path)) as connection:
            connection.execute("ALTER TABLE notifications RENAME TO misplaced")
        answer = client.post("/v1/bookings", json=booking(**PERSON), headers={"Idempotency-Key": KEY})
        assert answer.status_code in (500, 503)
        wait_until(lambda: any(event["level"] == "error" for event in service.log_events()), what="it is logged")
        assert found_in(service.output()) == []


def test_a_rejected_row_tells_nothing_personal(postgresql_url: str) -> None:
    """PostgreSQL repeats the whole row in the error."""
    assert booking_monitor("db", "upgrade", database_url=postgresql_url).returncode == 0
    plain = postgresql_url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("ALTER TABLE bookings ADD CONSTRAINT picky CHECK (customer_id <> 'c-9')")
    with running_service(database_url=postgresql_url, log_level="debug") as service, service.client() as client:
        answer = client.post("/v1/bookings", json=booking(**PERSON))
        assert answer.status_code in (500, 503)
        assert found_in(answer.text) == []
        wait_until(lambda: any(event["level"] == "error" for event in service.log_events()), what="it is logged")
        assert found_in(service.output()) == []


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_crash_at_the_start_tells_no_secret(form: str) -> None:
    done = booking_monitor(
        "serve",
        database_url=f"postgresql://user:{TOKEN}@127.0.0.1:1/none",
        api_tokens=API_TOKEN,
        log_format=form,
    )
    assert done.returncode == 1
    assert found_in(done.stdout + done.stderr) == []
