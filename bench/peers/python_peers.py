"""The Python task queues that we are compared with, each as its own documents run it, with two worker processes on this machine.

`noop_tasks_per_s`, `start_latencies` and `flood_waits` each start a fresh broker, a submitter and the workers, and end them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.moments import Event, read_moments
from bench.node_group import NodeProcess, disk_directory
from bench.peers.counting import runs
from bench.peers.environments import PeerMissing, Redis, environment
from cluster.errors import Unavailable
from cluster.kafka.dev_broker import DevBroker
from cluster.kafka.jars import BrokerError
from cluster.kafka.topics import ensure_topics

SLOTS = 2
KAFKA_TOPIC = "bench"  # of the peers that need one
ROOT = Path(__file__).parents[2]
THREADS = 16  # that submit, as with our own client
LOOK_EVERY_S = 0.02
NOTHING_HAPPENS_S = 30.0
STOP_WITHIN_S = 5.0
WARM_UP = (100.0, 1.0)  # tasks a second, seconds
QUICK_SHARE = 0.3
FROM_SHARE = 0.1  # of the tasks: until then workers may still be starting


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """`worker`: the command of its environment, with {slots} for the number of processes. `noop_tasks`: some five seconds of work."""

    module: str
    requirements: tuple[str, ...]
    worker: tuple[str, ...]
    noop_tasks: int
    one_task_a_process: tuple[
        str, ...
    ] = ()  # for the flood: as `worker`, if by default more run in a process
    needs_kafka: bool = False
    at_least_once: bool = True  # it acknowledges after the run, as we do


PEERS = {
    "celery_acks_late": Peer(
        module="bench.peers.celery_acks_late",
        requirements=("celery[redis]==5.7.0",),
        worker=("celery", "-A", "bench.peers.celery_acks_late", "worker", "-c", "{slots}", "-l", "WARNING"),
        noop_tasks=4_000,
    ),
    "dramatiq": Peer(
        module="bench.peers.dramatiq_redis",
        requirements=("dramatiq[redis]==2.2.1",),
        worker=("dramatiq", "bench.peers.dramatiq_redis", "--processes", "{slots}", "--threads", "8"),
        one_task_a_process=(
            "dramatiq",
            "bench.peers.dramatiq_redis",
            "--processes",
            "{slots}",
            "--threads",
            "1",
        ),
        noop_tasks=15_000,
    ),
    "huey": Peer(
        module="bench.peers.huey_redis",
        requirements=("huey==3.5.4", "redis==8.1.0"),
        worker=("huey_consumer", "bench.peers.huey_redis.huey", "-w", "{slots}", "-k", "process", "-q"),
        noop_tasks=25_000,
        at_least_once=False,
    ),
    "taskiq": Peer(
        module="bench.peers.taskiq_redis_streams",
        requirements=("taskiq==0.13.0", "taskiq-redis==1.2.4"),
        worker=(
            "taskiq",
            "worker",
            "bench.peers.taskiq_redis_streams:broker",
            "--workers",
            "{slots}",
            "--log-level",
            "WARNING",
        ),
        noop_tasks=12_000,
    ),
    "faststream": Peer(
        module="bench.peers.faststream_kafka",
        requirements=("faststream[kafka,cli]==0.7.8",),
        worker=("faststream", "run", "bench.peers.faststream_kafka:app", "--workers", "{slots}"),
        noop_tasks=12_000,
        needs_kafka=True,
    ),
}


class RunningPeer:
    """A broker and a submitter; `start_workers` when the bench wants them."""

    def __init__(self, peer: Peer, directory: Path, broker: str, programs: Path) -> None:
        self._peer, self._directory, self._programs = peer, directory, programs
        self.counts = directory / "counts"
        self.counts.mkdir()
        self._environ = os.environ | {
            "BENCH_BROKER": broker,
            "BENCH_COUNTS": str(self.counts),
            "PYTHONPATH": str(ROOT),
        }
        self._worker: subprocess.Popen[bytes] | None = None
        self.submitter = NodeProcess(
            "bench.peers.submitter",
            [peer.module],
            directory / "submitter.log",
            python=str(programs / "python"),
            environ=self._environ,
        )

    def start_workers(self, words: Sequence[str] = ()) -> None:
        program, *rest = (word.format(slots=SLOTS) for word in words or self._peer.worker)
        with (self._directory / "worker.log").open("ab") as log:
            self._worker = subprocess.Popen(
                [str(self._programs / program), *rest],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environ,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Nothing of it is worth waiting for: its work is measured, its broker goes too."""
        self.submitter.stop()
        if self._worker is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            family = psutil.Process(self._worker.pid).children(recursive=True)
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGKILL)
        self._worker.kill()
        self._worker.wait(STOP_WITHIN_S)

    def last_words(self) -> str:
        log = self._directory / "worker.log"
        return (log.read_text(errors="replace").strip() if log.exists() else "")[-500:] or "it said nothing"


