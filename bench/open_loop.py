"""Submits at a steady rate whether or not what was submitted has been answered. Standard library only: peers use it too.

Each thread has every n-th moment for its own, so that a call that takes long delays only those of its thread; how late the calls were is
told beside what was measured, because a submitter that cannot keep its rate measures a lower one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bench.callers import percentile

END_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """`per_s`: calls that returned, by the time they took together. `late`: a call began after its moment; `took`: until it returned."""

    count: int
    failed: int
    per_s: float
    late_p99_ms: float
    took_p50_ms: float
    took_p99_ms: float
    why: str = ""  # the first failure

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def open_loop(submit: Callable[[], object], *, per_s: float, seconds: float, threads: int) -> Sent:
    """Calls `submit` `per_s` times a second, and returns when the last call has returned."""
    count = max(1, round(per_s * seconds))
    lates: list[float] = []
    took: list[float] = []
    failures: list[str] = []
    began = time.monotonic() + 0.05  # all threads are up by then

    def run(first: int) -> None:
        for number in range(first, count, threads):
            due = began + number / per_s
            time.sleep(max(0.0, due - time.monotonic()))
            called = time.monotonic()
            try:
                submit()
            except Exception as error:
                failures.append(repr(error))
            else:
                lates.append(called - due)
                took.append(time.monotonic() - called)

    runners = [
        threading.Thread(target=run, args=(number,), name=f"submitter-{number}", daemon=True)
        for number in range(min(threads, count))
    ]
    for runner in runners:
        runner.start()
    for runner in runners:
        runner.join(seconds + END_WITHIN_S)
    elapsed_s = time.monotonic() - began
    if not took:
        raise RuntimeError(f"none of {count} tasks could be submitted: {failures[:1]}")
    lates.sort()
    took.sort()
    return Sent(
        count=count,
        failed=count - len(took),
        per_s=len(took) / max(elapsed_s, 1e-9),
        late_p99_ms=percentile(lates, 99) * 1000,
        took_p50_ms=percentile(took, 50) * 1000,
        took_p99_ms=percentile(took, 99) * 1000,
        why=failures[0] if failures else "",
    )
