"""A signed webhook, for whatever else is to learn of an incident.

The receiver recomputes HMAC-SHA256 over `<t>.<body>` with the shared secret, compares it with `v1` in constant
time, refuses a `t` that is minutes old, and drops a delivery id that it has seen.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import TYPE_CHECKING

import orjson

from monitor.alerting.channels import Page, SendResult
from monitor.alerting.channels.http import NoReplyError, checked_url, exchange, result_of
from monitor.domain.times import optional_rfc3339, rfc3339
from monitor.domain.vocabulary import PageChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from pydantic import SecretStr

SIGNATURE_HEADER = "X-Booking-Monitor-Signature"
DELIVERY_HEADER = "X-Booking-Monitor-Delivery"
_ACCEPTED = range(200, 300)


def body_of(page: Page) -> bytes:
    """Write the JSON body: the content of the page, what it does, and for which incident."""
    content = page.content
    return orjson.dumps(
        {
            "id": page.id,
            "action": page.action,
            "dedup_key": page.dedup_key,
            **content.model_dump(mode="json"),
            "fired_at": rfc3339(content.fired_at),
            "resolved_at": optional_rfc3339(content.resolved_at),
        }
    )


def signature(body: bytes, secret: str, at_seconds: int) -> str:
    """Sign a body: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">`."""
    digest = hmac.new(secret.encode(), f"{at_seconds}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_seconds},v1={digest}"


class WebhookChannel:
    """Posts each page as signed JSON."""

    name = PageChannel.WEBHOOK

    def __init__(
        self, client: httpx.AsyncClient, url: SecretStr, secret: SecretStr, *, wall: Callable[[], float] = time.time
    ) -> None:
        checked_url("WEBHOOK_URL", url.get_secret_value())
        if not secret.get_secret_value():
            raise ValueError("WEBHOOK_SECRET: a secret is needed to sign what WEBHOOK_URL receives")
        self._client = client
        self._url = url
        self._secret = secret
        self._wall = wall

    async def send(self, page: Page) -> SendResult:
        """Try once to post the page. Any answer of class 2 accepts it."""
        body = body_of(page)
        url, secret = self._url.get_secret_value(), self._secret.get_secret_value()
        headers = {
            "Content-Type": "application/json",
            DELIVERY_HEADER: page.id,
            SIGNATURE_HEADER: signature(body, secret, int(self._wall())),
        }
        try:
            reply = await exchange(self._client, "POST", url, body=body, headers=headers)
        except NoReplyError as error:
            return SendResult.retry(str(error))
        return result_of(reply, accepted=_ACCEPTED, now_seconds=self._wall(), secrets=(url, secret))
