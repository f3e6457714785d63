"""What keeps personal data and secrets out of logs and traces, whatever a caller hands over by mistake.

Three rules, applied to every field: a value under the name of something personal or secret is masked, at any
depth; an object that is not plain data appears as its type only; an exception appears as its type, its code and
where it was raised, never with its message, which may quote the values that caused it.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from functools import lru_cache
from itertools import islice
from typing import Any
from uuid import UUID

MASK = "[masked]"

MAX_TEXT = 2048
"""Characters of a text that are kept."""
MAX_ITEMS = 64
"""Items of a collection that are kept."""
MAX_DEPTH = 6
"""Levels of nested collections, or of exceptions, that are followed."""
MAX_FRAMES = 50
"""Frames of a traceback that are kept, counted from where the exception was raised."""

_DENIED_ENDINGS = (
    "address", "auth", "authorization", "body", "cookie", "credentials", "email", "endpoint", "extra",
    "guestname", "headers", "location", "message", "note", "notes", "p256dh", "passwd", "password", "payload",
    "phone", "phonenumber", "photo", "preview", "query", "roomnumber", "routingkey", "secret", "subscription",
    "title", "token", "tokens", "url", "urls", "whatsapp",
)  # fmt: skip
_DENIED_NAMES = frozenset({
    "apikey", "args", "content", "customer", "customername", "data", "document", "dsn", "firstname", "fullname",
    "idempotencykey", "input", "lastname", "name", "originaltext", "params", "parameters", "placename",
    "privatekey", "provider", "providername", "recipientname", "sendername", "summary", "surname", "text",
    "therapistname", "translatedtext", "username", "vapidprivatekey",
})  # fmt: skip
"""Names as `denied` compares them: in lower case, letters and digits only."""

_PLAIN = frozenset({int, float, bool, type(None)})
_CODE = re.compile(r"[A-Za-z0-9_]{1,64}")
_FOREIGN = (
    (re.compile(r"\?[^\s\"'<>]+"), "?" + MASK),  # query strings, which carry tokens
    (re.compile(r"//[^\s/@]+@"), f"//{MASK}@"),  # credentials in URLs
    (re.compile(r"(?i)\b(bearer|basic)\s+\S+"), rf"\1 {MASK}"),
    (re.compile(r"[^\s@\"'<>]+@[^\s@\"'<>]+\.\w+"), MASK),  # e-mail addresses
    (re.compile(r"\+\d[\d .()-]{6,}\d"), MASK),  # phone numbers
)


@lru_cache(maxsize=4096)
def denied(name: str) -> bool:
    """Whether a field of this name may hold personal data or a secret, however the name is spelled.

    Ids are not personal: `customer_id` passes, `customer_name` and `customerName` do not.
    """
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return letters in _DENIED_NAMES or letters.endswith(_DENIED_ENDINGS)


def mask(fields: dict[str, Any]) -> dict[str, Any]:
    """Clean the fields of an event, in place."""
    for name, value in fields.items():
        kind = type(value)
        if denied(name):
            fields[name] = MASK
        elif kind is str and len(value) <= MAX_TEXT:
            continue
        elif kind not in _PLAIN:
            fields[name] = clean(value)
    return fields


def clean(value: object, depth: int = 0) -> Any:
    """Make plain data of a value, without what is personal in it."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, str | date | Decimal | UUID):
        return str(value)[:MAX_TEXT]
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth < MAX_DEPTH:
        return _clean_items(value, depth + 1)
    return describe(value) if isinstance(value, BaseException) else f"<{type(value).__qualname__}>"


def _clean_items(items: Mapping[Any, Any] | Iterable[Any], depth: int) -> Any:
    if isinstance(items, Mapping):
        named = ((_name(name), value) for name, value in islice(items.items(), MAX_ITEMS))
        return {name: MASK if denied(name) else clean(value, depth) for name, value in named}
    return [clean(item, depth) for item in islice(items, MAX_ITEMS)]


def _name(name: object) -> str:
    return str(name)[:MAX_TEXT] if isinstance(name, str) else f"<{type(name).__qualname__}>"


def scrub(text: str) -> str:
    """Clean a message of a library: its first line, without query strings, credentials, mail or phone numbers.

    Further lines are left out since they quote objects (asyncio) or statements with their values.
    """
    text = text.partition("\n")[0][:MAX_TEXT]
    for pattern, replacement in _FOREIGN:
        text = pattern.sub(replacement, text)
    return text


def describe(error: BaseException) -> str:
    """Name an exception, with its code where it has one: `OperationalError(SQLITE_BUSY)`."""
    code = _code(error)
    return f"{type(error).__qualname__}({code})" if code else type(error).__qualname__


def _code(error: BaseException) -> str | None:
    if isinstance(error, OSError) and isinstance(error.errno, int):
        return errno.errorcode.get(error.errno)
    for attribute in ("sqlstate", "sqlite_errorname"):
        code = getattr(error, attribute, None)
        if isinstance(code, str) and _CODE.fullmatch(code):
            return code
    return None


def traceback(error: BaseException) -> list[dict[str, Any]]:
    """Make plain data of an exception and those behind it, outermost first.

    Each is `{"error": ..., "frames": ["module:line in function", ...]}`; one that another exception was raised
    from has `"cause": true`, a group has its members under `"members"`.
    """
    return _chain(error, set(), 0)


def _chain(error: BaseException, seen: set[int], depth: int) -> list[dict[str, Any]]:
    chain: list[dict[str, Any]] = []
    current: BaseException | None = error
    is_cause = False
    while current is not None and id(current) not in seen and len(chain) < MAX_DEPTH:
        seen.add(id(current))
        link: dict[str, Any] = {"error": describe(current), "frames": _frames(current)}
        if is_cause:
            link["cause"] = True
        if isinstance(current, BaseExceptionGroup) and depth < MAX_DEPTH:
            link["members"] = [_chain(member, seen, depth + 1) for member in current.exceptions[:MAX_ITEMS]]
        chain.append(link)
        is_cause = current.__cause__ is not None
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return chain


def _frames(error: BaseException) -> list[str]:
    frames = []
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        frames.append(f"{frame.f_globals.get('__name__', '?')}:{step.tb_lineno} in {frame.f_code.co_qualname}")
        step = step.tb_next
    return frames[-MAX_FRAMES:]
