"""Making good what is missing, and keeping account of it."""

from __future__ import annotations

import pytest
from support.store import NOON, TERMS, Store

from monitor.audit.repairer import Repairer
from monitor.domain.due import DueStage, Judged
from monitor.domain.judgement import Verdict, judge
from monitor.domain.ledger import Counter
from monitor.domain.lifecycle import Action
from monitor.domain.times import HOUR, MINUTE
from monitor.domain.vocabulary import AttemptResult, Outcome, Reason, RepairResult, Stage, Traffic
from monitor.store.deliveries import ClaimDue, RecordAttempt
from monitor.store.judging import RecordVerdicts
from monitor.store.leases import Fence, FencedOffError
from monitor.store.lifecycle import Take
from monitor.store.repairs import RecordRepair, RepairStage, find_overdue
from monitor.store.snapshot import read_snapshot


async def judge_now(store: Store, stage: Stage) -> list[DueStage]:
    """Judge what is due of a stage by what is there, and give those that are bad."""
    store.clock.at = max(store.clock.at, NOON + MINUTE)
    due = await store.due(stage)
    facts = await store.platform.look(due)
    judged = tuple(Judged(one, judge(one.due_at, facts[one])) for one in due)
    await store.submit(RecordVerdicts(judged, store.clock(), None))
    return [one.due for one in judged if one.verdict.outcome.bad]


async def look_again(store: Store, due: DueStage) -> Verdict:
    return judge(due.due_at, (await store.platform.look([due]))[due])


def repairer_of(store: Store) -> Repairer:
    return Repairer(
        readers=store.readers,
        writer=store.writer,
        platform=store.platform,
        now=store.clock,
        overdue_window=HOUR,
        limit=3,
    )


@pytest.mark.parametrize(
    ("stage", "damage"),
    [
        (Stage.CHAT_ROOM, "DELETE FROM chat_rooms"),
        (Stage.CHAT_ROOM, "UPDATE chat_rooms SET provider_id = 't-2', customer_id = 'c-2'"),
        (Stage.CHAT_ROOM, "DELETE FROM chat_messages"),
        (Stage.MESSAGE, "UPDATE chat_messages SET kind = 'text'"),
        (Stage.NOTIFICATION, "DELETE FROM notifications"),
        (Stage.NOTIFICATION, "UPDATE notifications SET provider_id = 't-2'"),
    ],
)
async def test_what_is_missing_is_written_again(store: Store, stage: Stage, damage: str) -> None:
    await store.make("t-1", customer_id="c-1")
    await store.alter(damage)
    (due,) = await judge_now(store, stage)
    assert await store.platform.repair(due, store.clock(), None)
    found = await look_again(store, due)
    assert found.evidence_at is not None
    rooms = await store.rows("SELECT * FROM chat_rooms")
    assert [(row["provider_id"], row["customer_id"]) for row in rooms] == [("t-1", "c-1")]
    repaired = await store.rows("SELECT * FROM chat_messages"), await store.rows("SELECT * FROM notifications")
    assert await store.platform.repair(due, store.clock.advance(1000), None)
    again = await store.rows("SELECT * FROM chat_messages"), await store.rows("SELECT * FROM notifications")
    assert again == repaired, "a repair of what is there writes nothing"


async def test_a_room_that_is_made_again_is_open_as_long_as_a_new_one(store: Store) -> None:
    await store.make()
    await store.alter("DELETE FROM chat_rooms")
    (due,) = await judge_now(store, Stage.CHAT_ROOM)
    await store.platform.repair(due, store.clock(), None)
    room = await store.row("SELECT * FROM chat_rooms")
    assert room["expires_at"] == store.clock() + TERMS.chat_room_lifetime


@pytest.mark.parametrize("damage", ["DELETE FROM deliveries", "UPDATE deliveries SET target = 't-2'"])
async def test_a_realtime_event_is_planned_again_for_its_provider(store: Store, damage: str) -> None:
    await store.connect("s-1")
    planned = await store.make("t-1")
    await store.alter(damage)
    (due,) = await judge_now(store, Stage.REALTIME)
    assert await store.platform.repair(due, store.clock(), None)
    (claimed,) = await store.submit(ClaimDue(Stage.REALTIME, store.clock(), 1000, 10))
    assert (claimed.target, claimed.booking["id"]) == ("t-1", planned.command.booking_id)
    await store.submit(RecordAttempt(claimed.id, store.clock(), AttemptResult.OK))
    assert await look_again(store, due) == Verdict(Outcome.LATE, Reason.LATE, store.clock())


