"""One connection as a stream of bytes that never blocks: a socket, TLS if wanted, and what could not be sent yet (shell).

TLS runs on memory buffers instead of wrapping the socket: then one recv brings many records, one send carries many, and a TLS
connection waits for exactly what a plain one waits for (OpenSSL's own "wants to read in order to write" never reaches the selector).
Every method may raise OSError, of which `ssl.SSLError` is one: the connection is then over.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

OUT_BYTES_MAX = 2 << 20  # a full window of entries and some chunks; more would only make heartbeats late
READ_BYTES = 256 * 1024
TLS_RECORD_BYTES = 16 * 1024  # OpenSSL hands out one record a call
_TLS_RECORD_KINDS = range(20, 25)  # first byte of every TLS record; a frame's length is too small to begin so


class NotTls(OSError):
    """The other side answers without TLS. `data` is what it sent."""

    def __init__(self, data: bytes) -> None:
        super().__init__("the other side speaks without TLS")
        self.data = data


class Cipher:
    """TLS between bytes and bytes."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send, server_side=is_server)
        self.is_ready = False
        self._has_begun = False

    def certified(self) -> frozenset[str]:
        """The URIs that the other side's certificate names."""
        certificate: dict[str, Any] = self._tls.getpeercert() or {}
        names: list[tuple[str, str]] = certificate.get("subjectAltName", ())
        return frozenset(value for kind, value in names if kind == "URI")

    def shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
            self.is_ready = True
        except ssl.SSLWantReadError:
            return

    def decrypt(self, data: memoryview) -> bytes:
        """What became readable. The handshake is done on the way."""
        if not self._has_begun:
            if data[0] not in _TLS_RECORD_KINDS:
                raise NotTls(bytes(data))
            self._has_begun = True
        self._received.write(data)
        if not self.is_ready:
            self.shake_hands()
            if not self.is_ready:
                return b""
        parts: list[bytes] = []
        try:
            while self._received.pending or self._tls.pending():
                part = self._tls.read(TLS_RECORD_BYTES)
                if not part:
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass  # a record that is not complete yet
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        written = self._tls.write(data)
        while written < len(data):  # OpenSSL takes one record of 16 KiB a call
            written += self._tls.write(memoryview(data)[written:])
        return self._to_send.read()

    def to_send(self) -> bytes:
        """What TLS itself wants to say: handshake, alert, new keys."""
        return self._to_send.read() if self._to_send.pending else b""


class Stream:
    """`unsent_bytes` above zero: call `flush` when the socket can be written."""

    def __init__(self, sock: socket.socket, cipher: Cipher | None) -> None:
        self.sock = sock
        self.cipher = cipher
        self._unsent = bytearray()

    @property
    def unsent_bytes(self) -> int:
        return len(self._unsent)

    def write(self, data: bytes) -> bool:
        """Tries the socket at once. False: too much is waiting already, nothing was taken."""
        unsent = self._unsent
        if unsent and len(unsent) + len(data) > OUT_BYTES_MAX:
            return False
        self._send(data if self.cipher is None else self.cipher.encrypt(data))
        return True

    def read(self, buffer: memoryview) -> bytes | None:
        """What came, b"" when it was TLS' own, None at the end. Raises BlockingIOError when nothing is there."""
        count = self.sock.recv_into(buffer)
        if count == 0:
            return None
        if self.cipher is None:
            return bytes(buffer[:count])
        try:
            return self.cipher.decrypt(buffer[:count])
        except ssl.SSLZeroReturnError:
            return None
        finally:
            self.begin()

    def begin(self) -> None:
        """Sends what TLS itself has to say."""
        if self.cipher is not None and (own := self.cipher.to_send()):
            self._send(own)

    def flush(self) -> None:
        unsent = self._unsent
        with memoryview(unsent) as view:
            sent = self._try(view)
        del unsent[:sent]

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        sent = self._try(data)
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]

    def _try(self, data: bytes | memoryview) -> int:
        try:
            return self.sock.send(data)
        except BlockingIOError:
            return 0
