"""What a push service's answer means, and which addresses are on the public internet."""

from __future__ import annotations

from email.utils import formatdate
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.vocabulary import AttemptResult
from monitor.pipeline.push.addresses import is_public_address
from monitor.pipeline.push.answers import MAX_RETRY_AFTER_SECONDS, result_of, retry_after_seconds

NOW = 1_769_040_000
NAT64 = IPv6Network("64:ff9b::/96")


@pytest.mark.parametrize(
    ("result", "statuses"),
    [
        (AttemptResult.OK, (200, 201, 202, 204)),
        (AttemptResult.GONE, (404, 410)),
        (AttemptResult.REJECTED, (301, 302, 303, 307, 308, 400, 401, 403, 413, 415, 422)),
        (AttemptResult.ERROR, (101, 203, 206, 406, 408, 421, 425, 429, 500, 502, 503, 504, 599)),
    ],
)
def test_a_status_code_says_what_became_of_the_message(result: AttemptResult, statuses: tuple[int, ...]) -> None:
    assert {status: result_of(status) for status in statuses} == dict.fromkeys(statuses, result)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("3601", MAX_RETRY_AFTER_SECONDS),
        ("9" * 60, MAX_RETRY_AFTER_SECONDS),
        ("9" * 5000, None),
        ("-5", None),
        ("1.5", None),
        ("\u0661\u0662", None),
        ("soon", None),
        (formatdate(NOW + 90, usegmt=True), 90),
        (formatdate(NOW - 90, usegmt=True), 0),
        (formatdate(NOW + 86_400, usegmt=True), MAX_RETRY_AFTER_SECONDS),
        ("Thu, 22 Jan 99999 00:00:00 GMT", None),
        ("Thu, 22 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_at_most_an_hour(value: str | None, seconds: int | None) -> None:
    assert retry_after_seconds(value, NOW) == seconds


@given(st.text(max_size=70) | st.text(alphabet="ThuJan 0123456789:,+-GMT", max_size=40))
def test_no_retry_after_header_is_more_than_ignored(value: str) -> None:
    seconds = retry_after_seconds(value, NOW)
    assert seconds is None or 0 <= seconds <= MAX_RETRY_AFTER_SECONDS


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "142.250.74.10", "17.188.143.1", "2a00:1450:4001:81b::200a", "2620:149:a44::1", "64:ff9b::808:808"],
)
def test_addresses_of_push_services_are_public(address: str) -> None:
    assert is_public_address(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.1",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::808:808",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%lo",
        "fec0::1",
        "ff02::1",
    ],
)
def test_addresses_of_our_own_network_are_not_public(address: str) -> None:
    assert not is_public_address(ip_address(address))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_public_that_the_standard_library_calls_otherwise(address: IPv4Address | IPv6Address) -> None:
    if not is_public_address(address):
        return
    disguised = isinstance(address, IPv6Address) and (address.ipv4_mapped is not None or address in NAT64)
    inner = IPv4Address(int(address) & 0xFFFF_FFFF) if disguised else address
    assert inner.is_global
    assert not inner.is_multicast
    assert not inner.is_reserved


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_the_clothes_of_ipv6_is_judged_as_what_it_is(address: IPv4Address) -> None:
    number = int(address)
    for prefix in (0xFFFF << 32, 0x0064FF9B << 96):
        assert is_public_address(IPv6Address(prefix | number)) == is_public_address(address)
