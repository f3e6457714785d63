"""Who is calling, and what that one may see."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import math
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from monitor.domain.times import HOUR, SECOND, Now
from monitor.web.problems import ProblemError

_ALGORITHM = "HS256"
_AUDIENCE = "booking-monitor/provider"
_SESSION_AUDIENCE = "booking-monitor/session"
SESSION_LIFETIME = 12 * HOUR
"""Milliseconds for which a browser stays signed in: one watch."""
LONGEST_TOKEN = 1024
"""Characters of a token that are looked at."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: a holder of an API token, or one provider."""

    name: str
    provider_id: str | None = None
    """The only provider whose things this caller may see; None for a holder of an API token."""

    def require_api(self) -> None:
        """Raise ProblemError unless an API token was shown."""
        if self.provider_id is not None:
            raise ProblemError(403, "This needs an API token; a provider's token is not enough.")

    def require_provider(self, provider_id: str) -> None:
        """Raise ProblemError unless the caller may act for this provider."""
        if self.provider_id not in (None, provider_id):
            raise ProblemError(403, "This token is for another provider.")


class Authenticator:
    """Knows the tokens. API tokens are kept as hashes; provider tokens are signed and short-lived."""

    def __init__(
        self,
        *,
        api_tokens: Iterable[str],
        own_token: str,
        provider_secret: str | None,
        provider_lifetime: int,
        now: Now,
    ) -> None:
        """`own_token` is the canary's; `provider_lifetime` is in milliseconds."""
        digests = [_digest(token) for token in api_tokens]
        self._hashes = {digest: digest[:12] for digest in digests}
        self.open = not self._hashes
        self._hashes[_hash(own_token)] = "canary"
        self._secret = provider_secret or secrets.token_urlsafe(48)
        self._lifetime = provider_lifetime
        self._now = now

    def identify(self, headers: Mapping[str, str], query_token: str | None = None) -> Caller:
        """Who is calling. Raises ProblemError (401, 403) when nobody known is."""
        token = _bearer(headers) or query_token
        if token is None:
            if not self.open:
                raise _unauthorized("A token is needed: `Authorization: Bearer <token>`.")
            _check_local(headers)
            return Caller("local")
        if len(token) > LONGEST_TOKEN:
            raise _unauthorized("The token is not known.")
        return self._holder(token) or self._provider(token)

    def issue(self, provider_id: str) -> tuple[str, int]:
        """Make a token for one provider; returns it and when it ends (milliseconds since the epoch)."""
        ends_at = self._now() + self._lifetime
        claims = {"sub": provider_id, "aud": _AUDIENCE, "exp": ends_at // SECOND}
        return self._sign(claims), ends_at // SECOND * SECOND

    def issue_session(self, token: str) -> str:
        """Make what a browser shows in place of an API token. Raises ProblemError (401) unless `token` is one."""
        caller = self._holder(token) if len(token) <= LONGEST_TOKEN else None
        if caller is None:
            raise _unauthorized("The token is not known.")
        claims = {"sub": caller.name, "aud": _SESSION_AUDIENCE, "exp": (self._now() + SESSION_LIFETIME) // SECOND}
        return self._sign(claims)

    def session(self, value: str) -> Caller:
        """Whose session it is; it ends with its time, and with the token that it was given for.

        Raises ProblemError (401) for what is none.
        """
        name = self._subject(value, _SESSION_AUDIENCE)
        if name not in self._hashes.values():
            raise _unauthorized("The token of this session is no longer known.")
        return Caller(name)

    def _holder(self, token: str) -> Caller | None:
        digest = _hash(token)
        for known, name in self._hashes.items():
            if hmac.compare_digest(known, digest):
                return Caller(name)
        return None

    def _provider(self, token: str) -> Caller:
        provider_id = self._subject(token, _AUDIENCE)
        return Caller(f"provider:{provider_id}", provider_id)

    def _sign(self, claims: dict[str, Any]) -> str:
        import jwt  # noqa: PLC0415 - loaded when the first token is signed or read: most starts need none

        return jwt.encode(claims, self._secret, _ALGORITHM)

    def _subject(self, token: str, audience: str) -> str:
        """Whom a token that we signed is about. Raises ProblemError (401)."""
        import jwt  # noqa: PLC0415 - as above

        if len(token) > LONGEST_TOKEN:
            raise _unauthorized("The token is not known.")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                [_ALGORITHM],
                audience=audience,
                options={"require": ["sub", "exp", "aud"], "verify_exp": False},
            )
        except jwt.InvalidTokenError as error:
            raise _unauthorized("The token is not known.") from error
        ends = claims["exp"]
        if not isinstance(ends, int | float) or not math.isfinite(ends):
            raise _unauthorized("The token is not known.")
        if ends * SECOND <= self._now():
            raise _unauthorized("The token has expired.")
        return str(claims["sub"])


def _digest(configured: str) -> str:
    """The hash of a token as the settings have it; only there may the hash stand for the token."""
    hashed = configured.removeprefix("sha256:")
    return hashed if hashed != configured else _hash(configured)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def _bearer(headers: Mapping[str, str]) -> str | None:
    value = headers.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise _unauthorized("The Authorization header is `Bearer <token>`.")
    return token.strip()


def _check_local(headers: Mapping[str, str]) -> None:
    """Without tokens, keep web pages out: those of other sites, and those that point their name at us.

    A page that hides where it is from (`Origin: null`) is not of this machine either.
    """
    host, origin = headers.get("host"), headers.get("origin")
    if (host and not _is_local(f"//{host}")) or (origin is not None and not _is_local(origin)):
        raise ProblemError(403, "Without API tokens only pages and programs of this machine are answered.")


@lru_cache(maxsize=256)
def _is_local(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _unauthorized(detail: str) -> ProblemError:
    return ProblemError(401, detail, {"WWW-Authenticate": "Bearer"})
