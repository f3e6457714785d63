"""Judging a browser's push subscription before anything is ever sent to it.

A subscription names the URL that this service will call: whoever may register one chooses where we connect.
So only https, only hosts that are on the list, and only keys with which a message can be encrypted.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

HTTPS_PORT = 443
MAX_PORT = 65535
MAX_ENDPOINT_CHARACTERS = 2048
"""Several times what the known push services hand out."""
MAX_HOST_CHARACTERS = 253
"""RFC 1035, section 2.3.4, without the final dot."""
MAX_KEY_CHARACTERS = 128
"""Of base64url; the longer of the two keys needs 88."""
AUTH_BYTES = 16
"""Of the authentication secret: RFC 8291, section 3.2."""
MAX_EXPIRATION_MS = 2**53 - 1
"""The largest integer that JSON carries safely (RFC 8259, section 6)."""

_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = rf"{_LABEL}(?:\.{_LABEL})*"
_PORT = r"(?::(?P<port>[0-9]{1,5}))?"
_TARGET = r"(?P<target>/(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)"
_ENDPOINT = re.compile(rf"https://(?P<host>(?i:{_HOST})){_PORT}{_TARGET}", re.ASCII)
_PATTERN = re.compile(rf"(?P<wildcard>\*\.)?(?P<host>{_HOST}){_PORT}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class InvalidSubscriptionError(ValueError):
    """A push subscription that will not be used: which field, and what is allowed there."""

    def __init__(self, field_name: str, allowed: str) -> None:
        super().__init__(f"{field_name}: {allowed}")
        self.field = field_name
        self.allowed = allowed


@dataclass(frozen=True, slots=True)
class _HostPattern:
    host: str
    port: int
    subdomains: bool

    def permits(self, host: str, port: int) -> bool:
        named = host.endswith(f".{self.host}") if self.subdomains else host == self.host
        return named and port == self.port


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """The hosts that endpoints may name."""

    names: tuple[str, ...]
    _patterns: tuple[_HostPattern, ...] = field(repr=False)

    @classmethod
    def parse(cls, names: Iterable[str]) -> AllowedHosts:
        """Read the setting PUSH_ALLOWED_HOSTS.

        An entry is a host, with `:port` where it is not 443. A leading `*.` stands for one or more labels. An IPv4
        address is matched only by itself; IPv6 addresses cannot be listed.

        Raises:
            ValueError: an entry is nothing of the kind, or a wildcard covers a top-level domain or addresses.

        """
        names = tuple(names)
        return cls(names, tuple(_host_pattern(name.lower()) for name in names))

    def permits(self, host: str, port: int) -> bool:
        """Whether an endpoint may name this host (in lower case) and port."""
        return any(pattern.permits(host, port) for pattern in self._patterns)


def _host_pattern(name: str) -> _HostPattern:
    match = _PATTERN.fullmatch(name)
    if match is None or len(match["host"]) > MAX_HOST_CHARACTERS:
        raise ValueError(f"PUSH_ALLOWED_HOSTS: {name[:MAX_HOST_CHARACTERS]!r}: allowed is host, *.host or host:port")
    port = int(match["port"] or HTTPS_PORT)
    if not 0 < port <= MAX_PORT:
        raise ValueError(f"PUSH_ALLOWED_HOSTS: {name!r}: allowed is a port from 1 to {MAX_PORT}")
    parent, _, last = match["host"].rpartition(".")
    if match["wildcard"] and (not parent or last[0].isdigit()):
        raise ValueError(f"PUSH_ALLOWED_HOSTS: {name!r}: allowed after `*.` is a host name of two labels or more")
    return _HostPattern(match["host"], port, subdomains=bool(match["wildcard"]))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a push message is posted to, taken apart once and by one parser only."""

    host: str
    port: int
    target: str = field(repr=False)
    """Path and query. They are the secret by which a push service knows the subscriber."""

    @property
    def origin(self) -> str:
        """The audience of a VAPID token: RFC 6454, section 6.2, as RFC 8292, section 2 wants it."""
        return f"https://{self.host}" if self.port == HTTPS_PORT else f"https://{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The endpoint in its one normal form."""
        return self.origin + self.target


