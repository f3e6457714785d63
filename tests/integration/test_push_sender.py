"""Messages really reach a push service, and never anything else."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from email.utils import formatdate
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from support.push_receiver import Answer, Fault, PushReceiver, ReceivedPush
from support.waiting import wait_until

from monitor.domain.vocabulary import AttemptResult
from monitor.pipeline.push.addresses import Address, is_public_address, resolve
from monitor.pipeline.push.answers import MAX_RETRY_AFTER_SECONDS, PushResult
from monitor.pipeline.push.encryption import MAX_PAYLOAD_BYTES
from monitor.pipeline.push.endpoints import AllowedHosts, PushSubscription, parse_subscription
from monitor.pipeline.push.keys import application_server_key, generate, load_private_key
from monitor.pipeline.push.sender import PushSender
from monitor.pipeline.push.vapid import VapidSigner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KEY = load_private_key(generate())
PAYLOAD = json.dumps({"type": "booking.created", "id": "0197"}).encode()


@pytest.fixture
def receiver() -> Iterator[PushReceiver]:
    with PushReceiver(application_server_key=application_server_key(KEY)) as running:
        yield running


def sender_to(receiver: PushReceiver, **changes: Any) -> PushSender:
    """A sender as in production, but one that trusts the receiver and may connect to loopback."""
    parts: dict[str, Any] = {
        "hosts": AllowedHosts.parse([receiver.allowed_host]),
        "ssl_context": receiver.trusting_context(),
        "address_allowed": lambda address: address.is_loopback,
    }
    return PushSender(VapidSigner(KEY, "mailto:oncall@example.com"), **{**parts, **changes})


def subscribe(receiver: PushReceiver, provider: str = "t-17") -> PushSubscription:
    return parse_subscription(receiver.new_subscription(provider), AllowedHosts.parse([receiver.allowed_host]))


async def send(receiver: PushReceiver, subscription: PushSubscription | None = None, **changes: Any) -> PushResult:
    async with sender_to(receiver, **changes) as sender:
        return await sender.send(subscription or subscribe(receiver), PAYLOAD, 240)


def only_message(receiver: PushReceiver) -> ReceivedPush:
    assert receiver.problems == []
    [message] = receiver.messages
    return message


def resolver_of(*answers: Sequence[str]) -> tuple[list[str], Any]:
    """A resolver that gives these answers in turn (the last one for good), and the hosts that it was asked for."""
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> list[Address]:
        asked.append(host)
        return [ip_address(text) for text in answers[min(len(asked), len(answers)) - 1]]

    return asked, resolver


async def test_a_browser_gets_the_message_that_was_sent(receiver: PushReceiver) -> None:
    async with sender_to(receiver) as sender:
        result = await sender.send(subscribe(receiver), PAYLOAD, 240, about="booking-1")
    assert result == PushResult(AttemptResult.OK, "201")
    message = only_message(receiver)
    assert (message.provider, message.payload) == ("t-17", PAYLOAD)
    assert (message.ttl_seconds, message.urgency) == (240, "high")
    assert message.topic is not None
    assert len(message.topic) == 32
    assert message.claims["aud"] == receiver.origin
    assert message.claims["sub"] == "mailto:oncall@example.com"


async def test_the_longest_payload_arrives(receiver: PushReceiver) -> None:
    payload = b"x" * MAX_PAYLOAD_BYTES
    async with sender_to(receiver) as sender:
        await sender.send(subscribe(receiver), payload, 240)
    assert only_message(receiver).payload == payload


async def test_a_payload_that_is_too_long_is_an_error_of_the_caller(receiver: PushReceiver) -> None:
    async with sender_to(receiver) as sender:
        with pytest.raises(ValueError, match="payload"):
            await sender.send(subscribe(receiver), b"x" * (MAX_PAYLOAD_BYTES + 1), 240)
    assert receiver.connections == 0


@pytest.mark.parametrize("ttl_seconds", [0, -30])
async def test_a_message_is_never_dropped_at_once_for_a_browser_that_is_away(
    receiver: PushReceiver, ttl_seconds: int
) -> None:
    async with sender_to(receiver) as sender:
        await sender.send(subscribe(receiver), PAYLOAD, ttl_seconds)
    assert only_message(receiver).ttl_seconds == 1


async def test_messages_about_one_thing_share_a_topic_and_others_do_not(receiver: PushReceiver) -> None:
    subscription = subscribe(receiver)
    async with sender_to(receiver) as sender:
        for about in ("booking-1", "booking-1", "booking-2", None):
            await sender.send(subscription, PAYLOAD, 240, about=about)
    first, again, other, none = (message.topic for message in receiver.messages)
    assert first == again != other
    assert none is None


async def test_connection_and_token_are_used_again(receiver: PushReceiver) -> None:
    subscriptions = [subscribe(receiver, provider) for provider in ("t-1", "t-2", "t-3")]
    async with sender_to(receiver) as sender:
        for subscription in subscriptions:
            assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK
    assert [message.provider for message in receiver.messages] == ["t-1", "t-2", "t-3"]
    assert len({message.authorization for message in receiver.messages}) == 1
    assert receiver.connections == 1


async def test_each_push_service_gets_a_token_of_its_own(receiver: PushReceiver) -> None:
    with PushReceiver(address="127.0.0.2", host="other.example.test") as second:
        context = receiver.trusting_context()
        context.load_verify_locations(second.certificate_file)
        hosts = AllowedHosts.parse([receiver.allowed_host, second.allowed_host])

        async def resolver(host: str, _port: int) -> list[Address]:
            return [ip_address(second.address if host == second.host else receiver.address)]

        async with sender_to(receiver, hosts=hosts, ssl_context=context, resolver=resolver) as sender:
            for target in (receiver, second, receiver):
                result = await sender.send(parse_subscription(target.new_subscription("t-1"), hosts), PAYLOAD, 240)
                assert result.result is AttemptResult.OK
        assert [message.claims["aud"] for message in second.messages] == [second.origin]
        assert [message.claims["aud"] for message in receiver.messages] == [receiver.origin] * 2
        assert receiver.problems == second.problems == []


async def test_no_more_connections_are_opened_than_allowed(receiver: PushReceiver) -> None:
    subscription = subscribe(receiver)
    async with sender_to(receiver, max_connections=2) as sender:
        results = await asyncio.gather(*(sender.send(subscription, PAYLOAD, 240) for _ in range(20)))
    assert {result.result for result in results} == {AttemptResult.OK}
    assert len(receiver.messages) == 20
    assert receiver.connections <= 2


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (200, AttemptResult.OK),
        (201, AttemptResult.OK),
        (202, AttemptResult.OK),
        (204, AttemptResult.OK),
        (400, AttemptResult.REJECTED),
        (401, AttemptResult.REJECTED),
        (403, AttemptResult.REJECTED),
        (413, AttemptResult.REJECTED),
        (404, AttemptResult.GONE),
        (410, AttemptResult.GONE),
        (429, AttemptResult.ERROR),
        (500, AttemptResult.ERROR),
        (503, AttemptResult.ERROR),
    ],
)
async def test_the_answer_of_the_push_service_is_the_result(
    receiver: PushReceiver, status: int, result: AttemptResult
) -> None:
    receiver.answer_with(Answer(status, body=b"" if status == 204 else b'{"reason": "hunter2"}'))
    assert await send(receiver) == PushResult(result, str(status))


async def test_a_browser_that_unsubscribed_is_gone(receiver: PushReceiver) -> None:
    subscription = subscribe(receiver)
    receiver.unsubscribe("t-17")
    assert await send(receiver, subscription) == PushResult(AttemptResult.GONE, "410")


async def test_another_key_than_the_one_subscribed_with_is_rejected(receiver: PushReceiver) -> None:
    receiver.application_server_key = application_server_key(load_private_key(generate()))
    assert await send(receiver) == PushResult(AttemptResult.REJECTED, "403")
    assert receiver.problems == ["the subscription belongs to another key"]


@pytest.mark.parametrize("status", [429, 503])
async def test_a_push_service_may_ask_to_be_left_alone(receiver: PushReceiver, status: int) -> None:
    receiver.answer_with(Answer(status, headers=[("Retry-After", "120")]))
    assert await send(receiver) == PushResult(AttemptResult.ERROR, str(status), 120)


async def test_it_may_ask_by_a_date_and_for_an_hour_at_most(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(429, headers=[("retry-after", formatdate(time.time() + 86_400, usegmt=True))]))
    assert (await send(receiver)).retry_after_seconds == MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(receiver: PushReceiver, status: int) -> None:
    elsewhere = receiver.new_subscription("t-other")["endpoint"]
    receiver.answer_with(Answer(status, headers=[("Location", elsewhere)]))
    assert await send(receiver) == PushResult(AttemptResult.REJECTED, str(status))
    assert [message.provider for message in receiver.messages] == ["t-17"]


async def test_a_push_service_that_never_answers_is_given_up(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(fault=Fault.HANG))
    subscription = subscribe(receiver)
    async with sender_to(receiver, timeout_seconds=3) as sender:  # which is enough for one that answers
        assert await sender.send(subscription, PAYLOAD, 240) == PushResult(AttemptResult.ERROR, "TimeoutError")
        assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK


async def test_a_connection_that_is_cut_is_worth_another_attempt(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(fault=Fault.CUT))
    subscription = subscribe(receiver)
    async with sender_to(receiver) as sender:
        assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.ERROR
        assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK


async def test_a_message_that_was_accepted_stays_accepted_when_the_connection_breaks_afterwards(
    receiver: PushReceiver,
) -> None:
    receiver.answer_with(Answer(201, body=b"x" * 100, fault=Fault.CUT_IN_BODY))
    assert await send(receiver) == PushResult(AttemptResult.OK, "201")


async def test_an_answer_without_end_is_not_read(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(201, body=b"x" * 5_000_000))
    subscription = subscribe(receiver)
    async with sender_to(receiver) as sender:
        assert await sender.send(subscription, PAYLOAD, 240) == PushResult(AttemptResult.OK, "201")
        assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK
    assert receiver.connections == 2


async def test_nobody_at_the_other_end_is_worth_another_attempt(receiver: PushReceiver) -> None:
    subscription = subscribe(receiver)
    sender = sender_to(receiver)
    receiver.__exit__(None, None, None)
    async with sender:
        assert await sender.send(subscription, PAYLOAD, 240) == PushResult(AttemptResult.ERROR, "ConnectError")


async def test_a_host_without_address_is_worth_another_attempt(receiver: PushReceiver) -> None:
    async def resolver(_host: str, _port: int) -> list[Address]:
        raise OSError

    assert await send(receiver, resolver=resolver) == PushResult(AttemptResult.ERROR, "ConnectError")


async def test_a_resolver_that_never_answers_is_given_up(receiver: PushReceiver) -> None:
    async def resolver(_host: str, _port: int) -> list[Address]:
        await asyncio.Event().wait()
        return []

    result = await send(receiver, resolver=resolver, timeout_seconds=0.2)
    assert result.result is AttemptResult.ERROR
    assert receiver.connections == 0


async def test_a_certificate_that_nobody_vouches_for_gets_no_message(receiver: PushReceiver) -> None:
    assert await send(receiver, ssl_context=None) == PushResult(AttemptResult.ERROR, "ConnectError")
    assert receiver.messages == []


async def test_the_certificate_must_be_for_the_name_of_the_endpoint(receiver: PushReceiver) -> None:
    name = f"push.example.test:{receiver.port}"
    hosts = AllowedHosts.parse([name])
    document = receiver.new_subscription("t-17")
    subscription = parse_subscription({**document, "endpoint": f"https://{name}/push/x"}, hosts)
    _, resolver = resolver_of(["127.0.0.1"])
    assert await send(receiver, subscription, hosts=hosts, resolver=resolver) == PushResult(
        AttemptResult.ERROR, "ConnectError"
    )
    assert receiver.messages == []


async def test_a_push_service_that_asks_for_a_certificate_gets_none() -> None:
    with PushReceiver(ask_for_client_certificate=True) as receiver:
        assert (await send(receiver)).result is AttemptResult.ERROR
        assert receiver.messages == []


async def test_a_fault_of_tls_after_the_handshake_is_a_result(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(fault=Fault.GARBAGE))
    assert await send(receiver) == PushResult(AttemptResult.ERROR, "SSLError")


async def test_host_and_tls_name_stay_those_of_the_endpoint_while_the_judged_address_is_dialled() -> None:
    with PushReceiver(host="push.example.test", address="127.0.0.3") as receiver:
        asked, resolver = resolver_of(["127.0.0.3"])
        assert (await send(receiver, resolver=resolver)).result is AttemptResult.OK
        assert only_message(receiver).headers["host"] == receiver.allowed_host
        assert asked == ["push.example.test"]


async def test_an_address_that_does_not_answer_leaves_its_place_to_the_next(receiver: PushReceiver) -> None:
    _, resolver = resolver_of(["127.0.0.9", "127.0.0.1"])
    assert (await send(receiver, resolver=resolver)).result is AttemptResult.OK


@pytest.mark.parametrize("resolver", [resolve, resolver_of(["127.0.0.1"])[1], resolver_of(["::ffff:127.0.0.1"])[1]])
async def test_a_listed_host_that_leads_to_our_own_network_gets_no_connection(
    receiver: PushReceiver, resolver: Any
) -> None:
    result = await send(receiver, address_allowed=is_public_address, resolver=resolver)
    assert result == PushResult(AttemptResult.ERROR, "AddressNotAllowedError")
    assert receiver.connections == 0


async def test_the_strict_rule_is_the_one_without_being_asked_for(receiver: PushReceiver) -> None:
    signer = VapidSigner(KEY, "mailto:oncall@example.com")
    async with PushSender(signer, AllowedHosts.parse([receiver.allowed_host])) as sender:
        assert (await sender.send(subscribe(receiver), PAYLOAD, 240)).detail == "AddressNotAllowedError"
    assert receiver.connections == 0


async def test_a_listed_address_of_our_own_network_gets_no_connection_either() -> None:
    with PushReceiver(host="127.0.0.1") as receiver:
        result = await send(receiver, address_allowed=is_public_address)
        assert result.detail == "AddressNotAllowedError"
        assert receiver.connections == 0


async def test_a_host_that_resolves_differently_on_the_second_look_is_judged_at_each_connection() -> None:
    # 127.0.0.1 plays the public address, 127.0.0.2 the private one: the same name, port and certificate on both.
    with PushReceiver(host="push.example.test") as public:
        asked, resolver = resolver_of(["127.0.0.1"], ["127.0.0.2"])
        subscription = subscribe(public)
        public.answer_with(Answer(201), Answer(fault=Fault.CUT))
        async with sender_to(
            public, resolver=resolver, address_allowed=lambda address: address == ip_address("127.0.0.1")
        ) as sender:
            assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK
            assert len(asked) == 1
            assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.ERROR
            assert len(asked) == 1
            assert (await sender.send(subscription, PAYLOAD, 240)).detail == "AddressNotAllowedError"
            assert len(asked) == 2
        assert public.connections == 1


async def test_of_several_addresses_only_an_allowed_one_is_dialled() -> None:
    with PushReceiver(host="push.example.test", address="127.0.0.2") as receiver:
        _, resolver = resolver_of(["10.0.0.1", "127.0.0.3", "127.0.0.2"])
        seen: list[Address] = []

        def allowed(address: Address) -> bool:
            seen.append(address)
            return address == ip_address("127.0.0.2")

        assert (await send(receiver, resolver=resolver, address_allowed=allowed)).result is AttemptResult.OK
        assert len(seen) == 3


async def test_a_host_that_is_no_longer_listed_is_rejected_without_a_connection(receiver: PushReceiver) -> None:
    result = await send(receiver, hosts=AllowedHosts.parse(["fcm.googleapis.com"]))
    assert result == PushResult(AttemptResult.REJECTED, "InvalidSubscriptionError")
    assert receiver.connections == 0


async def test_proxies_of_the_environment_are_not_used(receiver: PushReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert (await send(receiver)).result is AttemptResult.OK


async def test_no_log_line_and_no_result_holds_a_secret(
    receiver: PushReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    subscription = subscribe(receiver)
    secret = subscription.endpoint.rpartition("/")[2]
    receiver.answer_with(Answer(400, body=b"hunter2"), Answer(fault=Fault.CUT))
    async with sender_to(receiver) as sender:
        results = [await sender.send(subscription, PAYLOAD, 240) for _ in range(3)]
    written = caplog.text + repr(results) + repr(subscription)
    assert [result.result.value for result in results] == ["rejected", "error", "ok"]
    assert not any(word in written for word in (secret, subscription.auth, "hunter2", "vapid t="))


async def test_a_sender_that_is_cancelled_leaves_the_others_alone(receiver: PushReceiver) -> None:
    receiver.answer_with(Answer(fault=Fault.HANG))
    subscription = subscribe(receiver)
    async with sender_to(receiver, max_connections=1) as sender:
        hanging = asyncio.create_task(sender.send(subscription, PAYLOAD, 240))
        await asyncio.to_thread(wait_until, lambda: receiver.messages, what="the message is there")
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        assert (await sender.send(subscription, PAYLOAD, 240)).result is AttemptResult.OK
