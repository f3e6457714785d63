"""The pager: takes pages out of the outbox and sends them until they are accepted.

Pages of one incident leave by one channel in order, and never two at a time, so that a resolve cannot be
overtaken. Each is noted as tried before it is sent: after a kill it may be sent again, under the same key.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from functools import partial

from monitor.alerting.channels import DEADLINE_SECONDS, Channel, Page, SendResult
from monitor.alerting.paging import after
from monitor.alerting.payload import PageContent
from monitor.alerting.resending import RESOLVED_RETENTION, resend_due
from monitor.domain.rows import Fields
from monitor.domain.times import SECOND, Now, milliseconds
from monitor.domain.vocabulary import PageAction, PageChannel, PageState
from monitor.store.alerts import ClaimPages, RecordPage, resendable
from monitor.store.leases import Fence
from monitor.store.readers import Readers
from monitor.store.writer import StoreUnavailableError, Writer
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

LEASE = milliseconds(DEADLINE_SECONDS) + 5 * SECOND
"""Milliseconds after which a page whose sender died comes due again: no attempt takes so long."""
STOP_SECONDS = 1
"""For pages that are under way when the service stops."""
CHANNEL_LIMIT = 20
"""Pages under way at once on one channel, at most: one that hangs takes no room from the others."""


class Pager:
    """Sends the pages of the outbox; used by the replica that leads."""

    def __init__(
        self,
        *,
        channels: Mapping[PageChannel, Channel],
        readers: Readers,
        writer: Writer,
        now: Now,
    ) -> None:
        self._channels = channels
        self._readers = readers
        self._writer = writer
        self._now = now
        self._under_way: dict[tuple[int, str], asyncio.Task[None]] = {}
        self._claiming = asyncio.Lock()

    async def run(self, fence: Fence | None) -> None:
        """Begin to send what is due. Raises StoreUnavailableError or FencedOffError."""
        async with self._claiming:
            for channel in self._channels:
                room = self._room(channel)
                if room:
                    claim = ClaimPages(self._now(), LEASE, room, channel.value, self._busy(channel), fence)
                    for row in await self._writer.submit(claim):
                        self._begin(row, self._send(row))
            await self._resend()

    async def stop(self) -> None:
        """Wait a little for what is under way; what is not accepted by then comes due again after its lease."""
        if not self._under_way:
            return
        _, late = await asyncio.wait(self._under_way.values(), timeout=STOP_SECONDS)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _busy(self, channel: PageChannel) -> tuple[int, ...]:
        return tuple(incident for incident, name in self._under_way if name == channel.value)

    def _room(self, channel: PageChannel) -> int:
        return CHANNEL_LIMIT - len(self._busy(channel))

    def _begin(self, row: Fields, sending: Coroutine[None, None, None]) -> None:
        key = (row["incident"], row["channel"])
        task = asyncio.create_task(sending)
        self._under_way[key] = task
        task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: tuple[int, str], _task: asyncio.Task[None]) -> None:
        del self._under_way[key]

    async def _send(self, row: Fields) -> None:
        channel = self._channels[PageChannel(row["channel"])]
        page = _page(row, self._now())
        result = await channel.send(page)
        about = {
            "channel": row["channel"],
            "incident": row["incident"],
            "action": row["action"],
            "detail": result.detail,
        }
        try:
            await self._writer.submit(self._record(row, result))
        except StoreUnavailableError as error:
            log.error("page.unrecorded", error=error, **about)  # noqa: TRY400 - no fault of the code
        if result.accepted:
            log.info("page.accepted", **about)
        else:
            log.error("page.not_accepted", status=result.status.value, **about)

    def _record(self, row: Fields, result: SendResult) -> RecordPage:
        now = self._now()
        # The row was claimed as it was before this attempt.
        state, delay = after(result, row["attempts"] + 1, random.random())  # noqa: S311 - jitter, not a secret
        return RecordPage(
            row["id"],
            row["incident"],
            row["channel"],
            state,
            now,
            None if delay is None else now + delay,
            result.detail,
            result.attempted,
            action=PageAction(row["action"]),
        )

    async def _resend(self) -> None:
        """Post alerts again to Alertmanager, which forgets what it is not told."""
        channel = self._channels.get(PageChannel.ALERTMANAGER)
        if channel is None:
            return
        now = self._now()
        for row in await self._readers.run(resendable, channel.name.value, now - RESOLVED_RETENTION):
            if (row["incident"], row["channel"]) in self._under_way or not self._room(channel.name):
                continue
            if resend_due(now, sent_at=row["sent_at"], resolved_at=row["resolved_at"]):
                self._begin(row, self._send_again(channel, row, now))

    async def _send_again(self, channel: Channel, row: Fields, now: int) -> None:
        about = {"channel": row["channel"], "incident": row["incident"]}
        page = _page(row, now)
        result = await channel.send(page)
        if not result.accepted:
            log.warning("page.not_resent", detail=result.detail, **about)
            return
        try:
            await self._writer.submit(
                RecordPage(row["id"], row["incident"], row["channel"], PageState.SENT, now, None, "resent", told=False)
            )
        except StoreUnavailableError as error:
            log.warning("page.unrecorded", error=error, **about)


def _page(row: Fields, now: int) -> Page:
    content = PageContent.model_validate_json(row["content"])
    return Page(row["id"], PageAction(row["action"]), row["dedup_key"], content, now)