@pytest.mark.parametrize("stage", [Stage.REALTIME, Stage.PUSH, Stage.NOTIFICATION])
async def test_a_delivery_that_was_given_up_gets_a_fresh_budget(store: Store, stage: Stage) -> None:
    await store.connect("s-1")
    await store.subscribe_push()
    await store.make()
    given_up = Stage.PUSH if stage is Stage.NOTIFICATION else stage
    delivery = await store.value("SELECT id FROM deliveries WHERE stage = :stage", stage=given_up.value)
    for _ in range(3):
        await store.submit(RecordAttempt(delivery, NOON, AttemptResult.ERROR, NOON + 5))
    await store.submit(RecordAttempt(delivery, NOON, AttemptResult.ERROR))
    (due,) = await judge_now(store, stage)
    assert await store.platform.repair(due, store.clock(), None)
    (claimed,) = await store.submit(ClaimDue(given_up, store.clock(), 1000, 10, None))
    assert (claimed.id, claimed.attempts, claimed.attempts_before) == (delivery, 4, 4)


@pytest.mark.parametrize("stage", [Stage.PUSH, Stage.NOTIFICATION])
async def test_a_push_that_is_not_in_the_outbox_is_planned_once_for_each_subscription_that_is_owed_one(
    store: Store, stage: Stage
) -> None:
    owed = {await store.subscribe_push("t-1", f"https://push.example/{number}") for number in range(2)}
    await store.subscribe_push("t-2", "https://push.example/t-2")
    planned = await store.make("t-1")
    store.clock.advance(1)
    await store.subscribe_push("t-1", "https://push.example/later")
    await store.alter("DELETE FROM deliveries WHERE stage = 'push'")
    (due,) = await judge_now(store, stage)
    for _ in range(2):
        assert await store.platform.repair(due, store.clock(), None)
    claimed = await store.submit(ClaimDue(Stage.PUSH, store.clock(), 1000, 10))
    assert sorted(one.target for one in claimed) == sorted(owed)
    assert {one.booking["id"] for one in claimed} == {planned.command.booking_id}
    await store.submit(RecordAttempt(claimed[0].id, store.clock(), AttemptResult.OK))
    assert await look_again(store, due) == Verdict(Outcome.LATE, Reason.LATE, store.clock())


async def test_a_push_that_was_not_in_the_outbox_is_counted_as_repaired_once_it_is_accepted(store: Store) -> None:
    await store.subscribe_push()
    await store.make()
    await store.alter("DELETE FROM deliveries WHERE stage = 'push'")
    for stage in (Stage.NOTIFICATION, Stage.PUSH):
        assert len(await judge_now(store, stage)) == 1
    await repairer_of(store).run(None)
    (claimed,) = await store.submit(ClaimDue(Stage.PUSH, store.clock(), 1000, 10))
    await store.submit(RecordAttempt(claimed.id, store.clock.advance(1), AttemptResult.OK))
    await repairer_of(store).run(None)
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.overdue == {}
    assert snapshot.repairs == {
        (Stage.NOTIFICATION, RepairResult.REPAIRED): 1,
        (Stage.PUSH, RepairResult.REPAIRED): 1,
    }


async def test_a_booking_that_is_gone_is_not_repaired(store: Store) -> None:
    await store.make()
    await store.alter("DELETE FROM chat_rooms")
    (due,) = await judge_now(store, Stage.CHAT_ROOM)
    await store.alter("DELETE FROM bookings")
    for stage in Stage:
        of_stage = DueStage(due.booking_id, stage, due.traffic, "t-1", "c-1", due.created_at, due.due_at, None)
        assert await store.submit(RepairStage(of_stage, store.clock(), 1000, None)) is False


