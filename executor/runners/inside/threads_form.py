"""The THREADS form: many tasks at once, each in a thread, for handlers that wait for other machines.

The main thread feeds, places (threads) take one task at a time in the order sent, the side thread watches the time. A place whose task is
told to stop and does not within five seconds is *abandoned*: its task is answered for, another place is started, and when the thread ends
after all, the node is told that it stopped. A runner with too many of them is replaced by the node.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import socket
import threading
import time
from collections import deque
from queue import SimpleQueue
from typing import Any

from executor.errors import TaskCancelled, TimeLimitExceeded
from executor.handlers.functions import Functions
from executor.runners.frames import RECEIVE_BYTES, FrameReader
from executor.runners.inside.answers import Answers
from executor.runners.inside.calls import NO_ARGUMENTS, Calls, ending
from executor.runners.inside.copies import Origin
from executor.runners.inside.output import Output
from executor.runners.inside.place import Place
from executor.runners.inside.side_thread import SideThread
from executor.runners.slot import SLOTS_MAX, SlotTable

ABANDON_S = 5.0
WATCH_S = 0.05  # so late a time-out may be
IDLE_S = 0.5


class ThreadsForm:
    """`serve` is the main thread's; `recall` to `look` are the side thread's; `begin` and `end` are called by places. One lock for all
    that they share."""

    stuck = 0

    def __init__(
        self,
        data: socket.socket,
        table: SlotTable,
        calls: Calls,
        functions: Functions,
        output: Output,
        side: SideThread,
        *,
        slots: int,
    ) -> None:
        self.answers = Answers(data)
        self.calls = calls
        self.output = output
        self.side = side
        self.lock = threading.Lock()
        self.begun = 0  # tasks, ever
        self.origin: Origin | None = None
        self._data = data
        self._table = table
        self._functions = functions
        self._wanted = slots
        # One token for each task, and a few that mean: look whether you are wanted.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._pending: deque[tuple[int, list[Any]]] = deque()
        self._recalled: set[int] = set()
        self._read = 0  # the highest number that came
        self._places: set[Place] = set()
        self._abandoned: set[Place] = set()
        self._running = 0
        self._free = list(range(SLOTS_MAX))
        self._is_watching = False  # some task has a limit
        self._is_over = False
        self._idle = threading.Event()

    @property
    def abandoned(self) -> int:
        return len(self._abandoned)

    @property
    def looks_every_s(self) -> float:
        return WATCH_S if self._is_watching else IDLE_S

    def serve(self, origin: Origin) -> None:
        """Until the node closes its side or `drain` closes ours, and all that came has ended."""
        self.origin = origin
        reader = FrameReader()
        while data := self._data.recv(RECEIVE_BYTES):
            for message in reader.feed(data):
                if message[0] == "run":
                    self._take(message[1], message[2])
                elif message[0] == "load":
                    for name, module, file in message[1]:
                        self._functions.announce(name, module, file)
        with self.lock:
            self._is_over = True
            if not self._running and not self._pending:
                self._idle.set()
        self._idle.wait()
        self.answers.flush()

    def forget(self) -> None:
        """In a copy of this process: what is printed is not kept."""
        self.output.remove()

    def recall(self, numbers: list[int]) -> list[int]:
        with self.lock:
            asked = set(numbers)
            given_back = [number for number, _ in self._pending if number in asked]
            unread = [number for number in numbers if number > self._read]
            self._pending = deque(each for each in self._pending if each[0] not in asked)
            self._recalled.update(unread)
            self._note_idle()
        return given_back + unread

    def cancel(self, number: int) -> None:
        with self.lock:
            for place in self._places:
                if place.number == number:
                    place.strike(TaskCancelled, time.monotonic())
                    self._is_watching = True

    def resize(self, slots: int) -> None:
        with self.lock:
            surplus = len(self._places) - slots
            self._wanted = slots
        for _ in range(surplus):
            self._tokens.put(None)
        self._start_places()

    def drain(self) -> None:
        self._data.shutdown(socket.SHUT_RD)

    def look(self, now_s: float) -> None:
        """Time-outs, and threads that do not heed them."""
        with self.lock:
            for place in tuple(self._places):
                if place.is_open and place.asked is None and now_s >= place.deadline_s:
                    place.strike(TimeLimitExceeded, now_s)
                elif place.is_open and place.asked is not None and now_s - place.asked_s >= ABANDON_S:
                    self._abandon(place)
            self._is_watching = any(
                place.is_open and (place.asked is not None or place.deadline_s < math.inf)
                for place in self._places
            )
        self._start_places()
        self.answers.flush()

    def begin(self, place: Place) -> tuple[int, list[Any]] | None:
        """Waits for the place's next task; None: the place is not wanted any more."""
        while True:
            self._tokens.get()
            with self.lock:
                if len(self._places) > self._wanted:
                    self._places.discard(place)
                    heapq.heappush(self._free, place.index)
                    if self._pending:
                        self._tokens.put(None)
                    return None
                if not self._pending:
                    continue
                number, task = self._pending.popleft()
                self.begun += 1
                self._running += 1
                place.assign(number, task[3], is_alone=self._running == 1, begun=self.begun)
                self._table.starts[place.index] = time.monotonic()
                self._table.numbers[place.index] = number
                self._table.begun = number
                return number, task

    def open(self, place: Place) -> None:
        """The place's handler is about to run; raises what the task was struck with before."""
        with self.lock:
            place.open()

    def postpone(self, place: Place, by_s: float) -> None:
        """Its task counts as running from so long after now: the import of a submitted function may take long, but pays if it kills us."""
        self._table.starts[place.index] = time.monotonic() + by_s

    def watch(self) -> None:
        """The time of some task is limited from now on."""
        with self.lock:
            was_watching, self._is_watching = self._is_watching, True
        if not was_watching:
            self.side.wake()

    def settle(self, place: Place) -> bool:
        """The place's handler has ended; True if it was abandoned before, and the thread is to end."""
        with self.lock:
            place.close()
            self._table.starts[place.index] = 0.0
            return place in self._abandoned

    def end(self, place: Place) -> None:
        """All is said about the place's task."""
        with contextlib.suppress(OSError):  # the node is gone: the side thread ends the process
            self.answers.flush()
        with self.lock:
            self._table.numbers[place.index] = 0
            self._running -= 1
            self._note_idle()

    def stopped(self, place: Place) -> None:
        """The thread of an abandoned place ended after all."""
        with self.lock:
            self._abandoned.discard(place)
            heapq.heappush(self._free, place.index)
        self.side.post(["stopped", place.number])

    def _take(self, first: int, tasks: list[list[Any]]) -> None:
        with self.lock:
            self._read = first + len(tasks) - 1
            for each in enumerate(tasks, first):
                if each[0] in self._recalled:
                    self._recalled.discard(each[0])
                else:
                    self._pending.append(each)
        self._start_places()
        for _ in tasks:
            self._tokens.put(None)

    def _start_places(self) -> None:
        """As many threads as there is work for, within the limit."""
        with self.lock:
            idle = len(self._places) - self._running
            wanted = min(len(self._pending) - idle, self._wanted - len(self._places), len(self._free))
            started = [Place(self, heapq.heappop(self._free)) for _ in range(wanted)]
            self._places.update(started)
        for place in started:
            try:
                place.start()
            except RuntimeError:  # the machine gives no more threads: those that are there do the work
                with self.lock:
                    self._places.discard(place)
                    heapq.heappush(self._free, place.index)
                    if not self._places:
                        raise

    def _abandon(self, place: Place) -> None:
        assert place.asked is not None
        self._places.discard(place)
        self._abandoned.add(place)
        status, text, _, fault = ending(place.handler, place.known, place.asked(), NO_ARGUMENTS, place.asked)
        text += f"; its thread did not stop within {ABANDON_S:g} s and was abandoned"
        self._table.numbers[place.index] = 0
        self._running -= 1
        self.answers.end(place.number, status, error=text, output=place.capture.take(), fault=fault)
        self._note_idle()

    def _note_idle(self) -> None:
        if self._is_over and not self._running and not self._pending:
            self._idle.set()
