"""The `.env` file, looked through before anything is taken from it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream


def problems_of(path: Path) -> list[str]:
    """What keeps a `.env` file from being read as it is meant, line by line; its values are not shown.

    Where there is no such file nothing is wrong with it.
    """
    if not path.is_file():
        return []
    try:
        content = path.read_bytes()
    except OSError as error:
        return [f"{path} cannot be read: {error.strerror}"]
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [f"{path}, line {line}: is not UTF-8"]
    return [
        f"{path}, line {original.line + _blank_lines_before(original.string)}: is not NAME=value"
        for _, _, original, bad in parse_stream(StringIO(text))
        if bad
    ]


def _blank_lines_before(text: str) -> int:
    return text[: -len(text.lstrip())].count("\n")
