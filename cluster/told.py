"""What tasks say of themselves: how far they are while they run, what they wrote when they ended (shell: threads meet here).

The executor's thread writes, calls of applications read. Both are bounded, the oldest go first: this is for people who look, not a store.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from executor import Outcome, Progress

PROGRESS_KEYS_MAX = 10_000
OUTPUT_KEYS_MAX = 10_000
OUTPUT_CHARACTERS_MAX = 32 * 1024 * 1024


class Told:
    """`progressed` and `ended` are called with all that the executor reports; they must not wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._progress: OrderedDict[int, Progress] = OrderedDict()  # the newest last
        self._output: OrderedDict[int, str] = OrderedDict()
        self._output_characters = 0

    def progressed(self, news: Sequence[Progress]) -> None:
        with self._lock:
            for one in news:
                self._progress[one.key] = one
                self._progress.move_to_end(one.key)
            while len(self._progress) > PROGRESS_KEYS_MAX:
                self._progress.popitem(last=False)

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """Cheap for the many that told nothing."""
        wordy = [outcome for outcome in outcomes if outcome.output is not None]
        if not wordy and not self._progress:
            return
        with self._lock:
            if self._progress:
                for outcome in outcomes:
                    self._progress.pop(outcome.key, None)
            for outcome in wordy:
                self._keep(outcome.key, outcome.output or "")

    def progress(self, key: int) -> Progress | None:
        return self._progress.get(key)

    def newest(self, count: int) -> list[Progress]:
        with self._lock:
            return list(self._progress.values())[-count:]

    def output(self, key: int) -> str | None:
        return self._output.get(key)

    def _keep(self, key: int, text: str) -> None:
        self._output_characters += len(text) - len(self._output.pop(key, ""))
        self._output[key] = text
        while len(self._output) > OUTPUT_KEYS_MAX or self._output_characters > OUTPUT_CHARACTERS_MAX:
            _, gone = self._output.popitem(last=False)
            self._output_characters -= len(gone)
