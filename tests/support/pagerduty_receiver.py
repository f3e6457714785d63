"""A local PagerDuty: takes events as the published rules of the Events API v2 have it, and keeps its incidents.

Rules: PagerDuty/developer-docs `docs/events-API-v2` and PagerDuty/api-schema `reference/events-v2`. Written apart from
the sender, so that an error in one is seen by the other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from support.webhook_receiver import Answer, Received, WebhookReceiver

if TYPE_CHECKING:
    from collections.abc import Callable

ROUTING_KEY = "0123456789abcdef0123456789abcdef"

_MAX_BYTES = 512_000
_JSON = {"Content-Type": "application/json"}
_TOP = {"routing_key", "event_action", "dedup_key", "payload", "images", "links", "client", "client_url"}
_PAYLOAD = {"summary", "source", "severity", "timestamp", "component", "group", "class", "custom_details"}


@dataclass(slots=True)
class Incident:
    """An incident as PagerDuty would have it. Times are seconds since the epoch, of arrival."""

    dedup_key: str
    opened_at: float
    events: list[dict[str, Any]] = field(default_factory=list)
    acknowledged_at: float | None = None
    resolved_at: float | None = None

    @property
    def summary(self) -> str:
        return str(self.events[0]["payload"]["summary"])


class PagerDutyReceiver(WebhookReceiver):
    """`url` is what PAGERDUTY_URL takes; an event that breaks a rule gets 400 with the list of what it broke."""

    def __init__(self, port: int = 0, routing_key: str = ROUTING_KEY) -> None:
        super().__init__(port)
        self.routing_key = routing_key
        self.events: list[dict[str, Any]] = []
        """Events that were accepted."""
        self.changes: list[dict[str, Any]] = []
        """Change events that were accepted."""
        self.refused: list[list[str]] = []
        """For each event that was refused, the rules that it broke."""
        self.incidents: list[Incident] = []

    @property
    def open(self) -> list[Incident]:
        return [incident for incident in self.incidents if incident.resolved_at is None]

    def respond(self, request: Received) -> Answer:
        rules: dict[str, Callable[[dict[str, Any]], list[str]]] = {
            "/v2/enqueue": event_errors,
            "/v2/change/enqueue": change_errors,
        }
        if request.method != "POST" or request.path not in rules:
            return Answer(404, b'{"status":"not found"}', _JSON)
        try:
            event = json.loads(request.body)
        except ValueError:
            event = None
        if not isinstance(event, dict):
            return self._refuse(["the body is no JSON object"])
        errors = rules[request.path](event)
        if len(request.body) > _MAX_BYTES:
            errors.append(f"the event has more than {_MAX_BYTES} bytes")
        if event.get("routing_key") != self.routing_key:
            errors.append(f"'routing_key' is not known: {event.get('routing_key')}")
        if errors:
            return self._refuse(errors)
        if request.path == "/v2/enqueue":
            self.events.append(event)
            self._apply(event, request.at)
        else:
            self.changes.append(event)
        reply = {"status": "success", "message": "Event processed", "dedup_key": event.get("dedup_key", "made-here")}
        return Answer(202, json.dumps(reply).encode(), _JSON)

    def _refuse(self, errors: list[str]) -> Answer:
        self.refused.append(errors)
        reply = {"status": "invalid event", "message": "Event object is invalid", "errors": errors}
        return Answer(400, json.dumps(reply).encode(), _JSON)

    def _apply(self, event: dict[str, Any], at: float) -> None:
        key, action = event.get("dedup_key", f"made-here-{len(self.events)}"), event["event_action"]
        incident = next((incident for incident in self.open if incident.dedup_key == key), None)
        if incident is None:
            if action != "trigger":
                return  # accepted, and dropped: there is nothing to act on
            incident = Incident(key, at)
            self.incidents.append(incident)
        incident.events.append(event)
        if action == "acknowledge":
            incident.acknowledged_at = at
        elif action == "resolve":
            incident.resolved_at = at


def event_errors(event: dict[str, Any]) -> list[str]:
    """List the rules that an event breaks."""
    errors = [f"'{name}' is no field of an event" for name in event.keys() - _TOP]
    errors += _key_errors(event)
    action = event.get("event_action")
    if action not in ("trigger", "acknowledge", "resolve"):
        errors.append(f"'event_action' is {action!r}")
    key = event.get("dedup_key")
    if not isinstance(key, str | None) or (isinstance(key, str) and not 0 < len(key) <= 255):
        errors.append("'dedup_key' is no string of 1 to 255 characters")
    if action != "trigger" and not key:
        errors.append("'dedup_key' is missing")
    if action == "trigger" or "payload" in event:
        errors += _payload_errors(event.get("payload"), required=("summary", "source", "severity"), known=_PAYLOAD)
    for name in ("client", "client_url"):
        if not isinstance(event.get(name, ""), str):
            errors.append(f"'{name}' is no string")
    return errors + _link_errors(event) + _image_errors(event)


def change_errors(event: dict[str, Any]) -> list[str]:
    """List the rules that a change event breaks."""
    errors = [f"'{name}' is no field of a change event" for name in event.keys() - {"routing_key", "payload", "links"}]
    errors += _key_errors(event)
    if str(event.get("routing_key")).startswith("R"):
        errors.append("'routing_key' is of a ruleset")
    known = {"summary", "source", "timestamp", "custom_details"}
    return errors + _payload_errors(event.get("payload"), required=("summary",), known=known) + _link_errors(event)


def _key_errors(event: dict[str, Any]) -> list[str]:
    key = event.get("routing_key")
    return [] if isinstance(key, str) and len(key) == 32 else ["'routing_key' is no string of 32 characters"]


def _payload_errors(payload: Any, *, required: tuple[str, ...], known: set[str]) -> list[str]:
    if not isinstance(payload, dict):
        return ["'payload' is missing"]
    errors = [f"'payload.{name}' is no field of a payload" for name in payload.keys() - known]
    errors += [f"'payload.{name}' is missing" for name in required if not payload.get(name)]
    errors += [
        f"'payload.{name}' is no string"
        for name in known - {"custom_details"}
        if not isinstance(payload.get(name, ""), str)
    ]
    if len(str(payload.get("summary", ""))) > 1024:
        errors.append("'payload.summary' has more than 1024 characters")
    if "severity" in payload and payload["severity"] not in ("critical", "error", "warning", "info"):
        errors.append(f"'payload.severity' is {payload['severity']!r}")
    if "timestamp" in payload and not _is_time(payload["timestamp"]):
        errors.append("'payload.timestamp' is no ISO 8601 time")
    if not isinstance(payload.get("custom_details", {}), dict):
        errors.append("'payload.custom_details' is no object")
    return errors


def _link_errors(event: dict[str, Any]) -> list[str]:
    links = event.get("links", [])
    if not isinstance(links, list):
        return ["'links' is no list"]
    return [
        f"'links[{index}].href' is no URL"
        for index, link in enumerate(links)
        if not isinstance(link, dict) or urlsplit(str(link.get("href"))).scheme not in ("http", "https")
    ]


def _image_errors(event: dict[str, Any]) -> list[str]:
    images = event.get("images", [])
    if not isinstance(images, list):
        return ["'images' is no list"]
    return [
        f"'images[{index}].src' is no https URL"
        for index, image in enumerate(images)
        if not isinstance(image, dict) or urlsplit(str(image.get("src"))).scheme != "https"
    ]


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(str(value)).tzinfo is not None
    except ValueError:
        return False
