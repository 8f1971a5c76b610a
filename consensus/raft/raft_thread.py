"""The one thread that owns a replica: the log, the ledger, the calls in flight and this node's session (shell).

Callers put calls into its queue; it hands them to the replica and ticks it. Each call ends by its deadline. When the thread dies of a
fault, all calls end, `on_failure` hears of it, and later calls are refused.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from consensus.config import LedgerConfig
from consensus.errors import Refused
from consensus.group_commit import CALLS_MAX, Call
from consensus.ledger.machine import LedgerMachine
from consensus.raft.replica import Replica
from consensus.storage.directory import open_storage
from consensus.storage.disk import DirectoryDisk
from consensus.storage.journal import SyncMode
from consensus.transport.certificates import TlsFiles
from consensus.transport.links import SocketLinks
from consensus.waiting import Batons

LOG = logging.getLogger("quorate.consensus")
STEP_S = 0.02  # the longest wait of a tick: timers are checked this often
STOP_WITHIN_S = 10.0
HAND_OVER_S = 0.5  # a leader that stops waits this long for another
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RaftThread:
    """Raises at once what the directory, the port or the certificates are at fault for. `ledger` may be read by any thread, one
    call at a time; `replica` by none else but for its plain numbers."""

    def __init__(
        self,
        node: str,
        peers: Sequence[str],
        directory: Path,
        *,
        cluster: str,
        config: LedgerConfig,
        sync: SyncMode,
        tls: TlsFiles | None,
        joining: bool,
        ledger: LedgerMachine,
        batons: Batons,
        on_failure: Callable[[BaseException], None],
        bind: str | None = None,
    ) -> None:
        self.ledger = ledger
        self.has_session = threading.Event()
        self.failure: BaseException | None = None
        self.node, self._on_failure, self._batons = node, on_failure, batons
        self._calls: queue.SimpleQueue[tuple[Call, str | None]] = queue.SimpleQueue()
        self._woken = False
        self._ended = ""  # how, once the thread has ended
        self._stopping = threading.Event()
        storage = open_storage(
            DirectoryDisk(directory),
            cluster=cluster,
            node=node,
            founders=() if joining else tuple(sorted({node, *peers})),
            sync=sync,
            boot_id=BOOT_ID.read_text().strip() if BOOT_ID.exists() else "",
        )
        try:
            self._links = SocketLinks(node, cluster=cluster, tls=tls, bind=bind)
        except BaseException:
            storage.journal._destroy()
            raise
        self._background = ThreadPoolExecutor(1, thread_name_prefix="snapshot")
        self.replica = Replica(
            node=node,
            storage=storage,
            links=self._links,
            clock=time.monotonic,
            wall=time.time,
            rng=random.Random(),
            background=self._background,
            config=config,
            ledger=self.ledger,
            sync=sync,
        )
        for sentence in (*storage.journal.repairs, *storage.snapshots.damaged):
            LOG.warning("storage_repaired node=%s: %s", node, sentence)
        self.replica.raft.before_wait = lambda wait_s: batons.before_wait(wait_s, time.monotonic())
        if not self.replica.raft.members():
            for peer in peers:
                if peer != node:
                    self._links.dial(peer)
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._thread.start()

    @property
    def session(self) -> int | None:
        return self.replica.session

    def call(self, call: Call, call_id: str | None = None) -> None:
        """Any thread. `call_id`: repeat that unknown call. It ends by its deadline, or at once when the thread is not running or its
        queue is full."""
        if self.failure is not None or self._stopping.is_set():
            call.finish(None, Refused(f"the key service of {self.node} is not running"))
        elif self._calls.qsize() >= CALLS_MAX:
            call.finish(
                None, Refused(f"{CALLS_MAX} calls already wait for the ledger: slow down and try again")
            )
        else:
            self._calls.put((call, call_id))
            if self._ended:  # it has looked for calls for the last time, maybe before this one
                self._refuse_waiting()
                return
            if not self._woken:
                self._woken = True  # a doubled wake is harmless, a lost one waits STEP_S
                self._links.wake()

    def stop(self) -> None:
        """Idempotent. A leader hands over first; open calls end as unknown or refused."""
        self._stopping.set()
        if self._thread.is_alive():
            self._links.wake()
            self._thread.join(STOP_WITHIN_S)

    def _run(self) -> None:
        replica = self.replica
        self._batons.adopt()
        try:
            while not self._stopping.is_set():
                self._step(STEP_S)
            if replica.raft.is_leader() and len(replica.raft.members()) > 1:
                until = time.monotonic() + HAND_OVER_S
                while replica.raft.is_leader() and time.monotonic() < until:
                    replica.raft.hand_over()  # again, until one has every entry
                    self._step(STEP_S)
        except BaseException as error:
            self.failure = error
            self._on_failure(error)
        finally:
            self._end_calls()
            try:
                replica.close()
            except (OSError, ValueError) as error:  # the fault that ended the thread, met again
                self.failure = self.failure or error
            self._background.shutdown(wait=True, cancel_futures=True)

    def _step(self, wait_s: float) -> None:
        self._woken = False
        while not self._calls.empty():
            call, call_id = self._calls.get_nowait()
            if call_id is None:
                self.replica.add(call)
            else:
                self.replica.repeat(call_id, call)
        self.replica.step(0.0 if not self._calls.empty() else wait_s)
        if (self.replica.session is not None) != self.has_session.is_set():
            if self.replica.session is not None:
                self.has_session.set()
            else:
                self.has_session.clear()

    def _refuse_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._calls.get_nowait()[0].finish(None, Refused(self._ended))

    def _end_calls(self) -> None:
        how = "stopped" if self.failure is None else f"stopped by a fault: {self.failure}"
        reason = f"the key service of {self.node} has {how}"
        self._ended = reason
        self._refuse_waiting()
        self.replica.group.end_all(reason)
        self._batons.close()
