"""A push service on loopback: HTTPS, checks what RFC 8030, 8291 and 8292 ask for, and decrypts like a browser."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import secrets
import socket
import ssl
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import http_ece
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from py_vapid import jwt
from py_vapid.utils import b64urlencode

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

MAX_BODY_BYTES = 4096
MAX_TOKEN_SECONDS = 24 * 3600
HANG_LIMIT_SECONDS = 60.0
"""After which a hanging answer gives up, should nobody stop the receiver."""


class Fault(Enum):
    """What goes wrong on the way, instead of an answer or in the middle of it."""

    HANG = "never answers"
    CUT = "cuts the connection instead of answering"
    GARBAGE = "answers bytes that are no TLS"
    CUT_IN_BODY = "cuts the connection in the middle of the answer's body"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the receiver says to one message that is in order."""

    status: int = 201
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    fault: Fault | None = None


ACCEPTED = Answer()


@dataclass(frozen=True, slots=True)
class ReceivedPush:
    """One message as the browser would get it, with what the push service saw of it."""

    provider: str
    payload: bytes
    ttl_seconds: int
    urgency: str
    topic: str | None
    target: str
    claims: dict[str, Any]
    authorization: str
    headers: dict[str, str]


@dataclass(slots=True)
class _Browser:
    provider: str
    key: ec.EllipticCurvePrivateKey
    auth: bytes
    gone: bool = False


