"""Helpers of the tests of links: a loop that drives them until something is true, and a peer written by hand that may misbehave."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

from consensus.transport.frames import FrameReader, FrameWriter
from consensus.transport.handshake import Confirm, Hello, Identity, Refusal, Word, decode_word, encode_word
from consensus.transport.links import LinkEvent, Received, SocketLinks

WITHIN_S = 10.0
CLUSTER = "test"


def free_addresses(count: int = 2) -> list[str]:
    """Sorted: the last has the greatest id and calls at once."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{probe.getsockname()[1]}" for probe in probes]
    for probe in probes:
        probe.close()
    return sorted(addresses)


class Clock:
    """Real time that a test can move on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


class Loop:
    """Receives for several nodes in turn; `events[node]` is all that each has heard."""

    def __init__(self) -> None:
        self.nodes: dict[str, SocketLinks] = {}
        self.events: dict[str, list[LinkEvent]] = {}

    def add(self, node: str, links: SocketLinks) -> SocketLinks:
        self.nodes[node] = links
        self.events.setdefault(node, [])
        return links

    def turn(self, wait_s: float = 0.002) -> None:
        for node, links in list(self.nodes.items()):
            self.events[node] += links.receive(wait_s)

    def until(self, condition: Callable[[], Any], within_s: float = WITHIN_S) -> None:
        end = time.monotonic() + within_s
        while not condition():
            assert time.monotonic() < end, f"not within {within_s} s; heard: {self.events}"
            self.turn()

    def messages(self, node: str) -> list[dict[str, Any]]:
        return [event.message for event in self.events[node] if isinstance(event, Received)]

    def close(self) -> None:
        for links in self.nodes.values():
            links.close()


class RawPeer:
    """A blocking connection to `address`, byte by byte under the test's control. Its reads drive the loop meanwhile."""

    def __init__(self, loop: Loop, address: str, tls: ssl.SSLContext | None = None) -> None:
        host, _, port = address.rpartition(":")
        self.loop, self.address = loop, address
        self.sock: socket.socket = socket.create_connection((host, int(port)), WITHIN_S)
        self.sock.settimeout(0.0)
        self._writer, self._reader = FrameWriter(), FrameReader(1 << 20)
        self.ended: str = ""
        if tls is not None:
            self.sock = tls.wrap_socket(self.sock, do_handshake_on_connect=False, server_hostname=host)
            self._shake_hands()

    def say(self, word: Word) -> None:
        self.send(self._writer.encode(encode_word(word)))

    def send_message(self, message: dict[str, Any]) -> None:
        self.send(self._writer.encode(message))

    def send(self, data: bytes) -> None:
        self.sock.settimeout(WITHIN_S)
        self.sock.sendall(data)
        self.sock.settimeout(0.0)

    def hear(self) -> dict[str, Any] | None:
        """The next message; None at the end of the connection, `ended` says how."""
        found: list[dict[str, Any]] = []

        def came() -> bool:
            found.extend(self._reader.take(1))
            if found:
                return True
            try:
                data = self.sock.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError):
                return False
            except OSError as error:
                self.ended = str(error)
                return True
            if not data:
                self.ended = "closed"
                return True
            self._reader.add(data)
            return False

        self.loop.until(came)
        return found[0] if found else None

    def refusal(self) -> Refusal:
        message = self.hear()
        assert message is not None, f"the connection ended without a word: {self.ended}"
        word = decode_word(message)
        assert isinstance(word, Refusal), word
        return word

    def join(self, node: str, cluster: str = CLUSTER) -> None:
        """Becomes the link of `node`."""
        self.say(Hello(own=Identity(cluster=cluster, node=node), to=self.address))
        message = self.hear()
        assert message is not None
        assert message["type"] == "welcome", message
        self.say(Confirm())

    def is_closed(self) -> bool:
        """Whatever still comes is thrown away."""
        try:
            while self.sock.recv(4096):
                pass
            return True
        except BlockingIOError:
            return False
        except OSError:
            return True

    def close(self) -> None:
        self.sock.close()

    def _shake_hands(self) -> None:
        assert isinstance(self.sock, ssl.SSLSocket)
        tls = self.sock

        def done() -> bool:
            try:
                tls.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            except OSError as error:
                self.ended = str(error)
            return True

        self.loop.until(done)
