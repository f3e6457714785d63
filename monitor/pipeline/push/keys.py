"""The key pair by which push services know this service (VAPID, RFC 8292)."""

from __future__ import annotations

import base64
import re

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from monitor.pipeline.push.endpoints import encode_base64url

RAW_BYTES = 32
"""Of a private key on P-256, as a big-endian integer."""

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class InvalidVapidKeyError(ValueError):
    """The setting VAPID_PRIVATE_KEY holds no usable key. The message never holds the value."""

    def __init__(self) -> None:
        super().__init__(
            "VAPID_PRIVATE_KEY: allowed is a private key on the curve P-256 without a password: PEM, or base64url of"
            f" its {RAW_BYTES} raw bytes or of its DER"
        )


def generate() -> str:
    """Make a new key, in the form that fits best into the setting: base64url of the raw bytes."""
    scalar = ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value
    return encode_base64url(scalar.to_bytes(RAW_BYTES, "big"))


def load_private_key(text: str) -> ec.EllipticCurvePrivateKey:
    """Read the setting VAPID_PRIVATE_KEY.

    Raises:
        InvalidVapidKeyError: it is none of the allowed forms, or a key of another kind.

    """
    try:
        key = _parse(text.strip())
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # From None: what the parsers say may quote the key.
        raise InvalidVapidKeyError from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidVapidKeyError
    return key


def _parse(text: str) -> object:
    if text.startswith("-----BEGIN "):
        return serialization.load_pem_private_key(text.encode("ascii"), password=None)
    if _BASE64URL.fullmatch(text) is None:
        raise ValueError("not base64url")
    digits = text.rstrip("=")
    binary = base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))
    if len(binary) == RAW_BYTES:
        return ec.derive_private_key(int.from_bytes(binary, "big"), ec.SECP256R1())
    return serialization.load_der_private_key(binary, password=None)


def public_point(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the uncompressed public point that belongs to a key: 65 bytes."""
    return key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def application_server_key(key: ec.EllipticCurvePrivateKey) -> str:
    """Return what a browser passes to `pushManager.subscribe` as `applicationServerKey`: base64url."""
    return encode_base64url(public_point(key))
