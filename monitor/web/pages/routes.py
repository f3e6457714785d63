"""The routes of the pages. They only read, but for signing in and out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from monitor.service import Service
from monitor.store import alerts
from monitor.store.writer import StoreUnavailableError
from monitor.web.auth import Caller
from monitor.web.context import EntityId, ServiceHere, authenticator_of, service_of
from monitor.web.pages import sessions
from monitor.web.pages.board import Boards
from monitor.web.pages.stream import LiveStream, Viewers
from monitor.web.pages.views import booking, incident, sign_in, status
from monitor.web.problems import ProblemError

_POLICY = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self';"
    " img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_LARGEST_NUMBER = 2**53
_STATIC = {
    name: (FilePath(__file__).parent.joinpath("static", name).read_bytes(), media_type)
    for name, media_type in (("style.css", "text/css"), ("live.js", "text/javascript"))
}


def html(text: str, status_code: int = 200) -> Response:
    """A page as a response: it may load nothing but our own style and script, and nobody may frame it."""
    return Response(text, status_code, dict(_POLICY), "text/html")


class PageRoute(APIRoute):
    """A route whose problems are pages too, and that sends strangers to sign in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that the framework would use, with its problems shown."""
        return functools.partial(_show_problems, super().get_route_handler())


async def _show_problems(handle: Callable[[Request], Coroutine[Any, Any, Response]], request: Request) -> Response:
    now = service_of(request).clock()
    try:
        return await handle(request)
    except ProblemError as error:
        if error.status == 401 and request.method == "GET" and not authenticator_of(request).open:  # noqa: PLR2004 - HTTP
            return _ask_to_sign_in(request)
        response = html(sign_in.problem(error.status, error.detail, now), error.status)
        response.headers.update(error.headers or {})
        return response
    except RequestValidationError:
        return html(sign_in.problem(404, "There is no such page.", now), 404)
    except StoreUnavailableError:
        return html(sign_in.problem(503, "The store does not answer; the status page shows what is known.", now), 503)


def _ask_to_sign_in(request: Request) -> Response:
    target = sessions.safe_target(request.url.path)
    if sessions.from_another_site(request):
        return html(sign_in.bounce(target))
    return _redirect("/sign-in" if target == "/" else f"/sign-in?next={target}")


def _redirect(target: str) -> Response:
    return Response(status_code=303, headers={"Location": target, **_POLICY})


PageCaller = Annotated[Caller, Depends(sessions.page_caller_of)]

router = APIRouter(include_in_schema=False)
pages = APIRouter(include_in_schema=False, route_class=PageRoute)


def install(app: FastAPI, service: Service) -> list[BaseRoute]:
    """Add the pages to the application; returns their routes."""
    app.state.boards = Boards(service)
    app.state.viewers = Viewers()
    app.state.attempts = sessions.Attempts(service.clock)
    app.include_router(pages)
    app.include_router(router)
    return [*pages.routes, *router.routes]


@pages.get("/")
async def show_status(request: Request, caller: PageCaller) -> Response:
    """How things stand."""
    _ = caller
    boards: Boards = request.app.state.boards
    board = await boards.current()
    return html(status.page(board.facts, board.sections, signed_in=sessions.signed_in(request)))


@pages.get("/incidents/{number}")
async def show_incident(
    number: Annotated[int, Path(ge=1, le=_LARGEST_NUMBER)], request: Request, service: ServiceHere, caller: PageCaller
) -> Response:
    """One incident."""
    _ = caller
    found = await service.readers.run(alerts.find_incident, number)
    if found is None:
        raise ProblemError(404, "There is no such incident.")
    environment = service.settings.environment
    shown = sessions.signed_in(request)
    return html(incident.page(found, service.clock(), environment=environment, signed_in=shown))


@pages.get("/bookings/{booking_id}")
async def show_booking(booking_id: EntityId, request: Request, service: ServiceHere, caller: PageCaller) -> Response:
    """One booking."""
    _ = caller
    journey = await service.journeys.find(booking_id)
    if journey is None:
        raise ProblemError(404, "There is no such booking: it was never here, its time is over, or it was removed.")
    settings = service.settings
    return html(
        booking.page(
            journey,
            service.clock(),
            environment=settings.environment,
            trace_url=settings.trace_url,
            signed_in=sessions.signed_in(request),
        )
    )


@pages.get("/sign-in")
async def ask_for_token(request: Request, service: ServiceHere) -> Response:
    """The form by which a browser signs in."""
    target = sessions.safe_target(request.query_params.get("next"))
    if authenticator_of(request).open:
        return _redirect(target)
    return html(sign_in.form(target, service.clock()))


@pages.post("/sign-in")
async def take_token(request: Request, service: ServiceHere) -> Response:
    """Take an API token, and give a session in its place."""
    attempts: sessions.Attempts = request.app.state.attempts
    address = "" if request.client is None else request.client.host
    fields = await sessions.read_form(request)
    target = sessions.safe_target(fields.get("next"))
    try:
        attempts.check(address)
        session = authenticator_of(request).issue_session(fields.get("token", "").strip())
    except ProblemError as error:
        if error.status == 401:  # noqa: PLR2004 - HTTP
            attempts.failed(address)
        response = html(sign_in.form(target, service.clock(), fault=error.detail), error.status)
        response.headers.update(error.headers or {})
        return response
    response = _redirect(target)
    sessions.give_session(request, response, session)
    return response


@pages.post("/sign-out")
async def end_session(request: Request) -> Response:
    """Have the browser drop its session."""
    sessions.require_own_page(request)
    response = _redirect("/sign-in")
    sessions.take_session(request, response)
    return response


@router.get("/events")
async def stream_events(request: Request, service: ServiceHere, caller: PageCaller) -> Response:
    """What changes on the status page, as server-sent events."""
    _ = caller
    return LiveStream(service, request.app.state.boards, request.app.state.viewers)


@router.get("/static/{name}")
async def static_file(name: str) -> Response:
    """The style and the script of the pages."""
    if name not in _STATIC:
        raise ProblemError(404, "There is no such file.")
    body, media_type = _STATIC[name]
    return Response(body, headers=dict(_POLICY), media_type=media_type)
