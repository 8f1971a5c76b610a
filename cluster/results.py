"""What tasks returned, and why dead ones died: read from Kafka by every node, kept for a while in memory (shell).

Kafka is the store; this is a bounded view of it, rebuilt after a restart. A task that returned None stores nothing, so the view can say
"nothing" for sure: it has read all that was acknowledged before the question, and the key is not among those that it has let go. What it
knows of dead tasks (which are there, which were dealt with, where the newest stand) serves those who look for them in the topic.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence, Set

from pyroaring import BitMap64

from cluster.dead.record import DeadRecord, decode_dead
from cluster.dead.settled import Settled
from cluster.errors import Unavailable
from cluster.kafka.confluent import read_place, whole_topics_consumer
from cluster.kafka.lag import TopicEnds

ENTRIES_MAX = 100_000
VALUES_BYTES_MAX = 64 * 1024 * 1024

Place = tuple[int, int]  # partition and offset


class Results:
    """`find(key)` answers from what has been read so far; the newest `ENTRIES_MAX` are kept."""

    def __init__(
        self, kafka: str, results_topic: str, dead_topic: str, *, failed: Callable[[BaseException], None]
    ) -> None:
        self._kafka, self._results_topic, self._dead_topic = kafka, results_topic, dead_topic
        self._failed = failed
        self._ends = TopicEnds(kafka, [results_topic, dead_topic])
        self._lock = threading.Lock()
        self._news = threading.Condition(self._lock)
        self._read: dict[tuple[str, int], int] = {}  # (topic, partition) -> all below is in the view
        self._let_go = BitMap64()
        self._values: OrderedDict[int, tuple[bytes | None, str | None, Place]] = OrderedDict()
        self._settled = Settled()
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
            return self._values[key][:2] if key in self._values else (None, None)

    def dead_places(self, keys: Sequence[int]) -> dict[int, Place | None]:
        """Those of `keys` that stand in the dead topic, and where, unless that was let go."""
        with self._lock:
            return {
                key: self._values[key][2] if key in self._values else None
                for key in keys
                if self._settled.knows(key)
            }

    def is_settled(self, key: int, place: str) -> bool:
        """Of a dead task, or of a dead record that is no task: then its key is 0."""
        with self._lock:
            return self._settled.has(key, place)

    def dead_open(self, keys_max: int) -> tuple[int, list[int]]:
        """How many have a dead record that nobody has dealt with; and which, if they are no more than `keys_max`."""
        with self._lock:
            count = self._settled.open_count()
            return count, self._settled.open_keys() if count <= keys_max else []

    def has_read_all(self, timeout_s: float) -> bool:
        """True: all that Kafka acknowledged before this call is, or was, in the view. False: not within the time."""
        return self._has_read({self._results_topic, self._dead_topic}, timeout_s)

    def has_read_all_dead(self, timeout_s: float) -> bool:
        """The same of the dead topic alone: results may come by the hundred thousand."""
        return self._has_read({self._dead_topic}, timeout_s)

    def _has_read(self, topics: Set[str], timeout_s: float) -> bool:
        try:
            ends = {
                place: end
                for place, end in self._ends.read(timeout_s).items()
                if end > 0 and place[0] in topics
            }
        except Unavailable:
            return False
        with self._news:
            return self._news.wait_for(
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
                    with self._news:
                        for message in messages:
                            if message.error() is None:
                                topic, partition, offset = read_place(message)
                                self._keep(topic, (partition, offset), message.key(), message.value() or b"")
                                self._read[topic, partition] = offset + 1
                        self._news.notify_all()
            finally:
                consumer.close()
        except BaseException as error:
            self._failed(error)

    def _keep(self, topic: str, place: Place, raw_key: bytes | None, value: bytes) -> None:
        error = None
        if topic != self._results_topic:
            one = decode_dead(value)
            self._settled.read(raw_key or b"", one)
            if not isinstance(one, DeadRecord):
                return  # the dead record before it goes on telling why
            error = one.reason
        if raw_key is None or len(raw_key) != 8:
            return
        key = int.from_bytes(raw_key, "big")
        entry = (value, None, place) if error is None else (None, error, place)
        old = self._values.pop(key, (None, None, place))
        self._values[key] = entry
        self._let_go.discard(key)
        self._bytes += len(entry[0] or entry[1] or b"") - len(old[0] or old[1] or b"")
        while len(self._values) > ENTRIES_MAX or self._bytes > VALUES_BYTES_MAX:
            gone_key, gone = self._values.popitem(last=False)
            self._let_go.add(gone_key)
            self._bytes -= len(gone[0] or gone[1] or b"")
