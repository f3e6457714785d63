"""Addresses on the web, as they stand in settings."""

from __future__ import annotations

from typing import TypeVar
from urllib.parse import urlsplit

from pydantic import SecretStr

T = TypeVar("T", bound=str | SecretStr | None)

WANTED = "is a URL with a host: it begins with https:// or http://"


def is_web_url(text: str) -> bool:
    """Whether it is a URL of http or https with a host, and with a port that can be one if it has any."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError for one that is no number, or too large
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(sign.isspace() for sign in text)


def web_url(value: T) -> T:
    """The value of a setting, where it is such a URL or none at all. Raises ValueError."""
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text is not None and not is_web_url(text):
        raise ValueError(WANTED)
    return value
