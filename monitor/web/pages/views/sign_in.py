"""The sign-in form, and what stands in place of a page that cannot be shown."""

from __future__ import annotations

from http import HTTPStatus

from monitor.web.pages.facts import Level
from monitor.web.pages.html import document, h
from monitor.web.pages.views import layout


def form(target: str, now: int, *, fault: str | None = None) -> str:
    """The form; `target` is the page that is shown after it."""
    return layout.page(
        h.form(
            h.h1("Sign in"),
            h.p(fault, role="alert", id="fault", class_="notice bad") if fault else None,
            h.input(type="hidden", name="next", value=target),
            h.label("API token", for_="token"),
            h.input(
                type="password",
                id="token",
                name="token",
                required=True,
                autocomplete="current-password",
                autofocus=True,
                aria_describedby="fault" if fault else None,
            ),
            h.button("Sign in", type="submit"),
            method="post",
            action="/sign-in",
            class_="sign-in",
        ),
        title="Sign in · Booking Monitor",
        now=now,
    )


def bounce(target: str) -> str:
    """A page that asks for `target` again, from here.

    A browser that came by a link of another site does not show a cookie that is for this site alone; asked from
    our own page it does.
    """
    return document(
        h.html(
            h.head(
                h.meta(charset="utf-8"),
                h.meta(http_equiv="refresh", content=f"0; url={target}"),
                h.title("Booking Monitor"),
                h.link(rel="icon", href=layout.icon(Level.IDLE)),
            ),
            h.body(h.main(h.h1("Booking Monitor"), h.p(h.a("Go on", href=target)))),
            lang="en",
        )
    )


def problem(status: int, detail: str, now: int) -> str:
    """What could not be shown, and why."""
    return layout.page(
        h.nav(h.a("← Status", href="/"), aria_label="Back"),
        h.h1(HTTPStatus(status).phrase),
        h.p(detail),
        title=f"{HTTPStatus(status).phrase} · Booking Monitor",
        now=now,
    )
