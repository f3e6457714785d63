"""Signing in at a push service: VAPID, RFC 8292."""

from __future__ import annotations

from dataclasses import dataclass

import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from monitor.pipeline.push.endpoints import encode_base64url
from monitor.pipeline.push.keys import application_server_key

TOKEN_LIFETIME_SECONDS = 12 * 3600
"""RFC 8292, section 2 allows 24 hours; half of it leaves room for clocks that disagree."""
RENEW_BEFORE_SECONDS = 600
"""How long before its end a token is no longer used."""
MAX_CACHED_TOKENS = 256
"""Push services have few origins, but a wildcard on the list of hosts stands for many."""

_ES256 = ec.ECDSA(SHA256())
_HEADER = encode_base64url(b'{"typ":"JWT","alg":"ES256"}')
_COORDINATE_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Token:
    header: str
    made_at: float
    expires_at: int


class VapidSigner:
    """Makes the `Authorization` header for push services, with one key for the life of the process."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, subject: str) -> None:
        """Take the key and the contact (`mailto:` or `https:`) that push services are told."""
        self._key = key
        self._subject = subject
        self._public = application_server_key(key)
        self._tokens: dict[str, _Token] = {}

    def sign(self, audience: str, expires_at: int) -> str:
        """Return a newly signed header for an origin, valid until a time in seconds since the epoch."""
        claims = orjson.dumps({"aud": audience, "exp": expires_at, "sub": self._subject})
        signed = f"{_HEADER}.{encode_base64url(claims)}"
        # RFC 7518, section 3.4: the two integers side by side, not DER.
        r, s = decode_dss_signature(self._key.sign(signed.encode("ascii"), _ES256))
        signature = r.to_bytes(_COORDINATE_BYTES, "big") + s.to_bytes(_COORDINATE_BYTES, "big")
        return f"vapid t={signed}.{encode_base64url(signature)}, k={self._public}"

    def authorization(self, audience: str, now: float) -> str:
        """Return a header for an origin, signed once and used until shortly before it ends.

        A token from the future is not used: the clock went back, and push services would refuse its late end.
        `now` is in seconds since the epoch.
        """
        token = self._tokens.get(audience)
        if token is None or not token.made_at <= now < token.expires_at - RENEW_BEFORE_SECONDS:
            expires_at = int(now) + TOKEN_LIFETIME_SECONDS
            token = _Token(self.sign(audience, expires_at), now, expires_at)
            self._tokens.pop(audience, None)
            while len(self._tokens) >= MAX_CACHED_TOKENS:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[audience] = token
        return token.header
