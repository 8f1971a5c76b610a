"""What tasks returned, and why dead ones died: read from Kafka by every node, kept for a while in memory (shell).

Kafka is the store; this is a bounded view of it, rebuilt after a restart. Dead records carry their reason in the header-less
msgpack value `[reason, bytes of the record]`. A task that returned None stores nothing, so the view can say "nothing" for sure: it has read
all that was acknowledged before the question, and the key is not among those that it has let go.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import msgpack
from pyroaring import BitMap64

from cluster.errors import Unavailable
from cluster.kafka.confluent import read_place, whole_topics_consumer
from cluster.kafka.lag import TopicEnds

ENTRIES_MAX = 100_000
VALUES_BYTES_MAX = 64 * 1024 * 1024
REASON_CHARACTERS_MAX = 20_000


def encode_dead(reason: str, value: bytes) -> bytes:
    return bytes(msgpack.packb([reason[:REASON_CHARACTERS_MAX], value]))


def decode_dead(value: bytes) -> tuple[str, bytes]:
    """(reason, bytes of the record that died). Foreign bytes come back with a reason that says so."""
    try:
        reason, record = msgpack.unpackb(value)
        return str(reason), bytes(record)
    except Exception:  # msgpack raises several unrelated classes
        return "the dead record cannot be read", value


class Results:
    """`find(key)` answers from what has been read so far; the newest `ENTRIES_MAX` are kept."""

    def __init__(
        self, kafka: str, results_topic: str, dead_topic: str, *, failed: Callable[[BaseException], None]
    ) -> None:
        self._kafka, self._results_topic, self._dead_topic = kafka, results_topic, dead_topic
        self._failed = failed
        self._ends = TopicEnds(kafka, [results_topic, dead_topic])
        self._lock = threading.Lock()
        self._has_read = threading.Condition(self._lock)
        self._read: dict[tuple[str, int], int] = {}  # (topic, partition) -> all below is in the view
        self._let_go = BitMap64()
        self._values: OrderedDict[int, tuple[bytes | None, str | None]] = OrderedDict()
        self._bytes = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="results", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def find(self, key: int) -> tuple[bytes | None, str | None]:
        """(encoded result or None, error or None)."""
        with self._lock:
            return self._values.get(key, (None, None))

    def has_read_all(self, timeout_s: float) -> bool:
        """True: all that Kafka acknowledged before this call is, or was, in the view. False: not within the time."""
        try:
            ends = {place: end for place, end in self._ends.read(timeout_s).items() if end > 0}
        except Unavailable:
            return False
        with self._has_read:
            return self._has_read.wait_for(
                lambda: all(self._read.get(place, 0) >= end for place, end in ends.items()), timeout_s
            )

    def was_let_go(self, key: int) -> bool:
        """It was in the view, but newer ones needed the place."""
        with self._lock:
            return key in self._let_go

    def _run(self) -> None:
        try:
            consumer = whole_topics_consumer(
                self._kafka, [self._results_topic, self._dead_topic], timeout_s=20.0
            )
            try:
                while not self._stopping.is_set():
                    first = consumer.poll(0.2)
                    messages = [] if first is None else [first, *consumer.consume(500, 0)]
                    with self._has_read:
                        for message in messages:
                            if message.error() is None:
                                topic, partition, offset = read_place(message)
                                self._keep(topic, message.key(), message.value() or b"")
                                self._read[topic, partition] = offset + 1
                        self._has_read.notify_all()
            finally:
                consumer.close()
        except BaseException as error:
            self._failed(error)

    def _keep(self, topic: str, raw_key: bytes | None, value: bytes) -> None:
        if raw_key is None or len(raw_key) != 8:
            return
        key = int.from_bytes(raw_key, "big")
        entry = (value, None) if topic == self._results_topic else (None, decode_dead(value)[0])
        old = self._values.pop(key, (None, None))
        self._values[key] = entry
        self._let_go.discard(key)
        self._bytes += len(entry[0] or entry[1] or b"") - len(old[0] or old[1] or b"")
        while len(self._values) > ENTRIES_MAX or self._bytes > VALUES_BYTES_MAX:
            gone_key, gone = self._values.popitem(last=False)
            self._let_go.add(gone_key)
            self._bytes -= len(gone[0] or gone[1] or b"")
