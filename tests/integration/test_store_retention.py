"""Letting go of what is old, a small batch at a time, and of nothing else."""

from __future__ import annotations

from support.store import NOON, Store

from monitor.domain.due import Judged
from monitor.domain.judgement import Verdict
from monitor.domain.times import DAY, HOUR, MINUTE
from monitor.domain.vocabulary import AttemptResult, Outcome, Reason, Stage, Traffic, Window
from monitor.store import bookings, journeys
from monitor.store.deliveries import RecordAttempt
from monitor.store.judging import RecordVerdicts
from monitor.store.retention import SECONDS_KEPT, Prune, Retention
from monitor.store.snapshot import read_snapshot

TABLES = (
    "bookings",
    "chat_rooms",
    "chat_messages",
    "notifications",
    "deliveries",
    "delivery_attempts",
    "stages",
    "idempotency_keys",
)


async def judge_all(store: Store) -> None:
    """Judge everything that is due as good."""
    good = Verdict(Outcome.GOOD, Reason.ON_TIME, NOON)
    for stage in Stage:
        if due := await store.due(stage):
            await store.submit(RecordVerdicts(tuple(Judged(one, good) for one in due), store.clock(), None))


async def prune(
    store: Store, *, journeys: int = 90 * DAY, canaries: int = DAY, keys: int = DAY, batch: int = 50
) -> int:
    """Remove one batch of what is older than these ages, but for counts."""
    now = store.clock()
    return int(await store.submit(Prune(Retention(now - journeys, now - canaries, now - keys, 0, 0), batch)))


async def prune_counts(store: Store, age: int) -> int:
    """Remove one batch of counts that are older than this age."""
    before = Retention.at(store.clock(), journeys=400 * DAY, canaries=400 * DAY, keys=400 * DAY, counts=age)
    return int(await store.submit(Prune(before, 50)))


async def sizes(store: Store) -> dict[str, int]:
    found = {table: await store.value(f"SELECT count(*) AS n FROM {table}") for table in TABLES}  # noqa: S608 - a constant
    return {table: count for table, count in found.items() if count}


async def test_an_old_journey_goes_with_all_that_belongs_to_it_and_a_young_one_stays(store: Store) -> None:
    await store.subscribe_push()
    old = await store.make(key="old")
    await store.submit(RecordAttempt(old.event_id, NOON, AttemptResult.OK))
    store.clock.advance(91 * DAY)
    await store.make(key="young")
    store.clock.advance(MINUTE)
    await judge_all(store)
    assert await prune(store, keys=400 * DAY) == 1
    assert await prune(store, keys=400 * DAY) == 0
    assert await sizes(store) == {
        "bookings": 1,
        "chat_rooms": 1,
        "chat_messages": 1,
        "notifications": 1,
        "deliveries": 2,
        "stages": 5,
        "idempotency_keys": 1,
    }


async def test_journeys_go_in_batches_the_oldest_first(store: Store) -> None:
    made = []
    for _ in range(7):
        made.append((await store.make()).command.booking_id)
        store.clock.advance(1)
    store.clock.advance(91 * DAY)
    await judge_all(store)
    removed = []
    while count := await prune(store, batch=3):
        removed.append(count)
        left = await store.readers.run(journeys.recent_ids, provider_id=None, traffic=None, before=None, limit=10)
        assert left == made[sum(removed) :][::-1]
    assert removed == [3, 3, 1]


async def test_what_is_not_judged_yet_is_kept_however_old_it_is(store: Store) -> None:
    undecided, decided = await store.make(), await store.make()
    store.clock.advance(91 * DAY)
    await judge_all(store)
    await store.alter(
        "UPDATE stages SET outcome = NULL WHERE booking_id = :id AND stage = 'realtime'",
        id=undecided.command.booking_id,
    )
    assert await prune(store) == 1
    assert await prune(store) == 0
    assert await store.readers.run(bookings.find, decided.command.booking_id) is None
    assert await store.readers.run(bookings.find, undecided.command.booking_id) is not None
    assert await store.value("SELECT count(*) AS n FROM stages") == 4


async def test_stages_whose_booking_somebody_deleted_go_when_they_are_old(store: Store) -> None:
    await store.make_many(3)
    await store.alter("DELETE FROM bookings")
    store.clock.advance(MINUTE)
    await judge_all(store)
    assert await prune(store) == 0
    store.clock.advance(90 * DAY)
    assert await prune(store, batch=10) == 10
    assert await prune(store, batch=10) == 2
    assert await sizes(store) == {}


async def test_canaries_have_a_shorter_life(store: Store) -> None:
    canary = (await store.make(traffic="canary")).command.booking_id
    real = (await store.make()).command.booking_id
    store.clock.advance(MINUTE)
    await judge_all(store)
    assert await prune(store, canaries=HOUR) == 0
    store.clock.advance(HOUR)
    assert await prune(store, canaries=HOUR) == 1
    assert await store.readers.run(bookings.find, canary) is None
    assert await store.readers.run(bookings.find, real) is not None


async def test_keys_go_before_their_bookings(store: Store) -> None:
    await store.make(key="k-1")
    store.clock.advance(DAY)
    assert await prune(store) == 0
    store.clock.advance(1)
    assert await prune(store) == 1
    assert await sizes(store) == {
        "bookings": 1,
        "chat_rooms": 1,
        "chat_messages": 1,
        "notifications": 1,
        "deliveries": 1,
        "stages": 4,
    }


async def test_subscriptions_go_when_they_ended_long_ago_and_never_while_they_live(store: Store) -> None:
    await store.connect("ended")
    await store.connect("alive")
    await store.disconnect("ended")
    store.clock.advance(91 * DAY)
    assert await prune(store) == 1
    assert [row["id"] for row in await store.rows("SELECT id FROM live_subscriptions")] == ["alive"]


async def test_counts_go_after_their_time_and_the_windows_and_totals_stay_right(store: Store) -> None:
    await store.make_many(3)
    store.clock.advance(MINUTE)
    await judge_all(store)
    store.clock.advance(Window.H72.seconds * 1000 - MINUTE)
    key = (Stage.CHAT_ROOM, Traffic.REAL, Window.H72)
    for _ in range(3):
        await prune_counts(store, 100 * DAY)
    assert (await store.readers.run(read_snapshot, store.clock(), HOUR)).windows[key].events == 3
    store.clock.at = NOON + 20_000 + SECONDS_KEPT * 1000
    assert await prune_counts(store, 100 * DAY) == 3, "a second of each SLI"
    assert await store.value("SELECT count(*) AS n FROM sli_minutes") == 3
    assert await store.value("SELECT count(*) AS n FROM sli_seconds") == 0
    store.clock.advance(100 * DAY)
    while await prune_counts(store, 100 * DAY):
        pass
    assert await store.value("SELECT count(*) AS n FROM sli_minutes") == 0
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.windows == {}
    assert sum(snapshot.outcomes.values()) == 9


async def test_an_empty_store_has_nothing_to_let_go(store: Store) -> None:
    assert await prune(store) == 0