@contextlib.contextmanager
def running(name: str) -> Iterator[tuple[RunningPeer, Path]]:
    """The peer and a directory of its own, removed at the end. Raises `PeerMissing`."""
    peer = PEERS[name]
    programs = environment(name, peer.requirements)
    directory = disk_directory(None)
    with contextlib.ExitStack() as ended:
        ended.callback(shutil.rmtree, directory, ignore_errors=True)
        if peer.needs_kafka:
            broker = DevBroker(directory / "broker")
            ended.callback(broker.stop)
            try:
                address = broker.start()
                ensure_topics(address, [KAFKA_TOPIC])
            except (BrokerError, Unavailable) as error:
                raise PeerMissing(f"no broker: {error}") from None
        else:
            address = ended.enter_context(Redis(directory))
        one = RunningPeer(peer, directory, address, programs)
        ended.callback(one.stop)
        try:
            one.submitter.ask("ready")
            yield one, directory
        except RuntimeError as error:
            raise PeerMissing(f"{name} failed: {error}") from None


def noop_tasks_per_s(name: str, *, quick: bool = False) -> float | str:
    """Tasks that do nothing, queued before the workers start; the reason instead, if the peer cannot be had here."""
    count = round(PEERS[name].noop_tasks * (QUICK_SHARE if quick else 1.0))
    try:
        with running(name) as (peer, _):
            peer.submitter.ask("fill", task="count_run", count=count)
            peer.start_workers()
            return steady_rate(list(watch(peer, count)))
    except PeerMissing as error:
        return str(error)


def watch(peer: RunningPeer, count: int) -> Iterator[tuple[float, int]]:
    """(moment, how many have run) until all have. Raises `PeerMissing` when nothing more happens."""
    last, changed_at = -1, time.monotonic()
    while last < count:
        now, done = time.monotonic(), runs(peer.counts)
        if done != last:
            last, changed_at = done, now
        elif now > changed_at + NOTHING_HAPPENS_S:
            raise PeerMissing(
                f"only {done} of {count} tasks had run after {NOTHING_HAPPENS_S:g} s: {peer.last_words()}"
            )
        yield now, done
        time.sleep(LOOK_EVERY_S)


def steady_rate(seen: Sequence[tuple[float, int]]) -> float:
    """From the first tenth of the tasks to the last one."""
    end, count = seen[-1]
    begin, before = next(one for one in seen if one[1] >= count * FROM_SHARE)
    if end <= begin:
        raise PeerMissing(f"{count} tasks were too few to be timed")
    return (count - before) / (end - begin)


def start_latencies(name: str, rates: Sequence[int], seconds: float) -> dict[int, list[float]]:
    """Sorted waits from submit call to start, by rate. Raises `PeerMissing`."""
    found: dict[int, list[float]] = {}
    with running(name) as (peer, directory):
        peer.start_workers()
        for rate, lasting_s in ((0, WARM_UP[1]), *((rate, seconds) for rate in rates)):
            file = directory / f"at-{rate}"
            peer.submitter.ask(
                "open_loop", file=str(file), per_s=rate or WARM_UP[0], seconds=lasting_s, threads=THREADS
            )
            waits = await_starts(peer, file, round((rate or WARM_UP[0]) * lasting_s))
            if rate:
                found[rate] = waits
    return found


def await_starts(peer: RunningPeer, file: Path, count: int) -> list[float]:
    """Sorted waits, once all have started. Raises `PeerMissing` when nothing more happens."""
    last, changed_at = -1, time.monotonic()
    while last < count:
        moments = {moment.number: moment.wait_s for moment in reversed(read_moments(file))}
        if len(moments) != last:
            last, changed_at = len(moments), time.monotonic()
        elif time.monotonic() > changed_at + NOTHING_HAPPENS_S:
            raise PeerMissing(
                f"only {last} of {count} tasks had started after {NOTHING_HAPPENS_S:g} s: {peer.last_words()}"
            )
        time.sleep(LOOK_EVERY_S)
    return sorted(moments.values())


def flood_waits(
    name: str, *, long_tasks: int, per_s: float, seconds: float, within_s: float = 200.0
) -> list[tuple[float, float]]:
    """(submitted, waited) of short tasks beside a flood of long ones that sleep, one task at a time in each of two processes.

    Seconds since the flood. Lasts until all short ones have started, `within_s` at most; one that has not by then has waited until then.
    """
    with running(name) as (peer, directory):
        peer.start_workers(PEERS[name].one_task_a_process)
        warm, file = directory / "warm", directory / "flood"
        peer.submitter.ask("open_loop", file=str(warm), per_s=WARM_UP[0], seconds=WARM_UP[1], threads=THREADS)
        await_starts(peer, warm, round(WARM_UP[0] * WARM_UP[1]))
        began_ns = time.monotonic_ns()
        tasks = [[number, str(file)] for number in range(1, long_tasks + 1)]
        peer.submitter.ask("fill", task="sleep_long", count=long_tasks, arguments=tasks)
        sent = peer.submitter.ask("open_loop", file=str(file), per_s=per_s, seconds=seconds, threads=THREADS)
        numbers: list[int] = sent["numbers"]
        deadline = time.monotonic() + within_s
        started: dict[int, int] = {}
        while len(started) < len(numbers) and time.monotonic() < deadline:
            started = {
                moment.number: moment.at_ns
                for moment in reversed(read_moments(file))
                if moment.event is Event.SHORT_STARTED
            }
            time.sleep(LOOK_EVERY_S * 10)
        ended_ns = time.monotonic_ns()
    return [((number - began_ns) / 1e9, (started.get(number, ended_ns) - number) / 1e9) for number in numbers]
