"""A receiver of pages for the drill: takes PagerDuty's Events API v2 on loopback, and refuses what breaks its rules.

Rules: https://developer.pagerduty.com/docs/events-api-v2/trigger-events/.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

ROUTING_KEY = "d" * 32
"""The key that the drill's own receiver knows."""
_LONGEST_KEY = 255
_LONGEST_SUMMARY = 1024
_LARGEST_EVENT_BYTES = 512_000
_ACTIONS = ("trigger", "acknowledge", "resolve")
_SEVERITIES = ("critical", "error", "warning", "info")


class Receiver:
    """What was taken and what was refused, as an ASGI application."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.refused: list[str] = []
        self.app = Starlette(
            routes=[
                Route("/v2/enqueue", self._take, methods=["POST"]),
                Route("/v2/change/enqueue", self._take_change, methods=["POST"]),
            ]
        )

    async def _take(self, request: Request) -> JSONResponse:
        body = await request.body()
        fault = _fault(body)
        if fault is not None:
            self.refused.append(fault)
            return JSONResponse({"status": "invalid event", "message": fault, "errors": [fault]}, 400)
        event = orjson.loads(body)
        self.events.append(event)
        return JSONResponse({"status": "success", "message": "Event processed", "dedup_key": event["dedup_key"]}, 202)

    async def _take_change(self, request: Request) -> JSONResponse:
        await request.body()
        return JSONResponse({"status": "success", "message": "Change event processed"}, 202)


def _fault(body: bytes) -> str | None:
    """The first rule that an event breaks."""
    if len(body) > _LARGEST_EVENT_BYTES:
        return "the event is larger than 512,000 bytes"
    try:
        event = orjson.loads(body)
        action, key = event["event_action"], event["dedup_key"]
        payload = event.get("payload", {})
    except (ValueError, KeyError, TypeError):
        return "the event is a JSON object with event_action and dedup_key"
    rules = {
        "routing_key is that of the drill": event.get("routing_key") == ROUTING_KEY,
        "event_action is trigger, acknowledge or resolve": action in _ACTIONS,
        "dedup_key has 1 to 255 characters": isinstance(key, str) and 0 < len(key) <= _LONGEST_KEY,
    }
    if action == "trigger":
        summary = payload.get("summary")
        rules |= {
            "summary has 1 to 1024 characters": isinstance(summary, str) and 0 < len(summary) <= _LONGEST_SUMMARY,
            "severity is one of PagerDuty's": payload.get("severity") in _SEVERITIES,
            "source is given": bool(payload.get("source")),
            "the page says that it is a drill": str(summary).startswith("DRILL"),
        }
    return next((rule for rule, kept in rules.items() if not kept), None)
