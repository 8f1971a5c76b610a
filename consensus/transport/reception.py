"""From a connection to a link (shell): accepts strangers, greets, refuses by name, and gives up in time.

Strangers cost little here: few at a time, a handshake's bytes and 2 s each. Whoever is refused is told why where that is possible,
so that both operators read the same sentence; our own log says each trouble once in a while.
"""

from __future__ import annotations

import logging
import selectors
import socket
import ssl
from collections import Counter
from collections.abc import Mapping

from consensus.transport.calls import Calls
from consensus.transport.certificates import TlsContexts, tls_trouble
from consensus.transport.connection import Connection, State
from consensus.transport.frames import FrameError, FrameReader, FrameTooLong, FrameWriter
from consensus.transport.handshake import (
    Confirm,
    Hello,
    Identity,
    Reason,
    Refusal,
    Welcome,
    Word,
    decode_word,
    encode_word,
    judge_hello,
    judge_welcome,
)
from consensus.transport.listener import Listener
from consensus.transport.refusals import Refusals
from consensus.transport.resolver import Resolver
from consensus.transport.stream import Cipher, NotTls, Stream

HANDSHAKE_S = 2.0
FAREWELL_S = 0.5  # until a refused connection is closed
ACCEPT_PAUSE_S = 0.5  # after a failed accept: what waits there would make the loop spin
ACCEPTS_MAX = 16  # in one round: a flood must not keep the caller of `receive` waiting
STRANGERS_MAX = 64  # accepted and not linked; beyond that the busiest host loses its oldest
LINKS_MAX = 64  # of peers that we do not call ourselves; a group is 3 to 7 nodes
TLS_BEGINS = b"\x16\x03"
_log = logging.getLogger(__name__)


