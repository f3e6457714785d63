"""Encrypting a push message for one browser: RFC 8291, with the content coding aes128gcm of RFC 8188.

Written on cryptography's primitives: http_ece, the library for it, serialises keys back and forth and takes about a
third longer, and pywebpush brings two HTTP clients along. Both stay as the oracles of the tests.
"""

from __future__ import annotations

import os
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from monitor.pipeline.push.endpoints import PushSubscription, decode_base64url, public_key
from monitor.pipeline.push.keys import public_point

MAX_PAYLOAD_BYTES = 3072
"""Plaintext of one message. Push services take 3993 bytes (RFC 8291, section 4), some wrap them again."""
SALT_BYTES = 16

_RECORD_SIZE = (4096).to_bytes(4, "big")
_POINT_LENGTH = bytes([65])
_LAST_RECORD = b"\x02"
_CURVE = ec.SECP256R1()
_ECDH = ec.ECDH()
_SHA256 = SHA256()


def encrypt(payload: bytes, subscription: PushSubscription) -> bytes:
    """Encrypt a message for a subscription, with a new key pair and salt as each message needs.

    Returns:
        The body to post under `Content-Encoding: aes128gcm`: one record behind its header.

    Raises:
        InvalidSubscriptionError: the keys of the subscription are none.
        ValueError: the payload is longer than MAX_PAYLOAD_BYTES.

    """
    return encrypt_with(payload, subscription, ec.generate_private_key(_CURVE), os.urandom(SALT_BYTES))


def encrypt_with(
    payload: bytes, subscription: PushSubscription, sender: ec.EllipticCurvePrivateKey, salt: bytes
) -> bytes:
    """Encrypt as `encrypt` does, with a given key pair and salt: never use either twice."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError(f"payload: at most {MAX_PAYLOAD_BYTES} bytes, given are {len(payload)}")
    receiver, receiver_point, auth = _receiver(subscription.p256dh, subscription.auth)
    sender_point = public_point(sender)
    # RFC 8291, section 3.4
    secret = sender.exchange(_ECDH, receiver)
    keying = HKDF(_SHA256, 32, auth, b"WebPush: info\x00" + receiver_point + sender_point).derive(secret)
    key = HKDF(_SHA256, 16, salt, b"Content-Encoding: aes128gcm\x00").derive(keying)
    nonce = HKDF(_SHA256, 12, salt, b"Content-Encoding: nonce\x00").derive(keying)
    record = AESGCM(key).encrypt(nonce, payload + _LAST_RECORD, None)
    return salt + _RECORD_SIZE + _POINT_LENGTH + sender_point + record


@lru_cache(maxsize=1024)
def _receiver(p256dh: str, auth: str) -> tuple[ec.EllipticCurvePublicKey, bytes, bytes]:
    point = decode_base64url("keys.p256dh", p256dh)
    return public_key(point), point, decode_base64url("keys.auth", auth)
