"""Taking a booking in: every shape in which the platform of the incident sends one, and everything hostile."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.booking import LARGEST_PRICE_MINOR, BookingRequest, NewBooking
from monitor.domain.currencies import MINOR_DIGITS
from monitor.domain.intake import (
    ALIASES,
    EXTRA_LIMIT_BYTES,
    LEGACY_NAMES,
    LONGEST_NAME,
    PAST_TOLERANCE,
    IntakeRules,
    InvalidBookingError,
    take_in,
)
from monitor.domain.times import SECOND, from_datetime, rfc3339
from monitor.domain.vocabulary import Drift

NOW = from_datetime(datetime(2026, 12, 1, 7, tzinfo=UTC))
RULES = IntakeRules("IDR", ZoneInfo("Asia/Jakarta"))
HUGE = pytest.param(10**5000, id="huge")
"""A number of which Python makes no text."""
PARTIES = {"provider_id": "t-17", "provider_name": "Ayu", "customer_id": "c-9", "customer_name": "Sam"}

BEFORE_THE_FIX = {
    "bookingId": "BK1769040000000",
    "therapistId": "68a1f0c2",
    "therapistName": "Ayu",
    "therapistType": "therapist",
    "customerId": "c-9",
    "customerName": "Sam",
    "customerPhone": "+62 812 3456 789",
    "customerWhatsApp": "+62 812 0000 000",
    "serviceType": "massage",
    "duration": 60,
    "price": 350000,
    "location": "Seminyak",
    "date": "2026-12-02",
    "time": "14:00",
    "status": "pending",
    "responseDeadline": "2026-12-01T07:05:00.000Z",
    "alternativeSearch": False,
}
AFTER_THE_FIX = BEFORE_THE_FIX | {
    "providerId": "68a1f0c2",
    "providerName": "Ayu",
    "providerType": "therapist",
    "providerResponseStatus": "AwaitingResponse",
}
DOCUMENTED = {
    "bookingId": "BK1",
    "bookingDate": "2026-12-02T00:00:00.000Z",
    "providerId": "p-1",
    "providerType": "place",
    "providerName": "Ocean Spa",
    "userId": "u-1",
    "userName": "Kim",
    "hotelGuestName": "Kim",
    "service": "90",
    "startTime": "2026-12-02T06:00:00.000+00:00",
    "duration": 90,
    "totalCost": 525000.5,
    "status": "Pending",
    "createdAt": "2026-12-01T07:00:00.000Z",
}


def taken(**fields: Any) -> NewBooking:
    return take_in({**PARTIES, **fields}, now=NOW, rules=RULES)


def faults(raw: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(InvalidBookingError) as caught:
        take_in(raw, now=NOW, rules=RULES)
    return {error.field: error.message for error in caught.value.errors}


def instant(text: str) -> int:
    return from_datetime(datetime.fromisoformat(text))


def test_the_shape_from_before_the_fix_is_taken_and_its_legacy_names_are_noted() -> None:
    new = take_in(BEFORE_THE_FIX, now=NOW, rules=RULES)
    assert new.request == BookingRequest(
        provider_id="68a1f0c2",
        provider_name="Ayu",
        provider_type="therapist",
        customer_id="c-9",
        customer_name="Sam",
        customer_phone="+62 812 3456 789",
        service_type="massage",
        duration_minutes=60,
        price_minor=35_000_000,
        location="Seminyak",
        scheduled_for="2026-12-02T14:00:00+07:00",
    )
    assert new.currency == "IDR"
    assert new.scheduled_for == instant("2026-12-02T14:00:00+07:00")
    assert new.legacy_fields == LEGACY_NAMES
    assert new.extra == {
        name: BEFORE_THE_FIX[name]
        for name in ("bookingId", "customerWhatsApp", "status", "responseDeadline", "alternativeSearch")
    }


def test_the_shape_from_after_the_fix_is_the_same_booking() -> None:
    old, new = (take_in(raw, now=NOW, rules=RULES) for raw in (BEFORE_THE_FIX, AFTER_THE_FIX))
    assert new.request == old.request
    assert new.legacy_fields == LEGACY_NAMES


def test_the_documented_shape_is_taken_with_no_legacy_name() -> None:
    new = take_in(DOCUMENTED, now=NOW, rules=RULES)
    assert (new.request.provider_id, new.request.provider_type, new.request.customer_id) == ("p-1", "place", "u-1")
    assert (new.request.duration_minutes, new.request.price_minor) == (90, 52_500_050)
    assert new.scheduled_for == instant("2026-12-02T06:00:00Z")
    assert new.legacy_fields == ()


def test_the_neutral_shape_is_taken_as_it_is() -> None:
    fields = {
        "provider_type": "therapist",
        "customer_phone": "+62 812 (345) 6789",
        "service_type": "massage",
        "duration_minutes": 60,
        "price_minor": 35_000_000,
        "currency": "IDR",
        "location": "Jl. Raya 1",
        "scheduled_for": "2026-12-01T14:00:00Z",
        "notes": "ring twice\nplease",
        "traffic": "canary",
    }
    new = taken(**fields)
    assert new.request.model_dump() == PARTIES | fields
    assert new.extra is None
    assert new.legacy_fields == ()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("provider_id", "providerId"),
        ("provider_id", "therapistId"),
        ("providerId", "therapistId"),
        ("providerName", "therapistName"),
        ("provider_type", "therapistType"),
    ],
)
def test_two_names_of_one_thing_may_agree_but_not_differ(first: str, second: str) -> None:
    ours = next(name for name, names in ALIASES.items() if second in names)
    parties = {name: value for name, value in PARTIES.items() if name != ours}
    assert faults({**parties, first: "one", second: "two"}) == {
        second: f"names the same thing as {first} and must not differ from it"
    }
    new = take_in({**parties, first: "one", second: "one"}, now=NOW, rules=RULES)
    assert getattr(new.request, ours) == "one"


@pytest.mark.parametrize(
    ("names", "drift"),
    [
        (("therapistId",), Drift.LEGACY_FIELD),
        (("therapistId", "provider_id"), None),
        (("therapistId", "providerId"), None),
        (("provider_id",), None),
    ],
)
def test_a_provider_that_stands_in_a_legacy_field_alone_is_drift(names: tuple[str, ...], drift: Drift | None) -> None:
    parties = {name: value for name, value in PARTIES.items() if name != "provider_id"}
    nulls = dict.fromkeys(("provider_id", "providerId"))
    for absent in ({}, nulls):
        raw = {**parties, **absent, **dict.fromkeys(names, "t-17")}
        assert take_in(raw, now=NOW, rules=RULES).drift is drift


def test_a_name_that_is_null_is_a_name_that_was_not_sent() -> None:
    raw = {**PARTIES, "provider_id": None, "providerId": None, "therapistId": "t-17"}
    assert take_in(raw, now=NOW, rules=RULES).request.provider_id == "t-17"


@pytest.mark.parametrize("name", ["providerId", "therapistId", "customerId", "userId"])
def test_numeric_ids_of_old_rows_become_text(name: str) -> None:
    ours = next(ours for ours, names in ALIASES.items() if name in names)
    parties = {key: value for key, value in PARTIES.items() if key != ours}
    new = take_in({**parties, name: 4711}, now=NOW, rules=RULES)
    assert getattr(new.request, ours) == "4711"


@pytest.mark.parametrize("value", [True, 1.5, ["a"], {"a": 1}, 10**400])
def test_an_id_that_is_neither_text_nor_a_number_is_refused_under_the_name_it_was_sent(value: object) -> None:
    parties = {key: value for key, value in PARTIES.items() if key != "provider_id"}
    assert faults({**parties, "therapistId": value}).keys() == {"therapistId"}


@pytest.mark.parametrize("name", ["provider_id", "provider_name", "customer_id", "customer_name"])
def test_who_is_concerned_must_be_said(name: str) -> None:
    assert faults({key: value for key, value in PARTIES.items() if key != name}) == {name: "Field required"}


@pytest.mark.parametrize(
    ("price", "currency", "minor"),
    [
        (350000, "IDR", 35_000_000),
        (350000, None, 35_000_000),
        (1200, "JPY", 1200),
        (12.5, "EUR", 1250),
        (0.1, "EUR", 10),
        (1.005, "USD", 100),
        (1.015, "USD", 102),
        (1.5, "KWD", 1500),
        (0, "EUR", 0),
    ],
)
def test_a_legacy_price_is_in_units_of_the_currency(price: float, currency: str | None, minor: int) -> None:
    fields = {"price": price} if currency is None else {"price": price, "currency": currency}
    new = taken(**fields)
    assert (new.request.price_minor, new.currency) == (minor, currency or "IDR")


@pytest.mark.parametrize("price", [-1, -0.01, True, "350000", [1], HUGE, 1e300, float("inf"), float("nan")])
@pytest.mark.parametrize("name", ["price", "totalCost"])
def test_a_legacy_price_that_is_no_amount_is_refused_under_its_name(name: str, price: object) -> None:
    assert faults({**PARTIES, name: price}) == {name: "is an amount in units of the currency, not below 0"}


def test_a_price_has_an_upper_bound_in_minor_units() -> None:
    assert taken(price_minor=LARGEST_PRICE_MINOR).request.price_minor == LARGEST_PRICE_MINOR
    assert faults({**PARTIES, "price_minor": LARGEST_PRICE_MINOR + 1}).keys() == {"price_minor"}
    assert faults({**PARTIES, "price": LARGEST_PRICE_MINOR}) == {
        "price": f"is at most {LARGEST_PRICE_MINOR} in minor units"
    }
    assert faults({**PARTIES, "price_minor": -1}).keys() == {"price_minor"}


def test_no_price_has_no_currency_and_a_price_without_one_has_the_default() -> None:
    assert taken().currency is None
    assert taken(price_minor=5).currency == "IDR"
    assert take_in({**PARTIES, "price_minor": 5}, now=NOW, rules=IntakeRules("EUR")).currency == "EUR"


@pytest.mark.parametrize("currency", ["XXX", "idr", "", "EURO", ["EUR"], 5, {}])
@pytest.mark.parametrize("price", [{}, {"price": 5}, {"price_minor": 5}])
def test_an_unknown_currency_is_refused(currency: object, price: dict[str, int]) -> None:
    assert faults({**PARTIES, "currency": currency, **price}).keys() == {"currency"}


@given(st.sampled_from(sorted(MINOR_DIGITS)), st.integers(0, LARGEST_PRICE_MINOR // 1000))
def test_a_whole_price_is_exact_in_every_currency(currency: str, price: int) -> None:
    assert taken(price=price, currency=currency).request.price_minor == price * 10 ** MINOR_DIGITS[currency]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"date": "2026-12-02", "time": "14:00"}, "2026-12-02T14:00:00+07:00"),
        ({"date": "2026-12-02", "time": "14:00:30"}, "2026-12-02T14:00:30+07:00"),
        ({"date": "2026-12-02"}, "2026-12-02T00:00:00+07:00"),
        ({"date": "2026-12-02", "time": ""}, "2026-12-02T00:00:00+07:00"),
        ({"date": "2026-12-02", "time": "14:00+00:00"}, "2026-12-02T14:00:00+00:00"),
    ],
)
def test_the_legacy_date_and_time_are_in_the_zone_of_the_installation(fields: dict[str, str], expected: str) -> None:
    new = taken(**fields)
    assert new.scheduled_for == instant(expected)
    assert new.extra is None


def test_a_time_of_our_own_wins_over_the_legacy_date_which_is_kept() -> None:
    new = taken(scheduled_for="2026-12-02T06:00:00Z", date="2026-12-05", time="09:00")
    assert new.scheduled_for == instant("2026-12-02T06:00:00Z")
    assert new.extra == {"date": "2026-12-05", "time": "09:00"}


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("date", {"date": "tomorrow"}),
        ("date", {"date": "2026-02-30", "time": "10:00"}),
        ("time", {"date": "2026-12-02", "time": "2 pm"}),
        ("time", {"date": "2026-12-02", "time": [1]}),
        ("date", {"date": "2026-11-30", "time": "10:00"}),
        ("startTime", {"startTime": "soon"}),
        ("startTime", {"startTime": 1764600000}),
        ("scheduled_for", {"scheduled_for": "2026-12-02"}),
        ("scheduled_for", {"scheduled_for": "2026-12-02T10:00:00"}),
        ("scheduled_for", {"scheduled_for": "9999-12-31T23:59:59-12:00"}),
        ("scheduled_for", {"scheduled_for": "9999-12-31T23:59:59.999999Z"}),
        ("scheduled_for", {"scheduled_for": "0001-01-01T00:00:00+14:00"}),
    ],
)
def test_a_time_that_cannot_be_meant_is_refused_under_its_name(field: str, fields: dict[str, Any]) -> None:
    assert faults({**PARTIES, **fields}).keys() == {field}


def test_a_booking_for_now_may_be_a_little_late_but_not_in_the_past() -> None:
    assert taken(scheduled_for=rfc3339(NOW - PAST_TOLERANCE)).scheduled_for == NOW - PAST_TOLERANCE
    late = rfc3339(NOW - PAST_TOLERANCE - SECOND)
    assert faults({**PARTIES, "scheduled_for": late}) == {"scheduled_for": "is not in the past"}


@pytest.mark.parametrize(("service", "minutes"), [("60", 60), ("90", 90), (120, 120)])
def test_the_duration_may_be_named_by_the_service(service: object, minutes: int) -> None:
    assert taken(service=service).request.duration_minutes == minutes


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("duration", {"duration": "an hour"}),
        ("duration", {"duration": "٦٠"}),
        ("duration", {"duration": 0}),
        pytest.param("duration", {"duration": 10**5000}, id="huge duration"),
        ("service", {"service": "60 min"}),
        ("duration_minutes", {"duration_minutes": "60"}),
        ("duration_minutes", {"duration_minutes": 60.5}),
        ("duration_minutes", {"duration_minutes": -5}),
        ("duration_minutes", {"duration_minutes": True}),
        ("duration_minutes", {"duration_minutes": 43_201}),
    ],
)
def test_a_duration_is_a_whole_number_of_minutes(field: str, fields: dict[str, Any]) -> None:
    assert faults({**PARTIES, **fields}).keys() == {field}


@pytest.mark.parametrize("text", ["a\0b", "a\nb", "a\x7f", "a\x1b[31mb", "", " ", "\u2003", "x" * 201])
def test_a_name_is_one_line_of_visible_text(text: str) -> None:
    assert faults({**PARTIES, "provider_name": text}).keys() == {"provider_name"}


@pytest.mark.parametrize(
    "text", ["Ayu", "  Ayu ", "فاطمة", "👩‍👩‍👧", "Zoë \u202eevil", "山田太郎", "x" * 200, "o'Brien; --"]
)
def test_a_name_may_be_in_any_script(text: str) -> None:
    assert taken(customer_name=text).request.customer_name == text


@pytest.mark.parametrize("text", ["", " t", "t 1", "a/b", "a\0", "-t", "ü", "x" * 129, "a\n", "../x", "<b>"])
def test_an_id_is_safe_in_a_url_a_log_line_and_a_page(text: str) -> None:
    assert faults({**PARTIES, "customer_id": text}).keys() == {"customer_id"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("customer_phone", "call me"),
        ("customer_phone", "1" * 41),
        ("provider_type", "Therapist!"),
        ("location", "a\0b"),
        ("location", "x" * 501),
        ("notes", "a\0b"),
        ("notes", "x" * 4001),
        ("notes", 5),
        ("traffic", "test"),
        ("service_type", ["massage"]),
    ],
)
def test_every_other_field_is_bounded_too(field: str, value: object) -> None:
    assert faults({**PARTIES, field: value}).keys() == {field}


def test_all_that_is_wrong_is_said_at_once() -> None:
    raw = {"therapistId": "a b", "customer_id": "c-9", "currency": "XXX", "price": -1, "startTime": "soon"}
    assert faults(raw).keys() == {
        "therapistId",
        "provider_name",
        "customer_name",
        "currency",
        "price",
        "startTime",
    }


def test_fields_that_are_not_ours_are_kept_as_they_came() -> None:
    extra = {"hotelRoomNumber": "12", "nested": {"a": [1, 2.5, None, True, "\0 é 👍"]}, "id": "theirs", "extra": {}}
    assert taken(**extra).extra == extra


@pytest.mark.parametrize("value", [2**64, -(2**63) - 1, HUGE, float("inf"), {"deep": [2**70]}, "\ud800"])
def test_a_value_that_could_not_be_given_back_as_it_came_is_refused(value: object) -> None:
    assert faults({**PARTIES, "theirs": value}).keys() == {"theirs"}


def test_what_is_kept_is_bounded() -> None:
    room = EXTRA_LIMIT_BYTES - len('{"theirs":""}')
    assert taken(theirs="x" * room).extra == {"theirs": "x" * room}
    assert faults({**PARTIES, "theirs": "x" * (room + 1)}).keys() == {"extra"}
    assert faults({**PARTIES, **{f"field{n}": 0 for n in range(3000)}}).keys() == {"extra"}
    assert faults({**PARTIES, "theirs": "é" * (room // 2 + 1)}).keys() == {"extra"}


NAMES = sorted({*BookingRequest.model_fields, *(name for names in ALIASES.values() for name in names), "date", "time"})
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**30), 10**30)
    | st.just(10**4000)
    | st.floats()
    | st.text(st.characters())
    | st.sampled_from(["t-17", "Ayu", "60", "IDR", "canary", "2026-12-02", "14:00", "2026-12-02T10:00:00Z"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=5
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES) | st.text(), JSON, max_size=12)


def outcome_of(raw: dict[str, Any]) -> NewBooking | InvalidBookingError:
    try:
        return take_in(raw, now=NOW, rules=RULES)
    except InvalidBookingError as error:
        return error


@given(OBJECTS, st.booleans())
def test_any_object_is_either_taken_or_refused_with_every_fault_named(raw: dict[str, Any], complete: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    sent = {**PARTIES, **raw} if complete else raw
    outcome = outcome_of(sent)
    if isinstance(outcome, InvalidBookingError):
        known = {*PARTIES, "extra", *(name[:LONGEST_NAME] for name in sent)}
        assert outcome.errors
        assert {fault.field for fault in outcome.errors} <= known
        assert all(fault.message for fault in outcome.errors)
    else:
        assert outcome.scheduled_for is None or rfc3339(outcome.scheduled_for)
        assert outcome.extra is None or orjson.loads(orjson.dumps(outcome.extra)) == outcome.extra


@given(
    st.fixed_dictionaries(
        {name: st.from_regex(r"\A[a-z][a-z0-9-]{0,20}\Z") for name in ("provider_id", "customer_id")}
        | {
            name: st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=50)
            for name in PARTIES
            if "name" in name
        },
        optional={
            "duration_minutes": st.integers(1, 1000),
            "price_minor": st.integers(0, LARGEST_PRICE_MINOR),
            "currency": st.sampled_from(sorted(MINOR_DIGITS)),
            "notes": st.text(st.characters(categories=["L", "N", "S", "Zs"]), max_size=100),
            "scheduled_for": st.integers(NOW, NOW + 10**11).map(rfc3339),
        },
    )
)
def test_a_booking_that_was_taken_is_taken_again_as_the_same(raw: dict[str, Any]) -> None:
    first = take_in(raw, now=NOW, rules=RULES)
    again = json.loads(json.dumps(first.request.model_dump(exclude_none=True)))
    assert take_in(again, now=NOW, rules=RULES) == first
    if first.scheduled_for is not None:
        assert rfc3339(first.scheduled_for) == raw["scheduled_for"]


@given(st.permutations(list(AFTER_THE_FIX.items())))
def test_the_order_of_fields_is_of_no_account(items: list[tuple[str, Any]]) -> None:
    assert take_in(dict(items), now=NOW, rules=RULES) == take_in(AFTER_THE_FIX, now=NOW, rules=RULES)
