"""What all pages have around them."""

from __future__ import annotations

from urllib.parse import quote

from monitor import __version__
from monitor.web.pages.facts import Level
from monitor.web.pages.html import Html, Node, document, h

REFRESH_SECONDS = 20
"""Without a script the browser loads a page again after this."""

_ICON_COLOURS = {Level.BAD: "#d92d20", Level.WARN: "#e08700", Level.GOOD: "#1a8a4a", Level.IDLE: "#7a8699"}


def icon(level: Level) -> str:
    """The page's icon as a URL: a dot in the colour of how things stand."""
    drawn = h.svg(
        h.circle(cx=8, cy=8, r=7, fill=_ICON_COLOURS[level]), xmlns="http://www.w3.org/2000/svg", viewBox="0 0 16 16"
    )
    return f"data:image/svg+xml,{quote(drawn.text)}"


def page(
    *content: Node,
    title: str,
    now: int,
    level: Level = Level.IDLE,
    environment: str | None = None,
    live: str | None = None,
    signed_in: bool = False,
) -> str:
    """A document. `live` says how it is kept up to date: `stream` from /events, `refetch` by loading itself again."""
    return document(
        h.html(
            h.head(
                h.meta(charset="utf-8"),
                h.meta(name="viewport", content="width=device-width, initial-scale=1"),
                h.meta(name="color-scheme", content="light dark"),
                h.meta(name="robots", content="noindex"),
                h.meta(name="referrer", content="same-origin"),
                h.noscript(h.meta(http_equiv="refresh", content=REFRESH_SECONDS)) if live else None,
                h.title(title),
                h.link(rel="icon", href=icon(level)),
                h.link(rel="stylesheet", href="/static/style.css"),
                h.script(src="/static/live.js", defer=True) if live else None,
            ),
            h.body(
                h.a("Skip to the content", href="#content", class_="skip"),
                _header(environment, signed_in=signed_in),
                h.main(
                    h.p(id="connection", class_="connection", role="status", hidden=True) if live else None,
                    content,
                    id="content",
                    tabindex=-1,
                    data_live=live,
                    data_now=now,
                ),
                h.footer(h.p(f"Booking Monitor {__version__} · times are UTC")),
            ),
            lang="en",
        )
    )


def _header(environment: str | None, *, signed_in: bool) -> Html:
    return h.header(
        h.a("Booking Monitor", href="/", class_="brand"),
        h.span(environment, class_="environment") if environment else None,
        h.form(h.button("Sign out", type="submit", class_="plain"), method="post", action="/sign-out")
        if signed_in
        else None,
        class_="top",
    )


def section(key: str, *content: Node, class_: str | None = None) -> Html:
    """A part of a page that is kept up to date; `key` is the id by which it is found again."""
    return h.div(*content, id=key, class_=class_, data_part=True)
