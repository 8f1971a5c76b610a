"""A network between real processes that can be cut, slowed and reset, link by link and direction by direction.

A node's id is the address that its peers dial. The proxy listens there, in the node's place, and passes on to the address
that the node is really bound to. Who dials is read from the first frame, which names the node; from then on each direction of the
connection follows the rule of its directed pair (sender, receiver), whoever dialled.

A cut is a black hole, as a pulled cable is: nothing is delivered, nobody is told, connections stay open. What was sent into it
is held (a bounded number of chunks, then the sender's own buffer fills) and delivered after the healing, as TCP's own repetition
would; late frames of a former term are among the better tests of Raft. One thread, one asyncio loop.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from consensus.transport.frames import FrameReader
from consensus.transport.handshake import Hello, decode_word

CHUNK_BYTES = 64 * 1024
CHUNKS_HELD_MAX = 256  # per direction of a connection; beyond, the sender's socket fills
FIRST_FRAME_S = 5.0
CONTROL_S = 10.0  # a loop that does not answer for so long is broken


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What happens to bytes from one node to another. `delay_s` with up to `jitter_s` more, order kept."""

    cut: bool = False
    delay_s: float = 0.0
    jitter_s: float = 0.0
    bandwidth_bytes_s: float | None = None


PASS = Rule()
Pair = tuple[str, str]


def source_in_hello(data: bytes) -> str | None:
    """The node that dials, from its first frame; None while more bytes are needed. Raises `ValueError`. Not with TLS."""
    reader = FrameReader()
    reader.add(data)
    for message in reader.take(1):
        word = decode_word(message)
        if not isinstance(word, Hello):
            raise ValueError(f"a connection began with {message['type']!r}, not with a hello")
        return word.own.node
    return None


