"""Calling a running instance from the command line. What answers there may be anything."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import httpx
import orjson
from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")

TIMEOUT_SECONDS = 10
"""For a whole answer, unless more are given."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024


class CallError(Exception):
    """The instance did not give the answer that was asked for; the message says what it did instead."""


async def call(
    url: str,
    token: str | None,
    method: str,
    path: str,
    wanted: str,
    kind: type[T],
    *,
    seconds: float = TIMEOUT_SECONDS,
    **options: Any,
) -> T:
    """Send a request to the instance at `url`; return the field `wanted` of what it answers, which is a `kind`.

    Raises CallError.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            asyncio.timeout(seconds),
            httpx.AsyncClient(headers=headers, trust_env=False, timeout=seconds) as client,
            client.stream(method, url + path, **options) as answer,
        ):
            text = await _text(answer)
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        # What cannot be put into a request ends in any of these.
        raise CallError(f"{url} does not answer: {type(error).__name__}: {error}") from error
    try:
        body = orjson.loads(text)
    except ValueError:
        body = None
    if answer.is_success and isinstance(body, dict):
        try:
            return TypeAdapter(kind).validate_python(body.get(wanted))
        except ValidationError as error:
            raise CallError(f"{url} answered {answer.status_code}, and not as a booking-monitor does") from error
    if isinstance(body, dict) and "detail" in body:
        raise CallError(f"{url} answered {answer.status_code}: {body['detail']}")
    raise CallError(f"{url} answered {answer.status_code}, and not as a booking-monitor does")


async def _text(answer: httpx.Response) -> bytes:
    text = bytearray()
    async for some in answer.aiter_bytes():
        text += some
        if len(text) > MAX_ANSWER_BYTES:
            raise ValueError(f"more than {MAX_ANSWER_BYTES} bytes")
    return bytes(text)
