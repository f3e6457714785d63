"""Signing in: a browser shows an API token once, and from then on a cookie that only the pages take."""

from __future__ import annotations

import re
from collections import OrderedDict
from urllib.parse import parse_qs, urlsplit

from fastapi import Request, Response

from monitor.domain.times import MINUTE, Now
from monitor.settings import Settings
from monitor.web.auth import SESSION_LIFETIME, Caller
from monitor.web.context import authenticator_of, service_of
from monitor.web.front import read_body
from monitor.web.problems import ProblemError

COOKIE = "booking_monitor_session"
FORM_LIMIT_BYTES = 8192
FAILURES = 10
"""Wrong tokens that one address may show within SPELL."""
SPELL = MINUTE
ADDRESSES = 1024
"""Addresses that are remembered; the longest quiet one is forgotten."""

_TARGET = re.compile(r"/(?:incidents/[0-9]{1,16}|bookings/[0-9a-f-]{36})?")


class Attempts:
    """Counts wrong tokens by address, so that nobody can guess quickly."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self._failures: OrderedDict[str, list[int]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise ProblemError (429) for an address that showed too many wrong tokens."""
        recent = self._recent(address)
        if len(recent) >= FAILURES:
            seconds = (recent[0] + SPELL - self._now()) // 1000 + 1
            raise ProblemError(429, f"Too many wrong tokens; try again in {seconds} s.", {"Retry-After": str(seconds)})

    def failed(self, address: str) -> None:
        """Take note of a wrong token."""
        self._failures[address] = [*self._recent(address), self._now()]
        self._failures.move_to_end(address)
        while len(self._failures) > ADDRESSES:
            self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[int]:
        since = self._now() - SPELL
        return [at for at in self._failures.get(address, ()) if at > since]


def page_caller_of(request: Request) -> Caller:
    """A holder of an API token, by cookie or by Bearer. Raises ProblemError for anybody else."""
    authenticator = authenticator_of(request)
    cookie = request.cookies.get(COOKIE)
    if cookie is not None and "authorization" not in request.headers and not authenticator.open:
        return authenticator.session(cookie)
    caller = authenticator.identify(request.headers)
    caller.require_api()
    return caller


def signed_in(request: Request) -> bool:
    """Whether the caller came by cookie, so that it can be taken back."""
    return COOKIE in request.cookies and not authenticator_of(request).open


def safe_target(text: str | None) -> str:
    """A page of ours to go on to; the status page for all else."""
    return text if text is not None and _TARGET.fullmatch(text) else "/"


async def read_form(request: Request) -> dict[str, str]:
    """The fields of a form that one of our own pages sent. Raises ProblemError for any other."""
    require_own_page(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise ProblemError(415, "A form is `application/x-www-form-urlencoded`.")
    body = await read_body(request, FORM_LIMIT_BYTES)
    try:
        found = parse_qs(body.decode(), max_num_fields=8, errors="strict")
    except ValueError as error:
        raise ProblemError(422, "The form is not in order.") from error
    return {name: values[0] for name, values in found.items()}


def require_own_page(request: Request) -> None:
    """Raise ProblemError (403) for what a page of another site makes a browser send.

    Browsers say where a request is from in Sec-Fetch-Site, and where that is not sent (plain HTTP) in Origin.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or urlsplit(origin).netloc in _own_names(request)
    if not own:
        raise ProblemError(403, "This form belongs to the pages of this service.")


def from_another_site(request: Request) -> bool:
    """Whether the browser followed a link of another site, and so kept the cookie to itself."""
    return request.headers.get("sec-fetch-site") == "cross-site" and request.headers.get("sec-fetch-mode") == "navigate"


def give_session(request: Request, response: Response, value: str) -> None:
    """Have the browser keep a session."""
    response.set_cookie(
        COOKIE, value, max_age=SESSION_LIFETIME // 1000, httponly=True, samesite="strict", secure=_secure(request)
    )


def take_session(request: Request, response: Response) -> None:
    """Have the browser drop its session."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=_secure(request))


def _own_names(request: Request) -> set[str]:
    public = service_of(request).settings.public_url
    return {request.headers.get("host", ""), urlsplit(public or "").netloc} - {""}


def _secure(request: Request) -> bool:
    settings: Settings = service_of(request).settings
    by_proxy = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
    return "https" in (request.url.scheme, by_proxy) or (settings.public_url or "").startswith("https://")
