"""Encrypting and signing a web push as the pipeline does it, each message with a signature of its own.

Reads a job from stdin: `seconds`. The pipeline signs once for each push service and uses that header for hours; it is
signed anew here for each message, because that is what the peer does.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from monitor.pipeline.push.encryption import encrypt
from monitor.pipeline.push.endpoints import AllowedHosts, encode_base64url, parse_subscription
from monitor.pipeline.push.vapid import VapidSigner

AUDIENCE = "https://push.example.com"
PAYLOAD = json.dumps({"type": "booking.created", "id": "0" * 36, "booking": {"id": "0" * 36}}).encode()


def run(job: dict[str, Any]) -> dict[str, float]:
    """Repeat both for `seconds`; gives the mean in microseconds."""
    curve = ec.SECP256R1()
    browser = ec.generate_private_key(curve).public_key()
    point = browser.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    document = {
        "endpoint": f"{AUDIENCE}/send/1",
        "keys": {"p256dh": encode_base64url(point), "auth": encode_base64url(os.urandom(16))},
    }
    subscription = parse_subscription(document, AllowedHosts.parse(["push.example.com"]))
    signer = VapidSigner(ec.generate_private_key(curve), "mailto:operator@example.com")
    expires_at = int(time.time()) + 3600
    times = 0
    begun = time.perf_counter()
    until = begun + job["seconds"]
    while time.perf_counter() < until:
        encrypt(PAYLOAD, subscription)
        signer.sign(AUDIENCE, expires_at)
        times += 1
    return {"microseconds": (time.perf_counter() - begun) / times * 1e6}


if __name__ == "__main__":
    json.dump(run(json.load(sys.stdin)), sys.stdout)
