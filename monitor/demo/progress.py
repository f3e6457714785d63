"""The lines in which a demonstration says how it goes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx

from monitor.demo.load import Tally
from monitor.domain.vocabulary import Traffic, Window

REPORT_SECONDS = 5.0
_WINDOW = Window.H1


async def observe(client: httpx.AsyncClient, tally: Tally) -> str:
    """Ask the service for its rates and alerts, and put them into a line. Never raises."""
    time = datetime.now(UTC).strftime("%H:%M:%S")
    try:
        slis = (await client.get("/v1/slis")).raise_for_status().json()["slis"]
        alerts = (await client.get("/api/v1/alerts")).raise_for_status().json()["data"]["alerts"]
        return f"{time}  {describe(tally, slis, alerts)}"
    except (httpx.HTTPError, ValueError, KeyError) as error:
        return f"{time}  {_bookings(tally)}  the service does not answer: {type(error).__name__}"


def describe(tally: Tally, slis: Iterable[Mapping[str, Any]], alerts: Iterable[Mapping[str, Any]]) -> str:
    """Say what was booked, what the rates of real bookings are, and what fires; shapes as the HTTP API answers."""
    rates = "  ".join(
        f"{sli['sli'].replace('_', ' ')} {_percent(sli['windows'][_WINDOW])}"
        for sli in slis
        if sli["traffic"] == Traffic.REAL
    )
    firing = sorted({_name(alert["labels"]) for alert in alerts if alert["state"] == "firing"})
    return f"{_bookings(tally)}  {rates}" + (f"  firing: {', '.join(firing)}" if firing else "")


def _bookings(tally: Tally) -> str:
    others = {"refused": tally.refused, "unanswered": tally.unanswered}
    return f"{tally.taken:,} bookings" + "".join(f", {count:,} {name}" for name, count in others.items() if count)


def _percent(counts: Mapping[str, int]) -> str:
    """The share of good ones, rounded down, so that 100 % is said of no rate below it."""
    events, bad = counts["events"], counts["bad"]
    return f"{math.floor(1000 * (events - bad) / events) / 10:.1f} %" if events else "–"


def _name(labels: Mapping[str, str]) -> str:
    canary = " of the canaries" if labels.get("traffic") == Traffic.CANARY else ""
    return f"{labels['alertname']}{canary} ({labels['severity']})"
