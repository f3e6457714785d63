"""Handing push messages to push services: RFC 8030."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING, Self

import httpcore
import httpx

from monitor.domain.vocabulary import AttemptResult
from monitor.pipeline.push.addresses import AddressRule, GuardedBackend, Resolver, is_public_address, resolve
from monitor.pipeline.push.answers import PushResult, result_of, retry_after_seconds
from monitor.pipeline.push.encryption import encrypt
from monitor.pipeline.push.endpoints import (
    AllowedHosts,
    Endpoint,
    InvalidSubscriptionError,
    PushSubscription,
    encode_base64url,
    parse_endpoint,
)

if TYPE_CHECKING:
    import ssl
    from types import TracebackType

    from monitor.pipeline.push.vapid import VapidSigner

CONNECT_TIMEOUT_SECONDS = 5.0
"""For name and connection together, and again for the TLS handshake."""
TOTAL_TIMEOUT_SECONDS = 10.0
"""For one message, whatever the push service does; after it there is a next attempt."""
MAX_CONNECTIONS = 32
"""Open at once, over all push services."""
KEEPALIVE_SECONDS = 30.0
"""For which an idle connection is kept."""
MAX_RESPONSE_BYTES = 4096
"""Of an answer's body. It is read to keep the connection usable, and dropped."""
BODY_TIMEOUT_SECONDS = 1.0
"""For reading that body."""
TOPIC_BYTES = 24
"""Makes the 32 characters of base64url that RFC 8030, section 5.4 allows."""

_FAULTS = (OSError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)
"""OSError for TimeoutError, and for the faults of TLS after the handshake, which httpcore lets through."""


class PushSender:
    """Sends encrypted messages to push services, over connections that it keeps.

    It stands on httpcore, the engine of httpx, where the address of a connection can be chosen. There, no redirect is
    followed, no proxy is taken from the environment, no cookie is kept, and no URL is logged (httpx logs each).
    """

    def __init__(
        self,
        signer: VapidSigner,
        hosts: AllowedHosts,
        *,
        timeout_seconds: float = TOTAL_TIMEOUT_SECONDS,
        max_connections: int = MAX_CONNECTIONS,
        ssl_context: ssl.SSLContext | None = None,
        resolver: Resolver = resolve,
        address_allowed: AddressRule = is_public_address,
    ) -> None:
        self._signer = signer
        self._hosts = hosts
        self._timeout_seconds = timeout_seconds
        self._timeouts = {
            "connect": min(CONNECT_TIMEOUT_SECONDS, timeout_seconds),
            "read": timeout_seconds,
            "write": timeout_seconds,
            "pool": timeout_seconds,
        }
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=max_connections,
            max_keepalive_connections=max_connections,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=GuardedBackend(resolver, address_allowed),
        )

    async def send(
        self, subscription: PushSubscription, payload: bytes, ttl_seconds: int, *, about: str | None = None
    ) -> PushResult:
        """Encrypt a message and hand it to the push service of a subscription.

        The push service keeps it for `ttl_seconds` (at least 1) while the browser is away. There, it takes the place
        of an earlier message `about` the same thing. Faults of the network and of the push service are results; a
        subscription whose host is no longer allowed is rejected.

        Raises:
            ValueError: the payload is longer than MAX_PAYLOAD_BYTES.

        """
        try:
            endpoint = parse_endpoint(subscription.endpoint, self._hosts)
            body = encrypt(payload, subscription)
        except InvalidSubscriptionError as error:
            return PushResult(AttemptResult.REJECTED, type(error).__name__)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._post(endpoint, self._headers(endpoint, body, ttl_seconds, about), body)
        except _FAULTS as error:
            return PushResult(AttemptResult.ERROR, type(error).__name__)

    def _headers(self, endpoint: Endpoint, body: bytes, ttl_seconds: int, about: str | None) -> list[tuple[str, str]]:
        headers = [
            ("Host", endpoint.origin.removeprefix("https://")),
            ("Authorization", self._signer.authorization(endpoint.origin, time.time())),
            ("Content-Encoding", "aes128gcm"),
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(len(body))),
            ("TTL", str(max(1, ttl_seconds))),
            ("Urgency", "high"),
            ("User-Agent", "booking-monitor"),
        ]
        return headers if about is None else [*headers, ("Topic", topic_of(about))]

    async def _post(self, endpoint: Endpoint, headers: list[tuple[str, str]], body: bytes) -> PushResult:
        url = httpcore.URL(scheme="https", host=endpoint.host, port=endpoint.port, target=endpoint.target)
        extensions = {"timeout": self._timeouts}
        async with self._pool.stream("POST", url, headers=headers, content=body, extensions=extensions) as response:
            await _drop_body(response)
            result = result_of(response.status)
            asked = retry_after_seconds(_header(response, b"retry-after"), time.time())
            return PushResult(result, str(response.status), asked if result is AttemptResult.ERROR else None)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def topic_of(about: str) -> str:
    """Return the topic of a message: a digest, which tells the push service nothing."""
    return encode_base64url(hashlib.sha256(about.encode()).digest()[:TOPIC_BYTES])


async def _drop_body(response: httpcore.Response) -> None:
    """Read a short body, so that its connection can be used again; leave a long or slow or broken one.

    The status alone says what became of the message: what happens after it is no fault.
    """
    read = 0
    with contextlib.suppress(*_FAULTS):
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            async for part in response.aiter_stream():
                read += len(part)
                if read > MAX_RESPONSE_BYTES:
                    return


def _header(response: httpcore.Response, name: bytes) -> str | None:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), None)
