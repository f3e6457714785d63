"""The service's clock, on a machine whose clock somebody sets."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from monitor.clock import SLOWEST, STEP, Clock
from monitor.domain.times import HOUR, MINUTE, SECOND

START = 1_790_000_000_000


@dataclass
class Machine:
    """A machine whose time passes when we say so, and whose clock can be set."""

    system: int = START
    boot: int = 12 * HOUR
    clock: Clock = field(init=False)
    floor: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock(floor=self.floor, system=lambda: self.system, elapsed=lambda: self.boot)

    def pass_time(self, milliseconds: int) -> None:
        """Time passes, and the service aligns its clock once a second."""
        while milliseconds > 0:
            step = min(milliseconds, SECOND)
            self.system += step
            self.boot += step
            milliseconds -= step
            self.clock.align()


def test_the_clock_starts_with_the_system_and_goes_with_it() -> None:
    machine = Machine()
    assert machine.clock() == START
    machine.pass_time(HOUR)
    assert machine.clock() == START + HOUR
    assert machine.clock.ahead == 0


def test_setting_the_system_back_an_hour_neither_turns_the_clock_back_nor_bends_a_duration() -> None:
    machine = Machine()
    before = machine.clock()
    machine.system -= HOUR
    assert machine.clock() == before
    machine.pass_time(MINUTE)
    assert SLOWEST * MINUTE <= machine.clock() - before <= MINUTE
    assert machine.clock.ahead <= HOUR


def test_the_clock_waits_for_the_system_by_going_slower_until_they_agree() -> None:
    machine = Machine()
    machine.system -= MINUTE
    needed = round(MINUTE / (1 - SLOWEST))
    machine.pass_time(needed - 2 * SECOND)
    assert machine.clock.ahead > 0
    machine.pass_time(4 * SECOND)
    assert machine.clock.ahead == 0
    assert machine.clock() == machine.system


def test_a_system_that_was_set_forward_is_followed_at_the_next_alignment() -> None:
    machine = Machine()
    machine.system += HOUR
    assert machine.clock() == START
    machine.pass_time(SECOND)
    assert machine.clock() == machine.system == START + HOUR + SECOND


def test_a_system_that_is_ahead_by_less_than_a_step_is_approached_without_a_jump() -> None:
    machine = Machine()
    machine.system += STEP - 1
    before = machine.clock()
    machine.pass_time(SECOND)
    assert machine.clock() - before <= (2 - SLOWEST) * SECOND
    machine.pass_time(MINUTE)
    assert machine.clock.ahead == 0


def test_a_machine_that_was_suspended_finds_its_clock_right() -> None:
    machine = Machine()
    machine.system += 8 * HOUR
    machine.boot += 8 * HOUR
    assert machine.clock() == START + 8 * HOUR


def test_the_clock_never_starts_before_what_the_store_knows_of() -> None:
    machine = Machine(floor=START + HOUR)
    assert machine.clock() == START + HOUR
    machine.pass_time(MINUTE)
    assert machine.clock() > START + HOUR
    assert Machine(floor=START - HOUR).clock() == START


EVENTS = st.lists(
    st.tuples(st.sampled_from(["passes", "set", "suspended", "read"]), st.integers(-2 * HOUR, 2 * HOUR)), max_size=30
)


@given(EVENTS)
def test_whatever_is_done_to_the_system_the_clock_never_goes_back(events: list[tuple[str, int]]) -> None:
    machine = Machine()
    told = machine.clock()
    for kind, amount in events:
        if kind == "passes":
            machine.pass_time(abs(amount) % MINUTE)
        elif kind == "set":
            machine.system += amount
            machine.clock.align()
        elif kind == "suspended":
            machine.system += abs(amount)
            machine.boot += abs(amount)
        now = machine.clock()
        assert now >= told
        told = now


@given(EVENTS, st.integers(1, 10 * MINUTE))
def test_a_duration_is_never_short_by_more_than_a_twentieth(events: list[tuple[str, int]], length: int) -> None:
    machine = Machine()
    for _, amount in events:
        machine.system += amount
        before = machine.clock()
        machine.pass_time(length)
        assert machine.clock() - before >= SLOWEST * length - (length // SECOND + 1)
