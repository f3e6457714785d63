"""A push subscription is taken only if a message can be encrypted for it and sent to a known push service."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.push_services import KNOWN_PUSH_SERVICES
from monitor.pipeline.push.endpoints import (
    MAX_ENDPOINT_CHARACTERS,
    AllowedHosts,
    InvalidSubscriptionError,
    parse_endpoint,
    parse_subscription,
)

HOSTS = AllowedHosts.parse(KNOWN_PUSH_SERVICES)
POINT = (
    ec.derive_private_key(17, ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
)
COMPRESSED = (
    ec.derive_private_key(17, ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
)
ENDPOINT = "https://fcm.googleapis.com/fcm/send/fv3:APA91b-_"


def b64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode()


def document(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "endpoint": ENDPOINT,
        "expirationTime": None,
        "keys": {"p256dh": b64(POINT).rstrip("="), "auth": b64(bytes(16)).rstrip("=")},
    }
    return {**whole, **changes}


def refused(value: object) -> InvalidSubscriptionError:
    with pytest.raises(InvalidSubscriptionError) as caught:
        parse_subscription(value, HOSTS)
    return caught.value


@pytest.mark.parametrize(
    "endpoint",
    [
        ENDPOINT,
        "https://updates.push.services.mozilla.com/wpush/v2/gAAAAA_-",
        "https://wns2-par02p.notify.windows.com/w/?token=BQYAAAB%2f%2bx~",
        "https://web.push.apple.com/QOpgP_-",
    ],
)
def test_what_the_browsers_hand_out_is_taken(endpoint: str) -> None:
    subscription = parse_subscription(document(endpoint=endpoint), HOSTS)
    assert subscription.endpoint == endpoint
    assert subscription.expires_at is None


def test_keys_may_be_padded_and_are_kept_without_padding() -> None:
    subscription = parse_subscription(document(keys={"p256dh": b64(POINT), "auth": b64(bytes(16))}), HOSTS)
    assert (subscription.p256dh, subscription.auth) == (b64(POINT).rstrip("="), b64(bytes(16)).rstrip("="))


def test_members_that_the_standard_does_not_know_are_ignored() -> None:
    assert parse_subscription(document(unheard_of=[1]), HOSTS) == parse_subscription(document(), HOSTS)


def test_host_and_port_are_brought_to_one_form() -> None:
    subscription = parse_subscription(document(endpoint="https://FCM.googleapis.com:443/A?b=C"), HOSTS)
    assert subscription.endpoint == "https://fcm.googleapis.com/A?b=C"


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://fcm.googleapis.com/x",
        "HTTPS://fcm.googleapis.com/x",
        "https://fcm.googleapis.com",
        "https://user@fcm.googleapis.com/x",
        "https://fcm.googleapis.com@evil.test/x",
        "https://evil.test/@fcm.googleapis.com",
        "https://fcm.googleapis.com.evil.test/x",
        "https://fcm.googleapis.com./x",
        "https://evilnotify.windows.com/x",
        "https://notify.windows.com/x",
        "https://fcm.googleapis.com\\@evil.test/x",
        "https://fcm.googleapis.com/x#fragment",
        "https://fcm.googleapis.com/x y",
        "https://fcm.googleapis.com/x\r\nHost: evil.test",
        "https://fcm.googleapis.com/x\n",
        " https://fcm.googleapis.com/x",
        "https://fcm.googleapis.com/%zz",
        "https://fcm.googleapis.com/\u00e9",
        "https://fcm\u3002googleapis.com/x",
        "https://\u212aelvin.notify.windows.com/x",
        "https://fcm.googleapis.com:8443/x",
        "https://fcm.googleapis.com:99999/x",
        "https://fcm.googleapis.com:/x",
        "https://127.0.0.1/x",
        "https://2130706433/x",
        "https://0x7f.1/x",
        "https://[::1]/x",
        "https://localhost/x",
        "https:///x",
        "//fcm.googleapis.com/x",
        "data:text/plain,x",
        "https://" + "a" * 64 + ".notify.windows.com/x",
        "https://" + "a." * 125 + "notify.windows.com/x",
        "https://fcm.googleapis.com/" + "x" * MAX_ENDPOINT_CHARACTERS,
        "",
    ],
)
def test_an_endpoint_anywhere_else_is_refused(endpoint: str) -> None:
    assert refused(document(endpoint=endpoint)).field == "endpoint"


def test_the_refusal_of_a_host_names_the_hosts_that_are_allowed() -> None:
    assert "fcm.googleapis.com" in refused(document(endpoint="https://evil.test/x")).allowed


@given(st.text() | st.text(alphabet="htps:/fcm.googleapis.com@\\#?%0-9[]*~\t\n", max_size=60).map("https://".__add__))
def test_whatever_is_taken_is_a_listed_host_for_another_parser_too(url: str) -> None:
    try:
        endpoint = parse_endpoint(url, HOSTS)
    except InvalidSubscriptionError:
        return
    seen = urlsplit(endpoint.url)
    assert (seen.scheme, seen.hostname, seen.username, seen.fragment) == ("https", endpoint.host, None, "")
    assert HOSTS.permits(endpoint.host, endpoint.port)


TARGETS = st.text(alphabet="abcXYZ019-._~:@!$&'()*+,;=/?", max_size=40).map("/".__add__)
SUBDOMAINS = st.lists(st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True), min_size=1, max_size=4)


@given(SUBDOMAINS.map(".".join), TARGETS)
def test_a_wildcard_stands_for_one_or_more_labels_and_a_taken_url_stays_as_it_is(labels: str, target: str) -> None:
    url = f"https://{labels}.notify.windows.com{target}"
    endpoint = parse_endpoint(url, HOSTS)
    assert endpoint.url == url
    assert parse_endpoint(endpoint.url, HOSTS) == endpoint


def test_a_listed_port_is_the_only_port() -> None:
    hosts = AllowedHosts.parse(["push.example.test:8443"])
    endpoint = parse_endpoint("https://push.example.test:8443/x", hosts)
    assert endpoint.origin == "https://push.example.test:8443"
    with pytest.raises(InvalidSubscriptionError):
        parse_endpoint("https://push.example.test/x", hosts)


def test_an_address_is_taken_only_where_it_is_listed_itself() -> None:
    assert parse_endpoint("https://192.0.2.7/x", AllowedHosts.parse(["192.0.2.7"])).host == "192.0.2.7"
    with pytest.raises(InvalidSubscriptionError):
        parse_endpoint("https://192.0.2.8/x", AllowedHosts.parse(["192.0.2.7"]))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "*",
        "*.com",
        "*.",
        "*.0.0.1",
        "a.*.com",
        "https://a.b",
        "a.b/c",
        "a b",
        "a.b:0",
        "a.b:70000",
        "a..b",
        "[::1]",
    ],
)
def test_a_list_of_hosts_that_is_wrong_or_too_wide_names_its_setting(name: str) -> None:
    with pytest.raises(ValueError, match="PUSH_ALLOWED_HOSTS"):
        AllowedHosts.parse(["fcm.googleapis.com", name])


@pytest.mark.parametrize(
    "p256dh",
    [
        None,
        7,
        "",
        "not base64url!",
        "A",
        b64(POINT)[:-4],
        b64(COMPRESSED),
        b64(b"\x04" + bytes(64)),
        b64(POINT[:-1] + bytes([POINT[-1] ^ 1])),
        b64(b"\x05" + POINT[1:]),
        b64(b"\x00"),
        b64(POINT + b"\x00"),
        b64(POINT) * 2,
        "A" * 200,
    ],
)
def test_a_public_key_that_is_no_point_on_the_curve_is_refused(p256dh: object) -> None:
    assert refused(document(keys={"p256dh": p256dh, "auth": b64(bytes(16))})).field == "keys.p256dh"


@pytest.mark.parametrize("auth", [None, 7, "", "+" * 22, b64(bytes(15)), b64(bytes(17)), "A" * 200])
def test_a_secret_that_has_not_16_bytes_is_refused(auth: object) -> None:
    assert refused(document(keys={"p256dh": b64(POINT), "auth": auth})).field == "keys.auth"


@pytest.mark.parametrize(
    "expiration", [True, "soon", -1, 2**53, float("nan"), float("inf"), [], 10**400], ids=lambda value: repr(value)[:20]
)
def test_an_expiration_that_is_no_time_is_refused(expiration: object) -> None:
    assert refused(document(expirationTime=expiration)).field == "expirationTime"


@pytest.mark.parametrize(("expiration", "kept"), [(None, None), (0, 0), (1_769_040_000_000.75, 1_769_040_000_000)])
def test_an_expiration_is_kept_in_whole_milliseconds(expiration: object, kept: int | None) -> None:
    assert parse_subscription(document(expirationTime=expiration), HOSTS).expires_at == kept


@pytest.mark.parametrize(
    ("value", "field"), [(None, "subscription"), ([], "subscription"), ({}, "keys"), ({"keys": []}, "keys")]
)
def test_a_document_of_another_shape_is_refused_by_the_member_that_is_wrong(value: object, field: str) -> None:
    assert refused(value).field == field


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "endpoint": JSON | st.just(ENDPOINT),
            "expirationTime": JSON,
            "keys": JSON
            | st.fixed_dictionaries(
                {"p256dh": JSON | st.binary(max_size=70).map(b64), "auth": JSON | st.binary(max_size=20).map(b64)}
            ),
        },
    )
    | JSON
)
def test_nothing_but_a_refusal_is_ever_raised(value: object) -> None:
    assert refused(value).field in {
        "subscription",
        "endpoint",
        "keys",
        "keys.p256dh",
        "keys.auth",
        "expirationTime",
    }


def test_the_repr_of_a_subscription_holds_no_secret() -> None:
    subscription = parse_subscription(document(), HOSTS)
    shown = repr(subscription) + repr(parse_endpoint(subscription.endpoint, HOSTS))
    assert not any(secret in shown for secret in ("APA91b", subscription.auth, subscription.p256dh))
