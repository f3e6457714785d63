"""Reading what stands at `/metrics`."""

from __future__ import annotations

import re


def metric(exposition: str, name: str, **labels: str) -> float:
    """The sum of a metric over all that has these labels. A counter may be named without its `_total`."""
    found = [
        float(line.rpartition(" ")[2])
        for line in exposition.splitlines()
        if re.match(rf"{name}(_total)?[{{ ]", line) and all(f'{key}="{value}"' in line for key, value in labels.items())
    ]
    assert found, f"there is no {name} with {labels}"
    return sum(found)
