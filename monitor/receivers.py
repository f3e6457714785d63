"""Those who are told: the channels that are configured, and the dead man's switch."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from httpx import AsyncClient

from monitor.alerting.channels import Channel
from monitor.alerting.channels.alertmanager import AlertmanagerChannel
from monitor.alerting.channels.heartbeat import Heartbeat
from monitor.alerting.channels.http import http_client
from monitor.alerting.channels.pagerduty import PagerDutyChannel, changed_objectives, new_release
from monitor.alerting.channels.webhook import WebhookChannel
from monitor.domain.times import milliseconds
from monitor.domain.vocabulary import PageChannel, Severity
from monitor.settings import Settings
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)


class Receivers:
    """The receivers of one service, each with a client of its own: one that hangs keeps no connections from others."""

    def __init__(self, settings: Settings, words: Callable[[], Mapping[Severity, str]]) -> None:
        """`words` gives PagerDuty's word for each severity."""
        self._clients: list[AsyncClient] = []
        self.channels: dict[PageChannel, Channel] = {}
        self._environment = settings.environment
        self._pagerduty: PagerDutyChannel | None = None
        if settings.pagerduty_routing_key is not None:
            self._pagerduty = PagerDutyChannel(
                self._client(), settings.pagerduty_routing_key, settings.pagerduty_url, words=words
            )
            self.channels[PageChannel.PAGERDUTY] = self._pagerduty
        if settings.alertmanager_url is not None:
            self.channels[PageChannel.ALERTMANAGER] = AlertmanagerChannel(
                self._client(),
                settings.alertmanager_url,
                evaluation_interval=milliseconds(settings.evaluation_interval),
            )
        if settings.webhook_url is not None and settings.webhook_secret is not None:
            self.channels[PageChannel.WEBHOOK] = WebhookChannel(
                self._client(), settings.webhook_url, settings.webhook_secret
            )
        self._heartbeat = None if settings.heartbeat_url is None else Heartbeat(self._client(), settings.heartbeat_url)

    @property
    def hears_of_changes(self) -> bool:
        """Whether anybody is to be told of changes."""
        return self._pagerduty is not None

    async def tell_release(self, release: str, before: str, now: int) -> None:
        """Tell of a new release of the monitor."""
        if self._pagerduty is not None:
            await self._pagerduty.send_change(new_release(release, before, self._environment, now))

    async def tell_objectives(self, changes: Mapping[str, tuple[float, float]], now: int) -> None:
        """Tell of changed objectives: for each SLI the one before and the one now."""
        if self._pagerduty is not None:
            await self._pagerduty.send_change(changed_objectives(changes, self._environment, now))

    async def beat(self) -> None:
        """Call the dead man's switch, if there is one."""
        if self._heartbeat is None:
            return
        result = await self._heartbeat.beat()
        if not result.accepted:
            log.error("heartbeat.failed", detail=result.detail)

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()

    def _client(self) -> AsyncClient:
        client = http_client()
        self._clients.append(client)
        return client
