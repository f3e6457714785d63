"""The metrics as promtool sees them; those of a service after all kinds of traffic are in test_schemathesis.py."""

from __future__ import annotations

import pytest
from support.promtool import objections

from monitor.domain.ledger import DURATION_BUCKETS, Count, Durations, Snapshot
from monitor.domain.vocabulary import AlertName, Severity, Stage, Traffic, Window
from monitor.telemetry.metrics import Metrics


@pytest.mark.parametrize("read", [False, True], ids=["before the ledger is read", "after it"])
def test_promtool_has_nothing_to_say_about_the_metrics(*, read: bool) -> None:
    metrics = Metrics(
        objectives={Stage.CHAT_ROOM: 0.95, Stage.NOTIFICATION: 0.98, Stage.REALTIME: 0.95},
        platforms=("embedded",),
        jobs=("judge",),
        version="1.0.0",
        platform="embedded",
    )
    if read:
        metrics.request_answered("/v1/bookings", "POST", 201, 0.002)
        place = Stage.CHAT_ROOM, Traffic.REAL
        metrics.update(
            Snapshot(
                at=1_790_000_000_000,
                windows={(*place, Window.M5): Count(9, 7)},
                durations={place: Durations((1,) * (len(DURATION_BUCKETS) + 1), 99.5)},
                revenue_at_risk={"IDR": 35_000_000},
                alerts={(AlertName.CHAT_ROOM_LOW, Severity.CRITICAL, "chat_room", "real"): "firing"},
            )
        )
    text, _ = metrics.render(None)
    assert objections(text.decode()) == ""
