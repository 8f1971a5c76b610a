"""The port that peers connect to (shell). A failed accept, mostly for want of file descriptors, never closes it."""

from __future__ import annotations

import errno
import socket

from consensus.errors import ConsensusError, PortInUse
from consensus.transport.resolver import split_address

BACKLOG = 128


class Listener:
    """Raises `PortInUse`, or `ConsensusError` when the host is not this machine's."""

    def __init__(self, listen: str) -> None:
        try:
            host, port = split_address(listen)
            family, kind, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            self.sock = socket.socket(family, kind)
        except (OSError, ValueError) as error:
            raise ConsensusError(f"cannot listen on {listen}: {error}") from None
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a crash, at once again
            self.sock.setblocking(False)
            self.sock.bind(address)
            self.sock.listen(BACKLOG)
        except OSError as error:
            self.sock.close()
            if error.errno == errno.EADDRINUSE:
                raise PortInUse(
                    f"port {listen} is in use by another program: choose another --listen"
                ) from None
            raise ConsensusError(
                f"cannot listen on {listen}: {error.strerror or error}; --listen takes an address of this machine"
            ) from None

    def accept(self) -> tuple[socket.socket, str] | None:
        """A connection and the host it comes from; None when none waits. Raises OSError: try again a little later."""
        try:
            sock, address = self.sock.accept()
        except (BlockingIOError, ConnectionAbortedError, InterruptedError):
            return None
        try:
            prepare(sock)
        except OSError:  # it has gone already
            sock.close()
            return None
        return sock, str(address[0])


def prepare(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # acknowledgements must not wait for more data
