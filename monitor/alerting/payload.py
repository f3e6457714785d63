"""What a page says: built from an incident's report, the same for each channel that carries it.

A page holds ids, counts, times and links. Ids come from elsewhere and may hold anything, so whatever does not
look like an id is shown as a hash: no name, phone number or address of a person can leave in a page.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, JsonValue

from monitor.alerting import wording
from monitor.domain.currencies import MINOR_DIGITS
from monitor.domain.times import optional_rfc3339, rfc3339
from monitor.domain.vocabulary import AlertName, Reason, Severity, Stage, Traffic

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SAMPLE_BOOKINGS = 10
MAX_CURRENCIES = 10
MAX_ID_CHARACTERS = 128
MAX_URL_CHARACTERS = 2048
MAX_DEDUP_KEY_CHARACTERS = 255
"""PagerDuty Events API v2: the longest `dedup_key`."""
WITHOUT_STORE = "store-away"
"""Stands for the number in the key of an incident that the store cannot be told of. It is the same for all replicas
and all starts: what they say of it is one incident for its receivers, and whoever sees the store again ends it."""

LinkKind = Literal["runbook", "status_page", "dashboard", "trace"]

_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:-]{{0,{MAX_ID_CHARACTERS - 1}}}")
_HASH_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class BookingRef:
    """A booking, and the instant (milliseconds since the epoch) that makes it notable."""

    id: str
    at: int


@dataclass(frozen=True, slots=True)
class Cause:
    """Why it is bad, as the diagnosis found it."""

    reason: Reason
    compared_field: str | None = None
    """For a field mismatch: the field that was looked at."""
    set_field: str | None = None
    """For a field mismatch: the field that holds the value."""


@dataclass(frozen=True, slots=True)
class Factor:
    """What the largest share of the bad bookings has in common."""

    kind: Literal["provider_id", "provider_type", "release"]
    value: str
    bad: int
    """Bad bookings that share it."""
    of: int
    """All bad bookings."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where to look further; absolute http(s) URLs."""

    runbook: str | None = None
    dashboard: str | None = None
    status_page: str | None = None
    trace: str | None = None


@dataclass(frozen=True, slots=True)
class IncidentReport:
    """All that is known about an incident when a page is decided. Times are milliseconds since the epoch."""

    number: int | None
    """None where the store, which numbers incidents, is away."""
    alertname: AlertName
    severity: Severity
    environment: str
    fired_at: int
    evaluated_at: int
    """The evaluation that this report stands for."""
    resolved_at: int | None = None
    sli: Stage | None = None
    traffic: Traffic | None = None
    events: int = 0
    bad: int = 0
    since: int | None = None
    """Start of the spell that `events` and `bad` count."""
    objective: float | None = None
    expected: float | None = None
    """Bookings expected since `since` (BookingTrafficAbsent)."""
    channel: str | None = None
    """The channel that does not accept pages (BookingPageUndelivered)."""
    cause: Cause | None = None
    first_bad: BookingRef | None = None
    last_good: BookingRef | None = None
    bookings: tuple[str, ...] = ()
    """Ids of bad bookings, the ones to look at first in front."""
    factor: Factor | None = None
    revenue_at_risk: Mapping[str, int] = field(default_factory=dict)
    """Minor units by currency."""
    links: Links = Links()
    drill: bool = False
    reminder: bool = False
    """Whether it says again what a page has said before."""


class Link(BaseModel):
    """A link in a page."""

    model_config = ConfigDict(frozen=True)

    kind: LinkKind
    href: str
    text: str


class PageContent(BaseModel):
    """The content of a page, as the outbox keeps it: `model_dump_json` and `model_validate_json` are its two ways."""

    model_config = ConfigDict(frozen=True)

    summary: str
    alertname: str
    severity: Severity
    sli: str = ""
    traffic: str = ""
    environment: str
    incident: int | None
    fired_at: int
    """Milliseconds since the epoch, like `resolved_at`."""
    resolved_at: int | None = None
    drill: bool = False
    details: dict[str, JsonValue] = {}
    """What the reader needs beyond the summary, the most important first."""
    links: tuple[Link, ...] = ()
    status_page: str | None = None


def dedup_key(
    environment: str, alertname: str, sli: Stage | None, traffic: Traffic | None, incident_number: int | None
) -> str:
    """Name the incident for the receivers of its pages: equal for all of them, of no other incident.

    What would be too long keeps its beginning and ends in a hash of the whole.
    """
    number = WITHOUT_STORE if incident_number is None else str(incident_number)
    parts = (environment, alertname, sli or "-", traffic or "-", number)
    key = "/".join(("booking-monitor", *(quote(part, safe="", errors="replace") for part in parts)))
    if len(key) <= MAX_DEDUP_KEY_CHARACTERS:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()[:_HASH_CHARACTERS]
    return f"{key[: MAX_DEDUP_KEY_CHARACTERS - _HASH_CHARACTERS - 1]}~{digest}"