@dataclass(slots=True)
class PushReceiver:
    """Starts on entering, and stops on leaving.

    Each message that breaks a rule is answered 4xx and noted in `problems`; the others are kept in `messages` and
    answered as `answer_with` said, or with 201.
    """

    host: str = "localhost"
    """Under which its endpoints are handed out; it must resolve, or be resolved by the test, to `address`."""
    address: str = "127.0.0.1"
    application_server_key: str | None = None
    """Where it is given, no other key may send (RFC 8292, section 4)."""
    ask_for_client_certificate: bool = False
    messages: list[ReceivedPush] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    connections: int = 0
    """TCP connections that were accepted so far."""
    _browsers: dict[str, _Browser] = field(default_factory=dict)
    _answers: deque[Answer] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _server: ThreadingHTTPServer | None = None
    certificate_file: Path = Path()
    """PEM of the certificate that signs itself: what SSL_CERT_FILE can name."""

    @property
    def port(self) -> int:
        assert self._server is not None, "not started"
        return int(self._server.server_address[1])

    @property
    def origin(self) -> str:
        return f"https://{self.host}:{self.port}"

    @property
    def allowed_host(self) -> str:
        """The entry of PUSH_ALLOWED_HOSTS that permits this receiver."""
        return f"{self.host}:{self.port}"

    def trusting_context(self) -> ssl.SSLContext:
        """A client's TLS settings that trust this receiver and nobody else."""
        return ssl.create_default_context(cafile=str(self.certificate_file))

    def new_subscription(self, provider: str) -> dict[str, Any]:
        """Subscribe a browser of this provider; the result is its `PushSubscription.toJSON()`."""
        token = secrets.token_urlsafe(24)
        browser = _Browser(provider, ec.generate_private_key(ec.SECP256R1()), os.urandom(16))
        self._browsers[token] = browser
        point = browser.key.public_key().public_bytes(
            serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        )
        return {
            "endpoint": f"{self.origin}/push/{token}",
            "expirationTime": None,
            "keys": {"p256dh": b64urlencode(point), "auth": b64urlencode(browser.auth)},
        }

    def unsubscribe(self, provider: str) -> None:
        """Let all browsers of a provider go: from now on they are 410."""
        for browser in self._browsers.values():
            browser.gone = browser.gone or browser.provider == provider

    def answer_with(self, *answers: Answer) -> None:
        """Answer the next messages so; the ones after them get 201 again."""
        self._answers.extend(answers)

    def __enter__(self) -> Self:
        directory = Path(self._stack.enter_context(TemporaryDirectory()))
        self.certificate_file, key_file = directory / "certificate.pem", directory / "key.pem"
        _write_certificate(self.certificate_file, key_file, self.host, self.address)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate_file, key_file)
        if self.ask_for_client_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate_file)
        self._server = _Server((self.address, 0), self, context)
        thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._stack.callback(self._server.server_close)
        self._stack.callback(thread.join)
        self._stack.callback(self._server.shutdown)
        thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._stack.close()

    def _receive(self, target: str, headers: dict[str, str], body: bytes) -> Answer:
        with self._lock:
            try:
                browser = self._browsers[target.removeprefix("/push/")]
            except KeyError:
                return Answer(404)
            if browser.gone:
                return Answer(410)
            try:
                message = self._check(browser, target, headers, body)
            except _RefusedError as refusal:
                self.problems.append(str(refusal))
                return Answer(refusal.status, body=str(refusal).encode())
            self.messages.append(message)
            return self._answers.popleft() if self._answers else ACCEPTED

    def _check(self, browser: _Browser, target: str, headers: dict[str, str], body: bytes) -> ReceivedPush:
        _require("host" in headers and headers["host"] == self.allowed_host, 400, "Host is not that of the endpoint")
        _require(headers.get("content-encoding") == "aes128gcm", 400, "Content-Encoding is not aes128gcm")
        _require(len(body) <= MAX_BODY_BYTES, 413, f"more than {MAX_BODY_BYTES} bytes")
        ttl = headers.get("ttl", "")
        _require(ttl.isdigit() and int(ttl) >= 1, 400, "TTL is not a number of seconds")
        urgency = headers.get("urgency", "normal")
        _require(urgency in ("very-low", "low", "normal", "high"), 400, "Urgency is unknown")
        topic = headers.get("topic")
        _require(
            topic is None or (len(topic) <= 32 and topic.replace("-", "").replace("_", "").isalnum()),
            400,
            "Topic is not base64url of at most 32 characters",
        )
        claims = self._claims(headers.get("authorization", ""))
        try:
            payload = http_ece.decrypt(body, private_key=browser.key, auth_secret=browser.auth, version="aes128gcm")
        except (http_ece.ECEException, ValueError) as error:
            raise _RefusedError(400, f"the browser cannot decrypt it: {error!r}") from error
        return ReceivedPush(
            provider=browser.provider,
            payload=payload,
            ttl_seconds=int(ttl),
            urgency=urgency,
            topic=topic,
            target=target,
            claims=claims,
            authorization=headers["authorization"],
            headers=headers,
        )

    def _claims(self, authorization: str) -> dict[str, Any]:
        scheme, _, rest = authorization.partition(" ")
        parameters = dict(part.strip().split("=", 1) for part in rest.split(",") if "=" in part)
        _require(scheme == "vapid" and parameters.keys() == {"t", "k"}, 401, "Authorization is not vapid with t and k")
        _require(self.application_server_key in (None, parameters["k"]), 403, "the subscription belongs to another key")
        try:
            claims: dict[str, Any] = jwt.decode(parameters["t"], parameters["k"])
        except InvalidSignature as error:
            raise _RefusedError(403, "the VAPID token is not signed by its key") from error
        now = time.time()
        _require(claims.get("aud") == self.origin, 403, "aud is not the origin of the endpoint")
        _require(now < claims.get("exp", 0) <= now + MAX_TOKEN_SECONDS, 403, "exp is past, or more than 24 hours ahead")
        _require(str(claims.get("sub", "")).startswith(("mailto:", "https:")), 403, "sub is no contact")
        return claims


class _RefusedError(Exception):
    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def _require(condition: bool, status: int, problem: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise _RefusedError(status, problem)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], receiver: PushReceiver, context: ssl.SSLContext) -> None:
        super().__init__(address, _Handler)
        self.receiver = receiver
        self._context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        self.receiver.connections += 1
        # The handshake happens in the thread of the connection, at its first read.
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet about clients that go away or do not trust the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if len(body) < length:  # the sender died
            self.close_connection = True
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self.server.receiver._receive(self.path, headers, body)
        if answer.fault is Fault.HANG:
            self.server.receiver._stopping.wait(HANG_LIMIT_SECONDS)
        if answer.fault is Fault.GARBAGE:
            os.write(self.connection.fileno(), b"no TLS record" * 10)
        if answer.fault in (Fault.HANG, Fault.CUT, Fault.GARBAGE):
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        cut = answer.fault is Fault.CUT_IN_BODY
        self.send_header("Content-Length", str(len(answer.body) + cut))
        self.end_headers()
        self.wfile.write(answer.body)
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the signature of the base class
        """Tests read `messages` and `problems`."""


def _write_certificate(certificate_file: Path, key_file: Path, host: str, address: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    # Certificates of one name would be taken for each other where several are trusted.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"push service {secrets.token_hex(8)}")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName(host), x509.IPAddress(ipaddress.ip_address(address))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
