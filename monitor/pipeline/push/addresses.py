"""Which addresses a push message may be sent to, and a connection that goes to such an address only.

A host on the list of push services can still be made to resolve to our own network, and to another address on the
second look than on the first. So the address is judged when the connection is made, and that very address is dialled.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpcore

Address = IPv4Address | IPv6Address
AddressRule = Callable[[Address], bool]
Resolver = Callable[[str, int], Awaitable[Sequence[Address]]]

MAX_ADDRESSES_TRIED = 4
"""Of one host, within one connect timeout."""

_NOT_PUBLIC_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
"""IANA IPv4 Special-Purpose Address Registry (RFC 6890), and multicast. Not left to `ipaddress.is_global`, whose answer
differs between releases of Python."""

_PUBLIC_V6 = IPv6Network("2000::/3")
"""The only global unicast space that IANA has handed out (RFC 4291, section 2.4)."""
_NOT_PUBLIC_V6 = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",
    )
)
"""IANA IPv6 Special-Purpose Address Registry, as far as it lies in global unicast space."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052, section 2.1. The prefix for local use (RFC 8215) is not public."""


def is_public_address(address: Address) -> bool:
    """Whether an address is on the public internet. One that stands for an IPv4 address is judged as that."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return is_public_address(IPv4Address(int(address) & 0xFFFF_FFFF))
        if address.ipv4_mapped is not None:
            return is_public_address(address.ipv4_mapped)
        return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)
    return not any(address in network for network in _NOT_PUBLIC_V4)


async def resolve(host: str, port: int) -> list[Address]:
    """Ask the system's resolver. The addresses come in the order in which they should be tried.

    Raises:
        OSError: the host has no address, or the resolver does not answer.

    """
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ip_address(sockaddr[0]) for *_, sockaddr in found))


class AddressNotAllowedError(httpcore.ConnectError):
    """A host resolved only to addresses that may not be connected to."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that a rule allows, and never lets anything resolve the name a second time.

    The name of the host stays what it was for TLS (SNI and certificate) and for the Host header.
    """

    def __init__(self, resolver: Resolver, allowed: AddressRule) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve a host, judge its addresses, and connect to the first allowed one that answers in time.

        Raises:
            AddressNotAllowedError: no address is allowed.
            httpcore.ConnectError: no address, or none that accepts.
            httpcore.ConnectTimeout: the seconds of `timeout` are over.

        """
        loop = asyncio.get_running_loop()
        ends_at = None if timeout is None else loop.time() + timeout
        addresses = [found for found in await self._resolve(host, port, timeout) if self._allowed(found)]
        if not addresses:
            raise AddressNotAllowedError
        addresses = addresses[:MAX_ADDRESSES_TRIED]
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for tried, address in enumerate(addresses):
            # An address that swallows packets must leave time for the next one.
            share = None if ends_at is None else (ends_at - loop.time()) / (len(addresses) - tried)
            try:
                return await self._network.connect_tcp(str(address), port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError

    async def _resolve(self, host: str, port: int, seconds: float | None) -> Sequence[Address]:
        try:
            async with asyncio.timeout(seconds):
                return await self._resolver(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        except OSError as error:
            raise httpcore.ConnectError from error
