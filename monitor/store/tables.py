"""Every table of the house, the same on SQLite and on PostgreSQL.

Times are integers, milliseconds since the epoch in UTC. Ids are UUIDv7 text. The partial indexes are what
keeps the running cost of judging, sweeping and expiry at what is due, however long the history grows.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

bookings = Table(
    "bookings",
    metadata,
    Column("id", Text, primary_key=True),
    Column("platform", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("provider_name", Text, nullable=False),
    Column("provider_type", Text),
    Column("customer_id", Text, nullable=False),
    Column("customer_name", Text, nullable=False),
    Column("customer_phone", Text),
    Column("service_type", Text),
    Column("duration_minutes", Integer),
    Column("price_minor", BigInteger),
    Column("currency", Text),
    Column("location", Text),
    Column("scheduled_for", BigInteger),
    Column("notes", Text),
    Column("extra", Text, comment="JSON object of the fields that are not ours"),
    Column("status", Text, nullable=False),
    Column("provider_response_status", Text, nullable=False),
    Column("response_deadline", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("traceparent", Text, comment="W3C trace context of the request that made the booking"),
)
Index("ix_bookings_provider_id_id", bookings.c.provider_id, bookings.c.id)
_synthetic = bookings.c.traffic == "canary"
Index("ix_bookings_synthetic", bookings.c.created_at, sqlite_where=_synthetic, postgresql_where=_synthetic)
Index(
    "ix_bookings_awaiting",
    bookings.c.response_deadline,
    sqlite_where=bookings.c.status == "pending",
    postgresql_where=bookings.c.status == "pending",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", Text, primary_key=True, comment="caller and its Idempotency-Key, hashed together"),
    Column("body_hash", Text, nullable=False),
    Column("booking_id", Text, ForeignKey("bookings.id", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("ix_idempotency_keys_booking_id", idempotency_keys.c.booking_id)
Index("ix_idempotency_keys_created_at", idempotency_keys.c.created_at)

chat_rooms = Table(
    "chat_rooms",
    metadata,
    Column("id", Text, primary_key=True),
    Column("booking_id", Text, ForeignKey("bookings.id", ondelete="CASCADE"), nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("customer_id", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    UniqueConstraint("booking_id"),
)

chat_messages = Table(
    "chat_messages",
    metadata,
    Column("id", Text, primary_key=True),
    Column("room_id", Text, ForeignKey("chat_rooms.id", ondelete="CASCADE"), nullable=False),
    Column("kind", Text, nullable=False, comment="what the message is: see domain.chat.MessageKind"),
    Column("sender_type", Text, nullable=False),
    Column("sender_id", Text),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
Index("ix_chat_messages_room_id_id", chat_messages.c.room_id, chat_messages.c.id)

notifications = Table(
    "notifications",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("booking_id", Text, ForeignKey("bookings.id", ondelete="CASCADE"), nullable=False),
    Column("type", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("read_at", BigInteger),
)
Index("ix_notifications_booking_id", notifications.c.booking_id)
Index("ix_notifications_provider_id_id", notifications.c.provider_id, notifications.c.id)

push_subscriptions = Table(
    "push_subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("p256dh", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("expires_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("endpoint"),
)
Index("ix_push_subscriptions_provider_id", push_subscriptions.c.provider_id)

live_subscriptions = Table(
    "live_subscriptions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("provider_id", Text, nullable=False),
    Column("transport", Text, nullable=False),
    Column("replica", Text, nullable=False),
    Column("opened_at", BigInteger, nullable=False),
    Column("closed_at", BigInteger),
)
Index("ix_live_subscriptions_provider_id", live_subscriptions.c.provider_id, live_subscriptions.c.closed_at)
Index(
    "ix_live_subscriptions_open",
    live_subscriptions.c.replica,
    sqlite_where=live_subscriptions.c.closed_at.is_(None),
    postgresql_where=live_subscriptions.c.closed_at.is_(None),
)
Index("ix_live_subscriptions_closed_at", live_subscriptions.c.closed_at)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Text, primary_key=True, comment="also the id of the event that a subscriber sees"),
    Column("booking_id", Text, ForeignKey("bookings.id", ondelete="CASCADE"), nullable=False),
    Column("stage", Text, nullable=False),
    Column("target", Text, nullable=False, comment="the provider (realtime) or the push subscription (push)"),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", BigInteger, comment="null: nothing is planned until somebody is there to receive it"),
    Column("last_error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("delivered_at", BigInteger),
    Column("attempts_before", Integer, nullable=False, comment="attempts made before it was last driven again"),
)
Index("ix_deliveries_booking_id", deliveries.c.booking_id)
_due = deliveries.c.next_attempt_at.is_not(None)
Index(
    "ix_deliveries_due",
    deliveries.c.stage,
    deliveries.c.next_attempt_at,
    sqlite_where=_due,
    postgresql_where=_due,
)
_open = deliveries.c.state.in_(("pending", "retrying", "dead"))
Index(
    "ix_deliveries_open",
    deliveries.c.stage,
    deliveries.c.state,
    deliveries.c.target,
    sqlite_where=_open,
    postgresql_where=_open,
)
Index("ix_deliveries_target_id", deliveries.c.target, deliveries.c.id)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("delivery_id", Text, ForeignKey("deliveries.id", ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("result", Text, nullable=False),
    Column("detail", Text),
    PrimaryKeyConstraint("delivery_id", "attempt"),
    sqlite_with_rowid=False,
)

# A stage outlives its booking on purpose: a booking that vanishes must be seen missing, not forgotten.
stages = Table(
    "stages",
    metadata,
    Column("booking_id", Text, nullable=False),
    Column("stage", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("outcome", Text),
    Column("reason", Text),
    Column("evidence_at", BigInteger),
    Column("judged_at", BigInteger),
    Column("repairs", Integer, nullable=False, comment="times that it was tried to make it good"),
    Column("repaired_at", BigInteger, comment="when that was last tried"),
    PrimaryKeyConstraint("booking_id", "stage"),
    sqlite_with_rowid=False,
)
_undecided = stages.c.outcome.is_(None)
Index("ix_stages_undecided", stages.c.due_at, sqlite_where=_undecided, postgresql_where=_undecided)
_overdue = stages.c.outcome.in_(("missing", "failed")) & stages.c.evidence_at.is_(None)
Index("ix_stages_overdue", stages.c.due_at, sqlite_where=_overdue, postgresql_where=_overdue)
_bad = stages.c.outcome.in_(("late", "missing", "failed"))
Index(
    "ix_stages_bad",
    stages.c.stage,
    stages.c.traffic,
    stages.c.due_at,
    sqlite_where=_bad,
    postgresql_where=_bad,
)

sli_minutes = Table(
    "sli_minutes",
    metadata,
    Column("minute", BigInteger, nullable=False, autoincrement=False, comment="minutes since the epoch, of due time"),
    Column("sli", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("events", Integer, nullable=False),
    Column("bad", Integer, nullable=False),
    PrimaryKeyConstraint("minute", "sli", "traffic"),
    sqlite_with_rowid=False,
)

sli_seconds = Table(
    "sli_seconds",
    metadata,
    Column("second", BigInteger, nullable=False, autoincrement=False, comment="seconds since the epoch, of due time"),
    Column("sli", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("events", Integer, nullable=False),
    Column("bad", Integer, nullable=False),
    PrimaryKeyConstraint("second", "sli", "traffic"),
    comment="the same counts by the second, so that the edge of a window can be cut exactly",
    sqlite_with_rowid=False,
)

sli_totals = Table(
    "sli_totals",
    metadata,
    Column("sli", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("total", BigInteger, nullable=False),
    PrimaryKeyConstraint("sli", "traffic", "outcome", "reason"),
    sqlite_with_rowid=False,
)

stage_durations = Table(
    "stage_durations",
    metadata,
    Column("stage", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("bucket", Integer, nullable=False, autoincrement=False, comment="index into domain.ledger.DURATION_BUCKETS"),
    Column("total", BigInteger, nullable=False),
    Column("sum_seconds", Float, nullable=False),
    PrimaryKeyConstraint("stage", "traffic", "bucket"),
    sqlite_with_rowid=False,
)

stage_exemplars = Table(
    "stage_exemplars",
    metadata,
    Column("stage", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("bucket", Integer, nullable=False, autoincrement=False),
    Column("trace_id", Text, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("stage", "traffic", "bucket"),
    comment="the last sampled trace that fell into a bucket",
    sqlite_with_rowid=False,
)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, nullable=False, comment="see domain.ledger.Counter"),
    Column("first", Text, nullable=False, comment="value of the first label"),
    Column("second", Text, nullable=False, comment="value of the second label, empty where there is one"),
    Column("total", BigInteger, nullable=False),
    PrimaryKeyConstraint("name", "first", "second"),
    sqlite_with_rowid=False,
)

marks = Table(
    "marks",
    metadata,
    Column("name", Text, primary_key=True, comment="see domain.ledger.Mark"),
    Column("at", BigInteger, nullable=False),
)

notes = Table(
    "notes",
    metadata,
    Column("name", Text, primary_key=True, comment="see domain.ledger.Note"),
    Column("value", Text, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("token", BigInteger, nullable=False, comment="fencing token: grows each time the lease changes hands"),
    Column("expires_at", BigInteger, nullable=False),
)

drift_minutes = Table(
    "drift_minutes",
    metadata,
    Column("minute", BigInteger, nullable=False, autoincrement=False, comment="minutes since the epoch, of creation"),
    Column("kind", Text, nullable=False),
    Column("bookings", Integer, nullable=False),
    PrimaryKeyConstraint("minute", "kind"),
    sqlite_with_rowid=False,
)

alerts = Table(
    "alerts",
    metadata,
    Column("alertname", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("sli", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("active_at", BigInteger),
    Column("fired_at", BigInteger),
    Column("keeping_since", BigInteger),
    Column("resolved_at", BigInteger),
    PrimaryKeyConstraint("alertname", "severity", "sli", "traffic"),
    sqlite_with_rowid=False,
)

incidents = Table(
    "incidents",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("alertname", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("sli", Text, nullable=False),
    Column("traffic", Text, nullable=False),
    Column("active_at", BigInteger, nullable=False),
    Column("fired_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    Column("acknowledged_at", BigInteger),
    Column("evaluated_at", BigInteger, nullable=False),
    Column("report", Text, nullable=False, comment="JSON: the content of its page, as last evaluated"),
)
_active = incidents.c.resolved_at.is_(None)
Index(
    "ix_incidents_active",
    incidents.c.alertname,
    incidents.c.severity,
    incidents.c.sli,
    incidents.c.traffic,
    unique=True,
    sqlite_where=_active,
    postgresql_where=_active,
)

incident_events = Table(
    "incident_events",
    metadata,
    Column("incident", BigInteger, ForeignKey("incidents.number", ondelete="CASCADE"), nullable=False),
    Column("position", Integer, nullable=False, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("detail", Text),
    PrimaryKeyConstraint("incident", "position"),
    comment="the timeline of an incident",
    sqlite_with_rowid=False,
)

pages = Table(
    "pages",
    metadata,
    Column("id", Text, primary_key=True, comment="UUIDv7: pages of an incident are sent in this order"),
    Column("incident", BigInteger, ForeignKey("incidents.number", ondelete="CASCADE"), nullable=False),
    Column("channel", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("dedup_key", Text, nullable=False),
    Column("content", Text, nullable=False, comment="JSON object"),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", BigInteger),
    Column("last_error", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("sent_at", BigInteger, comment="when it was last accepted"),
)
_unsent = pages.c.state == "pending"
Index("ix_pages_unsent", pages.c.next_attempt_at, sqlite_where=_unsent, postgresql_where=_unsent)
Index("ix_pages_incident", pages.c.incident)
