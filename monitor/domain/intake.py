"""Taking a booking in: neutral, camelCase and legacy names are mapped to ours, and everything is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any, TypeVar

import orjson
from pydantic import ValidationError

from monitor.domain.booking import LARGEST_PRICE_MINOR, BookingRequest, NewBooking, explain
from monitor.domain.currencies import MINOR_DIGITS, to_minor
from monitor.domain.times import DAY, LAST_INSTANT, MINUTE, from_datetime
from monitor.domain.vocabulary import Drift

T = TypeVar("T")

ALIASES: dict[str, tuple[str, ...]] = {
    "provider_id": ("providerId", "therapistId"),
    "provider_name": ("providerName", "therapistName"),
    "provider_type": ("providerType", "therapistType"),
    "customer_id": ("customerId", "userId"),
    "customer_name": ("customerName", "userName", "hotelGuestName"),
    "customer_phone": ("customerPhone", "customerWhatsApp"),
    "service_type": ("serviceType",),
    "duration_minutes": ("duration", "service"),
    "price_minor": ("price", "totalCost"),
    "scheduled_for": ("startTime",),
}
"""Our name of a field, and the names under which the platform of the incident sends it, the best first."""

LEGACY_NAMES = ("therapistId", "therapistName", "therapistType")
"""Names that only old clients send. Their arrival is counted."""

_ONE_THING = frozenset({"provider_id", "provider_name", "provider_type"})
"""Fields whose names all mean the same thing, so that two different values are a contradiction."""

EXTRA_LIMIT_BYTES = 16_384
"""How much JSON of fields that are not ours is kept with a booking."""
LONGEST_NAME = 128
"""Characters of the name of such a field that an error repeats."""
PAST_TOLERANCE = 5 * MINUTE
"""Milliseconds by which a booking for "now" may be in the past when it arrives."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field, and what is allowed."""

    field: str
    message: str


class InvalidBookingError(Exception):
    """The booking cannot be taken; nothing of it was stored."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What is assumed where a request is silent."""

    currency: str = "IDR"
    """Of prices that name none."""
    zone: tzinfo | None = None
    """Time zone of the legacy `date` and `time`, which name none."""


def take_in(raw: Mapping[str, Any], *, now: int, rules: IntakeRules) -> NewBooking:
    """Map and check a booking as it was sent; `now` is in milliseconds since the epoch.

    Raises InvalidBookingError with every field that is wrong.
    """
    errors: list[FieldError] = []
    fields, extra, sent_as = _map_names(raw, errors)
    if fields.get("traffic") is None:
        fields.pop("traffic", None)
    slack = _convert_legacy(fields, extra, sent_as, rules, errors)
    request = _validate(fields, sent_as, errors)
    scheduled_for = _schedule(fields.get("scheduled_for"), now - slack, sent_as, errors)
    currency = _currency(fields, rules, errors)
    if extra:
        _check_extra(extra, errors)
    if errors or request is None:
        raise InvalidBookingError(tuple(errors))
    legacy = tuple(name for name in LEGACY_NAMES if raw.get(name) is not None) if sent_as else ()
    unnamed = "therapistId" in legacy and all(raw.get(name) is None for name in _NEUTRAL)
    drift = Drift.LEGACY_FIELD if unnamed else None
    return NewBooking(request, scheduled_for, currency, extra or None, legacy, drift)


_NAMES: dict[str, str] = {name: ours for ours, names in ALIASES.items() for name in names}
_NEUTRAL = ("provider_id", "providerId")
_OURS = frozenset(BookingRequest.model_fields)


def _map_names(
    raw: Mapping[str, Any], errors: list[FieldError]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, str]]:
    """Split what was sent into our fields and the rest; the third part has the names that stood for ours."""
    if raw.keys() <= _OURS:
        return dict(raw), {}, {}
    sent_as: dict[str, str] = {}
    fields: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for name, value in raw.items():
        if name in _OURS:
            fields[name] = value
        elif name not in _NAMES:
            extra[name] = value
    for ours, names in ALIASES.items():
        given = [name for name in names if raw.get(name) is not None]
        if not given:
            continue
        if ours in _ONE_THING:
            named = [name for name in (ours, *given) if raw.get(name) is not None]
            sent_as[ours] = named[0]
            _take_one_thing(ours, named, raw, fields, errors)
            continue
        if fields.get(ours) is None:
            name, *given = given
            sent_as[ours] = name
            convert = _CONVERTERS.get(ours)
            fields[ours] = raw[name] if convert is None else convert(name, raw[name], errors)
        extra.update({name: raw[name] for name in given})
    return fields, extra, sent_as


def _take_one_thing(
    ours: str, given: list[str], raw: Mapping[str, Any], fields: dict[str, Any], errors: list[FieldError]
) -> None:
    values = {name: _as_text(raw[name]) if name != ours else raw[name] for name in given}
    first = values[given[0]]
    errors.extend(
        FieldError(name, f"names the same thing as {given[0]} and must not differ from it")
        for name in given[1:]
        if values[name] != first
    )
    fields[ours] = first


