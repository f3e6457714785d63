"""Addresses on the web, as they stand in settings."""

from __future__ import annotations

from urllib.parse import urlsplit

WANTED = "is a URL with a host: it begins with https:// or http://"


def is_web_url(text: str) -> bool:
    """Whether it is a URL of http or https with a host, and with a port that can be one if it has any."""
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises ValueError for one that is no number, or too large
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not any(sign.isspace() for sign in text)
