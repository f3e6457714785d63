"""PagerDuty, by its Events API v2.

Protocol: PagerDuty/developer-docs, `docs/events-API-v2`. The official client is not used: it blocks for minutes
and repeats a 429 without end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from monitor.alerting.channels import Page, SendResult
from monitor.alerting.channels.http import NoReplyError, checked_url, exchange, result_of
from monitor.alerting.channels.pacing import SlidingWindow
from monitor.domain.times import rfc3339
from monitor.domain.vocabulary import PageAction, PageChannel, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx
    from pydantic import JsonValue, SecretStr

DEFAULT_URL = "https://events.pagerduty.com"
"""Accounts of the EU region have https://events.eu.pagerduty.com."""
CLIENT = "Booking Monitor"
MAX_SUMMARY_CHARACTERS = 1024
MAX_EVENT_BYTES = 512_000
CALLS_PER_WINDOW = 120
WINDOW_SECONDS = 60.0
"""Events of one routing key, by PagerDuty's documentation of its limits."""
_ACCEPTED = frozenset({202})
_MAX_WORD_CHARACTERS = 255

_SEVERITY: Mapping[Severity, str] = {Severity.CRITICAL: "critical", Severity.WARNING: "warning"}
_FIRST_TO_GO = ("sample_bookings", "common_factor")

Event = dict[str, Any]
"""An event as it leaves, without its routing key."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that was changed on purpose, shown beside the incidents that follow it."""

    summary: str
    at: int
    """Milliseconds since the epoch."""
    environment: str
    details: Mapping[str, JsonValue] = field(default_factory=dict)


def new_release(version: str, previous: str, environment: str, at: int) -> Change:
    """Describe the start of another release of the monitor."""
    return Change(
        f"Booking Monitor {version} runs in {environment}, before it {previous}",
        at,
        environment,
        {"version": version, "previous_version": previous},
    )


def changed_objectives(changes: Mapping[str, tuple[float, float]], environment: str, at: int) -> Change:
    """Describe objectives that were changed: for each SLI the old and the new ratio."""
    listed = ", ".join(f"{sli} {old:.6g} to {new:.6g}" for sli, (old, new) in sorted(changes.items()))
    details: dict[str, JsonValue] = {sli: {"old": old, "new": new} for sli, (old, new) in sorted(changes.items())}
    return Change(f"Objectives of Booking Monitor in {environment} changed: {listed}", at, environment, details)


def event_of(page: Page, words: Mapping[Severity, str] = _SEVERITY) -> Event:
    """Write the event of a page, without its routing key; `words` are PagerDuty's words for our severities."""
    # PagerDuty knows no reminders: a trigger under the same key is noted on the incident that is open.
    action = PageAction.TRIGGER if page.action is PageAction.REMINDER else page.action
    event: Event = {"event_action": action.value, "dedup_key": page.dedup_key}
    if action is not PageAction.TRIGGER:
        return event
    content = page.content
    event["payload"] = {
        "summary": shortened(content.summary, MAX_SUMMARY_CHARACTERS),
        "source": _source(content.environment),
        "severity": words[content.severity],
        "timestamp": rfc3339(content.fired_at),
        "component": shortened(content.sli or "booking-monitor", _MAX_WORD_CHARACTERS),
        "group": shortened(content.traffic or content.environment, _MAX_WORD_CHARACTERS),
        "class": shortened(content.alertname, _MAX_WORD_CHARACTERS),
        "custom_details": dict(content.details),
    }
    if content.links:
        event["links"] = [{"href": link.href, "text": link.text} for link in content.links]
    event["client"] = CLIENT
    if content.status_page:
        event["client_url"] = content.status_page
    return event


def change_of(change: Change) -> Event:
    """Write a change event, without its routing key."""
    return {
        "payload": {
            "summary": shortened(change.summary, MAX_SUMMARY_CHARACTERS),
            "source": _source(change.environment),
            "timestamp": rfc3339(change.at),
            "custom_details": dict(change.details),
        }
    }


def encode(event: Event, routing_key: str) -> bytes:
    """Write the body of a call, within PagerDuty's limit.

    What is too long loses its sample lists first, then details from the last to the first, then links.
    The summary and the dedup key always stay.
    """
    event = {"routing_key": routing_key, **event}
    body = orjson.dumps(event)
    details = event.get("payload", {}).get("custom_details", {})
    expendable = [name for name in _FIRST_TO_GO if name in details]
    expendable += [name for name in reversed(details) if name not in _FIRST_TO_GO]
    for name in expendable:
        if len(body) <= MAX_EVENT_BYTES:
            return body
        details = {key: value for key, value in details.items() if key != name}
        event["payload"] = {**event["payload"], "custom_details": details}
        body = orjson.dumps(event)
    for name in ("links", "client_url"):
        if len(body) <= MAX_EVENT_BYTES:
            return body
        event.pop(name, None)
        body = orjson.dumps(event)
    return body


def shortened(text: str, limit: int) -> str:
    """Keep the beginning, which holds the counts, and show that something is missing."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _source(environment: str) -> str:
    return shortened(f"booking-monitor/{environment}", _MAX_WORD_CHARACTERS)


class PagerDutyChannel:
    """Sends events with one routing key, and never more of them than PagerDuty allows."""

    name = PageChannel.PAGERDUTY

    def __init__(
        self,
        client: httpx.AsyncClient,
        routing_key: SecretStr,
        url: str = DEFAULT_URL,
        *,
        words: Callable[[], Mapping[Severity, str]] = lambda: _SEVERITY,
        window: SlidingWindow | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._routing_key = routing_key
        self._url = checked_url("PAGERDUTY_URL", url).rstrip("/")
        self._window = window or SlidingWindow(CALLS_PER_WINDOW, WINDOW_SECONDS)
        self._words = words
        self._monotonic = monotonic
        self._wall = wall

    async def send(self, page: Page) -> SendResult:
        """Try once to hand over the page. Accepted means that PagerDuty queued it."""
        return await self._enqueue("/v2/enqueue", event_of(page, self._words()))

    async def send_change(self, change: Change) -> SendResult:
        """Try once to hand over a change event."""
        if self._routing_key.get_secret_value().startswith("R"):
            return SendResult.reject("change events need the routing key of a service; this one is of a ruleset")
        return await self._enqueue("/v2/change/enqueue", change_of(change))

    async def _enqueue(self, path: str, event: Event) -> SendResult:
        if wait := self._window.acquire(self._monotonic()):
            return SendResult.retry("held back by our own rate limit", wait, attempted=False)
        key = self._routing_key.get_secret_value()
        try:
            reply = await exchange(
                self._client,
                "POST",
                self._url + path,
                body=encode(event, key),
                headers={"Content-Type": "application/json"},
            )
        except NoReplyError as error:
            return SendResult.retry(str(error))
        return result_of(reply, accepted=_ACCEPTED, now_seconds=self._wall(), secrets=(key,))
