"""Why an alert fires, and for which bookings. Pure: bad stages in, the parts of a report out."""

from __future__ import annotations

from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from monitor.alerting.payload import MAX_SAMPLE_BOOKINGS, BookingRef, Cause, Factor
from monitor.domain.vocabulary import Drift, Reason
from monitor.store.deliveries import COMPARED
from monitor.store.diagnosis import BadStage

COMMON_SHARE = 0.5
"""A factor is named when at least this share of the bad bookings has it in common."""
FEWEST_IN_COMMON = 2


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the bad bookings of a spell say together."""

    cause: Cause | None = None
    first_bad: BookingRef | None = None
    bookings: tuple[str, ...] = ()
    factor: Factor | None = None
    revenue_at_risk: dict[str, int] | None = None
    traceparent: str | None = None
    """Of the first bad booking."""


def diagnose(bad: Sequence[BadStage], drift: dict[Drift, int]) -> Diagnosis:
    """Name the cause class that most of them share, the first of them, and what they have in common.

    `bad` is ordered by due time, the longest due first.
    """
    if not bad:
        return Diagnosis()
    revenue: defaultdict[str, int] = defaultdict(int)
    for stage in bad:
        if stage.currency is not None and stage.price_minor is not None:
            revenue[stage.currency] += stage.price_minor
    return Diagnosis(
        cause=_cause(bad, drift),
        first_bad=BookingRef(bad[0].booking_id, bad[0].due_at),
        bookings=tuple(stage.booking_id for stage in bad[:MAX_SAMPLE_BOOKINGS]),
        factor=_factor(bad),
        revenue_at_risk=dict(revenue),
        traceparent=bad[0].traceparent,
    )


def _cause(bad: Sequence[BadStage], drift: dict[Drift, int]) -> Cause:
    reason = Reason(Tally(stage.reason for stage in bad).most_common(1)[0][0])
    if reason is Reason.FIELD_MISMATCH:
        compared = Tally(found for stage in bad if (found := _compared(stage)) is not None).most_common(1)
        if compared:
            return Cause(reason, compared_field=compared[0][0], set_field="provider_id")
        legacy = drift.get(Drift.LEGACY_FIELD, 0) > 0
        return Cause(reason, compared_field="provider_id", set_field="therapistId" if legacy else None)
    return Cause(reason)


def _compared(stage: BadStage) -> str | None:
    """The field on which a subscriber's filter did not match."""
    error = stage.delivery_error or ""
    return error.removeprefix(COMPARED) if error.startswith(COMPARED) else None


def _factor(bad: Sequence[BadStage]) -> Factor | None:
    """The most special thing that most bad bookings share: one provider says more than one type of provider."""
    kinds: tuple[tuple[Literal["provider_id", "provider_type"], list[str]], ...] = (
        ("provider_id", [stage.provider_id for stage in bad if stage.provider_id is not None]),
        ("provider_type", [stage.provider_type for stage in bad if stage.provider_type is not None]),
    )
    for kind, values in kinds:
        if not values:
            continue
        value, count = Tally(values).most_common(1)[0]
        if count >= FEWEST_IN_COMMON and count >= COMMON_SHARE * len(bad):
            return Factor(kind, value, count, len(bad))
    return None
