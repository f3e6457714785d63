"""Calling a running instance from the command line. What answers there may be anything."""

from __future__ import annotations

from typing import Any

import httpx


class CallError(Exception):
    """The instance did not give the answer that was asked for; the message says what it did instead."""


def call(url: str, token: str | None, method: str, path: str, wanted: str, **options: Any) -> Any:
    """Send a request to the instance at `url`; return the field `wanted` of what it answers. Raises CallError."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.request(method, url.rstrip("/") + path, headers=headers, trust_env=False, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise CallError(f"{url} does not answer: {type(error).__name__}: {error}") from error
    try:
        body = answer.json()
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict) and wanted in body:
        return body[wanted]
    if isinstance(body, dict) and "detail" in body:
        raise CallError(f"{url} answered {answer.status_code}: {body['detail']}")
    raise CallError(f"{url} answered {answer.status_code}, and not as a booking-monitor does")
