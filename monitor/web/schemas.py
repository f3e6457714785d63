"""What the API takes and gives, for validation and for its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from monitor.domain.booking import Id, Prose
from monitor.domain.lifecycle import Response, Status
from monitor.domain.vocabulary import DeliveryState, Outcome, Reason, Stage, Traffic
from monitor.pipeline.push.endpoints import MAX_ENDPOINT_CHARACTERS

MAX_PUBLIC_KEY_CHARACTERS = 128
"""Of a push subscription, in base64url; a point of the curve P-256 takes 87 or 88."""
MAX_SECRET_CHARACTERS = 64
"""Of a push subscription, in base64url; 16 bytes take 22 or 24."""
MAX_ACKNOWLEDGEMENTS = 256
"""Event ids in one request."""

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
UUID_PATTERN = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
Cursor = Annotated[str, Field(pattern=UUID_PATTERN)]


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


class Booking(BaseModel):
    """A booking as it stands."""

    id: str
    platform: str
    traffic: Traffic
    status: Status
    provider_response_status: Response
    provider_id: str
    provider_name: str
    provider_type: str | None
    customer_id: str
    customer_name: str
    customer_phone: str | None
    service_type: str | None
    duration_minutes: int | None
    price_minor: int | None
    currency: str | None
    location: str | None
    scheduled_for: Time | None
    notes: str | None
    extra: dict[str, Any] | None
    response_deadline: Time
    created_at: Time
    updated_at: Time


class RoomReference(BaseModel):
    """The chat room of a booking."""

    id: str
    expires_at: Time


class NotificationReference(BaseModel):
    """The notification of a booking."""

    id: str


class MadeBooking(BaseModel):
    """A booking that was just made, with what was made for it."""

    booking: Booking
    chat_room: RoomReference | None
    notification: NotificationReference | None


class BookingPage(BaseModel):
    """Bookings, newest first."""

    bookings: list[Booking]
    unreadable: list[str] = Field(description="Ids of bookings of this page whose rows are damaged.")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last one.")


class JourneyStage(BaseModel):
    """One thing that must be true for a booking."""

    stage: Stage
    due_at: Time
    evidence_at: Time | None
    outcome: Outcome | None
    reason: Reason | None
    judged_at: Time | None
    repairs: int


class Attempt(BaseModel):
    """One attempt to deliver."""

    attempt: int
    at: Time
    result: str
    detail: str | None


class Delivery(BaseModel):
    """Something that is to reach a receiver."""

    id: str
    stage: Stage
    state: DeliveryState
    attempts: int
    next_attempt_at: Time | None
    last_error: str | None
    delivered_at: Time | None
    history: list[Attempt]


class Journey(BaseModel):
    """A booking with its stages."""

    booking_id: str
    traffic: Traffic
    provider_id: str
    customer_id: str
    status: Status
    provider_response_status: Response
    created_at: Time
    trace_id: str | None
    stages: list[JourneyStage]


class FullJourney(Journey):
    """A booking with its stages and deliveries."""

    deliveries: list[Delivery]


class JourneyPage(BaseModel):
    """Journeys, newest first."""

    journeys: list[Journey]
    unreadable: list[str] = Field(description="Ids of bookings of this page whose rows are damaged.")
    next_cursor: str | None


class Message(BaseModel):
    """A chat message."""

    id: str
    room_id: str
    kind: str
    sender_type: Literal["system", "customer", "provider"]
    sender_id: str | None
    body: str
    created_at: Time


class Messages(BaseModel):
    """Messages of a chat room, oldest first."""

    messages: list[Message]


class NewMessage(BaseModel):
    """A message to write into a chat room."""

    model_config = ConfigDict(strict=True)

    sender_type: Literal["customer", "provider"]
    sender_id: Id
    body: Annotated[Prose, Field(min_length=1)]


class Notification(BaseModel):
    """Word to a provider."""

    id: str
    provider_id: str
    booking_id: str
    type: str
    title: str
    message: str
    created_at: Time
    read_at: Time | None


class NotificationPage(BaseModel):
    """Notifications, newest first."""

    notifications: list[Notification]
    next_cursor: str | None


class ProviderToken(BaseModel):
    """A token with which a browser may act as one provider."""

    token: str
    provider_id: str
    expires_at: Time


class PushKeys(BaseModel):
    """Keys of a push subscription, base64url."""

    p256dh: Annotated[
        str, Field(max_length=MAX_PUBLIC_KEY_CHARACTERS, json_schema_extra={"pattern": "^[A-Za-z0-9_-]{87}=?$"})
    ]
    auth: Annotated[
        str, Field(max_length=MAX_SECRET_CHARACTERS, json_schema_extra={"pattern": "^[A-Za-z0-9_-]{22}(==)?$"})
    ]


class PushSubscriptionBody(BaseModel):
    """A push subscription, as a browser's `PushSubscription.toJSON()` gives it."""

    endpoint: Annotated[
        str, Field(max_length=MAX_ENDPOINT_CHARACTERS, json_schema_extra={"pattern": "^https://[^/]+/"})
    ]
    expirationTime: int | None = None  # noqa: N815 - the W3C's name
    keys: PushKeys


