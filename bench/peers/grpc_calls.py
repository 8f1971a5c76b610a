"""The cheapest gRPC client there is: one thread, one connection, a fixed number of calls of one method always on the way.

grpcio with 64 threads takes half a core and gets half of what etcd gives a Go client, so the peer would look slower than it is. Here a call
is one HEADERS and one DATA frame, their bytes prepared beforehand. Answers are only counted: a stream that brought data and ended has
succeeded, as a gRPC error ends without data. Enough for a bench on loopback, and nothing else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

from bench.callers import Answered

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0x0, 0x1, 0x4, 0x6, 0x7, 0x8
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4
FRAME_HEADER_BYTES = 9
WINDOW_GROWTH_BYTES = (
    (1 << 31) - 1 - 65_535
)  # the most that HTTP/2 allows: answers of a whole run fit into it
STALLED_AFTER_S = 10.0
RECEIVE_BYTES = 1 << 16


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _literal(name: bytes, value: bytes) -> bytes:
    """A header field that no table remembers, so that each call's bytes are the same (RFC 7541, 6.2.2)."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


def _headers(authority: str, method: str) -> bytes:
    post, http = b"\x83", b"\x86"  # entries 3 and 6 of the static table
    return (
        post
        + http
        + _literal(b":path", method.encode())
        + _literal(b":authority", authority.encode())
        + _literal(b"te", b"trailers")
        + _literal(b"content-type", b"application/grpc")
    )


class Calls:
    """`requests` gives the bytes of each next message. One object, one load."""

    def __init__(self, address: str, method: str, requests: Iterator[bytes]) -> None:
        host, _, port = address.rpartition(":")
        self._requests = requests
        self._headers = _headers(address, method)
        self._socket = socket.create_connection((host, int(port)), timeout=STALLED_AFTER_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        growth = _frame(WINDOW_UPDATE, 0, 0, WINDOW_GROWTH_BYTES.to_bytes(4, "big"))
        self._socket.sendall(PREFACE + _frame(SETTINGS, 0, 0, b"") + growth)
        self._received = bytearray()
        self._next_stream = 1
        self._sent_at: dict[int, float] = {}
        self._with_data: set[int] = set()
        self._out = bytearray()
        self._answered_at: list[float] = []
        self._latencies_s: list[float] = []
        self._failed = 0

    def run(self, *, callers: int, seconds: float) -> Answered:
        """As `bench.callers.closed_loop`: each caller sends its next call when the last is answered."""
        began = time.perf_counter()
        until = began + seconds
        for _ in range(callers):
            self._send(began)
        while self._sent_at:
            self._flush()
            self._received += self._socket.recv(RECEIVE_BYTES)
            now = time.perf_counter()
            for ended in self._ended_streams():
                sent_at = self._sent_at.pop(ended)
                if ended in self._with_data:
                    self._with_data.remove(ended)
                    self._answered_at.append(now)
                    self._latencies_s.append(now - sent_at)
                else:
                    self._failed += 1
                if now < until:
                    self._send(now)
        elapsed_s = time.perf_counter() - began
        self._socket.close()
        return Answered.of(elapsed_s, self._answered_at, self._latencies_s, self._failed)

    def _send(self, now: float) -> None:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        message = next(self._requests)
        self._out += _frame(HEADERS, END_HEADERS, stream, self._headers)
        self._out += _frame(DATA, END_STREAM, stream, b"\x00" + len(message).to_bytes(4, "big") + message)
        self._sent_at[stream] = now

    def _flush(self) -> None:
        if self._out:
            self._socket.sendall(self._out)
            self._out.clear()

    def _ended_streams(self) -> Iterator[int]:
        """Takes whole frames off what was received."""
        data, place = self._received, 0
        while len(data) - place >= FRAME_HEADER_BYTES:
            length = int.from_bytes(data[place : place + 3], "big")
            stop = place + FRAME_HEADER_BYTES + length
            if stop > len(data):
                break
            kind, flags = data[place + 3], data[place + 4]
            stream = int.from_bytes(data[place + 5 : place + 9], "big")
            payload = bytes(data[place + FRAME_HEADER_BYTES : stop])
            place = stop
            if kind in (SETTINGS, PING) and not flags & ACK:
                self._out += _frame(kind, ACK, 0, payload if kind == PING else b"")
            elif kind == GOAWAY:
                raise RuntimeError(f"the server closed the connection: {payload[8:]!r}")
            elif kind == DATA:
                self._with_data.add(stream)
            elif kind == HEADERS and flags & END_STREAM:
                yield stream
        del data[:place]
