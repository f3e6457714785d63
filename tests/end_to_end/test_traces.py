"""One trace tells of a booking: from its request through commit, delivery and acknowledgement to its judgement."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from support.bookings import booking
from support.loopback_service import loopback_service
from support.otlp_collector import Collector, attributes, collecting
from support.push_receiver import Answer, PushReceiver
from support.realtime import acknowledge, api_of, event_stream, next_event, subscribed
from support.service import QUICK
from support.waiting import eventually

from monitor.domain.traces import trace_id as trace_id_of
from monitor.pipeline.push.keys import generate
from monitor.telemetry.tracing import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    from support.service import RunningService

CALLER_SPAN = "00f067aa0ba902b7"
PERSON: dict[str, Any] = {
    "customer_name": "Zephyrine Quillfeather",
    "customer_phone": "+62 899-7310-4482",
    "location": "Jalan Rahasia 71",
    "notes": "Allergic to sandalwood",
    "provider_name": "Ketut Wirabhumi",
}
STAGES = {"stage.chat_room", "stage.message", "stage.notification", "stage.push", "stage.realtime"}
REQUEST = "POST /v1/bookings"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def receiver() -> Iterator[PushReceiver]:
    with PushReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def service(collector: Collector, receiver: PushReceiver) -> Iterator[RunningService]:
    environment = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "SSL_CERT_FILE": str(receiver.certificate_file),
    }
    settings = {
        **QUICK,
        "acknowledge_timeout": 3,  # longer than a device on a busy machine may take to answer
        "delivery_first_delay": 0.3,
        "vapid_private_key": generate(),
        "push_allowed_hosts": receiver.allowed_host,
    }
    with loopback_service(environment, **settings) as running:
        yield running


async def book(api: httpx.AsyncClient, provider_id: str, traceparent: str) -> httpx.Response:
    """Make a booking in the trace of a caller."""
    body = booking(**PERSON, provider_id=provider_id)
    answer = await api.post("/v1/bookings", json=body, headers={"traceparent": traceparent})
    return answer.raise_for_status()


async def push_to(api: httpx.AsyncClient, receiver: PushReceiver, provider_id: str) -> None:
    """Subscribe a browser of a provider."""
    path = f"/v1/providers/{provider_id}/push-subscriptions"
    (await api.put(path, json=receiver.new_subscription(provider_id))).raise_for_status()


async def spans_of(collector: Collector, trace_id: str, expected: set[str]) -> dict[str, Span]:
    """Wait until a trace has spans of these names; returns all of it."""

    async def complete() -> dict[str, Span]:
        found = {span.name: span for span in collector.received(trace_id)}
        return found if expected <= found.keys() else {}

    return await eventually(complete, what=f"{expected} are received", timeout_seconds=30)


async def test_one_trace_leads_from_the_request_through_commit_delivery_and_acknowledgement_to_the_judgement(
    service: RunningService, collector: Collector, receiver: PushReceiver
) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with api_of(service) as api, subscribed(service.url, "t-17") as phone:
        await push_to(api, receiver, "t-17")
        answer = await book(api, "t-17", f"00-{trace_id}-{CALLER_SPAN}-01")
        event = await next_event(phone)
        await acknowledge(phone, event["id"])
        expected = {
            REQUEST,
            "booking.commit",
            "realtime.delivery",
            "realtime.acknowledgement",
            "push.delivery",
        } | STAGES
        spans = await spans_of(collector, trace_id, expected)
    assert spans.keys() == expected
    assert len(collector.received(trace_id)) == len(expected), "each happened once"

    request = spans.pop(REQUEST)
    assert request.parent_span_id.hex() == CALLER_SPAN
    assert {span.parent_span_id for span in spans.values()} == {request.span_id}
    assert len({span.span_id for span in spans.values()} | {request.span_id}) == len(expected)

    booking_id = answer.json()["booking"]["id"]
    delivery, push = attributes(spans["realtime.delivery"]), attributes(spans["push.delivery"])
    assert delivery == {
        "booking.id": booking_id,
        "delivery.id": event["id"],
        "delivery.attempt": 1,
        "delivery.result": "ok",
    }
    assert push == {
        "booking.id": booking_id,
        "delivery.id": json.loads(receiver.messages[-1].payload)["id"],
        "delivery.attempt": 1,
        "delivery.result": "ok",
        "push.service": receiver.allowed_host,
        "http.response.status_code": 201,
    }
    assert spans["realtime.acknowledgement"].start_time_unix_nano == spans["realtime.delivery"].end_time_unix_nano
    assert all(span.start_time_unix_nano <= span.end_time_unix_nano for span in spans.values())

    told = b"".join(one.SerializeToString() for one in collector.requests)
    secrets = [*PERSON.values(), receiver.messages[-1].target.rpartition("/")[2]]
    assert [secret for secret in secrets if secret.encode() in told] == []


async def test_whoever_is_told_of_a_booking_can_join_its_trace(service: RunningService, receiver: PushReceiver) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    async with api_of(service) as api, subscribed(service.url, "t-18") as phone:
        await push_to(api, receiver, "t-18")
        answer = await book(api, "t-18", f"00-{trace_id}-{CALLER_SPAN}-01")
        traceparent = answer.headers["traceresponse"]
        assert (await next_event(phone))["traceparent"] == traceparent
        assert (await next_event(phone))["traceparent"] == traceparent, "so it is when it is sent again"
        async with event_stream(service, "t-18") as stream:
            assert json.loads((await stream.next_booking()).data)["traceparent"] == traceparent, "and when replayed"

        async def pushed() -> list[str]:
            return [json.loads(one.payload)["traceparent"] for one in receiver.messages if one.provider == "t-18"]

        assert await eventually(pushed, what="the push arrives") == [traceparent]
    context = parse(traceparent)
    assert context is not None
    assert (context.trace_id, context.sampled) == (trace_id, True)
    assert context.span_id != CALLER_SPAN


async def test_a_repeated_request_is_answered_with_its_own_trace(service: RunningService) -> None:
    async with api_of(service) as api:
        headers = {"Idempotency-Key": "traced"}
        first, second = [await api.post("/v1/bookings", json=booking(), headers=headers) for _ in range(2)]
    assert second.headers["idempotent-replayed"] == "true"
    assert trace_id_of(first.headers["traceresponse"]) != trace_id_of(second.headers["traceresponse"]) is not None


async def test_of_a_trace_that_is_not_sampled_the_failed_deliveries_are_kept_and_the_others_not(
    service: RunningService, collector: Collector, receiver: PushReceiver
) -> None:
    trace_id = "11111111111111112222222222222222"
    async with api_of(service) as api, subscribed(service.url, "t-19") as phone:
        await push_to(api, receiver, "t-19")
        receiver.answer_with(Answer(403))
        await book(api, "t-19", f"00-{trace_id}-{CALLER_SPAN}-00")
        event = await next_event(phone)
        await phone.send(json.dumps({"type": "mismatch", "id": event["id"], "field": "therapistId"}))
        await next_event(phone, timeout_seconds=15)  # and this one is left without an answer

        async def attempts() -> list[Span]:
            found = [span for span in collector.received(trace_id) if span.name == "realtime.delivery"]
            return found if len(found) > 1 else []

        first, second, *_ = await eventually(attempts, what="both attempts are received", timeout_seconds=30)
        await acknowledge(phone, (await next_event(phone, timeout_seconds=30))["id"])
        spans = await spans_of(collector, trace_id, {"push.delivery", "stage.notification", "stage.realtime"})
    assert [attributes(span)["error.type"] for span in (first, second)] == ["rejected", "unacknowledged"]
    assert [attributes(span)["delivery.attempt"] for span in (first, second)] == [1, 2]
    assert attributes(spans["push.delivery"])["http.response.status_code"] == 403
    assert attributes(spans["push.delivery"])["error.type"] == "rejected"
    assert all("error.type" in attributes(span) for span in collector.received(trace_id))
