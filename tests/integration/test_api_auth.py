"""Who may do what, against the real service: API tokens, provider tokens, and loopback without tokens."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from support.bookings import booking, make, problem, row_counts
from support.service import API_TOKEN, RunningService, running_service
from support.waiting import wait_until
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

HASHED_TOKEN = "a-token-that-is-kept-hashed"
HASH = hashlib.sha256(HASHED_TOKEN.encode()).hexdigest()
SECRET = "a-secret-that-signs-the-tokens-of-providers-in-these-tests"


@pytest.fixture(scope="module")
def service() -> Iterator[RunningService]:
    with running_service(api_tokens=f"{API_TOKEN},sha256:{HASH}", provider_token_secret=SECRET) as service:
        yield service


@pytest.fixture(scope="module")
def nobody(service: RunningService) -> Iterator[httpx.Client]:
    """A client that shows no token unless a request brings one."""
    with service.client() as client:
        del client.headers["Authorization"]
        yield client


def provider_token(client: httpx.Client, provider_id: str) -> str:
    token: str = client.post(f"/v1/providers/{provider_id}/token").json()["token"]
    return token


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True)
class Things:
    """A booking of one provider, with what belongs to it."""

    booking_id: str
    room_id: str
    notification_id: str
    provider_id: str


def things(client: httpx.Client, provider_id: str) -> Things:
    made = make(client, provider_id=provider_id)
    return Things(made["booking"]["id"], made["chat_room"]["id"], made["notification"]["id"], provider_id)


Call = tuple[str, str, Any]


def calls_of_a_provider(own: Things) -> dict[str, Call]:
    """Everything that a provider may do, done to these things."""
    message = {"sender_type": "provider", "sender_id": own.provider_id, "body": "On my way"}
    inbox = f"/v1/providers/{own.provider_id}"
    return {
        "its bookings": ("GET", f"/v1/bookings?provider_id={own.provider_id}", None),
        "a booking": ("GET", f"/v1/bookings/{own.booking_id}", None),
        "reading its chat": ("GET", f"/v1/chat-rooms/{own.room_id}/messages", None),
        "writing its chat": ("POST", f"/v1/chat-rooms/{own.room_id}/messages", message),
        "its inbox": ("GET", f"{inbox}/notifications", None),
        "reading a notification": ("POST", f"/v1/notifications/{own.notification_id}/read", None),
        "dropping a subscription": ("DELETE", f"{inbox}/push-subscriptions", {"endpoint": "https://push.example/1"}),
        "acknowledging": (
            "POST",
            "/v1/realtime/acknowledgements",
            {"provider_id": own.provider_id, "ids": [str(uuid.uuid4())]},
        ),
        "accepting": ("POST", f"/v1/bookings/{own.booking_id}/accept", None),
        "completing": ("POST", f"/v1/bookings/{own.booking_id}/complete", None),
    }


def calls_of_the_api(own: Things) -> dict[str, Call]:
    """What no provider may do, not even to its own things."""
    return {
        "making a booking": ("POST", "/v1/bookings", booking(provider_id=own.provider_id)),
        "cancelling": ("POST", f"/v1/bookings/{own.booking_id}/cancel", None),
        "removing": ("DELETE", f"/v1/bookings/{own.booking_id}", None),
        "a journey": ("GET", f"/v1/bookings/{own.booking_id}/journey", None),
        "journeys": ("GET", "/v1/journeys", None),
        "a token": ("POST", f"/v1/providers/{own.provider_id}/token", None),
        "the rates": ("GET", "/v1/slis", None),
        "incidents": ("GET", "/v1/incidents", None),
        "driving again": ("POST", "/v1/deliveries/redrive", {}),
    }


PROVIDER_CALLS = sorted(calls_of_a_provider(Things("", "", "", "")))
API_CALLS = sorted(calls_of_the_api(Things("", "", "", "")))


def call(client: httpx.Client, made: Call, token: str | None = None) -> httpx.Response:
    method, path, body = made
    return client.request(method, path, json=body, headers={} if token is None else bearer(token))


UNKNOWN = (None, "Bearer", f"Basic {API_TOKEN}", "Bearer wrong", f"Bearer {API_TOKEN}x", API_TOKEN)


@pytest.mark.parametrize("name", [*PROVIDER_CALLS, *API_CALLS])
def test_without_a_known_token_every_route_is_closed(nobody: httpx.Client, name: str) -> None:
    own = Things(str(uuid.uuid4()), str(uuid.uuid4()), str(uuid.uuid4()), "t-1")
    method, path, body = (calls_of_a_provider(own) | calls_of_the_api(own))[name]
    for authorization in UNKNOWN:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = nobody.request(method, path, json=body, headers=headers)
        problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"


def test_health_metrics_and_the_document_are_open(nobody: httpx.Client) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert nobody.get(path).status_code == 200


def test_a_token_that_is_kept_hashed_opens_and_its_hash_does_not(nobody: httpx.Client) -> None:
    assert nobody.get("/v1/slis", headers=bearer(HASHED_TOKEN)).status_code == 200
    assert nobody.get("/v1/slis", headers={"authorization": f"bearer {HASHED_TOKEN}"}).status_code == 200
    for shown in (HASH, f"sha256:{HASH}", f"sha256:{hashlib.sha256(API_TOKEN.encode()).hexdigest()}"):
        problem(nobody.get("/v1/slis", headers=bearer(shown)), 401)


@pytest.mark.parametrize("token", ["x" * 1025, "x" * 20_000, "é", "sha256:é", "a.b.c", "..", "%00", "null", "Bearer"])
def test_a_token_that_is_none_is_only_refused(nobody: httpx.Client, token: str) -> None:
    headers = [(b"Authorization", b"Bearer " + token.encode())]
    problem(nobody.get("/v1/slis", headers=headers), 401)


@pytest.mark.parametrize("name", PROVIDER_CALLS)
def test_a_provider_may_do_its_own(client: httpx.Client, nobody: httpx.Client, name: str) -> None:
    own = things(client, "t-own")
    if name == "completing":
        client.post(f"/v1/bookings/{own.booking_id}/accept")
    answer = call(nobody, calls_of_a_provider(own)[name], provider_token(client, "t-own"))
    assert answer.is_success or (name == "dropping a subscription" and answer.status_code == 404), answer.text


@pytest.mark.parametrize("name", PROVIDER_CALLS)
def test_a_provider_reaches_nothing_of_another(
    service: RunningService, client: httpx.Client, nobody: httpx.Client, name: str
) -> None:
    other = things(client, "t-other")
    before = client.get(f"/v1/bookings/{other.booking_id}").json()
    counts = row_counts(service.database_path)
    answer = call(nobody, calls_of_a_provider(other)[name], provider_token(client, "t-own"))
    assert answer.status_code in (403, 404)
    problem(answer, answer.status_code)
    assert other.provider_id not in answer.text
    assert client.get(f"/v1/bookings/{other.booking_id}").json() == before
    assert row_counts(service.database_path) == counts
    unread = client.get("/v1/providers/t-other/notifications", params={"unread": "true"}).json()["notifications"]
    assert other.notification_id in {one["id"] for one in unread}


@pytest.mark.parametrize("name", API_CALLS)
def test_a_provider_may_not_do_what_is_the_callers_of_the_api(
    service: RunningService, client: httpx.Client, nobody: httpx.Client, name: str
) -> None:
    own = things(client, "t-own")
    counts = row_counts(service.database_path)
    problem(call(nobody, calls_of_the_api(own)[name], provider_token(client, "t-own")), 403)
    assert row_counts(service.database_path) == counts


def test_a_provider_sees_its_own_bookings_when_it_names_none(client: httpx.Client, nobody: httpx.Client) -> None:
    things(client, "t-other")
    own = things(client, "t-alone")
    shown = nobody.get("/v1/bookings", headers=bearer(provider_token(client, "t-alone"))).json()["bookings"]
    assert [one["id"] for one in shown] == [own.booking_id]


def test_a_provider_cannot_write_as_the_customer(client: httpx.Client, nobody: httpx.Client) -> None:
    own = things(client, "t-own")
    message = {"sender_type": "customer", "sender_id": "c-9", "body": "I agree to pay double"}
    path = f"/v1/chat-rooms/{own.room_id}/messages"
    problem(nobody.post(path, json=message, headers=bearer(provider_token(client, "t-own"))), 403)
    assert len(client.get(path).json()["messages"]) == 1


def claims(**fields: Any) -> dict[str, Any]:
    made = {"sub": "t-own", "aud": "booking-monitor/provider", "exp": 4_000_000_000} | fields
    return {name: value for name, value in made.items() if value is not None}


FORGED = {
    "another secret": jwt.encode(claims(), "x" * 43, "HS256"),
    "no signature": jwt.encode(claims(), "", "none"),
    "another algorithm": jwt.encode(claims(), SECRET, "HS384"),
    "another audience": jwt.encode(claims(aud="somebody-else"), SECRET, "HS256"),
    "no audience": jwt.encode(claims(aud=None), SECRET, "HS256"),
    "no end": jwt.encode(claims(exp=None), SECRET, "HS256"),
    "no provider": jwt.encode(claims(sub=None), SECRET, "HS256"),
    "long over": jwt.encode(claims(exp=1_000_000_000), SECRET, "HS256"),
    "cut": jwt.encode(claims(), SECRET, "HS256")[:-2],
}


@pytest.mark.parametrize("how", FORGED)
def test_a_forged_provider_token_opens_nothing(service: RunningService, nobody: httpx.Client, how: str) -> None:
    token = FORGED[how]
    problem(nobody.get("/v1/providers/t-own/notifications", headers=bearer(token)), 401)
    problem(nobody.get("/v1/realtime/events", params={"provider_id": "t-own", "token": token}), 401)
    assert refused_socket(service, f"provider_id=t-own&token={token}") == 401


def test_the_tokens_that_forgers_imitate_are_good(nobody: httpx.Client) -> None:
    token = jwt.encode(claims(), SECRET, "HS256")
    assert nobody.get("/v1/providers/t-own/notifications", headers=bearer(token)).status_code == 200


def refused_socket(service: RunningService, query: str, **options: Any) -> int:
    """The status with which the WebSocket handshake is refused, by a problem."""
    url = f"{service.url.replace('http', 'ws', 1)}/v1/realtime?{query}"
    with pytest.raises(InvalidStatus) as caught, connect(url, proxy=None, **options):
        pass
    response = caught.value.response
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code


def test_a_subscription_needs_a_token_of_its_own_provider(
    service: RunningService, client: httpx.Client, nobody: httpx.Client
) -> None:
    token = provider_token(client, "t-own")
    assert refused_socket(service, "provider_id=t-own") == 401
    assert refused_socket(service, "provider_id=t-own&token=") == 401
    assert refused_socket(service, f"provider_id=t-other&token={token}") == 403
    assert refused_socket(service, f"provider_id=&token={token}") == 422
    assert refused_socket(service, f"token={token}") == 422
    problem(nobody.get("/v1/realtime/events", params={"provider_id": "t-other", "token": token}), 403)
    problem(nobody.get("/v1/realtime/events", params={"provider_id": "t-own"}), 401)
    url = f"{service.url.replace('http', 'ws', 1)}/v1/realtime?provider_id=t-own&token={token}"
    with connect(url, proxy=None) as socket:
        assert '"subscribed"' in str(socket.recv(timeout=5))


def test_a_provider_token_ends() -> None:
    with running_service(api_tokens=API_TOKEN, provider_token_lifetime=1) as service, service.client() as client:
        token = provider_token(client, "t-1")

        def ended() -> bool:
            answer = client.get("/v1/providers/t-1/notifications", headers=bearer(token))
            return answer.status_code == 401 and "expired" in problem(answer, 401)["detail"]

        wait_until(ended, what="the token expires")


@pytest.mark.parametrize("kept", [False, True], ids=["a secret of its own", "a secret that is set"])
def test_a_provider_token_outlives_the_process_only_where_the_secret_does(kept: bool) -> None:  # noqa: FBT001 - a parameter of the test
    secret: dict[str, Any] = {"provider_token_secret": SECRET} if kept else {}
    with running_service(api_tokens=API_TOKEN, **secret) as service:
        with service.client() as client:
            token = provider_token(client, "t-1")
        service.restart()
        with service.client(token) as client:
            assert client.get("/v1/providers/t-1/notifications").status_code == (200 if kept else 401)


def test_the_canary_gets_in_where_everybody_needs_a_token() -> None:
    with running_service(api_tokens=API_TOKEN, canary_interval=0.5) as service:
        wait_until(lambda: service.log_events("canary.passed"), what="a canary passes")


@pytest.fixture(scope="module")
def open_service() -> Iterator[RunningService]:
    with running_service() as service:
        yield service


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"Host": "localhost:8080"},
        {"Host": "[::1]:8080"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1"},
    ],
)
def test_on_loopback_without_tokens_programs_and_pages_of_this_machine_are_answered(
    open_service: RunningService, headers: dict[str, str]
) -> None:
    with open_service.client() as client:
        assert client.get("/v1/bookings", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "rebinding.example"},
        {"Host": "rebinding.example:8080"},
        {"Host": "127.0.0.1.rebinding.example"},
        {"Host": "localhost@rebinding.example"},
        {"Host": "10.0.0.1"},
        {"Host": "["},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost.evil.example"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Origin": "file://"},
        {"Origin": ""},
    ],
)
def test_on_loopback_without_tokens_no_page_of_another_site_is_answered(
    open_service: RunningService, headers: dict[str, str]
) -> None:
    with open_service.client() as client:
        before = row_counts(open_service.database_path)
        problem(client.get("/v1/bookings", headers=headers), 403)
        problem(client.post("/v1/bookings", json=booking(), headers=headers), 403)
        assert row_counts(open_service.database_path) == before


def test_on_loopback_without_tokens_no_page_of_another_site_may_subscribe(open_service: RunningService) -> None:
    assert refused_socket(open_service, "provider_id=t-1", origin="https://evil.example") == 403
    assert refused_socket(open_service, "provider_id=t-1", origin="null") == 403


def test_a_form_of_another_site_cannot_make_a_booking(open_service: RunningService) -> None:
    with open_service.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            problem(client.post("/v1/bookings", content=b"{}", headers={"Content-Type": kind}), 415)


def test_a_wrong_token_is_refused_also_where_none_is_needed(open_service: RunningService) -> None:
    with open_service.client("wrong") as client:
        problem(client.get("/v1/bookings"), 401)


def test_the_service_says_that_it_asks_for_no_token(open_service: RunningService) -> None:
    assert "No API tokens are set" in open_service.output()
