"""The calls of this node to its peers (shell): whom to call when, on which address, until the connection stands or failed."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import ssl
from collections.abc import Callable, Container

from consensus.transport.connection import Connection, State
from consensus.transport.dialling import Dialling
from consensus.transport.listener import prepare
from consensus.transport.resolver import Resolver, SocketAddress
from consensus.transport.stream import Cipher, Stream

CALL_S = 2.0  # to connect, and again to greet


class Calls:
    """At most one call to a peer at a time. `failed(peer, sentence)` hears why one came to nothing."""

    def __init__(
        self,
        own: str,
        *,
        selector: selectors.BaseSelector,
        resolver: Resolver,
        tls: ssl.SSLContext | None,
        failed: Callable[[str, str], None],
    ) -> None:
        self._own, self._selector, self._resolver, self._tls = own, selector, resolver, tls
        self._say_failed = failed
        self._dials: dict[str, Dialling] = {}
        self._untried: dict[str, list[SocketAddress]] = {}
        self.open: dict[str, Connection] = {}

    def dial(self, peer: str, now: float) -> None:
        if peer != self._own and peer not in self._dials:
            self._dials[peer] = Dialling.of(self._own, peer, now)

    def is_dialled(self, peer: str) -> bool:
        return peer in self._dials

    def forget(self, peer: str) -> None:
        self._dials.pop(peer, None)
        self.end(peer)

    def lost(self, peer: str, now: float) -> None:
        """The link to `peer` has ended, or its call was given up for the peer's own."""
        if peer in self._dials:
            self._dials[peer].lost(now)

    def end(self, peer: str) -> None:
        """Gives the call up, if there is one."""
        call = self.open.pop(peer, None)
        if call is not None:
            call.close(self._selector)

    def release(self, call: Connection) -> None:
        """It has become a link, or is no call any more."""
        if self.open.get(call.peer) is call:
            del self.open[call.peer]

    def begin_due(self, busy: Container[str], now: float) -> None:
        """Calls those that are due; not those in `busy`, nor those being called."""
        for peer, dialling in self._dials.items():
            if peer in self.open or peer in busy or not dialling.is_due(now):
                continue
            found = self._resolver.look_up(peer)
            if found is None:
                continue  # the resolver wakes the loop when it knows
            dialling.started(now)
            self._untried[peer] = list(found.addresses)
            self._call_next(peer, found.trouble, now)

    def connected(self, call: Connection) -> bool:
        """The socket can be written: the connection stands. True: it can be greeted now, else TLS comes first. Raises OSError."""
        sock = call.stream.sock
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
        if sock.getsockname() == sock.getpeername():
            raise OSError(errno.ECONNREFUSED, "the call reached its own socket")  # TCP allows it on loopback
        cipher = call.stream.cipher
        call.state = State.GREETING if cipher is None else State.SECURING
        if cipher is not None:
            cipher.shake_hands()
            call.stream.begin()
        return cipher is None

    def failed(self, call: Connection, sentence: str, now: float) -> None:
        """Tries the peer's next address, or waits for the next time."""
        was_connecting = call.state is State.CONNECTING
        call.close(self._selector)
        if self.open.get(call.peer) is not call:
            return
        del self.open[call.peer]
        if not was_connecting:
            self._untried.pop(call.peer, None)
        self._call_next(call.peer, sentence, now)

    def close(self) -> None:
        for peer in list(self.open):
            self.end(peer)

    def _call_next(self, peer: str, trouble: str, now: float) -> None:
        while self._untried.get(peer):
            family, address = self._untried[peer].pop(0)
            try:
                self._call(peer, family, address, now)
                return
            except OSError as error:
                trouble = f"{error.strerror or error}"
        self._untried.pop(peer, None)
        if peer in self._dials:
            self._dials[peer].started(now)  # counted from the failure: a gap in which the peer can call
        self._say_failed(peer, trouble)

    def _call(self, peer: str, family: int, address: tuple[str | int, ...], now: float) -> None:
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            prepare(sock)
            code = sock.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
            cipher = None if self._tls is None else Cipher(self._tls, is_server=False)
        except BaseException:
            sock.close()
            raise
        call = Connection(
            Stream(sock, cipher),
            state=State.CONNECTING,
            host=str(address[0]),
            peer=peer,
            is_call=True,
            deadline=now + CALL_S,
        )
        self.open[peer] = call
        call.watch(self._selector)
