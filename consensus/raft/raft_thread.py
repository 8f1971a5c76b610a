"""The one thread that owns the Raft node, the ledger, the calls in flight and this node's session (shell).

Callers put calls into its queue; it proposes them, applies what is committed, and ends each call by its deadline. When it dies of
a fault, all calls end, `on_failure` hears of it, and later calls are refused.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from consensus.errors import ConsensusError, NoQuorum, OutcomeUnknown, Refused
from consensus.group_commit import CALLS_MAX, Call, GroupCommit
from consensus.ledger.commands import Opcode
from consensus.ledger.machine import LedgerMachine
from consensus.raft.binding import LedgerNode

STEP_S = 0.02
LEASE_CHECK_EVERY_S = 0.5
STOP_WITHIN_S = 10.0


class RaftThread:
    """`start` raises what `LedgerNode` raises. `ledger` may be read by any thread, one call at a time; `node` by none else
    but for its plain numbers."""

    def __init__(
        self,
        listen: str,
        others: Sequence[str],
        directory: Path,
        *,
        snapshot_every_s: float,
        lease_s: float,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.ledger = LedgerMachine()
        self.has_session = threading.Event()
        self.failure: BaseException | None = None
        self._listen, self._lease_s, self._on_failure = listen, lease_s, on_failure
        self._calls: queue.SimpleQueue[Call] = queue.SimpleQueue()
        self._group = GroupCommit(secrets.randbits(63))
        self._woken = False
        self._opening = False
        self._renew_at = 0.0
        self._leases_at = 0.0
        self._leases: dict[int, tuple[int, float]] = {}
        self._stopping = threading.Event()
        self.node = LedgerNode(
            listen,
            others,
            directory,
            apply=self._apply,
            dump=self.ledger.dump,
            load=self.ledger.load,
            snapshot_every_s=snapshot_every_s,
        )
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._thread.start()

    @property
    def session(self) -> int | None:
        return self._group.session

    def call(self, call: Call) -> None:
        """Any thread. The call ends by its deadline, or at once when the thread is not running or its queue is full."""
        if self.failure is not None or self._stopping.is_set():
            call.finish(None, Refused(f"the key service of {self._listen} is not running"))
        elif self._calls.qsize() >= CALLS_MAX:
            call.finish(
                None, Refused(f"{CALLS_MAX} calls already wait for the ledger: slow down and try again")
            )
        else:
            self._calls.put(call)
            self._wake()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._wake()
            self._thread.join(STOP_WITHIN_S)

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True  # a doubled wake is harmless, a lost one waits STEP_S
            self.node.wake()

    def _apply(self, command: bytes) -> None:
        proposer, seq, answers = self.ledger.apply(command)
        if proposer == self._group.proposer:
            self._group.answered(seq, answers, time.monotonic())

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step(self.node)
        except BaseException as error:
            self.failure = error
            self._on_failure(error)
        finally:
            self._end_calls()
            try:
                self.node.close()
            except (OSError, ValueError) as error:  # the fault that ended the thread, met again
                self.failure = self.failure or error

    def _end_calls(self) -> None:
        reason = "stopped" if self.failure is None else f"stopped by a fault: {self.failure}"
        while not self._calls.empty():
            self._group.add(self._calls.get_nowait())
        self._group.end_all(OutcomeUnknown(f"the key service of {self._listen} has {reason}"))

    def _step(self, node: LedgerNode) -> None:
        self._woken = False
        while not self._calls.empty():
            self._group.add(self._calls.get_nowait())
        now = time.monotonic()
        leader = node.leader()
        if leader is not None:
            self._keep_session(now)
            for command in self._group.propose(now):
                node.propose(command)
        self._group.expire(now)
        if now >= self._leases_at:
            self._leases_at = now + LEASE_CHECK_EVERY_S
            self._judge_leases(node, now)
        node.step(0.0 if not self._calls.empty() else STEP_S)
        for seq, answers in self.ledger.stored_answers(self._group.proposer).items():
            if seq in self._group.in_flight:  # answered inside a snapshot that was installed
                self._group.answered(seq, answers, time.monotonic())

    def _keep_session(self, now: float) -> None:
        if self._group.session is None:
            self.has_session.clear()
            if not self._opening:
                self._opening = True
                self._internal([Opcode.OPEN_SESSION, self._listen], self._opened, now)
        elif now >= self._renew_at:
            self._renew_at = now + self._lease_s / 4
            self._internal([Opcode.RENEW, self._group.session], self._renewed, now)

    def _internal(
        self, command: list[Any], end: Callable[[Any, ConsensusError | None], None], now: float
    ) -> None:
        self._group.add(Call(command=lambda _: command, end=end, deadline=now + self._lease_s))

    def _opened(self, number: Any, error: ConsensusError | None) -> None:
        self._opening = False
        if error is None:
            self._group.session = number
            self._renew_at = 0.0
            self.has_session.set()

    def _renewed(self, _: Any, error: ConsensusError | None) -> None:
        if isinstance(error, Refused) and not isinstance(error, NoQuorum):
            self._group.session = None

    def _judge_leases(self, node: LedgerNode, now: float) -> None:
        """The leader's own clock ends leases, anew in each leadership; a wall clock never does."""
        if not node.is_leader():
            self._leases.clear()
            return
        for number, session in self.ledger.sessions.items():
            renewals, seen_at = self._leases.get(number, (-1, now))
            if not session.open:
                self._leases.pop(number, None)
            elif renewals != session.renewals:
                self._leases[number] = (session.renewals, now)
            elif now - seen_at > self._lease_s:
                self._leases[number] = (renewals, now)
                self._internal([Opcode.CLOSE_SESSION, number], lambda _answer, _error: None, now)
