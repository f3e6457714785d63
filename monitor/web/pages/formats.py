"""How numbers and times are written on the pages. Times are UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from monitor.alerting.payload import safe_id
from monitor.domain.currencies import MINOR_DIGITS
from monitor.domain.ledger import Count
from monitor.domain.times import MINUTE, SECOND, rfc3339
from monitor.domain.vocabulary import Stage
from monitor.web.pages.html import Html, h, join
from monitor.web.schemas import UUID_PATTERN

NO_DATA = "no data"
SLI_TITLES = {
    Stage.CHAT_ROOM: "Chat room creation",
    Stage.NOTIFICATION: "Notification delivery",
    Stage.REALTIME: "Realtime match",
}


def words(name: str) -> str:
    """Write a name of the vocabulary as words: `chat_room` as `chat room`."""
    return name.replace("_", " ")


def share(count: Count) -> str:
    """Write the share of good events, rounded down: only 0 bad ones are 100 %, and nothing at all is no data."""
    if count.events == 0:
        return NO_DATA
    if count.bad == 0:
        return "100 %"
    permille = (count.events - count.bad) * 1000 // count.events
    return f"{permille // 10}.{permille % 10} %"


def unbroken(text: str) -> str:
    """Keep percentages on one line."""
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def number(count: int, one: str, several: str | None = None) -> str:
    """Write `1 booking` or `1,200 bookings`."""
    return f"{count:,} {one if count == 1 else several or f'{one}s'}"


def money(minor: int, currency: str) -> str:
    """Write an amount of minor units as `IDR 350,000.00`."""
    digits = MINOR_DIGITS.get(currency, 0)
    whole, fraction = divmod(minor, 10**digits)
    return f"{currency} {whole:,}.{fraction:0{digits}d}" if digits else f"{currency} {whole:,}"


def length(milliseconds: int) -> str:
    """Write a length of time in its two largest units."""
    seconds = max(0, milliseconds) // SECOND
    minutes, hours = seconds // 60, seconds // 3600
    if minutes == 0:
        return f"{seconds} s"
    if hours == 0:
        return f"{minutes} min"
    if hours < 24:  # noqa: PLR2004 - hours of a day
        return f"{hours} h {minutes % 60} min"
    return f"{hours // 24} d {hours % 24} h"


def clock(instant: int, now: int) -> str:
    """Write the time of day, with the date where it is not today's."""
    moment = datetime.fromtimestamp(instant // SECOND, UTC)
    today = datetime.fromtimestamp(now // SECOND, UTC).date()
    return f"{moment:%H:%M:%S}" if moment.date() == today else f"{moment:%d %b %H:%M:%S}"


def at(instant: int, now: int) -> Html:
    """An instant, as a time of day."""
    return h.time(clock(instant, now), datetime=rfc3339(instant))


def ago(instant: int, now: int) -> Html:
    """An instant, as its age; the page's script lets it grow."""
    return h.time(f"{length(now - instant)} ago", datetime=rfc3339(instant), data_ago=True, title=rfc3339(instant))


def when(instant: int, now: int) -> Html:
    """An instant, as a time of day and its age."""
    return join([at(instant, now), " · ", ago(instant, now)])


def until(instant: int, now: int) -> str:
    """Write how far away an instant is."""
    return f"in {length(instant - now)}" if instant - now >= SECOND else "now"


def minute_of_day(instant: int) -> str:
    """Write the time of day without its seconds."""
    return f"{datetime.fromtimestamp(instant // MINUTE * MINUTE // SECOND, UTC):%H:%M}"


def booking_link(booking_id: str) -> Html:
    """A booking's id, as a link to its page where there can be one."""
    if re.fullmatch(UUID_PATTERN, booking_id) is None:
        return h.code(safe_id(booking_id))
    return h.a(h.code(booking_id), href=f"/bookings/{booking_id}")


def from_rfc3339(text: str) -> int:
    """Read back what `rfc3339` wrote."""
    return round(datetime.fromisoformat(text).timestamp() * SECOND)