def _as_text(value: Any) -> Any:
    """Old rows carry numeric ids."""
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 64:  # noqa: PLR2004 - bits
        return str(value)
    return value


def _whole_minutes(name: str, value: Any, errors: list[FieldError]) -> Any:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 6:  # noqa: PLR2004 - digits
        return int(value)
    if isinstance(value, str):
        errors.append(FieldError(name, "is a whole number of minutes"))
        return None
    return value


def _price(name: str, value: Any, errors: list[FieldError]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST_PRICE_MINOR:
        errors.append(FieldError(name, "is an amount in units of the currency, not below 0"))
        return None
    return Decimal(str(value))


def _id(_name: str, value: Any, _errors: list[FieldError]) -> Any:
    return _as_text(value)


_CONVERTERS: dict[str, Callable[[str, Any, list[FieldError]], Any]] = {
    "customer_id": _id,
    "duration_minutes": _whole_minutes,
    "price_minor": _price,
}


def _convert_legacy(
    fields: dict[str, Any], extra: dict[str, Any], sent_as: dict[str, str], rules: IntakeRules, errors: list[FieldError]
) -> int:
    """Turn what legacy fields say into ours. Returns the milliseconds by which the schedule may lie in the past."""
    price = fields.get("price_minor")
    if isinstance(price, Decimal):
        currency = fields.get("currency") or rules.currency
        known = isinstance(currency, str) and currency in MINOR_DIGITS
        minor = to_minor(price, currency) if known else None
        if minor is not None and minor > LARGEST_PRICE_MINOR:
            errors.append(FieldError(sent_as["price_minor"], f"is at most {LARGEST_PRICE_MINOR} in minor units"))
            minor = None
        fields["price_minor"] = minor
    if fields.get("scheduled_for") is None and extra.get("date") is not None:
        hour = extra.pop("time", None)
        moment = _moment(extra.pop("date"), hour, errors)
        if moment is not None:
            fields["scheduled_for"] = (moment if moment.tzinfo else moment.replace(tzinfo=rules.zone)).isoformat()
            sent_as["scheduled_for"] = "date"
        whole_day = hour in (None, "")
        return PAST_TOLERANCE + DAY if whole_day else PAST_TOLERANCE
    return PAST_TOLERANCE


def _moment(date_: Any, time_: Any, errors: list[FieldError]) -> datetime | None:
    """The instant that the legacy `date` and `time` mean; without a time it is the day's first."""
    day = _parse(date.fromisoformat, date_) if isinstance(date_, str) and _DATE.fullmatch(date_) else None
    hour = _parse(time.fromisoformat, "00:00" if time_ in (None, "") else time_)
    if day is None:
        errors.append(FieldError("date", "is a date, YYYY-MM-DD"))
    if hour is None:
        errors.append(FieldError("time", "is a time of day, HH:MM"))
    return None if day is None or hour is None else datetime.combine(day, hour)


_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _parse(parse: Callable[[str], T], text: Any) -> T | None:
    try:
        return parse(text)
    except (TypeError, ValueError):
        return None


def _validate(fields: dict[str, Any], sent_as: dict[str, str], errors: list[FieldError]) -> BookingRequest | None:
    try:
        return BookingRequest.model_validate(fields)
    except ValidationError as error:
        errors.extend(
            FieldError(sent_as.get(str(fault["loc"][0]), str(fault["loc"][0])), explain(fault))
            for fault in error.errors(include_url=False, include_input=False)
        )
        return None


def _schedule(text: Any, earliest: int, sent_as: dict[str, str], errors: list[FieldError]) -> int | None:
    if not isinstance(text, str):
        return None
    name = sent_as.get("scheduled_for", "scheduled_for")
    try:
        instant = from_datetime(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        errors.append(FieldError(name, "is a time of RFC 3339 with a time zone, as 2026-12-01T14:00:00Z"))
        return None
    if instant < earliest:
        errors.append(FieldError(name, "is not in the past"))
    if instant > LAST_INSTANT:
        errors.append(FieldError(name, "is not after the year 9999"))
    return instant


def _currency(fields: dict[str, Any], rules: IntakeRules, errors: list[FieldError]) -> str | None:
    currency = fields.get("currency")
    if not isinstance(currency, str):
        return rules.currency if fields.get("price_minor") is not None else None
    if currency not in MINOR_DIGITS:
        errors.append(FieldError("currency", "is a currency code of ISO 4217, as IDR"))
    return currency


def _check_extra(extra: dict[str, Any], errors: list[FieldError]) -> None:
    """See that what is kept can be kept as it came: it is the evidence of what a client sent."""
    size = 0
    for name, value in extra.items():
        try:
            kept = orjson.dumps({name: value})
        except TypeError:
            kept = b"{}"
        if orjson.loads(kept) != {name: value}:
            errors.append(FieldError(name[:LONGEST_NAME], "holds a number that is too large, or is nested too deeply"))
        size += len(kept)
    if size > EXTRA_LIMIT_BYTES:
        errors.append(FieldError("extra", f"fields that are not ours take at most {EXTRA_LIMIT_BYTES} bytes of JSON"))
