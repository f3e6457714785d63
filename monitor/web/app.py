"""The HTTP application, put together."""

from __future__ import annotations

import functools

from fastapi import FastAPI, Request
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from monitor import __version__
from monitor.domain.times import milliseconds
from monitor.service import Service
from monitor.web import alerts, bookings, chat, openapi, operations, problems, providers, realtime
from monitor.web.auth import Authenticator
from monitor.web.front import Front
from monitor.web.pages import routes as pages


class _Shortcut:
    """Has the making of a booking answered before the layers of the framework, which take as long as all the rest."""

    def __init__(self, app: FastAPI, route: Route, service: Service, authenticator: Authenticator) -> None:
        self._app = app
        self._route = route
        self._service = service
        self._authenticator = authenticator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on what is none of ours."""
        if scope["type"] != "http" or scope["path"] != self._route.path or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        try:
            response = await bookings.make_booking(Request(scope, receive), self._service, self._authenticator)
        except Exception as error:  # those that no answer is known for go on
            answer = problems.answer_for(error)
            if answer is None:
                raise
            response = answer
        await response(scope, receive, send)


def create_app(service: Service) -> ASGIApp:
    """The application of a service that is started; it neither starts nor stops it."""
    settings = service.settings
    app = FastAPI(
        title="Booking Monitor",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # we have our own
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.service = service
    app.state.authenticator = authenticator = Authenticator(
        api_tokens=[token.get_secret_value() for token in settings.api_tokens],
        own_token=service.canary_token,
        provider_secret=(
            None if settings.provider_token_secret is None else settings.provider_token_secret.get_secret_value()
        ),
        provider_lifetime=milliseconds(settings.provider_token_lifetime),
        now=service.clock,
    )
    make = Route(openapi.MAKE_BOOKING, bookings.make_booking, methods=["POST"])
    routes: list[BaseRoute] = [make]
    for part in (bookings, chat, providers, realtime, alerts, operations):
        app.include_router(part.router)
        routes += part.router.routes
    routes += pages.install(app, service)
    problems.install(app, routes)
    document = functools.cache(lambda: openapi.describe(app, tokens_needed=not authenticator.open))
    app.openapi = document  # type: ignore[method-assign]  # the way that FastAPI documents
    return Front(_Shortcut(app, make, service, authenticator), metrics=service.metrics, traces=service.tracing)