def parse_endpoint(url: str, hosts: AllowedHosts) -> Endpoint:
    """Take an endpoint apart, if it is one that may be called.

    Raises:
        InvalidSubscriptionError: it is not.

    """
    if len(url) > MAX_ENDPOINT_CHARACTERS:
        raise InvalidSubscriptionError("endpoint", f"at most {MAX_ENDPOINT_CHARACTERS} characters")
    match = _ENDPOINT.fullmatch(url)
    if match is None or len(match["host"]) > MAX_HOST_CHARACTERS:
        raise InvalidSubscriptionError("endpoint", "an https URL with a host and a path, no user and no fragment")
    endpoint = Endpoint(match["host"].lower(), int(match["port"] or HTTPS_PORT), match["target"])
    if not hosts.permits(endpoint.host, endpoint.port):
        raise InvalidSubscriptionError("endpoint", f"a URL of a known push service: {', '.join(hosts.names)}")
    return endpoint


@dataclass(frozen=True, slots=True)
class PushSubscription:
    """One browser that asked to be told.

    Endpoint and keys are secrets (whoever has them can write to that browser), hence not in the repr.
    """

    endpoint: str = field(repr=False)
    p256dh: str = field(repr=False)
    """The browser's public key: an uncompressed P-256 point, base64url without padding."""
    auth: str = field(repr=False)
    """The browser's authentication secret: 16 bytes, base64url without padding."""
    expires_at: int | None = None
    """Milliseconds since the epoch, where the push service names a time."""
    id: str | None = None
    """The id of its row, once it has one."""

    @property
    def service(self) -> str:
        """Host, and port where there is one, of the push service: what may be told of the endpoint."""
        return self.endpoint.removeprefix("https://").partition("/")[0]


def parse_subscription(document: object, hosts: AllowedHosts) -> PushSubscription:
    """Read what `JSON.stringify(pushSubscription)` gives in a browser (W3C Push API, `PushSubscriptionJSON`).

    Members that the standard does not know are ignored.

    Raises:
        InvalidSubscriptionError: names the member and what is allowed there.

    """
    members = _object("subscription", document)
    keys = _object("keys", members.get("keys"))
    endpoint = parse_endpoint(_text("endpoint", members.get("endpoint"), MAX_ENDPOINT_CHARACTERS), hosts)
    p256dh = decode_base64url("keys.p256dh", keys.get("p256dh"))
    public_key(p256dh)
    auth = decode_base64url("keys.auth", keys.get("auth"))
    if len(auth) != AUTH_BYTES:
        raise InvalidSubscriptionError("keys.auth", f"{AUTH_BYTES} bytes in base64url")
    return PushSubscription(
        endpoint=endpoint.url,
        p256dh=encode_base64url(p256dh),
        auth=encode_base64url(auth),
        expires_at=_expiration(members.get("expirationTime")),
    )


def public_key(point: bytes) -> ec.EllipticCurvePublicKey:
    """Return a browser's public key from its uncompressed point.

    Raises:
        InvalidSubscriptionError: this is no such point, or it does not lie on the curve.

    """
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - loaded where there is a subscription

    allowed = "an uncompressed point on the curve P-256 (65 bytes) in base64url"
    if point[:1] != b"\x04":
        raise InvalidSubscriptionError("keys.p256dh", allowed)
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise InvalidSubscriptionError("keys.p256dh", allowed) from error


def decode_base64url(field_name: str, value: object) -> bytes:
    """Return the bytes of base64url text, padded or not.

    Raises:
        InvalidSubscriptionError: the value is not base64url, or too long to be a key.

    """
    text = _text(field_name, value, MAX_KEY_CHARACTERS)
    digits = text.rstrip("=")
    if _BASE64URL.fullmatch(text) is None or len(digits) % 4 == 1:
        raise InvalidSubscriptionError(field_name, "base64url (RFC 4648, section 5)")
    return base64.urlsafe_b64decode(digits + "=" * (-len(digits) % 4))


def encode_base64url(value: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _object(field_name: str, value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise InvalidSubscriptionError(field_name, "a JSON object")
    return value


def _text(field_name: str, value: object, limit: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= limit:
        raise InvalidSubscriptionError(field_name, f"text of 1 to {limit} characters")
    return value


def _expiration(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidSubscriptionError("expirationTime", "null or milliseconds since the epoch")
    if not 0 <= value <= MAX_EXPIRATION_MS:
        raise InvalidSubscriptionError(
            "expirationTime", f"null or 0 to {MAX_EXPIRATION_MS} milliseconds since the epoch"
        )
    return int(value)
