"""Datagrams that carry file descriptors, between the node and its zygote (shell)."""

from __future__ import annotations

import array
import socket
from collections.abc import Sequence

import msgpack

from executor.errors import FrameError

DATAGRAM_BYTES_MAX = 65_536
FDS_MAX = 3


def send(connection: socket.socket, message: Sequence[object], fds: Sequence[int] = ()) -> None:
    """One datagram with descriptors beside it; raises OSError when it cannot leave now."""
    data: bytes = msgpack.packb(message)
    if len(data) > DATAGRAM_BYTES_MAX:
        raise FrameError(
            f"{len(data)} bytes for the zygote, the limit is {DATAGRAM_BYTES_MAX}; name fewer modules"
        )
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    connection.sendmsg([data], ancillary)


def receive(connection: socket.socket) -> tuple[object, list[int]] | None:
    """The next datagram and its descriptors (close-on-exec); None when the other end is gone."""
    size = socket.CMSG_SPACE(FDS_MAX * array.array("i").itemsize)
    try:
        data, ancillary, _, _ = connection.recvmsg(DATAGRAM_BYTES_MAX, size, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    fds = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    if not data:
        return None
    return msgpack.unpackb(data), list(fds)
