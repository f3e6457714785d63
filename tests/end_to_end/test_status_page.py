"""The status page in a real browser: on a phone and at a desk, by day and by night, empty, healthy and firing."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.bookings import make
from support.browser import DESK, PHONE, chromium, faults, opened
from support.process import reserved_port
from support.service import API_TOKEN, QUICK, RunningService, running_service
from support.vanishing import vanishing
from support.waiting import wait_until
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Browser

SIZES = {"phone": PHONE, "desk": DESK}
SHOWN_MILLISECONDS = 20_000
"""For a change to reach the page."""
GRACE_SECONDS = 5
"""For events, where it is to be seen whether and how they were answered: longer than that takes on a busy machine."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=SHOWN_MILLISECONDS)
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def unreachable() -> Iterator[dict[str, Any]]:
    """Settings of a channel for pages that takes none."""
    with reserved_port() as port:
        yield {"webhook_url": f"http://127.0.0.1:{port}/", "webhook_secret": "a-secret-of-these-tests"}


@dataclass(frozen=True)
class Scene:
    """A service in some state, with the pages that show it."""

    service: RunningService
    paths: tuple[str, ...]

    def url(self, path: str = "/") -> str:
        return self.service.url + path


def incidents(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/incidents?active=true").json()["incidents"]
    return found


def judged(client: httpx.Client, booking_id: str) -> bool:
    stages = client.get(f"/v1/bookings/{booking_id}/journey").json()["stages"]
    return all(stage["outcome"] for stage in stages)


@contextmanager
def silent_subscriber(service: RunningService, provider_id: str) -> Iterator[None]:
    """A device that takes every event and acknowledges none."""
    url = f"{service.url.replace('http', 'ws')}/v1/realtime?provider_id={provider_id}"
    with connect(url, proxy=None):
        yield


@pytest.fixture(scope="module")
def empty() -> Iterator[Scene]:
    with running_service() as service, service.client() as client:
        wait_until(lambda: " ago" in client.get("/").text, what="the ledger was judged")
        yield Scene(service, ("/",))


@pytest.fixture(scope="module")
def healthy(unreachable: dict[str, Any]) -> Iterator[Scene]:
    settings = {**QUICK, "grace_realtime": GRACE_SECONDS, "canary_interval": 1, **unreachable}
    with (
        running_service(**settings) as service,
        service.client() as client,
    ):
        made = [make(client)["booking"]["id"] for _ in range(5)]
        wait_until(lambda: judged(client, made[-1]), what="the bookings are judged", timeout_seconds=30)
        wait_until(lambda: 'aria-label="Canary passed' in client.get("/").text, what="a canary came through")
        yield Scene(service, ("/", f"/bookings/{made[0]}"))


@pytest.fixture(scope="module")
def firing(unreachable: dict[str, Any]) -> Iterator[Scene]:
    """Realtime and notifications fail, and no page is accepted."""
    with (
        running_service(**{**QUICK, "grace_realtime": GRACE_SECONDS, **unreachable}) as service,
        service.client() as client,
        silent_subscriber(service, "t-17"),
    ):
        with vanishing(service.database_path, "notifications"):
            made = [make(client, price_minor=35_000_000, currency="IDR")["booking"]["id"] for _ in range(12)]
        wait_until(lambda: len(incidents(client)) >= 2, what="two alerts fire", timeout_seconds=30)
        yield Scene(service, ("/", f"/incidents/{incidents(client)[0]['number']}", f"/bookings/{made[0]}"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("state", ["empty", "healthy", "firing"])
def test_every_page_can_be_read_and_used_by_everybody(
    browser: Browser, request: pytest.FixtureRequest, state: str, size: str, scheme: str
) -> None:
    scene: Scene = request.getfixturevalue(state)
    for path in scene.paths:
        with opened(browser, scene.url(path), viewport=SIZES[size], color_scheme=scheme) as page:
            assert faults(page) == [], path
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (ground < "rgb(2") == (scheme == "dark")


def test_empty_is_called_neither_well_nor_ill(browser: Browser, empty: Scene) -> None:
    with opened(browser, empty.url(), viewport=PHONE) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("No bookings to judge in the last 24 hours")
        expect(page.get_by_text("100 %", exact=True).and_(page.locator(".figure"))).to_have_count(0)
        expect(page.get_by_text("Nobody is woken.")).to_be_visible()


def test_healthy_is_called_well_and_every_canary_is_shown(browser: Browser, healthy: Scene) -> None:
    with opened(browser, healthy.url(), viewport=PHONE) as page:
        expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
        expect(page.get_by_role("link", name="Canary passed").first).to_be_visible()


def test_firing_says_what_is_wrong_why_and_for_which_bookings_on_the_first_screens(
    browser: Browser, firing: Scene
) -> None:
    with opened(browser, firing.url(), viewport=PHONE) as page:
        expect(page.get_by_role("heading", level=1)).to_contain_text("critical alert")
        alerts = page.get_by_role("region", name="Firing")
        expect(alerts.get_by_text("no acknowledgement came back")).to_be_visible()
        expect(alerts.get_by_text("First bad").first).to_be_visible()
        expect(page.get_by_text("pages not accepted").or_(page.get_by_text("page not accepted")).first).to_be_visible()
        box = alerts.bounding_box()
        assert box is not None
        assert box["y"] < PHONE["height"] / 2


def test_one_can_go_from_an_alert_to_its_incident_and_to_a_bookings_journey(browser: Browser, firing: Scene) -> None:
    with opened(browser, firing.url(), viewport=PHONE) as page:
        page.get_by_role("region", name="Firing").get_by_role("heading", level=3).get_by_role("link").first.click()
        expect(page.get_by_role("region", name="Timeline").get_by_text("fired", exact=True)).to_be_visible()
        expect(page.get_by_role("region", name="Pages").get_by_text("trigger to webhook")).to_be_visible()
        page.locator(".ids a").first.click()
        journey = page.get_by_role("region", name="Journey")
        expect(journey.get_by_text("booking created")).to_be_visible()
        expect(journey.get_by_text("realtime was due")).to_be_visible()
        expect(journey.get_by_text("realtime delivery, attempt 1: unacknowledged")).to_be_visible()
        page.get_by_role("link", name="Status").click()
        expect(page).to_have_url(firing.url())


@pytest.mark.parametrize("state", ["empty", "healthy", "firing"])
def test_without_a_script_everything_can_be_read_and_comes_anew(
    browser: Browser, request: pytest.FixtureRequest, state: str
) -> None:
    scene: Scene = request.getfixturevalue(state)
    for path in scene.paths:
        with opened(browser, scene.url(path), viewport=PHONE, java_script_enabled=False) as page:
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            expect(page.locator("noscript meta[http-equiv=refresh]")).to_have_count(1)
            assert page.locator("svg.plot").count() == (6 if path == "/" else 0)
            assert "ago" in page.locator("main").inner_text()


@pytest.mark.timeout(90)
def test_the_page_follows_what_happens_without_being_touched(browser: Browser) -> None:
    with (
        running_service(**QUICK) as service,
        service.client() as client,
        opened(browser, service.url, viewport=PHONE) as page,
    ):
        headline = page.get_by_role("heading", level=1)
        expect(headline).to_have_text("No bookings to judge in the last 24 hours")
        page.evaluate("window.untouched = true")
        make(client)
        expect(headline).to_have_text("All is well")
        with silent_subscriber(service, "t-17"):
            for _ in range(5):
                make(client)
            expect(headline).to_contain_text("1 critical alert")
        expect(page).to_have_title(f"{headline.inner_text()} · production · Booking Monitor")
        expect(page.get_by_role("status").filter(has_text="critical")).to_have_attribute("aria-live", "polite")
        page.get_by_role("region", name="Firing").get_by_role("link").first.focus()
        page.evaluate("document.activeElement.dataset.old = 'true'")
        make(client)
        gone = "document.querySelector('[data-old]') === null"
        wait_until(lambda: page.evaluate(gone), what="the part with the focus is exchanged", timeout_seconds=30)
        assert page.evaluate("document.activeElement.getAttribute('href')").startswith("/incidents/")
        assert page.evaluate("window.untouched")


@pytest.mark.timeout(90)
def test_a_page_that_is_cut_off_says_so_and_recovers_by_itself(browser: Browser) -> None:
    with running_service(**QUICK) as service:
        context = browser.new_context(viewport=PHONE)
        page = context.new_page()
        page.clock.install()
        page.goto(service.url)
        warning = page.get_by_text("Not connected: what you see is as of")
        expect(warning).to_be_hidden()
        service.pause()
        page.clock.fast_forward(25_000)
        expect(warning).to_be_visible()
        service.resume()
        expect(warning).to_be_hidden()
        context.close()


def test_a_browser_signs_in_once_and_links_of_other_sites_then_lead_straight_to_the_page(browser: Browser) -> None:
    secret = "a-secret-that-signs-sessions-in-these-tests"
    with running_service(api_tokens=API_TOKEN, provider_token_secret=secret) as service:
        context = browser.new_context(viewport=PHONE)
        page = context.new_page()
        page.goto(service.url)
        expect(page).to_have_url(f"{service.url}/sign-in")
        assert faults(page) == []
        page.get_by_label("API token").fill("a-wrong-token-altogether")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_have_text("The token is not known.")
        page.get_by_label("API token").fill(API_TOKEN)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("No bookings")
        (cookie,) = context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")

        elsewhere = f"<a href='{service.url}/'>Booking Monitor</a>"
        other = f"http://localhost:{service.port}/elsewhere"
        page.route(other, lambda route: route.fulfill(body=elsewhere, content_type="text/html"))
        page.goto(other)
        page.get_by_role("link").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("No bookings")

        page.get_by_role("button", name="Sign out").click()
        expect(page).to_have_url(f"{service.url}/sign-in")
        page.goto(service.url)
        expect(page).to_have_url(f"{service.url}/sign-in")
        context.close()


def test_the_keyboard_reaches_the_content_first_and_shows_where_it_is(browser: Browser, healthy: Scene) -> None:
    with opened(browser, healthy.url(), viewport=DESK) as page:
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to the content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
