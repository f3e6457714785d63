"""The closed sets of words that the ledger, the metrics and the pages share.

Every label value that is ever exported comes from here, so that a label can neither grow without
bound nor be spelled in two ways.
"""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """One thing that must be true for a booking."""

    CHAT_ROOM = "chat_room"
    MESSAGE = "message"
    NOTIFICATION = "notification"
    PUSH = "push"
    REALTIME = "realtime"


SLIS: tuple[Stage, ...] = (Stage.CHAT_ROOM, Stage.NOTIFICATION, Stage.REALTIME)
"""The stages whose rates are measured against an objective; the others support them."""


class Traffic(StrEnum):
    """Whose booking it is. Never pooled: a healthy canary must not hide sick real traffic."""

    REAL = "real"
    CANARY = "canary"


class Outcome(StrEnum):
    """What a stage turned out to be at its due time."""

    GOOD = "good"
    LATE = "late"
    MISSING = "missing"
    FAILED = "failed"
    EXEMPT = "exempt"

    @property
    def counts(self) -> bool:
        """Whether the stage is an event of its SLI: all but the exempt are."""
        return self is not Outcome.EXEMPT

    @property
    def bad(self) -> bool:
        """Whether the stage counts against its objective."""
        return self in (Outcome.LATE, Outcome.MISSING, Outcome.FAILED)


class Reason(StrEnum):
    """Why a stage has its outcome. For a bad one this is its cause class."""

    ON_TIME = "on_time"
    NO_LIVE_SUBSCRIPTION = "no_live_subscription"
    LATE = "late"
    NEVER_ATTEMPTED = "never_attempted"
    WRITE_REJECTED = "write_rejected"
    TARGET_MISSING = "target_missing"
    FIELD_MISMATCH = "field_mismatch"
    PLATFORM_UNREACHABLE = "platform_unreachable"
    PUSH_REJECTED = "push_rejected"
    SUBSCRIBER_SILENT = "subscriber_silent"


class DeliveryState(StrEnum):
    """Where a delivery of the outbox stands."""

    PENDING = "pending"
    """Not acknowledged yet; no attempt has failed."""
    RETRYING = "retrying"
    """At least one attempt failed; another one is planned."""
    DELIVERED = "delivered"
    """The receiver acknowledged it."""
    DEAD = "dead"
    """Given up after the attempt limit; kept, counted, and can be driven again."""
    LAPSED = "lapsed"
    """Nobody was there to receive it before the booking no longer waited for an answer."""


OUTSTANDING: tuple[DeliveryState, ...] = (DeliveryState.PENDING, DeliveryState.RETRYING)
"""The states in which a delivery still wants an attempt."""


class AttemptResult(StrEnum):
    """How one attempt to deliver ended."""

    OK = "ok"
    REJECTED = "rejected"
    """The receiver refused for good: another attempt would be refused too."""
    GONE = "gone"
    """The receiver no longer exists (a push subscription that ended)."""
    ERROR = "error"
    """The receiver could not be reached or failed, or its booking could not be read; worth another attempt."""
    UNACKNOWLEDGED = "unacknowledged"
    """It was sent, and no acknowledgement came back in time."""


class RepairResult(StrEnum):
    """How an attempt to make a missing stage good ended."""

    REPAIRED = "repaired"
    FAILED = "failed"


class CanaryResult(StrEnum):
    """How one canary ended."""

    OK = "ok"
    FAILED = "failed"


class Transport(StrEnum):
    """How a live subscriber is connected."""

    WEBSOCKET = "websocket"
    SSE = "sse"


class Window(StrEnum):
    """A span over due times for which the ledger reports counts.

    The first five are the reporting windows. The short ones are the companions (1/12) of the alerting
    windows: a rate alert ends soon after its companion shows no failure any more.
    """

    M5 = "5m"
    H1 = "1h"
    H6 = "6h"
    H24 = "24h"
    H72 = "72h"
    S25 = "25s"
    M30 = "30m"
    H2 = "2h"

    @property
    def seconds(self) -> int:
        """Length of the window, in seconds."""
        return int(self.value[:-1]) * {"s": 1, "m": 60, "h": 3600}[self.value[-1]]


class AlertName(StrEnum):
    """The alerts of the service, by the names under which they leave."""

    CHAT_ROOM_LOW = "BookingChatRoomCreationLow"
    NOTIFICATION_LOW = "BookingNotificationDeliveryLow"
    REALTIME_LOW = "BookingRealtimeMatchLow"
    OVERDUE = "BookingOverdue"
    CANARY_FAILING = "BookingCanaryFailing"
    SCHEMA_DRIFT = "BookingSchemaDrift"
    TRAFFIC_ABSENT = "BookingTrafficAbsent"
    LEDGER_STALE = "BookingLedgerStale"
    PAGE_UNDELIVERED = "BookingPageUndelivered"


class Severity(StrEnum):
    """How urgent an alert is."""

    CRITICAL = "critical"
    WARNING = "warning"


class AlertState(StrEnum):
    """Where an alert stands, in Prometheus' words."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"


class PageChannel(StrEnum):
    """By which way a page leaves."""

    PAGERDUTY = "pagerduty"
    ALERTMANAGER = "alertmanager"
    WEBHOOK = "webhook"


class PageAction(StrEnum):
    """What a page does to its incident."""

    TRIGGER = "trigger"
    REMINDER = "reminder"
    """It says again what the trigger said, as nobody has acknowledged it."""
    ACKNOWLEDGE = "acknowledge"
    RESOLVE = "resolve"


class PageState(StrEnum):
    """Where a page of the outbox stands."""

    PENDING = "pending"
    SENT = "sent"
    SUPERSEDED = "superseded"
    DEAD = "dead"


class Drift(StrEnum):
    """How bookings, or the platform's schema, can stop fitting what the pipeline needs."""

    LEGACY_FIELD = "legacy_field"
    """The provider stands only in a legacy field."""
    UNKNOWN_FIELD = "unknown_field"
    """The provider stands in no field that is known."""
    MISSING_ATTRIBUTE = "missing_attribute"
    """An attribute that the pipeline needs is gone from the platform."""
