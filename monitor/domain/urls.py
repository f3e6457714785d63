"""Addresses as they stand in settings: on the web, and of the store."""

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


def store_url(value: SecretStr) -> SecretStr:
    """The value of a setting, where it is the URL of a store. Raises ValueError, which does not show it."""
    text = value.get_secret_value()
    if not text.startswith(("sqlite:///", "postgresql://", "postgresql+psycopg://")):
        raise ValueError("starts with sqlite:/// or postgresql://")
    if text in ("sqlite:///", "sqlite:///:memory:") or (text.startswith("sqlite:///") and "?" in text):
        raise ValueError("names a file after sqlite:///, and nothing else")
    if not text.isprintable():
        raise ValueError("is made of printable characters")
    parts = urlsplit(text)
    if parts.port is None and parts.netloc.endswith(":"):  # for one that is no number `port` raises ValueError itself
        raise ValueError("Port is a number, where there is a colon for it")
    return value
