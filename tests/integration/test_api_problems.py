"""Every error is a problem of RFC 9457, on every route, known or not."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
import structlog
from support.bookings import booking, problem, wrong_fields

from monitor.clock import Clock
from monitor.service import Service
from monitor.settings import Settings
from monitor.web.app import create_app

NO_ID = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(scope="module")
def operations(client: httpx.Client) -> dict[str, set[str]]:
    """Methods by path, of every route of the API."""
    paths = client.get("/openapi.json").json()["paths"]
    return {path.replace("{number}", "1"): {method.upper() for method in methods} for path, methods in paths.items()}


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/v1",
        "/v1/bookings/",
        "/v2/bookings",
        "/v1/bookings/a/b/c",
        "//v1/bookings",
        "/v1/%2e%2e/metrics",
        "/docs",
        "/.env",
        "/%00",
        "/%ff",
        "/v1/realtime",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_a_route_that_does_not_exist_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)
    problem(answer, 404)
    assert "location" not in answer.headers


def test_a_method_that_a_route_does_not_know_is_refused_with_those_that_it_knows(
    client: httpx.Client, operations: dict[str, set[str]]
) -> None:
    for path, known in operations.items():
        for method in {"GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PURGE"} - known:
            answer = client.request(method, path)
            problem(answer, 405)
            assert set(answer.headers["allow"].split(", ")) == known


def test_an_error_shows_no_trace_and_may_not_be_kept_or_guessed_at(client: httpx.Client) -> None:
    for answer in (client.get("/nowhere"), client.post("/v1/bookings", json={}), client.get("/v1/bookings/1")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        for trace in ("Traceback", 'File "', "sqlite", "pydantic", "/monitor/"):
            assert trace not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "body", "named"),
    [
        ("POST", "/v1/deliveries/redrive", {"stage": "chat_room"}, "stage"),
        ("POST", "/v1/deliveries/redrive", {"stage": 1}, "stage"),
        ("POST", "/v1/deliveries/redrive", {"booking_id": "1"}, "booking_id"),
        ("POST", "/v1/deliveries/redrive", {"bookingId": NO_ID}, "bookingId"),
        ("POST", "/v1/deliveries/redrive", [], "body"),
        ("POST", "/v1/deliveries/redrive", None, "body"),
        ("POST", "/v1/realtime/acknowledgements", {"provider_id": "t-1"}, "ids"),
        ("POST", "/v1/realtime/acknowledgements", {"provider_id": "t-1", "ids": []}, "ids"),
        ("POST", "/v1/realtime/acknowledgements", {"provider_id": "t-1", "ids": [NO_ID, "1"]}, "ids.1"),
        ("POST", "/v1/realtime/acknowledgements", {"provider_id": "t-1", "ids": [NO_ID] * 257}, "ids"),
        ("POST", "/v1/realtime/acknowledgements", {"provider_id": 1, "ids": [NO_ID]}, "provider_id"),
        ("GET", "/v1/realtime/events", None, "provider_id"),
        ("GET", "/v1/realtime/events?provider_id=t-1&last_id=1", None, "last_id"),
        ("GET", "/v1/journeys?traffic=synthetic", None, "traffic"),
        ("GET", "/v1/journeys?cursor=1", None, "cursor"),
        ("GET", "/v1/incidents/none", None, "number"),
        ("GET", "/v1/incidents/99999999999999999999", None, "number"),
        ("POST", "/v1/bookings/1/accept", None, "booking_id"),
        ("POST", "/v1/providers/%20/token", None, "provider_id"),
    ],
)
def test_a_fault_is_told_by_the_name_of_its_field(
    client: httpx.Client, method: str, path: str, body: Any, named: str
) -> None:
    content = None if method == "GET" else json.dumps(body)
    headers = {"Content-Type": "application/json"} if content else {}
    answer = client.request(method, path, content=content, headers=headers)
    assert wrong_fields(answer) == {named}


def test_all_faults_are_told_at_once(client: httpx.Client) -> None:
    answer = client.post("/v1/bookings", json={"price_minor": -1, "currency": "XXX", "date": "soon"})
    assert wrong_fields(answer) == {
        "provider_id",
        "provider_name",
        "customer_id",
        "customer_name",
        "price_minor",
        "currency",
        "date",
    }


def test_a_fault_says_what_is_allowed_in_words(client: httpx.Client) -> None:
    answer = client.post("/v1/bookings", json=booking(provider_id="a b", customer_phone="call me"))
    messages = {error["field"]: error["message"] for error in problem(answer, 422)["errors"]}
    assert messages == {
        "provider_id": "has 1 to 128 letters, digits and _.:=+@|-, and begins with a letter, a digit or _",
        "customer_phone": "has digits, spaces and +().-/ only",
    }


async def test_a_fault_of_ours_is_a_problem_that_tells_nothing_of_it() -> None:
    """A service that was never started has no parts: whatever needs one fails."""
    service = Service(Settings())
    service.clock = Clock()
    app = create_app(service)

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "state": {}}, receive, send)

    transport = httpx.ASGITransport(with_state)
    with structlog.testing.capture_logs() as logged:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answers = [
                await client.post("/v1/bookings", json=booking()),
                await client.get("/v1/bookings"),
                await client.post("/v1/deliveries/redrive", json={}),
            ]
    for answer in answers:
        assert problem(answer, 500)["detail"] == "The service failed; the fault is in its log."
        assert "errors" not in answer.json()
    assert [line["event"] for line in logged] == ["request.failed"] * 3
