"""What the status page reads: rates over time and the single things that are not in order, at a bounded cost."""

from __future__ import annotations

import pytest
from support.plans import recorded
from support.store import NOON, Store, open_store

from monitor.domain.due import Judged
from monitor.domain.judgement import judge
from monitor.domain.ledger import Count
from monitor.domain.lifecycle import Action
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import AttemptResult, Stage, Traffic
from monitor.store import status
from monitor.store.deliveries import ClaimDue, RecordAttempt
from monitor.store.judging import RecordVerdicts
from monitor.store.lifecycle import Take

AFTER = NOON - HOUR


async def judge_all(store: Store) -> None:
    """Let all come due, and judge it by what is there."""
    store.clock.advance(MINUTE)
    for stage in Stage:
        due = await store.due(stage)
        facts = await store.platform.look(due)
        judged = tuple(Judged(one, judge(one.due_at, facts[one])) for one in due)
        await store.submit(RecordVerdicts(judged, store.clock(), None))


async def count_minute(store: Store, minute: int, sli: str, traffic: str, events: int, bad: int) -> None:
    await store.alter(
        "INSERT INTO sli_minutes (minute, sli, traffic, events, bad) VALUES (:minute, :sli, :traffic, :events, :bad)",
        minute=minute,
        sli=sli,
        traffic=traffic,
        events=events,
        bad=bad,
    )


async def test_a_series_has_every_span_and_puts_each_minute_into_its_own(store: Store) -> None:
    last = NOON // MINUTE
    await count_minute(store, last, "realtime", "real", 4, 1)
    await count_minute(store, last - 4, "realtime", "real", 3, 0)
    await count_minute(store, last - 5, "realtime", "real", 2, 2)
    await count_minute(store, last - 59, "chat_room", "real", 7, 0)
    await count_minute(store, last - 60, "chat_room", "real", 100, 100)
    await count_minute(store, last + 1, "chat_room", "real", 100, 100)
    series = await store.readers.run(status.read_series, Traffic.REAL, now=NOON + 59 * SECOND, minutes=5, spans=12)
    assert series[Stage.REALTIME] == (*[Count()] * 10, Count(2, 2), Count(7, 1))
    assert series[Stage.CHAT_ROOM] == (Count(7), *[Count()] * 11)
    assert series[Stage.NOTIFICATION] == (Count(),) * 12


async def test_a_series_is_of_one_kind_of_traffic(store: Store) -> None:
    await count_minute(store, NOON // MINUTE, "realtime", "canary", 9, 0)
    series = await store.readers.run(status.read_series, Traffic.REAL, now=NOON, minutes=1, spans=3)
    assert series[Stage.REALTIME] == (Count(),) * 3


async def test_overdue_bookings_have_all_their_stages(store: Store) -> None:
    broken = (await store.make("t-1")).command.booking_id
    await store.make("t-2")
    await store.alter("DELETE FROM chat_rooms WHERE booking_id = :id", id=broken)
    await judge_all(store)
    reading = await store.readers.run(status.read, overdue_after=AFTER)
    (overdue,) = reading.overdue
    assert (overdue.id, overdue.provider_id) == (broken, "t-1")
    outcomes = {row["stage"]: row["outcome"] for row in overdue.stages}
    assert outcomes["chat_room"] == "missing"
    assert outcomes["notification"] == "good"


@pytest.mark.parametrize("why", ["answered", "long ago", "canary"])
async def test_some_bookings_are_not_overdue(store: Store, why: str) -> None:
    booking = await store.make("t-1", traffic="canary" if why == "canary" else "real")
    await store.alter("DELETE FROM notifications")
    await judge_all(store)
    if why == "answered":
        await store.submit(Take(booking.command.booking_id, Action.ACCEPT, store.clock(), None))
    after = store.clock() if why == "long ago" else AFTER
    assert (await store.readers.run(status.read, overdue_after=after)).overdue == []


async def test_deliveries_under_way_stand_before_those_that_wait(store: Store) -> None:
    await store.connect("s-1", "t-1")
    tried = (await store.make("t-1")).command.booking_id
    waiting = (await store.make("t-2")).command.booking_id
    store.clock.advance(10 * SECOND)
    claimed = await store.submit(ClaimDue(Stage.REALTIME, store.clock(), MINUTE, 10))
    (mine,) = [one for one in claimed if one.booking["id"] == tried]
    attempt = RecordAttempt(mine.id, store.clock(), AttemptResult.UNACKNOWLEDGED, NOON + HOUR)
    await store.submit(attempt)
    rows = (await store.readers.run(status.read, overdue_after=AFTER)).deliveries
    assert [row["booking_id"] for row in rows] == [tried, waiting]
    assert [row["state"] for row in rows] == ["retrying", "pending"]
    assert {row["traffic"] for row in rows} == {"real"}


async def test_canaries_tell_how_they_went(store: Store) -> None:
    bad = (await store.make("t-1", traffic="canary")).command.booking_id
    store.clock.advance(1)
    good = (await store.make("t-1", traffic="canary")).command.booking_id
    await store.alter("DELETE FROM notifications WHERE booking_id = :id", id=bad)
    await judge_all(store)
    still_open = (await store.make("t-1", traffic="canary")).command.booking_id
    await store.make("t-1")
    runs = (await store.readers.run(status.read, overdue_after=AFTER)).canaries
    assert [(run.id, run.good) for run in runs] == [(still_open, None), (good, True), (bad, False)]


async def test_a_page_costs_a_bounded_number_of_queries_and_rows(store: Store) -> None:
    await store.make_many(100)
    await store.make_many(50, traffic="canary")
    await store.alter("DELETE FROM chat_rooms")
    await judge_all(store)
    with recorded(store.reading) as found:
        reading = await store.readers.run(status.read, overdue_after=AFTER)
    assert len(found.statements) <= 8
    assert len(reading.overdue) == status.SHOWN_OVERDUE
    assert len(reading.deliveries) == status.SHOWN_DELIVERIES
    assert len(reading.canaries) == status.SHOWN_CANARIES


async def test_no_query_reads_a_table_of_history_from_end_to_end(sqlite_url: str) -> None:
    async with open_store(sqlite_url) as store:
        await store.make_many(10)
        with recorded(store.reading) as found:
            await store.readers.run(status.read, overdue_after=AFTER)
            await store.readers.run(status.read_series, Traffic.REAL, now=NOON, minutes=5, spans=12)
        with store.reading.connect() as connection:
            plans = "\n".join(found.plans(connection))
    for table in ("bookings", "stages", "deliveries", "sli_minutes"):
        scans = [line for line in plans.splitlines() if line.startswith(f"SCAN {table}")]
        assert [line for line in scans if "USING INDEX" not in line] == []
