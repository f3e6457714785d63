"""What a web push costs before it leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from benchmarks.processes import run_json
from benchmarks.runner import Bench, Sides


@contextlib.contextmanager
def of_encryption(bench: Bench) -> Iterator[Sides]:
    """Encrypting for a browser and signing, and the two operations on the curve that this cannot do without."""
    job = {"seconds": bench.seconds}
    yield {
        "ours": lambda: run_json("ours.push_message", job),
        "bare": lambda: run_json("peers.bare_crypto", job),
    }
