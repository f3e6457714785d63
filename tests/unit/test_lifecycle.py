"""What may become of a booking."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from monitor.domain.chat import TEXTS, TOLD
from monitor.domain.lifecycle import (
    ANSWERS,
    MADE,
    TRANSITIONS,
    Action,
    IllegalTransitionError,
    Response,
    Standing,
    Status,
    advance,
)

DEADLINE = 300_000

LEGAL = {
    (Status.PENDING, Response.AWAITING_RESPONSE),
    (Status.CONFIRMED, Response.CONFIRMED),
    (Status.COMPLETED, Response.CONFIRMED),
    (Status.CANCELLED, Response.AWAITING_RESPONSE),
    (Status.CANCELLED, Response.CONFIRMED),
    (Status.CANCELLED, Response.DECLINED),
    (Status.EXPIRED, Response.TIMED_OUT),
}
"""Every standing in which a booking can be found."""
FINAL = {Status.COMPLETED, Status.CANCELLED, Status.EXPIRED}


def after(standing: Standing, action: Action, now: int) -> Standing:
    """The standing after a step, which is the one before where the step is refused."""
    try:
        return advance(standing, action, now=now, response_deadline=DEADLINE)
    except IllegalTransitionError:
        return standing


class Life(RuleBasedStateMachine):
    """A booking to which anything may happen at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.standing = MADE
        self.now = 0
        self.left: set[Status] = set()

    @rule(milliseconds=st.integers(0, DEADLINE))
    def pass_time(self, milliseconds: int) -> None:
        self.now += milliseconds

    @rule(action=st.sampled_from(Action))
    def act(self, action: Action) -> None:
        before, self.standing = self.standing, after(self.standing, action, self.now)
        if self.standing != before:
            self.left.add(before.status)
            assert not (action in ANSWERS and self.now >= DEADLINE)
            assert not (action is Action.EXPIRE and self.now < DEADLINE)

    @rule(action=st.sampled_from(Action))
    def act_twice(self, action: Action) -> None:
        self.act(action)
        once = self.standing
        self.act(action)
        assert self.standing == once

    @invariant()
    def stands_legally(self) -> None:
        assert (self.standing.status, self.standing.response) in LEGAL

    @invariant()
    def never_comes_back(self) -> None:
        assert self.standing.status not in self.left
        assert not self.left & FINAL


TestLife = Life.TestCase


@given(st.lists(st.tuples(st.sampled_from(Action), st.integers(0, 2 * DEADLINE))))
def test_no_sequence_of_events_leads_to_an_illegal_standing(events: list[tuple[Action, int]]) -> None:
    standing = MADE
    for action, at in events:
        standing = after(standing, action, at)
        assert (standing.status, standing.response) in LEGAL


def test_every_legal_standing_can_be_reached() -> None:
    assert {(MADE.status, MADE.response)} | {(made.status, made.response) for made in TRANSITIONS.values()} == LEGAL


@pytest.mark.parametrize("action", [Action.ACCEPT, Action.DECLINE])
def test_a_provider_answers_until_the_deadline_and_not_after_it(action: Action) -> None:
    assert advance(MADE, action, now=DEADLINE - 1, response_deadline=DEADLINE) != MADE
    with pytest.raises(IllegalTransitionError, match=r"response deadline has passed; allowed now: cancel$"):
        advance(MADE, action, now=DEADLINE, response_deadline=DEADLINE)


def test_a_booking_expires_at_its_deadline_and_not_before_it() -> None:
    with pytest.raises(IllegalTransitionError, match=r"deadline has not passed; allowed now: accept, cancel, decline$"):
        advance(MADE, Action.EXPIRE, now=DEADLINE - 1, response_deadline=DEADLINE)
    expired = advance(MADE, Action.EXPIRE, now=DEADLINE, response_deadline=DEADLINE)
    assert expired == Standing(Status.EXPIRED, Response.TIMED_OUT)


def test_a_customer_may_cancel_before_and_after_the_answer_and_the_answer_is_kept() -> None:
    assert after(MADE, Action.CANCEL, 2 * DEADLINE) == Standing(Status.CANCELLED, Response.AWAITING_RESPONSE)
    accepted = after(MADE, Action.ACCEPT, 0)
    assert after(accepted, Action.CANCEL, 2 * DEADLINE) == Standing(Status.CANCELLED, Response.CONFIRMED)


def test_an_accepted_booking_never_expires() -> None:
    accepted = after(MADE, Action.ACCEPT, DEADLINE - 1)
    assert after(accepted, Action.EXPIRE, 10 * DEADLINE) == accepted


@given(st.sampled_from(Action), st.integers(0, 2 * DEADLINE), st.integers(0, 2 * DEADLINE))
def test_a_step_that_was_taken_may_be_repeated_at_any_time(action: Action, first: int, second: int) -> None:
    for standing in (MADE, after(MADE, Action.ACCEPT, 0)):
        taken = after(standing, action, first)
        if taken != standing:
            assert advance(taken, action, now=second, response_deadline=DEADLINE) == taken


@pytest.mark.parametrize(
    ("standing", "action", "past"),
    [
        (standing, action, past)
        for standing, action, past in product([MADE, *dict.fromkeys(TRANSITIONS.values())], Action, [False, True])
        if after(standing, action, DEADLINE if past else 0) == standing
    ],
)
def test_a_refusal_offers_only_steps_that_would_be_taken(standing: Standing, action: Action, past: bool) -> None:  # noqa: FBT001 - a parameter
    now = DEADLINE if past else 0
    try:
        assert advance(standing, action, now=now, response_deadline=DEADLINE) == standing
    except IllegalTransitionError as error:
        offered = str(error).rpartition("allowed now: ")[2]
        expected = [
            step.value for step in Action if step is not Action.EXPIRE and after(standing, step, now) != standing
        ]
        assert offered == (", ".join(sorted(expected)) or "nothing")


def test_the_chat_is_told_of_every_step() -> None:
    assert set(TOLD) == set(Action)
    assert all(TEXTS[kind] for kind in TOLD.values())
