"""Alertmanager, by its API v2: alerts that are posted again and again while they last, as Prometheus does it.

Rules for clients: Prometheus' `rules/alerting.go` (`needsSending`, `sendAlerts`, `resolvedRetention`) and
prometheus/compliance, `alert_generator/specification.md`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson

from monitor.alerting.channels import Page, SendResult
from monitor.alerting.channels.http import NoReplyError, checked_url, exchange, result_of
from monitor.alerting.resending import RESEND_DELAY
from monitor.domain.times import rfc3339
from monitor.domain.vocabulary import PageAction, PageChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

_EXPIRY_FACTOR = 4
"""A firing alert ends by itself after so many resends did not come."""
_ACCEPTED = frozenset({200})


def alert_of(page: Page, evaluation_interval: int) -> dict[str, Any]:
    """Write the alert of a page. `evaluation_interval` is in milliseconds."""
    content = page.content
    labels = {
        "alertname": content.alertname,
        "severity": content.severity.value,
        "sli": content.sli,
        "traffic": content.traffic,
        "environment": content.environment,
    }
    ends_at = content.resolved_at if page.action is PageAction.RESOLVE else None
    if ends_at is None:
        ends_at = page.evaluated_at + _EXPIRY_FACTOR * max(evaluation_interval, RESEND_DELAY)
    alert: dict[str, Any] = {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": _annotations(page),
        "startsAt": rfc3339(content.fired_at),
        "endsAt": rfc3339(ends_at),
    }
    if content.status_page:
        alert["generatorURL"] = content.status_page
    return alert


def _annotations(page: Page) -> dict[str, str]:
    content = page.content
    annotations = {"summary": content.summary, "dedup_key": page.dedup_key}
    for name, value in content.details.items():
        annotations[name] = value if isinstance(value, str) else orjson.dumps(value).decode()
    return annotations | {f"{link.kind}_url": link.href for link in content.links}


class AlertmanagerChannel:
    """Posts each page as the alert that it stands for."""

    name = PageChannel.ALERTMANAGER

    def __init__(
        self,
        client: httpx.AsyncClient,
        url: str,
        *,
        evaluation_interval: int,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._url = f"{checked_url('ALERTMANAGER_URL', url).rstrip('/')}/api/v2/alerts"
        self._evaluation_interval = evaluation_interval
        self._wall = wall

    async def send(self, page: Page) -> SendResult:
        """Try once to post the alert. Alertmanager knows no acknowledgement: such a page is done at once."""
        if page.action is PageAction.ACKNOWLEDGE:
            return SendResult.accept("Alertmanager has no acknowledgements")
        body = orjson.dumps([alert_of(page, self._evaluation_interval)])
        try:
            reply = await exchange(
                self._client, "POST", self._url, body=body, headers={"Content-Type": "application/json"}
            )
        except NoReplyError as error:
            return SendResult.retry(str(error))
        return result_of(reply, accepted=_ACCEPTED, now_seconds=self._wall())
