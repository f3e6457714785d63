"""The diagnosis names the cause that most bad bookings share, the first of them, and what they have in common."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from monitor.alerting.diagnosis import COMMON_SHARE, FEWEST_IN_COMMON, Diagnosis, diagnose
from monitor.alerting.payload import MAX_SAMPLE_BOOKINGS, BookingRef, Cause, Factor
from monitor.domain.vocabulary import Drift, Reason
from monitor.store.deliveries import COMPARED
from monitor.store.diagnosis import BadStage

CAUSES = [reason for reason in Reason if reason not in (Reason.ON_TIME, Reason.NO_LIVE_SUBSCRIPTION)]


def bad(number: int = 0, reason: Reason = Reason.NEVER_ATTEMPTED, **changes: Any) -> BadStage:
    fields = {
        "booking_id": f"b-{number}",
        "due_at": 1_000 * number,
        "reason": reason.value,
        "provider_id": f"t-{number}",
        "provider_type": None,
        "currency": "IDR",
        "price_minor": 100,
        "traceparent": None,
        "delivery_error": None,
    }
    return BadStage(**{**fields, **changes})


def test_of_nothing_nothing_is_said() -> None:
    assert diagnose([], {Drift.LEGACY_FIELD: 3}) == Diagnosis()


def test_the_cause_is_the_one_that_most_of_them_have() -> None:
    stages = [bad(1, Reason.LATE), bad(2, Reason.TARGET_MISSING), bad(3, Reason.TARGET_MISSING)]
    assert diagnose(stages, {}).cause == Cause(Reason.TARGET_MISSING)


def test_a_filter_that_compared_another_field_is_named_with_it() -> None:
    stages = [bad(n, Reason.FIELD_MISMATCH, delivery_error=f"{COMPARED}therapistId") for n in range(2)]
    found = diagnose([*stages, bad(3, Reason.FIELD_MISMATCH, delivery_error="timeout")], {})
    assert found.cause == Cause(Reason.FIELD_MISMATCH, compared_field="therapistId", set_field="provider_id")


def test_bookings_in_legacy_fields_are_named_as_such() -> None:
    stages = [bad(1, Reason.FIELD_MISMATCH, delivery_error=None)]
    legacy = diagnose(stages, {Drift.LEGACY_FIELD: 1}).cause
    assert legacy == Cause(Reason.FIELD_MISMATCH, compared_field="provider_id", set_field="therapistId")
    unknown = diagnose(stages, {}).cause
    assert unknown == Cause(Reason.FIELD_MISMATCH, compared_field="provider_id", set_field=None)


def test_the_first_bad_booking_is_the_longest_due_and_brings_its_trace() -> None:
    found = diagnose([bad(1, traceparent="00-a-b-01"), bad(2, traceparent="00-c-d-01")], {})
    assert found.first_bad == BookingRef("b-1", 1_000)
    assert found.traceparent == "00-a-b-01"


def test_one_provider_is_a_factor_before_its_type() -> None:
    stages = [bad(n, provider_id="t-1", provider_type="place") for n in range(3)]
    assert diagnose(stages, {}).factor == Factor("provider_id", "t-1", 3, 3)


def test_where_providers_differ_their_type_is_the_factor() -> None:
    stages = [bad(n, provider_type="place") for n in range(3)]
    assert diagnose(stages, {}).factor == Factor("provider_type", "place", 3, 3)


def test_what_fewer_than_half_of_them_share_is_no_factor() -> None:
    stages = [bad(0, provider_id="t-x"), bad(1, provider_id="t-x"), *(bad(n) for n in range(2, 5))]
    assert diagnose(stages, {}).factor is None
    assert diagnose(stages[:4], {}).factor == Factor("provider_id", "t-x", 2, 4)


def test_one_booking_has_nothing_in_common_with_others() -> None:
    assert diagnose([bad(1, provider_type="place")], {}).factor is None


def test_revenue_is_summed_by_currency_and_what_has_no_price_adds_nothing() -> None:
    stages = [bad(1), bad(2, price_minor=50), bad(3, currency="EUR", price_minor=7), bad(4, price_minor=None)]
    assert diagnose(stages, {}).revenue_at_risk == {"IDR": 150, "EUR": 7}


@given(
    st.lists(
        st.builds(
            bad,
            st.integers(0, 99),
            st.sampled_from(CAUSES),
            provider_id=st.sampled_from(["t-1", "t-2", "t-3", None]),
            provider_type=st.sampled_from(["therapist", "place", None]),
            delivery_error=st.sampled_from([None, "timeout", f"{COMPARED}therapistId", COMPARED]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_whatever_is_bad_what_is_said_is_true_of_it(stages: list[BadStage]) -> None:
    found = diagnose(stages, {})
    assert found.cause is not None
    reasons = [stage.reason for stage in stages]
    assert reasons.count(found.cause.reason) == max(map(reasons.count, reasons))
    assert found.bookings == tuple(stage.booking_id for stage in stages[:MAX_SAMPLE_BOOKINGS])
    if found.factor is not None:
        shared = [stage for stage in stages if getattr(stage, found.factor.kind) == found.factor.value]
        assert len(shared) == found.factor.bad >= max(FEWEST_IN_COMMON, COMMON_SHARE * len(stages))
        assert found.factor.of == len(stages)