class PushSubscriptionReference(BaseModel):
    """A push subscription that is kept."""

    id: str


class PushEndpoint(BaseModel):
    """Names a push subscription."""

    endpoint: Annotated[str, Field(max_length=MAX_ENDPOINT_CHARACTERS)]


class Acknowledgements(BaseModel):
    """Events that a subscriber received, for transports that cannot answer."""

    model_config = ConfigDict(strict=True)

    provider_id: Id
    ids: Annotated[list[Cursor], Field(min_length=1, max_length=MAX_ACKNOWLEDGEMENTS)]


class Acknowledged(BaseModel):
    """How many of the events were awaiting it."""

    acknowledged: int


class RedriveBody(BaseModel):
    """Which dead deliveries to drive again; all where nothing is named."""

    model_config = ConfigDict(strict=True, extra="forbid")

    stage: Literal["realtime", "push"] | None = None
    booking_id: Cursor | None = None


class Redriven(BaseModel):
    """How many deliveries are being driven again."""

    redriven: int


class WindowCount(BaseModel):
    """Exact counts of a window of due times."""

    events: int
    bad: int
    ratio: float | None = Field(description="Share of good events; null where there are none.")


class OverdueCount(BaseModel):
    """Bookings past due without evidence."""

    bookings: int
    oldest_due_at: Time | None


class SliReport(BaseModel):
    """One rate."""

    sli: Stage
    traffic: Traffic
    objective: float
    windows: dict[str, WindowCount]
    overdue: OverdueCount


class SlisReport(BaseModel):
    """The rates as the ledger has them."""

    at: Time
    slis: list[SliReport]


class Health(BaseModel):
    """Whether the process is alive."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether the instance should get traffic, and why not."""

    status: Literal["ready", "unready"]
    reasons: list[str]
    warnings: list[str]
    """What somebody should know of an instance that should get traffic all the same."""


class IncidentLink(BaseModel):
    """Where to look further."""

    href: str
    text: str


class Incident(BaseModel):
    """A spell during which an alert was active."""

    number: int
    alertname: str
    severity: str
    sli: str | None
    traffic: str | None
    summary: str
    active_at: Time
    fired_at: Time
    resolved_at: Time | None
    acknowledged_at: Time | None
    details: dict[str, Any]
    links: list[IncidentLink]


class IncidentPage(BaseModel):
    """Incidents, newest first."""

    incidents: list[Incident]
    next_cursor: int | None


class TimelineEntry(BaseModel):
    """A line of an incident's timeline."""

    at: Time
    event: str
    detail: str | None


class SentPage(BaseModel):
    """A page of an incident."""

    channel: str
    action: str
    dedup_key: str
    state: str
    attempts: int
    created_at: Time
    sent_at: Time | None
    next_attempt_at: Time | None
    last_error: str | None


class FullIncident(Incident):
    """An incident with its timeline and its pages."""

    timeline: list[TimelineEntry]
    pages: list[SentPage]


class PrometheusAnswer(BaseModel):
    """An answer in the shape of Prometheus' HTTP API."""

    status: Literal["success"]
    data: dict[str, Any]


class Received(BaseModel):
    """Whether a webhook changed anything."""

    effect: bool
