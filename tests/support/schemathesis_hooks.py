"""What generated requests need to know that a schema cannot say."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis

from monitor.domain.booking import BookingRequest

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """Put a booking off until tomorrow, and leave out what is not kept with it: integers of more than 64 bits."""
    _ = context, kwargs
    if not isinstance(case.body, dict):
        return
    body = {name: value for name, value in case.body.items() if name in BookingRequest.model_fields or _fits(value)}
    when = body.get("scheduled_for")
    if isinstance(when, str) and _RFC_3339.fullmatch(when):
        body["scheduled_for"] = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    case.body = body


def _fits(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_fits, value.values()))
    if isinstance(value, list):
        return all(map(_fits, value))
    return not isinstance(value, int) or abs(value) < 2**63
