"""Where a flood is let loose: a real node with its broker, or the executor alone. Both take submits and say how they are.

A sample is what `quorate lanes` shows, a few times a second; the pictures are drawn from it.
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from bench.backlog import fresh_prefix
from cluster.client import Client
from cluster.errors import QuorateError
from cluster.local_cluster import LocalCluster
from executor import Executor, Task, encode_arguments

HANDLERS = ("bench.flood_handlers",)
WORKERS = 2
SAMPLE_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSample:
    queued: int
    running: int
    slots: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """How it was at one moment, in monotonic seconds. `processes`: by form, those for long tasks as "process, long"."""

    at_s: float
    processes: Mapping[str, int]
    lanes: Mapping[str, LaneSample]


class Ground(Protocol):
    def submit(self, handler: str, arguments: Sequence[Any], kind: str = "") -> None: ...

    def submit_many(self, handler: str, arguments: Sequence[Sequence[Any]], kind: str = "") -> None: ...

    def sample(self) -> Sample: ...

    def reasons(self) -> list[tuple[float, str, str, str]]:
        """(monotonic seconds, subject, decision, why) of what was decided, as far as it is kept."""
        ...


class NodeGround:
    """`with NodeGround(directory, kafka) as ground`: nodes that have run nothing before; the directory is removed at the end."""

    def __init__(self, directory: Path, kafka: str, *, nodes: int = 1) -> None:
        self._directory = directory
        self._cluster = LocalCluster(
            directory,
            nodes,
            HANDLERS,
            kafka=kafka,
            workers=WORKERS,
            prefix=fresh_prefix(),
        )
        self._client: Client | None = None

    def __enter__(self) -> NodeGround:
        try:
            self._client = Client(",".join(node["api"] for node in self._cluster.up()["nodes"]))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        with contextlib.suppress(QuorateError):
            self._cluster.down()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def client(self) -> Client:
        assert self._client is not None, "use it in a `with`"
        return self._client

    def submit(self, handler: str, arguments: Sequence[Any], kind: str = "") -> None:
        self.client.submit(handler, *arguments, kind=kind)

    def submit_many(self, handler: str, arguments: Sequence[Sequence[Any]], kind: str = "") -> None:
        self.client.submit_many(handler, arguments, kind=kind)

    def sample(self) -> Sample:
        view = self.client.lanes()[0]
        return Sample(
            at_s=time.monotonic(),
            processes=_by_form((runner.form, runner.is_long) for runner in view.runners),
            lanes={
                lane.lane: LaneSample(queued=lane.queued, running=lane.running, slots=lane.slots)
                for lane in view.lanes
            },
        )

    def reasons(self) -> list[tuple[float, str, str, str]]:
        to_monotonic_s = time.monotonic() - time.time()
        return [
            (one.at_ms / 1000 + to_monotonic_s, one.subject, one.decision, one.why)
            for one in self.client.lanes(with_reasons=True)[0].reasons
        ]


class ExecutorGround:
    """`with ExecutorGround() as ground`: the executor alone, as any program may hold it."""

    def __init__(self) -> None:
        self._executor = Executor(HANDLERS, workers=WORKERS, on_outcomes=lambda outcomes: None)
        self._numbers = itertools.count(1)

    def __enter__(self) -> ExecutorGround:
        self._executor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.stop(grace_s=0.0)

    def submit(self, handler: str, arguments: Sequence[Any], kind: str = "") -> None:
        self.submit_many(handler, [arguments], kind)

    def submit_many(self, handler: str, arguments: Sequence[Sequence[Any]], kind: str = "") -> None:
        numbers = itertools.islice(self._numbers, len(arguments))
        self._executor.offer(
            [
                Task(
                    seq=number,
                    key=number,
                    attempt=1,
                    handler=handler,
                    arguments=encode_arguments(tuple(one), {}),
                    kind=kind,
                )
                for number, one in zip(numbers, arguments, strict=True)
            ]
        )

    def sample(self) -> Sample:
        seen = self._executor.statistics()
        return Sample(
            at_s=time.monotonic(),
            processes=_by_form((runner.form.value, runner.is_long) for runner in seen.runners),
            lanes={
                lane.value: LaneSample(queued=one.queued, running=one.running, slots=one.slots)
                for lane, one in seen.lanes.items()
            },
        )

    def reasons(self) -> list[tuple[float, str, str, str]]:
        return [(one.at_s, one.subject, one.decision, one.why) for one in self._executor.reasons()]


def _by_form(runners: Iterable[tuple[str, bool]]) -> Counter[str]:
    return Counter(f"{form}, long" if is_long else form for form, is_long in runners)


@dataclass(slots=True)
class Sampler:
    """Samples in a thread of its own until the block ends; one that fails is left out."""

    take: Callable[[], Sample]
    samples: list[Sample] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[list[Sample]]:
        done = threading.Event()

        def run() -> None:
            while not done.wait(SAMPLE_EVERY_S):
                with contextlib.suppress(QuorateError):
                    self.samples.append(self.take())

        thread = threading.Thread(target=run, name="sampler", daemon=True)
        thread.start()
        try:
            yield self.samples
        finally:
            done.set()
            thread.join()
