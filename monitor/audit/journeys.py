"""Journeys: bookings with their stages, as they stand now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monitor.audit.platform import Platform
from monitor.domain.due import DueStage
from monitor.domain.judgement import judge
from monitor.domain.times import optional_rfc3339, rfc3339
from monitor.domain.traces import trace_id
from monitor.domain.vocabulary import Stage, Traffic
from monitor.store import journeys
from monitor.store.readers import Readers
from monitor.telemetry.logs import get_logger

log = get_logger(__name__)

_UNREADABLE = (ValueError, TypeError, KeyError, OverflowError)
"""What comes of rows that hold what this service never writes."""


class Journeys:
    """Reads journeys: what is judged from the ledger, what is not judged yet from where it must exist."""

    def __init__(self, readers: Readers, platform: Platform) -> None:
        self._readers = readers
        self._platform = platform

    async def find(self, booking_id: str) -> dict[str, Any] | None:
        """The journey of one booking, with its deliveries and their attempts."""
        found = await self._read([booking_id], deliveries=True)
        return found[0] if found else None

    async def recent(
        self, *, provider_id: str | None, traffic: str | None, before: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], list[str]]:
        """Journeys, the newest first, without their deliveries; and the ids of those that cannot be read."""
        ids = await self._readers.run(
            journeys.recent_ids, provider_id=provider_id, traffic=traffic, before=before, limit=limit
        )
        try:
            return await self._read(ids), []
        except _UNREADABLE:
            return await self._read_apart(ids)

    async def _read_apart(self, booking_ids: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
        """Read journeys one by one, so that one which cannot be read is missing alone."""
        shown, unreadable = [], []
        for booking_id in booking_ids:
            try:
                shown += await self._read([booking_id])
            except _UNREADABLE as error:
                log.error("booking.unreadable", booking_id=booking_id, error=type(error).__name__)  # noqa: TRY400 - told without what the rows hold
                unreadable.append(booking_id)
        return shown, unreadable

    async def _read(self, booking_ids: Sequence[str], *, deliveries: bool = False) -> list[dict[str, Any]]:
        found = await self._readers.run(journeys.read, booking_ids, deliveries=deliveries)
        evidence = await self._evidence(found)
        return [_show(journey, evidence) for journey in found]

    async def _evidence(self, found: Sequence[journeys.Journey]) -> dict[tuple[str, str], int]:
        """When each stage's evidence came, by booking and stage."""
        known: dict[tuple[str, str], int] = {}
        open_stages: list[DueStage] = []
        for journey in found:
            booking = journey.booking
            for row in journey.stages:
                if row["evidence_at"] is not None:
                    known[row["booking_id"], row["stage"]] = row["evidence_at"]
                    continue
                open_stages.append(
                    DueStage(
                        row["booking_id"],
                        Stage(row["stage"]),
                        Traffic(row["traffic"]),
                        booking["provider_id"],
                        booking["customer_id"],
                        row["created_at"],
                        row["due_at"],
                        booking["traceparent"],
                    )
                )
        for due, facts in (await self._platform.look(open_stages)).items():
            at = judge(due.due_at, facts).evidence_at
            if at is not None:
                known[due.booking_id, due.stage.value] = at
        return known


def _show(journey: journeys.Journey, evidence: dict[tuple[str, str], int]) -> dict[str, Any]:
    booking = journey.booking
    shown: dict[str, Any] = {
        "booking_id": booking["id"],
        "traffic": booking["traffic"],
        "provider_id": booking["provider_id"],
        "customer_id": booking["customer_id"],
        "status": booking["status"],
        "provider_response_status": booking["provider_response_status"],
        "created_at": rfc3339(booking["created_at"]),
        "trace_id": trace_id(booking["traceparent"]),
        "stages": [
            {
                "stage": row["stage"],
                "due_at": rfc3339(row["due_at"]),
                "evidence_at": optional_rfc3339(evidence.get((row["booking_id"], row["stage"]))),
                "outcome": row["outcome"],
                "reason": row["reason"],
                "judged_at": optional_rfc3339(row["judged_at"]),
                "repairs": row["repairs"],
            }
            for row in journey.stages
        ],
    }
    if journey.deliveries is not None:
        shown["deliveries"] = [
            {
                "id": row["id"],
                "stage": row["stage"],
                "state": row["state"],
                "attempts": row["attempts"],
                "next_attempt_at": optional_rfc3339(row["next_attempt_at"]),
                "last_error": row["last_error"],
                "delivered_at": optional_rfc3339(row["delivered_at"]),
                "history": [
                    {
                        "attempt": attempt["attempt"],
                        "at": rfc3339(attempt["at"]),
                        "result": attempt["result"],
                        "detail": attempt["detail"],
                    }
                    for attempt in journey.attempts[row["id"]]
                ],
            }
            for row in journey.deliveries
        ]
    return shown
