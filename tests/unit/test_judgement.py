"""Whether a stage is good, and if not, why."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.judgement import Fact, FactKind, Grace, Verdict, judge
from monitor.domain.vocabulary import Outcome, Reason, Stage

DUE = 10_000

FACTS = st.builds(Fact, st.sampled_from(FactKind), st.integers(0, 2 * DUE), st.sampled_from(Reason))


@given(st.lists(FACTS, max_size=5), st.randoms(use_true_random=False))
def test_neither_order_nor_repetition_of_facts_changes_the_verdict(facts: list[Fact], random: object) -> None:
    shuffled = [*facts, *facts]
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' Random
    assert judge(DUE, shuffled) == judge(DUE, facts)


@given(st.lists(FACTS, max_size=4))
def test_every_order_of_a_few_facts_gives_one_verdict(facts: list[Fact]) -> None:
    assert len({judge(DUE, order) for order in permutations(facts)}) == 1


@given(st.lists(FACTS))
def test_a_stage_is_good_exactly_when_its_earliest_evidence_came_by_the_due_time(facts: list[Fact]) -> None:
    found = [fact.at for fact in facts if fact.kind is FactKind.FOUND]
    owed = all(fact.kind is not FactKind.NOT_OWED for fact in facts)
    verdict = judge(DUE, facts)
    assert (verdict.outcome is Outcome.GOOD) == (bool(found) and min(found) <= DUE)
    assert (verdict.outcome is Outcome.LATE) == (bool(found) and min(found) > DUE and owed)
    assert verdict.evidence_at == min(found, default=None)


@given(st.lists(FACTS))
def test_without_evidence_in_time_the_outcome_is_exempt_then_late_then_failed_then_missing(facts: list[Fact]) -> None:
    kinds = {fact.kind for fact in facts}
    outcome = judge(DUE, facts).outcome
    if outcome is Outcome.GOOD:
        return
    if FactKind.NOT_OWED in kinds:
        assert outcome is Outcome.EXEMPT
    elif FactKind.FOUND in kinds:
        assert outcome is Outcome.LATE
    elif FactKind.FAILED in kinds:
        assert outcome is Outcome.FAILED
    else:
        assert outcome is Outcome.MISSING


@given(st.lists(FACTS), st.lists(FACTS))
def test_more_facts_never_undo_evidence(facts: list[Fact], more: list[Fact]) -> None:
    if judge(DUE, facts).outcome is Outcome.GOOD:
        assert judge(DUE, [*facts, *more]).outcome is Outcome.GOOD


@given(st.lists(FACTS), st.integers(0, 2 * DUE))
def test_a_later_due_time_never_makes_a_good_stage_bad(facts: list[Fact], later: int) -> None:
    if not judge(DUE, facts).outcome.bad:
        assert not judge(DUE + later, facts).outcome.bad


@given(st.lists(FACTS, min_size=1))
def test_a_bad_verdict_names_the_reason_of_its_latest_fact(facts: list[Fact]) -> None:
    verdict = judge(DUE, facts)
    if verdict.outcome in (Outcome.FAILED, Outcome.MISSING):
        kind = FactKind.FAILED if verdict.outcome is Outcome.FAILED else FactKind.ABSENT
        latest = max(fact.at for fact in facts if fact.kind is kind)
        assert verdict.reason in {fact.reason for fact in facts if fact.kind is kind and fact.at == latest}


def test_evidence_at_the_due_time_is_in_time_and_a_millisecond_later_is_not() -> None:
    assert judge(DUE, [Fact(FactKind.FOUND, DUE, Reason.ON_TIME)]) == Verdict(Outcome.GOOD, Reason.ON_TIME, DUE)
    late = judge(DUE, [Fact(FactKind.FOUND, DUE + 1, Reason.ON_TIME)])
    assert late == Verdict(Outcome.LATE, Reason.LATE, DUE + 1)


def test_nothing_known_is_missing_and_never_good() -> None:
    assert judge(DUE, []) == Verdict(Outcome.MISSING, Reason.NEVER_ATTEMPTED, None)


@pytest.mark.parametrize(
    ("outcome", "counts", "bad"),
    [
        (Outcome.GOOD, True, False),
        (Outcome.LATE, True, True),
        (Outcome.MISSING, True, True),
        (Outcome.FAILED, True, True),
        (Outcome.EXEMPT, False, False),
    ],
)
def test_an_outcome_is_good_or_bad_or_no_event_at_all(outcome: Outcome, counts: bool, bad: bool) -> None:  # noqa: FBT001 - parameters
    assert (outcome.counts, outcome.bad) == (counts, bad)


def test_a_supporting_stage_has_the_grace_of_the_sli_that_it_supports() -> None:
    grace = Grace.from_seconds(1, 2.5, 3)
    assert {stage: grace.of(stage) for stage in Stage} == {
        Stage.CHAT_ROOM: 1000,
        Stage.MESSAGE: 1000,
        Stage.NOTIFICATION: 2500,
        Stage.PUSH: 2500,
        Stage.REALTIME: 3000,
    }
