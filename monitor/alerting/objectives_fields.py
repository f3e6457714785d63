"""The kinds of value in the objectives file: what each may look like, and what is said of one that does not.

Nothing is converted that was not meant: a string is no number, true is no 1, and a number is no date.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from monitor.domain.statistics import MAX_ALPHA
from monitor.domain.times import LAST_INSTANT, from_datetime
from monitor.domain.vocabulary import Window

MAX_DURATION_SECONDS = 24 * 3600
MAX_CRITICAL_HOLD_SECONDS = 3600
"""Longest `for` of an alert that wakes somebody: what takes longer tells nobody in time."""
MAX_MIN_BAD = 100
MAX_URL_CHARACTERS = 1000
MIN_REPEAT_SECONDS = 60
MIN_ALPHA = 1e-12

_DURATION = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}.*")
_URL = re.compile(r"(?i:https?)://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9._~!$&()*+,;=:@%/-]*)?")

Named = TypeVar("Named", bound=StrEnum)


def _seconds(value: object) -> int:
    """Parse a length of time such as `25s`, `5m`, `1h` or `1d` into seconds."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    seconds = int(match[1]) * _UNIT_SECONDS[match[2]] if match else None
    if seconds is None or seconds > MAX_DURATION_SECONDS:
        raise ValueError("allowed: a whole number with its unit, such as 30s, 5m or 1h, up to 1d")
    return seconds


def between(shortest: int, longest: int) -> AfterValidator:
    """Allow only lengths of time, in seconds, of the range."""

    def check(seconds: int) -> int:
        if not shortest <= seconds <= longest:
            raise ValueError(f"is {_length(seconds)}; allowed: from {_length(shortest)} to {_length(longest)}")
        return seconds

    return AfterValidator(check)


def _length(seconds: int) -> str:
    """Write a length of time in the largest unit that it is a whole number of."""
    whole = [(unit, size) for unit, size in _UNIT_SECONDS.items() if seconds >= size and seconds % size == 0]
    unit, size = whole[-1] if whole else ("s", 1)
    return f"{seconds // size}{unit}"


def _repeat(value: object) -> int | None:
    """Parse `off`, which YAML 1.1 reads as false, or a length of time that is not too short for a reminder."""
    if value is False or value == "off":
        return None
    try:
        seconds = _seconds(value)
    except ValueError:
        seconds = 0
    if seconds < MIN_REPEAT_SECONDS:
        raise ValueError(
            f"allowed: off, or a whole number with its unit, such as 30m or 1h, from {MIN_REPEAT_SECONDS}s to 1d"
        )
    return seconds


def _one(value: object) -> object:
    if type(value) is not int or value != 1:
        raise ValueError("allowed: the whole number 1")
    return value


def _number(value: object) -> object:
    """Refuse what only can be turned into a number: a string, or true."""
    if type(value) not in {int, float}:
        raise ValueError("allowed: a number without quotes, such as 0.95 or 1.0e-4")
    return value


def _moment(value: object) -> object:
    """Refuse what would be taken for seconds since the epoch."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _MOMENT.fullmatch(value)):
        raise ValueError("allowed: a date and time with its timezone, such as 2026-12-01T02:00:00Z")
    return value


def _writable(moment: datetime) -> datetime:
    if not 0 <= from_datetime(moment) <= LAST_INSTANT:
        raise ValueError("allowed: from 1970 to 9999, in UTC")
    return moment


def distinct(values: tuple[Named, ...]) -> tuple[Named, ...]:
    """Refuse what names the same thing twice."""
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice; allowed: each one once")
    return values


def _absolute_url(value: str) -> str:
    if not (_URL.fullmatch(value) and _has_host_and_port(value)):
        raise ValueError(
            "allowed: an absolute http or https URL in plain ASCII, without user and password, query, fragment, "
            "spaces, quotes and braces, with a port, if any, from 1 to 65535"
        )
    return value.rstrip("/")


def _has_host_and_port(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


Seconds = Annotated[int, BeforeValidator(_seconds)]
RepeatEvery = Annotated[int | None, BeforeValidator(_repeat)]
Version = Annotated[int, BeforeValidator(_one)]
MinBad = Annotated[int, Field(ge=1, le=MAX_MIN_BAD, strict=True)]
Number = Annotated[float, BeforeValidator(_number)]
Probability = Annotated[Number, Field(ge=MIN_ALPHA, le=MAX_ALPHA)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_writable)]
RunbookUrl = Annotated[str, Field(max_length=MAX_URL_CHARACTERS), AfterValidator(_absolute_url)]
Windows = Annotated[tuple[Window, ...], Field(min_length=1), AfterValidator(distinct)]
CriticalHold = Annotated[Seconds, between(0, MAX_CRITICAL_HOLD_SECONDS)]