class Proxy:
    """`nodes`: public address (the node's id) -> bind address. Every method may be called by any thread."""

    def __init__(
        self,
        nodes: Mapping[str, str],
        *,
        seed: int = 0,
        source: Callable[[bytes], str | None] = source_in_hello,
    ) -> None:
        self._nodes, self._source = dict(nodes), source
        self._rng = random.Random(seed)
        self._rules: dict[Pair, Rule] = {}
        self._changed: dict[Pair, asyncio.Event] = {}
        self._connections: dict[asyncio.Task[None], tuple[Pair, list[asyncio.StreamWriter]]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._servers: list[asyncio.Server] = []

    def start(self) -> None:
        """Listens on all public addresses when it returns."""
        self._thread.start()
        self._do(self._listen())

    def stop(self) -> None:
        if self._thread.is_alive():
            self._do(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONTROL_S)
        self._loop.close()

    def __enter__(self) -> Proxy:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def set_rule(self, sender: str, receiver: str, rule: Rule) -> None:
        self.set_rules({(sender, receiver): rule})

    def set_rules(self, rules: Mapping[Pair, Rule]) -> None:
        """Replaces the rules of these pairs at one moment."""
        self._do(self._set_rules(dict(rules)))

    def cut(self, one: Iterable[str], other: Iterable[str]) -> None:
        """Both ways between each of `one` and each of `other`."""
        ones, others = list(one), list(other)
        pairs = {pair for a in ones for b in others for pair in ((a, b), (b, a)) if a != b}
        self.set_rules(dict.fromkeys(pairs, Rule(cut=True)))

    def heal(self) -> None:
        """All rules pass again."""
        self.set_rules({(a, b): PASS for a in self._nodes for b in self._nodes if a != b})

    def reset(self, one: str, other: str) -> int:
        """Ends the connections between the two with a TCP reset; the number of them."""
        return int(self._do(self._reset(one, other)))

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_S)

    async def _listen(self) -> None:
        for public, bind in self._nodes.items():
            host, port = _split(public)

            async def accept(
                reader: asyncio.StreamReader,
                writer: asyncio.StreamWriter,
                public: str = public,
                bind: str = bind,
            ) -> None:
                await self._serve(public, bind, reader, writer)

            self._servers.append(await asyncio.start_server(accept, host, port, limit=CHUNK_BYTES))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        ending = dict(self._connections)
        for task, (_, writers) in ending.items():
            for writer in writers:
                _abort(writer)
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        await asyncio.sleep(0)  # the transports say good-bye in the next round of the loop

    async def _set_rules(self, rules: dict[Pair, Rule]) -> None:
        for pair, rule in rules.items():
            self._rules[pair] = rule
            changed = self._changed.pop(pair, None)
            if changed is not None:
                changed.set()

    async def _reset(self, one: str, other: str) -> int:
        ended = 0
        for task, (pair, writers) in list(self._connections.items()):
            if set(pair) == {one, other}:
                for writer in writers:
                    _abort(writer)
                task.cancel()
                del self._connections[task]
                ended += 1
        return ended

    async def _serve(
        self, receiver: str, bind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        writers = [writer]
        try:
            self._connections[task] = (("?", receiver), writers)
            sender, first = await asyncio.wait_for(self._read_source(reader), FIRST_FRAME_S)
            self._connections[task] = ((sender, receiver), writers)
            first += await self._until_dialled((sender, receiver), reader)
            far_reader, far_writer = await asyncio.open_connection(*_split(bind), limit=CHUNK_BYTES)
            writers.append(far_writer)
            there = asyncio.create_task(self._carry((sender, receiver), first, reader, far_writer))
            back = asyncio.create_task(self._carry((receiver, sender), b"", far_reader, writer))
            try:
                await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
            finally:
                there.cancel()
                back.cancel()
                await asyncio.gather(there, back, return_exceptions=True)
        except (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError):
            _abort(writer)  # nobody is there, or no node dialled: what a dead process looks like
        except asyncio.CancelledError:
            pass  # reset or stop; swallowed: a cancelled connection is no error of the server
        finally:
            self._connections.pop(task, None)
            for each in writers:
                each.close()

    async def _read_source(self, reader: asyncio.StreamReader) -> tuple[str, bytes]:
        data = b""
        while (sender := self._source(data)) is None:
            more = await reader.read(CHUNK_BYTES)
            if not more:
                raise asyncio.IncompleteReadError(data, None)
            data += more
        return sender, data

    async def _until_dialled(self, pair: Pair, reader: asyncio.StreamReader) -> bytes:
        """A cut loses the first packet of a dial or its answer: nobody hears of it before both ways are open, nor later if
        the caller has given up. Returns what it sent meanwhile. Raises `OSError`.
        """
        more = b""
        reading = asyncio.create_task(reader.read(CHUNK_BYTES))
        opened = asyncio.create_task(self._until_passable(pair, (pair[1], pair[0])))
        try:
            while not opened.done():
                await asyncio.wait((reading, opened), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    data = reading.result()
                    if not data or len(more) > CHUNK_BYTES:
                        raise ConnectionResetError("given up")
                    more += data
                    reading = asyncio.create_task(reader.read(CHUNK_BYTES))
            return more + (reading.result() if reading.done() else b"")
        finally:
            opened.cancel()
            reading.cancel()
            await asyncio.gather(opened, reading, return_exceptions=True)

    async def _carry(
        self, pair: Pair, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """One direction of one connection, until its end was delivered too."""
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_HELD_MAX)
        reading = asyncio.create_task(self._hold(pair, first, reader, held))
        try:
            while True:
                due, data = await held.get()
                if (wait_s := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                await self._until_passable(pair)
                if not data:
                    return
                writer.write(data)
                await writer.drain()
                bandwidth = self._rules.get(pair, PASS).bandwidth_bytes_s
                if bandwidth is not None:
                    await asyncio.sleep(len(data) / bandwidth)
        except OSError:
            return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _hold(
        self, pair: Pair, data: bytes, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        """The sender's side: takes what comes, with the moment from which it may be delivered. b"" is its end."""
        if data:
            await held.put((self._due(pair), data))
        while True:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            await held.put((self._due(pair), data))
            if not data:
                return

    def _due(self, pair: Pair) -> float:
        rule = self._rules.get(pair, PASS)
        return self._loop.time() + rule.delay_s + self._rng.random() * rule.jitter_s

    async def _until_passable(self, *pairs: Pair) -> None:
        while closed := [pair for pair in pairs if self._rules.get(pair, PASS).cut]:
            await self._changed.setdefault(closed[0], asyncio.Event()).wait()


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def _abort(writer: asyncio.StreamWriter) -> None:
    """A reset (RST) instead of an orderly end."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
