"""What the store hands out: the columns of a row by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Fields = Mapping[Any, Any]
"""Keys are column names."""
