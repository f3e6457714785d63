"""One HTTP exchange with a receiver that may answer anything, or nothing."""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING

import httpx

from monitor.alerting.channels import DEADLINE_SECONDS, SendResult
from monitor.alerting.payload import web_url

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

TIMEOUT = httpx.Timeout(connect=5.0, read=10.0, write=10.0, pool=5.0)
"""Seconds without any progress."""
MAX_REPLY_BYTES = 16_384
MAX_DETAIL_CHARACTERS = 200
MIN_RETRY_AFTER_SECONDS = 1.0
MAX_RETRY_AFTER_SECONDS = 900.0
"""A receiver may not silence its pages for longer, whatever it asks for."""

_BUSY = frozenset({408, 425, 429})
"""Answers of class 4 that say: later."""
_SECONDS = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What a receiver answered."""

    status: int
    body: bytes
    retry_after: str | None


class NoReplyError(Exception):
    """The receiver could not be reached, or gave no whole answer in time. The message names no URL."""


class _OriginsOnly(logging.Filter):
    """Shortens the URLs that httpx logs with each request: those of webhooks and heartbeats are secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{arg.scheme}://{arg.host}" if isinstance(arg, httpx.URL) else arg for arg in record.args
            )
        return True


_FILTER = _OriginsOnly()


def http_client() -> httpx.AsyncClient:
    """Make the client that all channels share: bounded in time, without redirects, cookies or proxies of the host."""
    logging.getLogger("httpx").addFilter(_FILTER)
    return httpx.AsyncClient(
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=20, max_keepalive_connections=5, keepalive_expiry=30.0),
        headers={"User-Agent": "booking-monitor", "Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        trust_env=False,
    )


def checked_url(setting: str, url: str) -> str:
    """Give back an absolute http(s) URL. Raises ValueError, which names the setting and not the URL."""
    if not web_url(url):
        raise ValueError(f"{setting}: an absolute http:// or https:// URL is needed")
    return url


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and read its answer, up to a limit. Raises NoReplyError."""
    received = bytearray()
    try:
        async with (
            asyncio.timeout(DEADLINE_SECONDS),
            client.stream(method, url, content=body, headers=headers) as response,
        ):
            async for chunk in response.aiter_raw():
                received += chunk
                if len(received) >= MAX_REPLY_BYTES:
                    break
    except (httpx.HTTPError, httpx.InvalidURL, TimeoutError) as error:
        # httpx puts URLs and addresses into its messages, and the cause carries them into tracebacks.
        raise NoReplyError(f"no answer: {type(error).__name__}") from None
    return Reply(response.status_code, bytes(received[:MAX_REPLY_BYTES]), response.headers.get("Retry-After"))


def result_of(
    reply: Reply, *, accepted: Collection[int], now_seconds: float, secrets: Collection[str] = ()
) -> SendResult:
    """Judge an answer. Any other success means that something else than the receiver answered: try again."""
    if reply.status in accepted:
        return SendResult.accept()
    detail = _detail(reply, secrets)
    if reply.status in _BUSY or not 300 <= reply.status < 500:  # noqa: PLR2004 - classes 3 and 4 of HTTP
        return SendResult.retry(detail, retry_after_seconds(reply.retry_after, now_seconds))
    return SendResult.reject(detail)


def retry_after_seconds(header: str | None, now_seconds: float) -> float | None:
    """Read a Retry-After header (RFC 9110: seconds or an HTTP date), within bounds; None where it says nothing."""
    if header is None:
        return None
    text = header.strip()
    if _SECONDS.fullmatch(text):
        wait = float(text)
    else:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = moment.timestamp() - now_seconds
    return min(max(wait, MIN_RETRY_AFTER_SECONDS), MAX_RETRY_AFTER_SECONDS)


def _detail(reply: Reply, secrets: Collection[str]) -> str:
    """Quote the answer for people: printable, short, and with no secret that it might echo."""
    text = reply.body.decode("utf-8", errors="replace")
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    quoted = f"HTTP {reply.status}: {text}" if text else f"HTTP {reply.status}"
    return quoted if len(quoted) <= MAX_DETAIL_CHARACTERS else f"{quoted[: MAX_DETAIL_CHARACTERS - 1]}…"
