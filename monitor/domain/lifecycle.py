"""What may become of a booking: its status, the provider's answer, and the steps between them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """Where a booking stands."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Response(StrEnum):
    """What the provider answered.

    These are the platform's words. No step here leads to `ON_THE_WAY`, which it says of a provider who has set out:
    it stands here because the vocabulary is to be complete for whoever reads or stores such an answer.
    """

    AWAITING_RESPONSE = "awaiting_response"
    CONFIRMED = "confirmed"
    ON_THE_WAY = "on_the_way"
    DECLINED = "declined"
    TIMED_OUT = "timed_out"


class Action(StrEnum):
    """What is done with a booking after it was made."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
    COMPLETE = "complete"
    EXPIRE = "expire"


@dataclass(frozen=True, slots=True)
class Standing:
    """Status and answer of a booking together."""

    status: Status
    response: Response


MADE = Standing(Status.PENDING, Response.AWAITING_RESPONSE)
"""How every booking begins."""

_CONFIRMED = Standing(Status.CONFIRMED, Response.CONFIRMED)
_DECLINED = Standing(Status.CANCELLED, Response.DECLINED)
_EXPIRED = Standing(Status.EXPIRED, Response.TIMED_OUT)
_COMPLETED = Standing(Status.COMPLETED, Response.CONFIRMED)

TRANSITIONS: dict[tuple[Standing, Action], Standing] = {
    (MADE, Action.ACCEPT): _CONFIRMED,
    (MADE, Action.DECLINE): _DECLINED,
    (MADE, Action.CANCEL): Standing(Status.CANCELLED, Response.AWAITING_RESPONSE),
    (MADE, Action.EXPIRE): _EXPIRED,
    (_CONFIRMED, Action.COMPLETE): _COMPLETED,
    (_CONFIRMED, Action.CANCEL): Standing(Status.CANCELLED, Response.CONFIRMED),
}
"""Every legal step."""

ANSWERS = (Action.ACCEPT, Action.DECLINE)
"""The steps by which a provider answers."""

_RESULTS: dict[Action, frozenset[Standing]] = {
    action: frozenset(after for (_, made), after in TRANSITIONS.items() if made is action) for action in Action
}


class IllegalTransitionError(Exception):
    """The booking does not stand where this step starts."""

    def __init__(self, standing: Standing, action: Action, why: str = "", *, past_deadline: bool) -> None:
        allowed = sorted(
            step.value
            for (start, step) in TRANSITIONS
            if start == standing and step is not Action.EXPIRE and not (past_deadline and step in ANSWERS)
        )
        super().__init__(
            f"cannot {action.value} a booking that is {standing.status.value}{why};"
            f" allowed now: {', '.join(allowed) or 'nothing'}"
        )
        self.standing = standing
        self.action = action


def advance(standing: Standing, action: Action, *, now: int, response_deadline: int) -> Standing:
    """Where a booking stands after a step; a repeated step changes nothing.

    `now` and `response_deadline` are in milliseconds since the epoch. A provider can answer until the
    deadline, and only after it does a booking expire. Raises IllegalTransitionError.
    """
    if standing in _RESULTS[action]:
        return standing
    past_deadline = now >= response_deadline
    after = TRANSITIONS.get((standing, action))
    if after is None:
        raise IllegalTransitionError(standing, action, past_deadline=past_deadline)
    if action in ANSWERS and past_deadline:
        why = " and whose response deadline has passed"
        raise IllegalTransitionError(standing, action, why, past_deadline=past_deadline)
    if action is Action.EXPIRE and not past_deadline:
        why = " and whose response deadline has not passed"
        raise IllegalTransitionError(standing, action, why, past_deadline=past_deadline)
    return after
