"""Secrets that stand in files, as orchestrators hand them over."""

from __future__ import annotations

from pathlib import Path

LONGEST_BYTES = 65_536
"""Of such a file; what is longer, or never ends, is no secret."""


def read_secret(path: str) -> str:
    """The text of a file without the white space around it. Raises OSError, or ValueError for what is no secret."""
    with Path(path).open("rb") as file:
        secret = file.read(LONGEST_BYTES + 1)
    if len(secret) > LONGEST_BYTES:
        raise ValueError(f"it has more than {LONGEST_BYTES} bytes")
    return secret.decode().strip()
