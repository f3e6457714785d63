"""The least of a WebSocket client (RFC 6455): text frames in, text frames out, no extensions."""

from __future__ import annotations

import base64
import os
import socket
import struct

from benchmarks.processes import BenchmarkError

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA


class Socket:
    """A connected client."""

    def __init__(self, port: int, target: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head:
            data = self.socket.recv(65_536)
            if not data:
                break
            head += data
        head, _, self._received = head.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise BenchmarkError(f"{target} was not upgraded: {head[:200]!r}")

    def receive(self) -> list[bytes]:
        """The text messages in what has come; answers pings. Blocks until something comes."""
        data = self.socket.recv(262_144)
        if not data:
            raise BenchmarkError("the server closed the WebSocket")
        self._received += data
        texts = []
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == TEXT:
                texts.append(payload)
            elif opcode == PING:
                self._send(PONG, payload)
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big")
                raise BenchmarkError(f"the server closed the WebSocket: {code} {payload[2:]!r}")
        return texts

    def send(self, text: bytes) -> None:
        """Send a text message of less than 64 KiB."""
        self._send(TEXT, text)

    def close(self) -> None:
        """Cut the connection."""
        self.socket.close()

    def _send(self, opcode: int, payload: bytes) -> None:
        size = len(payload)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
        # A mask of zeros leaves the payload as it is; the server unmasks all the same.
        self.socket.sendall(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._received
        if len(data) < 2:
            return None
        size, at = data[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(data) < 2 + width:
                return None
            size, at = int.from_bytes(data[2 : 2 + width], "big"), 2 + width
        if len(data) < at + size:
            return None
        self._received = data[at + size :]
        return data[0] & 0x0F, data[at : at + size]
