"""Sessions of browsers: given for an API token, for a time, and good for nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.domain.times import HOUR
from monitor.web.auth import SESSION_LIFETIME, Authenticator
from monitor.web.pages.sessions import ADDRESSES, FAILURES, SPELL, Attempts, safe_target
from monitor.web.problems import ProblemError

TOKEN = "an-api-token-of-this-test"
SECRET = "a-secret-that-signs-what-these-tests-hand-out"


@dataclass
class Clock:
    at: int = 1_795_176_000_000

    def __call__(self) -> int:
        return self.at


def authenticator(clock: Clock, *tokens: str) -> Authenticator:
    return Authenticator(
        api_tokens=tokens or (TOKEN,),
        own_token="the-canary",
        provider_secret=SECRET,
        provider_lifetime=HOUR,
        now=clock,
    )


def test_a_session_is_for_whoever_showed_the_token() -> None:
    known = authenticator(Clock())
    session = known.session(known.issue_session(TOKEN))
    assert session == known.identify({"authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("token", ["", "wrong", "x" * 100_000])
def test_no_session_is_given_for_what_is_no_api_token(token: str) -> None:
    with pytest.raises(ProblemError) as raised:
        authenticator(Clock()).issue_session(token)
    assert raised.value.status == 401


def test_a_providers_token_is_no_session_and_gets_none() -> None:
    known = authenticator(Clock())
    provider_token, _ = known.issue("t-1")
    for use in (known.session, known.issue_session):
        with pytest.raises(ProblemError):
            use(provider_token)


def test_a_session_is_no_token_of_the_api() -> None:
    known = authenticator(Clock())
    with pytest.raises(ProblemError):
        known.identify({"authorization": f"Bearer {known.issue_session(TOKEN)}"})


def test_a_session_ends_with_its_time() -> None:
    clock = Clock()
    known = authenticator(clock)
    session = known.issue_session(TOKEN)
    clock.at += SESSION_LIFETIME - 1000
    assert known.session(session).provider_id is None
    clock.at += 1000
    with pytest.raises(ProblemError):
        known.session(session)


def test_a_session_ends_with_the_token_that_it_was_given_for() -> None:
    session = authenticator(Clock()).issue_session(TOKEN)
    with pytest.raises(ProblemError):
        authenticator(Clock(), "another-token-altogether").session(session)


@given(st.text())
def test_nothing_made_up_is_a_session(value: str) -> None:
    with pytest.raises(ProblemError):
        authenticator(Clock()).session(value)


def test_wrong_tokens_are_refused_after_a_few_and_allowed_again_later() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    for _ in range(FAILURES):
        attempts.check("a")
        attempts.failed("a")
    with pytest.raises(ProblemError) as raised:
        attempts.check("a")
    assert raised.value.status == 429
    assert raised.value.headers == {"Retry-After": "61"}
    attempts.check("b")
    clock.at += SPELL
    attempts.check("a")


def test_only_so_many_addresses_are_remembered() -> None:
    attempts = Attempts(Clock())
    for address in range(10 * ADDRESSES):
        attempts.failed(str(address))
    assert len(attempts._failures) == ADDRESSES


@pytest.mark.parametrize("target", ["/", "/incidents/12", "/bookings/01a2043e-c2a5-73d5-a2b8-4e92e8685012"])
def test_our_own_pages_are_gone_on_to(target: str) -> None:
    assert safe_target(target) == target


@pytest.mark.parametrize(
    "target",
    [None, "", "https://evil.example/", "//evil.example", "/\\evil.example", "/incidents/1/../..", "/sign-in", "/\n"],
)
def test_nowhere_else_is_gone_on_to(target: str | None) -> None:
    assert safe_target(target) == "/"
