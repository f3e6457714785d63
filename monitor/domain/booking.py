"""A booking as it is asked for, and as it stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from monitor.domain.currencies import MINOR_DIGITS
from monitor.domain.vocabulary import Drift, Traffic

LARGEST_PRICE_MINOR = 10**12
"""Upper bound of a price, in minor units: more is a slip, not a booking."""
LONGEST_MINUTES = 30 * 24 * 60
"""Upper bound of a duration, in minutes."""
LONGEST_NAME_CHARACTERS = 200
LONGEST_LINE_CHARACTERS = 500
"""Upper bound of text that stands in one line, such as a location."""
LONGEST_PROSE_CHARACTERS = 4000
"""Upper bound of notes and chat messages."""
LONGEST_PHONE_CHARACTERS = 40
"""Upper bound of a phone number with all its spaces and signs; E.164 has 15 digits."""

_NO_CONTROLS = r"[^\u0000-\u001f\u007f]"
ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.:=+@|-]{0,127}$"
"""Ids of providers and customers: 1 to 128 characters that are safe in a URL, a log line and a page."""
_NAME_PATTERN = rf"^{_NO_CONTROLS}*[^\s\u0000-\u001f\u007f]{_NO_CONTROLS}*$"
_LINE_PATTERN = rf"^{_NO_CONTROLS}*$"
_PROSE_PATTERN = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]*$"
_TYPE_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"
_PHONE_PATTERN = r"^[0-9+(). \-/]*$"

_MEANINGS = {
    ID_PATTERN: "has 1 to 128 letters, digits and _.:=+@|-, and begins with a letter, a digit or _",
    _NAME_PATTERN: "is text in one line, and not blank",
    _LINE_PATTERN: "is text in one line",
    _PROSE_PATTERN: "is text without control characters",
    _TYPE_PATTERN: "has 1 to 32 lower-case letters, digits, _ and -, and begins with a letter",
    _PHONE_PATTERN: "has digits, spaces and +().-/ only",
}


def explain(fault: Mapping[str, Any]) -> str:
    """What is allowed where pydantic found a fault: its own words, except for a pattern, which few can read."""
    pattern = fault.get("ctx", {}).get("pattern")
    return _MEANINGS.get(pattern, str(fault["msg"]))


def _whole(value: Any) -> Any:
    """JSON has one kind of number: 60.0 is as whole as 60."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Id = Annotated[str, Field(pattern=ID_PATTERN)]
Name = Annotated[str, Field(max_length=LONGEST_NAME_CHARACTERS, pattern=_NAME_PATTERN)]
Line = Annotated[str, Field(max_length=LONGEST_LINE_CHARACTERS, pattern=_LINE_PATTERN)]
Prose = Annotated[str, Field(max_length=LONGEST_PROSE_CHARACTERS, pattern=_PROSE_PATTERN)]
WHOLE = BeforeValidator(_whole)


class BookingRequest(BaseModel):
    """What a customer asks for. Fields that are not named here are kept as `extra`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    provider_id: Id = Field(description="Whoever must learn of the booking.")
    provider_name: Name
    provider_type: Annotated[str, Field(pattern=_TYPE_PATTERN)] | None = Field(
        None, description="Kind of provider, such as therapist or place."
    )
    customer_id: Id
    customer_name: Name
    customer_phone: Annotated[str, Field(max_length=LONGEST_PHONE_CHARACTERS, pattern=_PHONE_PATTERN)] | None = None
    service_type: Line | None = None
    duration_minutes: Annotated[int, Field(ge=1, le=LONGEST_MINUTES), WHOLE] | None = None
    price_minor: Annotated[int, Field(ge=0, le=LARGEST_PRICE_MINOR), WHOLE] | None = Field(
        None, description="Price in minor units of the currency (ISO 4217)."
    )
    currency: Annotated[str, Field(json_schema_extra={"enum": sorted(MINOR_DIGITS)})] | None = Field(
        None, description="ISO 4217 code; the service's default where there is a price and no currency."
    )
    location: Line | None = None
    scheduled_for: Annotated[str, Field(json_schema_extra={"format": "date-time"})] | None = Field(
        None, description="When the service is wanted (RFC 3339 with a time zone), not in the past."
    )
    notes: Prose | None = None
    traffic: Literal["real", "canary"] = Field(
        "real",
        description="`canary` for a synthetic booking; null is as good as absent.",
        json_schema_extra={"type": ["string", "null"], "enum": ["real", "canary", None]},
    )


@dataclass(frozen=True, slots=True)
class NewBooking:
    """A booking request that was found to be in order."""

    request: BookingRequest
    scheduled_for: int | None
    """Milliseconds since the epoch."""
    currency: str | None
    extra: dict[str, Any] | None
    legacy_fields: tuple[str, ...]
    """The legacy names under which fields came."""
    drift: Drift | None
    """Set when the provider stood only in a legacy field."""

    @property
    def traffic(self) -> Traffic:
        """Whose booking it is."""
        return Traffic(self.request.traffic)
