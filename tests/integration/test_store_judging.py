"""Verdicts and the counts that they change: each stage once, whoever else is judging, and every number recounted."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from support.store import NOON, SAMPLED, UNSAMPLED, Store, migrated, open_store

from monitor.audit.judge import Judge
from monitor.domain.due import DueStage, Judged
from monitor.domain.judgement import Verdict
from monitor.domain.ledger import DURATION_BUCKETS, REASONS, Count, Mark
from monitor.domain.times import HOUR, MINUTE, SECOND
from monitor.domain.vocabulary import SLIS, Outcome, Reason, Stage, Traffic, Window
from monitor.store.judging import RecordMark, RecordVerdicts, VerdictsOutdatedError, find_due
from monitor.store.leases import Fence, FencedOffError, RenewLease
from monitor.store.snapshot import read_snapshot, read_windows
from monitor.store.statements import insert_rows
from monitor.store.tables import (
    marks,
    sli_minutes,
    sli_seconds,
    sli_totals,
    stage_durations,
    stage_exemplars,
    stages,
)
from monitor.telemetry.tracing import Sampling, Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

LEDGER = (stages, sli_minutes, sli_seconds, sli_totals, stage_durations, stage_exemplars, marks)
GOOD = Verdict(Outcome.GOOD, Reason.ON_TIME, NOON + 20)


def judged(due: Sequence[DueStage], verdict: Verdict = GOOD) -> tuple[Judged, ...]:
    return tuple(Judged(one, verdict) for one in due)


async def events(store: Store) -> int:
    """Stages counted so far."""
    return int(await store.value("SELECT coalesce(sum(total), 0) AS n FROM sli_totals"))


async def test_a_stage_is_due_from_its_due_time_on_and_until_it_is_judged(store: Store) -> None:
    planned = await store.make("t-1", customer_id="c-9", traceparent=SAMPLED)
    store.clock.advance(4999)
    assert await store.due(Stage.CHAT_ROOM) == []
    store.clock.advance(1)
    (due,) = await store.due(Stage.CHAT_ROOM)
    assert due == DueStage(
        planned.command.booking_id, Stage.CHAT_ROOM, Traffic.REAL, "t-1", "c-9", NOON, NOON + 5000, SAMPLED
    )
    assert await store.due(Stage.REALTIME) == []
    await store.submit(RecordVerdicts(judged([due]), store.clock(), None))
    assert await store.due(Stage.CHAT_ROOM) == []
    row = await store.row("SELECT * FROM stages WHERE stage = 'chat_room'")
    assert (row["outcome"], row["reason"], row["evidence_at"], row["judged_at"]) == (
        "good",
        "on_time",
        NOON + 20,
        NOON + 5000,
    )


async def test_what_is_due_comes_the_longest_due_first_and_no_more_than_asked_for(store: Store) -> None:
    made = []
    for _ in range(5):
        made.append((await store.make()).command.booking_id)
        store.clock.advance(10)
    store.clock.advance(MINUTE)
    due = await store.readers.run(find_due, store.clock(), 6)
    assert [one.booking_id for one in due] == [booking_id for booking_id in made[:3] for _ in range(2)]
    assert {one.stage for one in due} == {Stage.CHAT_ROOM, Stage.MESSAGE}


@pytest.mark.parametrize("column", ["stage", "traffic"])
async def test_a_word_that_is_none_of_ours_keeps_no_other_stage_from_being_judged(store: Store, column: str) -> None:
    damaged, sound = await store.make(), await store.make()
    await store.alter(
        f"UPDATE stages SET {column} = 'nonsense' WHERE stage = 'chat_room' AND booking_id = :id",  # noqa: S608 - ours
        id=damaged.command.booking_id,
    )
    store.clock.advance(MINUTE)
    assert [one.booking_id for one in await store.due(Stage.CHAT_ROOM)] == [sound.command.booking_id]


async def test_a_stage_whose_booking_was_deleted_is_still_due(store: Store) -> None:
    await store.make()
    await store.alter("DELETE FROM bookings")
    store.clock.advance(MINUTE)
    (due,) = await store.due(Stage.CHAT_ROOM)
    assert due.provider_id is None


async def test_verdicts_that_are_repeated_write_nothing_the_second_time(store: Store) -> None:
    await store.make_many(20)
    store.clock.advance(MINUTE)
    verdicts = RecordVerdicts(judged(await store.due(Stage.NOTIFICATION)), store.clock(), None)
    results = await store.submit_all([verdicts] * 4)
    assert [type(result) for result in results] == [type(None), *[VerdictsOutdatedError] * 3]
    assert await events(store) == 20


async def test_verdicts_of_which_one_is_outdated_write_nothing(store: Store) -> None:
    await store.make_many(3)
    store.clock.advance(MINUTE)
    due = await store.due(Stage.REALTIME)
    await store.submit(RecordVerdicts(judged(due[:1]), store.clock(), None))
    with pytest.raises(VerdictsOutdatedError, match="1 of 3"):
        await store.submit(RecordVerdicts(judged(due), store.clock(), None))
    assert await events(store) == 1
    assert len(await store.due(Stage.REALTIME)) == 2


async def test_judges_of_several_replicas_count_each_stage_once(postgresql_url: str) -> None:
    async with open_store(postgresql_url) as one, open_store(postgresql_url) as other:
        await one.make_many(60)
        for store in (one, other):
            store.clock.advance(MINUTE)
        due = await one.due(Stage.CHAT_ROOM)
        batches = [due[:40], due[20:], due[::2], due]
        futures = [
            store.writer.submit(RecordVerdicts(judged(batch), store.clock(), None))
            for batch in batches
            for store in (one, other)
        ]
        results = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(result) for result in results} == {type(None), VerdictsOutdatedError}
        decided = await one.value("SELECT count(*) AS n FROM stages WHERE outcome IS NOT NULL")
        assert await events(one) == decided >= 40


async def test_a_judge_who_lost_the_lease_writes_nothing(store: Store) -> None:
    await store.make()
    store.clock.advance(MINUTE)
    due = await store.due(Stage.CHAT_ROOM)
    fence = await store.submit(RenewLease("leader", "r-1", 0, store.clock()))
    taken = await store.submit(RenewLease("leader", "r-2", HOUR, store.clock.advance(1)))
    assert (fence, taken) == (Fence("leader", "r-1", 1), Fence("leader", "r-2", 2))
    for outdated in (fence, Fence("leader", "r-2", 1), Fence("another", "r-2", 2)):
        with pytest.raises(FencedOffError):
            await store.submit(RecordVerdicts(judged(due), store.clock(), outdated))
        with pytest.raises(FencedOffError):
            await store.submit(RecordMark(Mark.JUDGED, store.clock(), outdated))
    assert await events(store) == 0
    await store.submit(RecordVerdicts(judged(due), store.clock(), taken))
    assert await events(store) == 1


async def test_only_traces_that_are_recorded_become_exemplars(store: Store) -> None:
    for traceparent in (SAMPLED, UNSAMPLED, None):
        await store.make(traceparent=traceparent)
    store.clock.advance(MINUTE)
    await store.submit(RecordVerdicts(judged(await store.due(Stage.CHAT_ROOM)), store.clock(), None))
    await store.submit(
        RecordVerdicts(
            judged(await store.due(Stage.MESSAGE), Verdict(Outcome.MISSING, Reason.NEVER_ATTEMPTED, None)),
            store.clock(),
            None,
        )
    )
    exemplar = await store.row("SELECT * FROM stage_exemplars")
    assert (exemplar["stage"], exemplar["bucket"], exemplar["seconds"], exemplar["trace_id"]) == (
        "chat_room",
        bisect_left(DURATION_BUCKETS, 0.02),
        0.02,
        SAMPLED[3:35],
    )
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.durations[Stage.CHAT_ROOM, Traffic.REAL].buckets[exemplar["bucket"]] == 3


async def test_a_mark_never_goes_back(store: Store) -> None:
    for at in (5, 9, 7):
        await store.submit(RecordMark(Mark.JUDGED, at))
    assert await store.value("SELECT at FROM marks") == 9


async def test_the_judge_decides_all_that_is_due_and_nothing_else(store: Store) -> None:
    await store.connect("s-1", "t-1")
    await store.make_many(30, "t-1")
    await store.alter("DELETE FROM notifications WHERE id IN (SELECT min(id) FROM notifications)")
    store.clock.advance(8000)
    judge = Judge(
        readers=store.readers,
        writer=store.writer,
        platform=store.platform,
        tracing=Tracing(Sampling.from_environment({}), None),
        now=store.clock,
        settle=1000,
    )
    assert await judge.run(None) == 60
    store.clock.advance(8000)
    await store.make_many(5, "t-2")
    assert await judge.run(None) == 60
    assert await judge.run(None) == 0
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.outcomes == {
        (Stage.CHAT_ROOM, Traffic.REAL, Outcome.GOOD, Reason.ON_TIME): 30,
        (Stage.NOTIFICATION, Traffic.REAL, Outcome.GOOD, Reason.ON_TIME): 29,
        (Stage.NOTIFICATION, Traffic.REAL, Outcome.MISSING, Reason.NEVER_ATTEMPTED): 1,
        (Stage.REALTIME, Traffic.REAL, Outcome.MISSING, Reason.NEVER_ATTEMPTED): 30,
    }
    assert snapshot.windows[Stage.REALTIME, Traffic.REAL, Window.M5] == Count(30, 30)
    assert snapshot.overdue[Stage.REALTIME, Traffic.REAL].bookings == 30
    assert snapshot.overdue[Stage.NOTIFICATION, Traffic.REAL].bookings == 1
    assert snapshot.bookings == {(Traffic.REAL, "embedded"): 35}


VERDICTS = st.sampled_from(sorted({pair for pairs in REASONS.values() for pair in pairs}))
AGES = st.one_of(
    st.integers(-70, 70),
    *[st.integers(window.seconds - 61, window.seconds + 61) for window in Window],
    st.integers(0, 80 * 3600),
)
Drawn = list[tuple[int, int, Stage, Traffic, tuple[Outcome, Reason], int | None, str | None]]
"""Of each stage: the age of its due time (s, ms), what it is, its verdict, when evidence came (ms), its trace."""
HISTORIES = st.lists(
    st.tuples(
        AGES,
        st.integers(0, 999),
        st.sampled_from([Stage.CHAT_ROOM, Stage.NOTIFICATION, Stage.REALTIME, Stage.MESSAGE, Stage.PUSH]),
        st.sampled_from(Traffic),
        VERDICTS,
        st.one_of(st.none(), st.integers(-5, 100_000)),
        st.sampled_from([None, SAMPLED, UNSAMPLED]),
    ),
    max_size=40,
)


def history_of(now: int, drawn: Drawn) -> list[Judged]:
    made = []
    for number, (age, milliseconds, stage, traffic, (outcome, reason), evidence, traceparent) in enumerate(drawn):
        due_at = (now // SECOND - age) * SECOND + milliseconds
        created_at = due_at - 5000
        due = DueStage(f"b-{number}", stage, traffic, "t-1", "c-1", created_at, due_at, traceparent)
        found = None if evidence is None else created_at + evidence
        made.append(Judged(due, Verdict(outcome, reason, found)))
    return made


@pytest.fixture
def connection(database_url: str) -> object:
    with migrated(database_url) as engine, engine.connect() as opened:
        yield opened


@given(drawn=HISTORIES, now=st.integers(NOON, NOON + 2 * HOUR), cut=st.integers(0, 40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_every_count_agrees_with_the_stages(
    connection: Connection,
    drawn: Drawn,
    now: int,
    cut: int,
) -> None:
    history = history_of(now, drawn)
    with connection.begin():
        for table in LEDGER:
            connection.execute(delete(table))
        rows = [
            (one.due.booking_id, one.due.stage.value, one.due.traffic.value, one.due.created_at, one.due.due_at)
            for one in history
        ]
        insert_rows(connection, stages, [(*row, None, None, None, None, 0, None) for row in rows])
        for part in (history[:cut], history[cut:]):
            RecordVerdicts(tuple(part), now, None).run(connection)
        assert find_due(connection, now + HOUR, 1) == []
        expect_counts(connection, history)
        assert without_zeros(read_windows(connection, now)) == windows_of(history, now)
        durations = read_snapshot(connection, now, HOUR).durations
        assert {key: list(found.buckets) for key, found in durations.items()} == buckets_of(history)


def expect_counts(connection: Connection, history: list[Judged]) -> None:
    """Recount, from the rows of the stages themselves, what the judge has counted."""
    by_minute: Counter[tuple[int, str, str]] = Counter()
    bad_by_minute: Counter[tuple[int, str, str]] = Counter()
    totals: Counter[tuple[str, str, str, str]] = Counter()
    for row in connection.execute(select(stages)):
        if row.stage not in SLIS:
            continue
        outcome = Outcome(row.outcome)
        totals[row.stage, row.traffic, row.outcome, row.reason] += 1
        if outcome.counts:
            by_minute[row.due_at // MINUTE, row.stage, row.traffic] += 1
            bad_by_minute[row.due_at // MINUTE, row.stage, row.traffic] += outcome.bad
    assert {tuple(row[:-1]): row.total for row in connection.execute(select(sli_totals))} == totals
    found = {tuple(row[:3]): (row.events, row.bad) for row in connection.execute(select(sli_minutes))}
    assert found == {key: (count, bad_by_minute[key]) for key, count in by_minute.items()}
    seconds: Counter[tuple[int, str, str]] = Counter()
    for row in connection.execute(select(sli_seconds)):
        seconds[row.second // 60, row.sli, row.traffic] += row.events
    assert seconds == by_minute
    assert len(history) == sum(1 for _ in connection.execute(select(stages)))


def windows_of(history: list[Judged], now: int) -> dict[tuple[Stage, Traffic, Window], Count]:
    """What each window holds: the due seconds in (now - length, now], counted one by one."""
    counts: dict[tuple[Stage, Traffic, Window], Count] = {}
    for window in Window:
        for one in history:
            age = now // SECOND - one.due.due_at // SECOND
            if one.due.stage in SLIS and one.verdict.outcome.counts and 0 <= age < window.seconds:
                key = (one.due.stage, one.due.traffic, window)
                counts[key] = counts.get(key, Count()) + Count(1, int(one.verdict.outcome.bad))
    return counts


def without_zeros(counts: dict[tuple[Stage, Traffic, Window], Count]) -> dict[tuple[Stage, Traffic, Window], Count]:
    return {key: count for key, count in counts.items() if count.events}


def buckets_of(history: list[Judged]) -> dict[tuple[Stage, Traffic], list[int]]:
    found: dict[tuple[Stage, Traffic], list[int]] = {}
    for one in history:
        if one.verdict.evidence_at is not None:
            seconds = max(one.verdict.evidence_at - one.due.created_at, 0) / SECOND
            buckets = found.setdefault((one.due.stage, one.due.traffic), [0] * (len(DURATION_BUCKETS) + 1))
            buckets[sum(seconds > bound for bound in DURATION_BUCKETS)] += 1
    return found