def report_dedup_key(report: IncidentReport) -> str:
    """Name the incident of a report; see `dedup_key`."""
    return dedup_key(report.environment, report.alertname, report.sli, report.traffic, report.number)


def build(report: IncidentReport) -> PageContent:
    """Write the page of an incident."""
    return PageContent(
        summary=wording.summary(
            wording.Facts(
                alertname=report.alertname,
                sli=report.sli,
                traffic=report.traffic,
                events=report.events,
                bad=report.bad,
                since=report.since,
                now=report.resolved_at or report.evaluated_at,
                objective=report.objective,
                expected=report.expected,
                channel=_optional_id(report.channel),
                late=report.cause is not None and report.cause.reason is Reason.LATE,
                drill=report.drill,
                reminder_since=report.fired_at if report.reminder else None,
            )
        ),
        alertname=report.alertname,
        severity=report.severity,
        sli=report.sli or "",
        traffic=report.traffic or "",
        environment=_text(report.environment),
        incident=report.number,
        fired_at=report.fired_at,
        resolved_at=report.resolved_at,
        drill=report.drill,
        details=_details(report),
        links=_links(report.links),
        status_page=report.links.status_page
        if report.links.status_page and web_url(report.links.status_page)
        else None,
    )


def _links(links: Links) -> tuple[Link, ...]:
    candidates: tuple[tuple[LinkKind, str, str | None], ...] = (
        ("runbook", "Runbook", links.runbook),
        ("status_page", "Status page", links.status_page),
        ("dashboard", "Dashboard", links.dashboard),
        ("trace", "Trace of the first bad booking", links.trace),
    )
    return tuple(Link(kind=kind, href=href, text=text) for kind, text, href in candidates if href and web_url(href))


def _details(report: IncidentReport) -> dict[str, JsonValue]:
    details: dict[str, JsonValue | None] = {
        "reminder": f"firing since {rfc3339(report.fired_at)}, not acknowledged" if report.reminder else None,
        "probable_cause": _cause(report),
        "cause_class": report.cause.reason.value if report.cause else None,
        "incident": report.number,
        "environment": _text(report.environment),
        "bad": report.bad,
        "events": report.events,
        "objective": None if report.objective is None else wording.percent(report.objective),
        "since": optional_rfc3339(report.since),
        "fired_at": rfc3339(report.fired_at),
        "resolved_at": optional_rfc3339(report.resolved_at),
        "first_bad_booking": _booking(report.first_bad),
        "last_good_booking": _booking(report.last_good),
        "revenue_at_risk": {
            currency: _amount(minor, currency)
            for currency, minor in sorted(report.revenue_at_risk.items())[:MAX_CURRENCIES]
            if currency in MINOR_DIGITS
        }
        or None,
        "common_factor": _factor(report.factor),
        "sample_bookings": [safe_id(id_) for id_ in report.bookings[:MAX_SAMPLE_BOOKINGS]] or None,
        "drill": True if report.drill else None,
    }
    return {name: value for name, value in details.items() if value is not None}


def safe_id(value: str) -> str:
    """Give back an id, or a hash in place of what does not look like one."""
    if _ID.fullmatch(value):
        return value
    return f"hash:{hashlib.sha256(value.encode(errors='replace')).hexdigest()[:16]}"


def web_url(url: str) -> bool:
    """Whether this is an absolute URL that a receiver would take as a link."""
    if len(url) > MAX_URL_CHARACTERS or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _optional_id(value: str | None) -> str | None:
    return None if value is None else safe_id(value)


def _cause(report: IncidentReport) -> str | None:
    if report.cause is None:
        return None
    return wording.cause(
        report.cause.reason,
        report.sli,
        compared_field=_optional_id(report.cause.compared_field),
        set_field=_optional_id(report.cause.set_field),
    )


def _factor(factor: Factor | None) -> JsonValue:
    return None if factor is None else {factor.kind: safe_id(factor.value), "bad": factor.bad, "of": factor.of}


def _booking(booking: BookingRef | None) -> JsonValue:
    return None if booking is None else {"id": safe_id(booking.id), "at": rfc3339(booking.at)}


def _amount(minor: int, currency: str) -> str:
    digits = MINOR_DIGITS[currency]
    whole, fraction = divmod(abs(minor), 10**digits)
    sign = "-" if minor < 0 else ""
    return f"{sign}{whole:,}.{fraction:0{digits}d}" if digits else f"{sign}{whole:,}"


def _text(value: str) -> str:
    """Make free text fit for any receiver: printable, valid Unicode, short."""
    printable = "".join(character if character.isprintable() else "�" for character in value)
    return printable[:MAX_ID_CHARACTERS]
