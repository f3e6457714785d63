"""What every request passes: limits, its trace, its metrics, and an answer even when we fail."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from monitor.telemetry import tracing
from monitor.telemetry.logs import get_logger
from monitor.telemetry.metrics import Metrics
from monitor.telemetry.tracing import Tracing
from monitor.web.problems import CUT_SHORT, FAILED, RETRY_AFTER_SECONDS, ProblemError, problem

log = get_logger(__name__)

UNMATCHED = "unmatched"


class Front:
    """The outermost layer, written as plain ASGI: it is in the way of every booking."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, traces: Tracing) -> None:
        self._app = app
        self._metrics = metrics
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = self._traces.start(_header(scope, b"traceparent"))
        scope["state"]["trace"] = context
        token = tracing.current.set(context)
        begun = time.perf_counter()
        wall = time.time_ns() // 1_000_000
        status = 500
        started = complete = False

        async def watch(message: Message) -> None:
            nonlocal status, started, complete
            if message["type"] == "http.response.start":
                status, started = message["status"], True
                message["headers"] = [*message["headers"], *_ALWAYS]
            else:
                complete = not message.get("more_body")
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:  # the service is stopping, and has waited for it as long as it can
            if started:
                raise
            await problem(503, CUT_SHORT, headers={"Retry-After": RETRY_AFTER_SECONDS})(scope, receive, watch)
        except Exception:  # whatever it is, it is logged, and the caller gets an answer where none has begun
            log.exception("request.failed", route=_route(scope), method=scope["method"])
            if started and not complete:
                raise
            if not started:
                await problem(500, FAILED)(scope, receive, watch)
        finally:
            tracing.current.reset(token)
            seconds = time.perf_counter() - begun
            self._metrics.request_answered(_route(scope), scope["method"], status, seconds)
            if context.sampled:
                route = f"{scope['method']} {_route(scope)}"
                self._traces.record_root(
                    route, context, wall, wall + round(seconds * 1000), {"http.response.status_code": status}
                )


_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
]


def _header(scope: Scope, name: bytes) -> str | None:
    for key, value in scope["headers"]:
        if key == name:
            return str(value.decode("latin-1"))
    return None


def _route(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", UNMATCHED)


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request. Raises ProblemError for one that breaks off or has more than `limit` bytes."""
    declared = request.headers.get("content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    while (message := await request.receive())["type"] == "http.request":
        body += message.get("body", b"")
        if len(body) > limit:
            raise _too_large(limit)
        if not message.get("more_body"):
            return bytes(body)
    raise ProblemError(400, "The body breaks off.")


def require_json(request: Request) -> None:
    """Raise ProblemError unless the body is said to be JSON; a web form of another site cannot say that."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise ProblemError(415, "The body is JSON: `Content-Type: application/json`.")


def _too_large(limit: int) -> ProblemError:
    return ProblemError(413, f"The body has at most {limit} bytes.", {"Connection": "close"})


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of prepared JSON."""
    return Response(body, status, headers, "application/json")