class Reception:
    """`links` is read only: who is linked now. Everything returns at once."""

    def __init__(
        self,
        own: Identity,
        listener: Listener,
        *,
        selector: selectors.BaseSelector,
        resolver: Resolver,
        links: Mapping[str, Connection],
        buffer: memoryview,
        contexts: TlsContexts | None,
    ) -> None:
        self._own, self._listener = own, listener
        self._selector, self._links, self._buffer = selector, links, buffer
        self._server_tls = contexts.server if contexts else None
        self.calls = Calls(
            own.node,
            selector=selector,
            resolver=resolver,
            tls=contexts.client if contexts else None,
            failed=self._unreachable,
        )
        self._writer = FrameWriter()
        self._refusals = Refusals()
        self._now = 0.0
        self._accept_at: float | None = None  # set while accepting is paused
        self._welcomed: dict[str, Connection] = {}
        self._strangers: dict[Connection, None] = {}  # accepted, oldest first
        selector.register(listener.sock, selectors.EVENT_READ)

    def say(self, who: str, reason: Reason, sentence: str) -> None:
        if self._refusals.is_worth_a_line(who, reason.value, self._now):
            _log.warning("link_trouble peer=%s reason=%s: %s", who, reason.value, sentence)

    def close(self) -> None:
        for connection in self._strangers:
            connection.close(self._selector)
        self.calls.close()

    def accept(self, now: float) -> None:
        """The listener is readable."""
        self._now = now
        for _ in range(ACCEPTS_MAX):
            try:
                accepted = self._listener.accept()
            except OSError as error:
                self._accept_at = now + ACCEPT_PAUSE_S
                self._selector.unregister(self._listener.sock)
                sentence = f"accepting pauses for {ACCEPT_PAUSE_S:g} s: {error.strerror}; raise the limit of open files"
                self.say(self._own.node, Reason.TOO_MANY, sentence)
                return
            if accepted is None:
                return
            sock, host = accepted
            if len(self._strangers) >= STRANGERS_MAX:
                self._make_room()
            cipher = None if self._server_tls is None else Cipher(self._server_tls, is_server=True)
            stranger = Connection(
                Stream(sock, cipher),
                state=State.GREETING if cipher is None else State.SECURING,
                host=host,
                peer="",
                is_call=False,
                deadline=now + HANDSHAKE_S,
            )
            self._strangers[stranger] = None
            stranger.watch(self._selector)

    def look(self, now: float) -> None:
        """What is due: calls, deadlines, accepting again."""
        self._now = now
        if self._accept_at is not None and now >= self._accept_at:
            self._accept_at = None
            self._selector.register(self._listener.sock, selectors.EVENT_READ)
        pending = [*self._strangers, *self.calls.open.values()]
        for connection in [one for one in pending if now >= one.deadline]:
            self._too_late(connection)
        self.calls.begin_due({*self._links, *self._welcomed}, now)

    def serve(self, connection: Connection, mask: int, now: float) -> bool:
        """The socket is ready. True: the connection has become the link to `connection.peer`; the caller takes it over."""
        self._now = now
        try:
            if connection.state is State.CONNECTING:
                if self.calls.connected(connection):
                    self._greet(connection)
            else:
                if mask & selectors.EVENT_WRITE and connection.stream.unsent_bytes:
                    connection.stream.flush()
                if mask & selectors.EVENT_READ:
                    self._read(connection)
        except BlockingIOError:
            pass
        except NotTls as error:
            self._without_tls(connection, error.data)
        except FrameTooLong as error:
            self._refuse(connection, Refusal(reason=Reason.TOO_LONG, sentence=str(error)))
        except FrameError as error:
            self._refuse(connection, Refusal(reason=Reason.RUBBISH, sentence=str(error)))
        except OSError as error:
            self._failed(connection, error)
        if connection.state is State.LINKED:
            self._release(connection)
            self.calls.end(connection.peer)
            self._refusals.forget(connection.peer)
            return True
        connection.watch(self._selector)
        return False

    def _read(self, connection: Connection) -> None:
        data = connection.stream.read(self._buffer)
        if data is None:
            self._end(connection, f"{connection.who} hung up before the greeting was over")
            return
        cipher = connection.stream.cipher
        if cipher is None and connection.heard_at is None and data.startswith(TLS_BEGINS):
            sentence = f"node {self._own.node} speaks without TLS and was spoken to with it: give all nodes --tls-dir, or none"
            self._refuse(connection, Refusal(reason=Reason.TLS_UNEXPECTED, sentence=sentence))
            return
        connection.heard_at = self._now
        if connection.state is State.SECURING and cipher is not None and cipher.is_ready:
            connection.state = State.GREETING
            if connection.is_call:
                self._greet(connection)
        connection.reader.add(data)
        while connection.state in (State.GREETING, State.WELCOMED):
            messages = connection.reader.take(1)
            if not messages:
                return
            self._hear(connection, decode_word(messages[0]))

    def _hear(self, connection: Connection, word: Word) -> None:
        """One word of the other side, and our answer."""
        match word:
            case Hello() if connection.state is State.GREETING and not connection.is_call:
                verdict = self._judge_caller(connection, word)
                if isinstance(verdict, Refusal):
                    self._refuse(connection, verdict, who=f"{word.own.node} at {connection.host}")
                else:
                    connection.state = State.WELCOMED
                    self._say_word(connection, verdict)
            case Welcome() if connection.is_call:
                answer = judge_welcome(word, self._own, connection.peer, _certified(connection))
                if isinstance(answer, Refusal):
                    self._refuse(connection, answer)
                else:
                    self._say_word(connection, answer)
                    connection.state = State.LINKED
            case Confirm() if connection.state is State.WELCOMED:
                connection.state = State.LINKED
            case Refusal() if connection.is_call:
                self._was_refused(connection, word)
            case _:
                raise FrameError(
                    f"{type(word).__name__.lower()} was not expected at this point of the greeting"
                )

    def _judge_caller(self, connection: Connection, hello: Hello) -> Welcome | Refusal:
        verdict = judge_hello(hello, self._own, _certified(connection))
        if isinstance(verdict, Refusal):
            return verdict
        peer = hello.own.node
        if peer in self.calls.open and self._own.node > peer:
            return Refusal(reason=Reason.CROSSED, sentence=f"{self._own.node} is calling {peer} itself")
        if peer not in self._links and not self.calls.is_dialled(peer) and len(self._links) >= LINKS_MAX:
            sentence = f"node {self._own.node} has {LINKS_MAX} links already"
            return Refusal(reason=Reason.TOO_MANY, sentence=sentence)
        if peer in self.calls.open:
            self.calls.end(peer)
            self.calls.lost(peer, self._now)
        if peer in self._welcomed:
            self._leave(self._welcomed[peer])
        connection.peer = peer
        self._welcomed[peer] = connection
        return verdict

    def _greet(self, call: Connection) -> None:
        self._say_word(call, Hello(own=self._own, to=call.peer))

    def _say_word(self, connection: Connection, word: Word) -> None:
        connection.stream.write(self._writer.encode(encode_word(word)))

    def _refuse(self, connection: Connection, refusal: Refusal, who: str = "") -> None:
        """Says it in our log and, where they can read it, to them."""
        if refusal.reason is not Reason.CROSSED:
            self.say(who or connection.who, refusal.reason, refusal.sentence)
        cipher = connection.stream.cipher
        if connection.is_call or (cipher is not None and not cipher.is_ready):
            self._end(connection, "")
            return
        try:
            self._say_word(connection, refusal)
            connection.stream.sock.shutdown(socket.SHUT_WR)
        except (OSError, FrameError):
            self._leave(connection)
            return
        if self._welcomed.get(connection.peer) is connection:
            del self._welcomed[connection.peer]
        connection.state = State.LEAVING
        connection.watch(self._selector)
        connection.deadline = self._now + FAREWELL_S

    def _was_refused(self, call: Connection, refusal: Refusal) -> None:
        if refusal.reason is not Reason.CROSSED:
            self.say(call.peer, refusal.reason, f"{call.peer} refuses this node: {refusal.sentence}")
        self._end(call, "")

    def _without_tls(self, connection: Connection, data: bytes) -> None:
        """They answer in plain, we want TLS. Nothing but a refusal is believed from them."""
        if not connection.is_call:
            connection.stream.cipher = None  # so that they can read why
            sentence = f"node {self._own.node} speaks with TLS only: give all nodes --tls-dir"
            self._refuse(connection, Refusal(reason=Reason.TLS_EXPECTED, sentence=sentence))
            return
        refusal = _refusal_in(data)
        if refusal is not None:
            self._was_refused(connection, refusal)
        else:
            sentence = f"{connection.peer} answers without TLS: give all nodes --tls-dir"
            self._refuse(connection, Refusal(reason=Reason.TLS_EXPECTED, sentence=sentence))

    def _failed(self, connection: Connection, error: OSError) -> None:
        if isinstance(error, ssl.SSLError):
            self.say(connection.who, Reason.CERTIFICATE, tls_trouble(error, connection.who))
            self._end(connection, "")
        else:
            self._end(connection, error.strerror or str(error))

    def _too_late(self, connection: Connection) -> None:
        if connection.state is State.LEAVING:
            self._leave(connection)
        elif connection.state is State.CONNECTING:
            self._end(connection, f"no answer within {HANDSHAKE_S:g} s")
        else:
            part = "TLS" if connection.state is State.SECURING else "the greeting"
            sentence = f"{connection.who} did not end {part} within {HANDSHAKE_S:g} s"
            self._refuse(connection, Refusal(reason=Reason.SILENT, sentence=sentence))

    def _unreachable(self, peer: str, sentence: str) -> None:
        if sentence:
            self.say(peer, Reason.UNREACHABLE, f"{peer} cannot be called: {sentence}")

    def _make_room(self) -> None:
        """The host with most strangers loses its oldest, so that a flood from one place drowns itself first."""
        busiest = Counter(one.host for one in self._strangers).most_common(1)[0][0]
        self._leave(next(one for one in self._strangers if one.host == busiest))

    def _end(self, connection: Connection, sentence: str) -> None:
        """It becomes no link. `sentence` is for the log, if it is a call of ours."""
        if connection.is_call:
            self.calls.failed(connection, sentence, self._now)
        else:
            self._leave(connection)

    def _leave(self, stranger: Connection) -> None:
        self._release(stranger)
        stranger.close(self._selector)

    def _release(self, connection: Connection) -> None:
        """No longer ours to watch over."""
        self._strangers.pop(connection, None)
        if self._welcomed.get(connection.peer) is connection:
            del self._welcomed[connection.peer]
        self.calls.release(connection)


def _certified(connection: Connection) -> frozenset[str] | None:
    cipher = connection.stream.cipher
    return None if cipher is None else cipher.certified()


def _refusal_in(data: bytes) -> Refusal | None:
    reader = FrameReader()
    reader.add(data)
    try:
        words = [decode_word(message) for message in reader.take(1)]
    except FrameError:
        return None
    return next((word for word in words if isinstance(word, Refusal)), None)
