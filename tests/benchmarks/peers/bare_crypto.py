"""Peer: the two operations on P-256 that no web push can do without: ECDH with a new key, and an ES256 signature."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256


def run(job: dict[str, Any]) -> dict[str, float]:
    """Repeat both for `seconds`; gives the mean in microseconds."""
    curve = ec.SECP256R1()
    receiver = ec.generate_private_key(curve).public_key()
    signer = ec.generate_private_key(curve)
    algorithm, token = ec.ECDSA(SHA256()), b"x" * 180
    times = 0
    begun = time.perf_counter()
    until = begun + job["seconds"]
    while time.perf_counter() < until:
        ec.generate_private_key(curve).exchange(ec.ECDH(), receiver)
        signer.sign(token, algorithm)
        times += 1
    return {"microseconds": (time.perf_counter() - begun) / times * 1e6}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
