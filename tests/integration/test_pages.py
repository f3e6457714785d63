"""The pages over HTTP: who may see them, what they may load, what they say when things are missing or away."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from support.bookings import make
from support.inprocess import service_in_process
from support.plans import recorded
from support.postgres import postgres_server
from support.service import API_TOKEN, RunningService, running_service
from support.store import migrated
from support.waiting import wait_until

from monitor.domain.times import HOUR
from monitor.web.pages import board, sessions, stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "a-secret-that-signs-sessions-in-these-tests"
NO_BOOKING = "/bookings/91b4fb65-1196-43ce-9422-9e26e42df7d9"
AWAY = "The store does not answer"
PRIVATE = {
    "provider_name": "Ayu Lestari",
    "customer_name": "Samantha Carter",
    "customer_phone": "+62 812 555 0199",
    "location": "Jalan Raya 17",
    "notes": "the gate code is 4711",
}


@pytest.fixture(scope="module")
def guarded() -> Iterator[RunningService]:
    """A service with an API token."""
    with running_service(api_tokens=API_TOKEN, provider_token_secret=SECRET) as service:
        yield service


@pytest.fixture
def browser(guarded: RunningService) -> Iterator[httpx.Client]:
    """Whoever comes without a token."""
    with httpx.Client(base_url=guarded.url, trust_env=False, timeout=10) as client:
        yield client


def sign_in(browser: httpx.Client, token: str = API_TOKEN, **more: Any) -> httpx.Response:
    headers = {"Sec-Fetch-Site": "same-origin"} | more.pop("headers", {})
    return browser.post("/sign-in", data={"token": token, **more}, headers=headers)


@pytest.mark.parametrize("path", ["/", "/incidents/7", NO_BOOKING])
def test_a_stranger_is_sent_to_sign_in_and_then_goes_on(browser: httpx.Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 303
    form = browser.get(answer.headers["location"])
    assert form.status_code == 200
    assert f'name="next" value="{path}"' in form.text
    assert sign_in(browser, next=path).headers["location"] == path


def test_the_api_token_opens_the_pages_by_cookie_and_by_bearer(guarded: RunningService, browser: httpx.Client) -> None:
    answer = sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert API_TOKEN not in cookie
    assert browser.get("/").status_code == 200
    with guarded.client() as client:
        assert client.get("/").status_code == 200


def test_behind_tls_the_cookie_is_secure(browser: httpx.Client) -> None:
    assert "secure" not in sign_in(browser).headers["set-cookie"].lower()
    assert "secure" in sign_in(browser, headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"].lower()


def test_the_cookie_is_for_the_pages_alone(browser: httpx.Client) -> None:
    sign_in(browser)
    assert browser.get("/v1/slis").status_code == 401
    assert browser.post("/v1/bookings", json={}).status_code == 401


def test_signing_out_ends_it(browser: httpx.Client) -> None:
    sign_in(browser)
    assert browser.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert browser.get("/").status_code == 200
    assert browser.post("/sign-out", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 303
    assert browser.get("/").status_code == 303


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}]
)
def test_no_other_site_can_sign_a_browser_in(browser: httpx.Client, headers: dict[str, str]) -> None:
    answer = browser.post("/sign-in", data={"token": API_TOKEN}, headers=headers)
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"{}", "application/json", 415),
        (b"token=" + b"x" * sessions.FORM_LIMIT_BYTES, "application/x-www-form-urlencoded", 413),
        (b"token=%ff", "application/x-www-form-urlencoded", 422),
        (b"&".join([b"a=1"] * 9), "application/x-www-form-urlencoded", 422),
    ],
)
def test_a_form_that_is_not_in_order_is_refused(
    browser: httpx.Client, body: bytes, content_type: str, status: int
) -> None:
    answer = browser.post("/sign-in", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("text/html")


def test_a_browser_that_follows_a_link_of_another_site_asks_again_from_here(browser: httpx.Client) -> None:
    abroad = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    answer = browser.get("/incidents/7", headers=abroad)
    assert answer.status_code == 200
    assert 'content="0; url=/incidents/7"' in answer.text
    assert browser.get("/incidents/7", headers=abroad | {"Sec-Fetch-Site": "same-origin"}).status_code == 303


def test_a_providers_token_opens_no_page(guarded: RunningService, browser: httpx.Client) -> None:
    with guarded.client() as client:
        token = client.post("/v1/providers/t-1/token").json()["token"]
    answer = browser.get("/", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 403
    assert "set-cookie" not in sign_in(browser, token).headers
    browser.cookies.set(sessions.COOKIE, token)
    assert browser.get("/").status_code == 303


def test_guessing_is_slowed_down_and_says_when_to_try_again() -> None:
    with (
        running_service(api_tokens=API_TOKEN) as service,
        httpx.Client(base_url=service.url, trust_env=False, timeout=10) as browser,
    ):
        for _ in range(sessions.FAILURES):
            answer = sign_in(browser, "a-wrong-token")
            assert answer.status_code == 401
            assert "not known" in answer.text
            assert "a-wrong-token" not in answer.text
        answer = sign_in(browser)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 61
        assert API_TOKEN not in service.output()


@pytest.fixture(scope="module")
def local() -> Iterator[RunningService]:
    """A service on loopback without tokens."""
    with running_service(grace_chat_room=1, grace_notification=1, grace_realtime=1, settle=0.2) as service:
        yield service


@pytest.fixture(scope="module")
def client(local: RunningService) -> Iterator[httpx.Client]:
    with local.client() as client:
        yield client


def test_on_loopback_without_tokens_nobody_signs_in(client: httpx.Client) -> None:
    assert client.get("/").status_code == 200
    answer = client.get("/sign-in?next=/incidents/1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/incidents/1")
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize("path", ["/", "/incidents/1", "/incidents/x", "/bookings/x", "/static/style.css"])
def test_a_page_may_load_nothing_but_what_is_ours_and_nobody_may_frame_it(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert " style=" not in answer.text
    assert "<script>" not in answer.text


@pytest.mark.parametrize("path", ["/incidents/1", "/incidents/0", "/incidents/x", "/bookings/x", NO_BOOKING])
def test_what_is_not_there_is_said_on_a_page(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "There is no such" in answer.text


@pytest.mark.parametrize("name", ["x", "..%2froutes.py", "%2e%2e/routes.py"])
def test_nothing_but_the_style_and_the_script_is_served(client: httpx.Client, name: str) -> None:
    assert client.get(f"/static/{name}").status_code == 404


def test_the_pages_are_no_part_of_the_api(client: httpx.Client) -> None:
    assert not {"/", "/events", "/sign-in"} & client.get("/openapi.json").json()["paths"].keys()


def test_no_page_shows_who_booked_or_where(client: httpx.Client) -> None:
    made = make(client, provider_id="t-1", customer_id="sam@example.com", **PRIVATE)["booking"]["id"]
    journey = f"/v1/bookings/{made}/journey"
    wait_until(lambda: all(s["outcome"] for s in client.get(journey).json()["stages"]), what="the booking is judged")
    shown = "".join(client.get(path).text for path in ("/", f"/bookings/{made}"))
    assert made in shown
    assert "chat room: there" in shown
    for value in (*PRIVATE.values(), "sam@example.com"):
        assert value not in shown


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def test_the_stream_sends_all_parts_first_and_then_only_those_that_change(client: httpx.Client) -> None:
    with client.stream("GET", "/events", timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        told = events(answer.iter_lines())
        first = next(told)
        assert {"verdict", "firing", "rate-realtime", "plots-realtime", "overdue"} <= first["parts"].keys()
        make(client, provider_id="t-2")
        changed = next(event for event in told if "rate-chat_room" in event["parts"])
        assert "incidents" not in changed["parts"]
        assert "of " in changed["parts"]["rate-chat_room"]


def test_a_service_that_stops_ends_its_streams_at_once() -> None:
    with (
        running_service() as service,
        service.client() as client,
        client.stream("GET", "/events", timeout=30) as answer,
    ):
        lines = answer.iter_lines()
        next(events(lines))
        service.stop()
        assert ": come back" in list(lines)


async def test_many_who_look_cost_no_more_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "VIEWERS", 2)
    monkeypatch.setattr(board, "PAUSE", HOUR)  # all look within it, however long a busy machine takes
    async with service_in_process(tmp_path, evaluation_interval=3600) as running:
        with recorded(running.service.readers._engine) as found:
            answers = await asyncio.gather(*(running.api.get("/") for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        pages = [statement for statement, _ in found.statements if "FROM incidents" in statement]
        assert len(pages) <= 4
        async with running.api.stream("GET", "/events") as one:
            async with running.api.stream("GET", "/events") as two:
                assert (one.status_code, two.status_code) == (200, 200)
                full = await running.api.get("/events")
                assert full.status_code == 503
                assert full.headers["retry-after"] == "10"
            await asyncio.wait_for(entered(running.api), 10)


async def entered(api: httpx.AsyncClient) -> None:
    """Wait until there is a place again."""
    while True:
        async with api.stream("GET", "/events") as answer:
            if answer.status_code == 200:
                return


def test_without_the_store_the_page_still_shows_what_was_known_and_says_so() -> None:
    with postgres_server() as postgres, postgres.fresh_database() as url:
        with migrated(url), running_service(database_url=url) as service, service.client() as client:
            postgres.kill()
            wait_until(lambda: AWAY in client.get("/").text, what="the page says that the store is away")
            page = client.get("/")
            assert page.status_code == 200
            assert "Not known: the numbers are old" in page.text
            away = client.get("/incidents/1")
            assert away.status_code == 503
            assert away.headers["content-type"].startswith("text/html")
            service.kill()
        postgres.start()
