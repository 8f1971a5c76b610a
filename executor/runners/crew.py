"""All runner processes of one executor: their births, what they say, their ends (shell).

`wait` waits for any of them; what they said is in `heard`, in order, and a runner that is gone comes out of `gone` once all that it wrote
was heard. The zygote behind them is replaced when it dies; those it had not forked yet are asked for again.
"""

from __future__ import annotations

import logging
import selectors
from collections.abc import Callable
from functools import partial

from executor.errors import FrameError
from executor.lanes.instructions import Start
from executor.runners.channel import Channel
from executor.runners.frames import Message
from executor.runners.nursery import Ended, Forked, NotForked, Nursery
from executor.runners.process import RunnerProcess

log = logging.getLogger(__name__)

CODE_AFTER_S = 0.25  # the exit code, told by the zygote, may come so much later than the end itself
CLOSED_S = 1.0  # a runner with a closed socket is about to end; one that is not gone after this is killed
BACK_OFF_S = (0.05, 10.0)  # between two starts of a zygote
CALM_S = 10.0  # one that lived for so long was healthy

Heard = tuple[RunnerProcess, Message]


class Crew:
    """`runners` by number. `modules`: what each imports at its birth. Used by the executor's own thread only."""

    def __init__(self, modules: tuple[str, ...], wake_fd: int) -> None:
        self.runners: dict[int, RunnerProcess] = {}
        self.heard: list[Heard] = []
        self._modules = modules
        self._selector = selectors.DefaultSelector()
        self._selector.register(wake_fd, selectors.EVENT_READ, None)
        self._writing: set[Channel] = set()
        self._ending: list[RunnerProcess] = []  # gone, or about to be
        self._nursery: Nursery | None = None
        self._nursery_s = 0.0
        self._next_nursery_s = 0.0
        self._back_off_s = BACK_OFF_S[0]

    @property
    def zygote_pid(self) -> int | None:
        return None if self._nursery is None else self._nursery.pid

    # Births.

    def start(self, wanted: Start, now: float) -> None:
        """Raises OSError when the machine has no more sockets or memory; the runner then does not exist."""
        runner = RunnerProcess(
            wanted.runner, wanted.form, slots=wanted.slots, is_long=wanted.is_long, modules=self._modules
        )
        self.runners[runner.number] = runner
        for channel in (runner.data, runner.control):
            self._selector.register(
                channel.socket, selectors.EVENT_READ, partial(self._hear, runner, channel)
            )
        if self._nursery is not None:
            self._ask(runner, now)

    def look_after_the_zygote(self, now: float) -> None:
        """Starts one if there is none and it is time; then asks it for all that wait to be born."""
        if self._nursery is not None or now < self._next_nursery_s:
            return
        self._nursery_s = now
        try:
            self._nursery = Nursery()
        except OSError as error:
            self._lose_zygote(now, f"it could not be started: {error}")
            return
        self._selector.register(self._nursery.socket, selectors.EVENT_READ, self._hear_zygote)
        for runner in tuple(self.runners.values()):
            if not runner.pid and runner.gone_s is None:
                self._ask(runner, now)

    def _ask(self, runner: RunnerProcess, now: float) -> None:
        assert self._nursery is not None
        try:
            runner.ask(self._nursery)
        except (OSError, FrameError) as error:
            self._never_born(runner, str(error), now)

    def _never_born(self, runner: RunnerProcess, why: str, now: float) -> None:
        runner.refusal = f"the process could not be started: {why}"
        runner.gone_s = now - CODE_AFTER_S
        self._ending.append(runner)

    def _lose_zygote(self, now: float, why: str) -> None:
        self._back_off_s = (
            BACK_OFF_S[0] if now - self._nursery_s > CALM_S else min(self._back_off_s * 2, BACK_OFF_S[1])
        )
        self._next_nursery_s = now + self._back_off_s
        log.warning("the zygote is started again in %.2f s: %s", self._back_off_s, why)

    # What is heard.

    def wait(self, timeout_s: float, clock: Callable[[], float]) -> None:
        """Until something is to be heard, or the wake descriptor is readable."""
        ready = self._selector.select(max(0.0, timeout_s))
        now = clock()
        for key, events in ready:
            if key.data is not None:
                key.data(events, now)

    def _hear(self, runner: RunnerProcess, channel: Channel, events: int, now: float) -> None:
        if events & selectors.EVENT_WRITE:
            channel.flush()
            if not channel.unsent_bytes:
                self._writing.discard(channel)
                self._watch(channel, selectors.EVENT_READ)
        if events & selectors.EVENT_READ and channel.is_open:
            self.heard += [(runner, message) for message in channel.receive()]
            if not channel.is_open:
                self._selector.unregister(channel.socket)
                self._writing.discard(channel)
                if runner.closed_s is None:
                    runner.closed_s = now
                    self._ending.append(runner)

    def _hear_end(self, runner: RunnerProcess, events: int, now: float) -> None:
        self._selector.unregister(runner.pidfd)
        runner.gone_s = now
        self._ending.append(runner)

    def _hear_zygote(self, events: int, now: float) -> None:
        assert self._nursery is not None
        news, is_alive = self._nursery.receive()
        for each in news:
            runner = self.runners.get(each.number)
            if runner is None:
                continue
            match each:
                case Forked():
                    runner.born(each)
                    self._selector.register(
                        runner.pidfd, selectors.EVENT_READ, partial(self._hear_end, runner)
                    )
                case NotForked(why=why):
                    self._never_born(runner, why, now)
                case Ended(code=code):
                    runner.code = code
        if not is_alive:
            self._selector.unregister(self._nursery.socket)
            self._nursery.close()
            self._nursery = None
            self._lose_zygote(now, "it ended; the runners go on")

    # Ends.

    def gone(self, now: float) -> list[RunnerProcess]:
        """Those that are gone for good, with their exit code if it is known; they are out of `runners`, and the caller closes them."""
        if not self._ending:
            return []
        gone: list[RunnerProcess] = []
        waiting: dict[int, RunnerProcess] = {}
        for runner in self._ending:
            if self.runners.get(runner.number) is not runner:
                continue
            if runner.gone_s is None:
                if runner.closed_s is not None and now - runner.closed_s > CLOSED_S:
                    runner.end()
                waiting[runner.number] = runner
            elif runner.code is None and self._nursery is not None and now - runner.gone_s < CODE_AFTER_S:
                waiting[runner.number] = runner
            else:
                del self.runners[runner.number]
                for channel in (runner.data, runner.control):
                    was_open = channel.is_open
                    self.heard += [(runner, message) for message in channel.receive_all()]
                    if was_open:
                        self._selector.unregister(channel.socket)
                    self._writing.discard(channel)
                gone.append(runner)
        self._ending = list(waiting.values())
        return gone

    @property
    def has_ending(self) -> bool:
        """Some are gone, or about to be: do not wait for long."""
        return bool(self._ending)

    @property
    def is_any_alive(self) -> bool:
        return any(runner.pid for runner in self.runners.values())

    # What is written.

    def write(self) -> None:
        """Everything that was put into the channels, in one go for each; what a socket does not take now goes out when it can take it."""
        for runner in self.runners.values():
            for channel in (runner.data, runner.control):
                if channel.unsent_bytes and channel not in self._writing:
                    channel.flush()
                    if channel.unsent_bytes and channel.is_open:
                        self._writing.add(channel)
                        self._watch(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _watch(self, channel: Channel, events: int) -> None:
        self._selector.modify(channel.socket, events, self._selector.get_key(channel.socket).data)

    def close(self) -> None:
        """Whatever still lives hears the end of its sockets; the zygote kills what does not listen."""
        for runner in self.runners.values():
            runner.close()
        self.runners.clear()
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None
        self._selector.close()