async def test_what_is_overdue_is_found_until_there_is_evidence_or_an_answer(store: Store) -> None:
    kept, answered = await store.make("t-1", customer_id="c-1"), await store.make()
    await store.alter("DELETE FROM chat_rooms")
    await store.alter("DELETE FROM notifications")
    await judge_now(store, Stage.CHAT_ROOM)
    await judge_now(store, Stage.NOTIFICATION)
    store.clock.at = NOON + 2 * MINUTE

    async def overdue(due_after: int = 0) -> list[tuple[str, Stage]]:
        found = await store.readers.run(find_overdue, due_after, 10)
        return [(one.due.booking_id, one.due.stage) for one in found]

    assert len(await overdue()) == 4
    assert await overdue(NOON + 10_000) == []
    await store.submit(Take(answered.command.booking_id, Action.ACCEPT, store.clock()))
    mine = kept.command.booking_id
    assert await overdue() == [(mine, Stage.CHAT_ROOM), (mine, Stage.NOTIFICATION)]
    room = (await store.readers.run(find_overdue, 0, 1))[0]
    assert (room.due.provider_id, room.due.customer_id, room.repairs, room.repaired_at) == ("t-1", "c-1", 0, None)
    await store.submit(RecordRepair(room.due, store.clock(), tried=False, evidence_at=NOON, result=None, fence=None))
    assert await overdue() == [(mine, Stage.NOTIFICATION)]
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert {key: found.bookings for key, found in snapshot.overdue.items()} == {(Stage.NOTIFICATION, Traffic.REAL): 1}


async def test_a_repair_is_counted_once_however_often_it_is_reported(store: Store) -> None:
    await store.make()
    await store.alter("DELETE FROM chat_rooms")
    (due,) = await judge_now(store, Stage.CHAT_ROOM)
    tried = RecordRepair(due, store.clock(), tried=True, evidence_at=None, result=None, fence=None)
    await store.submit_all([tried, tried])
    done = RecordRepair(due, store.clock(), tried=False, evidence_at=NOON + 7, result=RepairResult.REPAIRED, fence=None)
    await store.submit_all([done, done, tried])
    row = await store.row("SELECT * FROM stages WHERE stage = 'chat_room'")
    assert (row["repairs"], row["repaired_at"], row["evidence_at"], row["outcome"]) == (
        2,
        store.clock(),
        NOON + 7,
        "missing",
    )
    counted = await store.rows("SELECT * FROM counters WHERE name = :name", name=Counter.REPAIRS.value)
    assert [(row["first"], row["second"], row["total"]) for row in counted] == [("chat_room", "repaired", 1)]


async def test_a_repairer_who_lost_the_lease_writes_nothing(store: Store) -> None:
    await store.make()
    await store.alter("DELETE FROM chat_rooms")
    (due,) = await judge_now(store, Stage.CHAT_ROOM)
    lost = Fence("leader", "r-1", 1)
    with pytest.raises(FencedOffError):
        await store.submit(
            RecordRepair(due, store.clock(), tried=True, evidence_at=NOON, result=RepairResult.REPAIRED, fence=lost)
        )
    with pytest.raises(FencedOffError):
        await store.platform.repair(due, store.clock(), lost)
    assert await store.value("SELECT repairs FROM stages WHERE stage = 'chat_room'") == 0
    assert await store.value("SELECT count(*) AS n FROM chat_rooms") == 0


async def test_the_repairer_makes_good_everything_that_is_missing_and_the_counts_stay_bad(store: Store) -> None:
    await store.make("t-1", price_minor=500, currency="EUR")
    for table in ("chat_rooms", "notifications"):
        await store.alter(f"DELETE FROM {table}")  # noqa: S608 - a constant
    for stage in (Stage.CHAT_ROOM, Stage.MESSAGE, Stage.NOTIFICATION):
        assert len(await judge_now(store, stage)) == 1
    before = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert before.revenue_at_risk == {"EUR": 500}
    await repairer_of(store).run(None)
    snapshot = await store.readers.run(read_snapshot, store.clock(), HOUR)
    assert snapshot.overdue == {}
    assert snapshot.revenue_at_risk == {}
    assert snapshot.outcomes == before.outcomes
    assert snapshot.windows == before.windows
    assert sum(snapshot.repairs.values()) == 3
    assert {result for _, result in snapshot.repairs} == {RepairResult.REPAIRED}
    assert await store.value("SELECT count(*) AS n FROM chat_rooms") == 1
