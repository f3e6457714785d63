"""Bookings in all the shapes in which the platform of the incident sends them, replayed through the API.

Each line of `tests/data/bookings/*.jsonl` is a case: what was `sent`, and what is `expected` of it. In both,
`{DAY}` stands for tomorrow's date in UTC, `{DAY2}` for the day after, and `{YESTERDAY}` for what it says.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.bookings import MADE_WITH_A_BOOKING, wrong_fields
from support.bookkeeping import rows, store
from support.service import RunningService, running_service
from support.store import migrated
from support.waiting import wait_until

from monitor.domain.booking import BookingRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

FILES = sorted(Path(__file__).parent.parent.joinpath("data", "bookings").glob("*.jsonl"))
TODAY = datetime.now(UTC).date()
DAYS = {name: str(TODAY + timedelta(days=days)) for name, days in (("{DAY}", 1), ("{DAY2}", 2), ("{YESTERDAY}", -2))}
LINES = [(file.stem, line) for file in FILES for line in file.read_text(encoding="utf-8").splitlines()]


def dated(line: str) -> dict[str, Any]:
    """A case, with its dates."""
    case: dict[str, Any] = json.loads(re.sub(r"\{[A-Z0-9]+\}", lambda found: DAYS[found.group()], line))
    return case


CASES = {f"{shape}: {dated(line)['case']}": dated(line) for shape, line in LINES}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(request: pytest.FixtureRequest) -> Iterator[RunningService]:
    """A service on each of the stores, which all cases of the module share."""
    with ExitStack() as stack:
        settings: dict[str, Any] = {}
        if request.param == "postgresql":
            settings["database_url"] = stack.enter_context(request.getfixturevalue("postgres").fresh_database())
            with migrated(settings["database_url"]):
                pass
        yield stack.enter_context(running_service(legacy_timezone="Asia/Makassar", **settings))


@pytest.fixture(scope="module")
def books(service: RunningService) -> Iterator[Connection]:
    """The store of `service`, from outside."""
    with store(service.settings.get("database_url", f"sqlite:///{service.database_path}")) as connection:
        yield connection


def row_counts(books: Connection) -> dict[str, int]:
    """How many rows there are of everything that a booking leaves."""
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in MADE_WITH_A_BOOKING)  # noqa: S608 - names of our own
    [found] = rows(books, f"SELECT {counts}")
    return dict(zip(MADE_WITH_A_BOOKING, found, strict=True))


def legacy_arrivals(client: httpx.Client) -> Counter[str]:
    """How often each legacy name has arrived, as the metrics tell it."""
    found = re.findall(
        r'^booking_legacy_fields_total\{field="(\w+)"\} (\d+)$', client.get("/metrics").text, re.MULTILINE
    )
    return Counter({name: int(count) for name, count in found})


def test_there_are_cases_of_every_shape() -> None:
    assert {file.stem for file in FILES} == {"own_names", "before_the_fix", "documented", "hotels", "mixed", "broken"}
    assert len(CASES) == len(LINES) >= 40


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_booking_is_stored_as_it_was_meant_or_refused_by_field(
    client: httpx.Client, books: Connection, case: dict[str, Any]
) -> None:
    expected = case["expected"]
    before = row_counts(books)
    answer = client.post("/v1/bookings", json=case["sent"])
    if expected["status"] == 422:
        assert sorted(wrong_fields(answer)) == expected["fields"]
        assert row_counts(books) == before
        return
    assert answer.status_code == 201, answer.text
    made = answer.json()
    stored = client.get(f"/v1/bookings/{made['booking']['id']}").json()
    assert stored == made["booking"]
    meant = dict.fromkeys(BookingRequest.model_fields) | {"traffic": "real"} | expected["booking"]
    assert {name: stored[name] for name in BookingRequest.model_fields} == meant
    assert stored["extra"] == expected["extra"]
    assert (stored["status"], stored["provider_response_status"]) == ("pending", "awaiting_response")
    added = {table: count - before[table] for table, count in row_counts(books).items()}
    assert added == {
        "bookings": 1,
        "chat_rooms": 1,
        "chat_messages": 1,
        "notifications": 1,
        "stages": 4,
        "deliveries": 1,
        "idempotency_keys": 0,
    }


def test_every_arrival_of_a_legacy_name_is_counted(client: httpx.Client, books: Connection) -> None:
    arrived = Counter(dict(rows(books, "SELECT first, total FROM counters WHERE name = 'legacy_fields'")))
    expected: Counter[str] = Counter()
    for case in CASES.values():
        if client.post("/v1/bookings", json=case["sent"]).status_code == httpx.codes.CREATED:
            expected.update(case["expected"]["legacy"])
    assert expected
    wait_until(lambda: legacy_arrivals(client) == arrived + expected, what="the metrics count the legacy names")
