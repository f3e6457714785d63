"""The heartbeat: a sign of life to a dead man's switch elsewhere, which calls somebody when it stops.

Its URL is a secret: who knows it can feign the life of a dead monitor.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from monitor.alerting.channels import SendResult
from monitor.alerting.channels.http import NoReplyError, checked_url, exchange, result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx
    from pydantic import SecretStr

_ACCEPTED = range(200, 300)


class Heartbeat:
    """Calls the heartbeat URL, with GET, as every such service takes it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: SecretStr,
        *,
        wall: Callable[[], float] = time.time,
    ) -> None:
        checked_url("HEARTBEAT_URL", url.get_secret_value())
        self._client = client
        self._url = url
        self._wall = wall

    async def beat(self) -> SendResult:
        """Try once to show a sign of life. A beat that failed is not repeated: the next one comes anyway."""
        url = self._url.get_secret_value()
        try:
            reply = await exchange(self._client, "GET", url)
        except NoReplyError as error:
            return SendResult.retry(str(error))
        return result_of(reply, accepted=_ACCEPTED, now_seconds=self._wall(), secrets=(url,))
