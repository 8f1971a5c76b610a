"""Where tasks are, as one node can say: from the ledger, its own hands, and what the others told of theirs (shell)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from cluster.api import OutputView, ProgressView, TaskState, TaskStatus
from cluster.broadcast import decode_news
from cluster.flow_thread import FlowThread
from cluster.results import Results
from cluster.told import Told
from consensus import KeyService, Outcome
from executor import encode_value

WAIT_POLL_S = 0.005
RESULT_LAG_S = (
    2.0  # how long one call waits for the reader of results, which may be a moment behind the marks
)
NOTHING = encode_value(None)  # what a handler that returned None stored
NEWS_OLD_S = 10.0  # what a node said before that is no word on its tasks any more
STATES = {Outcome.DONE: TaskState.DONE, Outcome.CANCELLED: TaskState.CANCELLED}


class NodeTasks:
    """`stopped`: the node ends, nobody should wait for it."""

    def __init__(
        self,
        name: str,
        keys: KeyService,
        flow: FlowThread,
        results: Results,
        told: Told,
        *,
        stopped: Callable[[], bool],
    ) -> None:
        self._name, self._keys, self._flow = name, keys, flow
        self._results, self._told, self._stopped = results, told, stopped

    def status(self, keys: Sequence[int], *, with_result: bool, timeout_s: float) -> list[TaskStatus]:
        statuses = []
        knows_all: bool | None = None  # asked once a call, and only if it matters
        elsewhere: dict[int, tuple[str, ProgressView | None]] | None = None
        for key in keys:
            outcome = self._keys.outcome(key)
            if outcome is None:
                if elsewhere is None:
                    elsewhere = self._elsewhere()
                statuses.append(self._open(key, elsewhere))
                continue
            state = STATES.get(outcome, TaskState.DEAD)
            if state is TaskState.CANCELLED:
                statuses.append(TaskStatus(key=key, state=state))
                continue
            result, error = self._results.find(key)
            if (state is TaskState.DEAD and error is None) or (with_result and result is None):
                if knows_all is None:
                    knows_all = self._results.has_read_all(min(timeout_s, RESULT_LAG_S))
                result, error = self._results.find(key)
                if (result, error) == (None, None) and knows_all and not self._results.was_let_go(key):
                    result = NOTHING if state is TaskState.DONE else None
                if state is TaskState.DEAD and error is None:
                    error = "reason no longer kept"
            statuses.append(
                TaskStatus(key=key, state=state, result=result if with_result else None, error=error)
            )
        return statuses

    def wait(self, keys: Sequence[int], *, timeout_s: float) -> list[int]:
        """Those still open."""
        deadline = time.monotonic() + timeout_s
        pause_s = WAIT_POLL_S
        open_keys = list(keys)
        while True:
            done = self._keys.executed(open_keys)
            open_keys = [key for key, is_done in zip(open_keys, done, strict=True) if not is_done]
            if not open_keys or time.monotonic() >= deadline or self._stopped():
                return open_keys
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
            pause_s = min(pause_s * 1.2, 0.1)

    def output(self, key: int) -> OutputView | None:
        text = self._told.output(key)
        return None if text is None else OutputView(key=key, node=self._name, text=text)

    def _open(self, key: int, elsewhere: dict[int, tuple[str, ProgressView | None]]) -> TaskStatus:
        if self._flow.is_running(key):
            told = self._told.progress(key)
            progress = (
                None if told is None else ProgressView(done=told.done, total=told.total, note=told.note)
            )
            return TaskStatus(key=key, state=TaskState.RUNNING, node=self._name, progress=progress)
        if key in elsewhere:
            node, progress = elsewhere[key]
            return TaskStatus(key=key, state=TaskState.RUNNING, node=node, progress=progress)
        is_unknown = key >= self._keys.high_water()
        return TaskStatus(key=key, state=TaskState.UNKNOWN if is_unknown else TaskState.WAITING)

    def _elsewhere(self) -> dict[int, tuple[str, ProgressView | None]]:
        """What the other nodes said lately that they have in hand."""
        found: dict[int, tuple[str, ProgressView | None]] = {}
        for age_s, status in self._keys.peer_status().values():
            if age_s < NEWS_OLD_S:
                news = decode_news(status)
                found |= dict.fromkeys(news.in_hand, (news.name, None))
                found |= {key: (news.name, progress) for key, progress in news.progress.items()}
        return found
