"""Clients: what they ask of the cluster, drawn from the seed, and what they heard.

A client lives on one node and has one call open at a time, as a thread would. Clients share what the cluster has told them (keys that
were handed out, attempts that may run), so they meet at the same keys: claims of what another holds, marks that come late, records
whose attempt is over. An unknown call is sometimes repeated under its id.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from consensus import operations
from consensus.errors import ConsensusError, OutcomeUnknown
from consensus.group_commit import Call
from consensus.ledger.claims import ClaimKind, Decision
from consensus.operations import ClaimAnswer, Operation
from tests.simulation.judges_calls import Heard, Record
from tests.simulation.tally import NOTE

if TYPE_CHECKING:
    from tests.simulation.cluster import Cluster
    from tests.simulation.node import SimNode

PROBE_S = 20.0
DEADLINES_S = (0.5, 2.0, 5.0)
KEYS_KEPT = 60  # few, so that clients meet
GROUP_CHANGE_TRIES = 20
PADDING_BYTES = (0, 0, 0, 20, 300, 3000, 20000)


RUNS_KEPT = 30
WHAT = {  # and how often
    "tally": 30,
    "claim": 25,
    "execute claimed": 12,
    "fail": 6,
    "release": 2,
    "execute": 5,
    "reserve": 8,
    "barrier": 8,
    "bind": 3,
    "cancel": 2,
    "doubt": 2,
    "resolve": 1,
}
Run = tuple[int, int]  # (key, attempt): somebody may run it


@dataclass(frozen=True, slots=True)
class Ask:
    """`learn` hears the answer of a committed call."""

    what: str
    operation: Operation[Any]
    number: int = 0
    learn: Callable[[Any], None] = lambda _: None


class Workload:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._rng = Random(f"{cluster.plan.seed}/clients")
        self._stopped = False
        self.records = 0
        self.heard: dict[tuple[str, Heard], int] = {}
        self._numbers = 0
        self._keys: list[int] = []
        self._runs: list[Run] = []
        self._failed: list[Run] = []
        self._values = 0

    def start(self) -> None:
        for number in range(self._cluster.plan.clients):
            rng = Random(f"{self._cluster.plan.seed}/client/{number}")
            self._think(number, rng)

    def stop(self) -> None:
        self._stopped = True

    def probe(self, node: SimNode) -> Record:
        """A question that a healed cluster answers."""
        return self.call(node, "barrier", operations.barrier(), PROBE_S)

    def change_group(
        self, change: Callable[[tuple[str, ...]], tuple[str, ...]], tries: int = GROUP_CHANGE_TRIES
    ) -> None:
        """An operator's command, tried again for a while: the leader refuses it while another change is open."""
        cluster = self._cluster
        before = cluster.group()
        after = change(before)
        leader = cluster.leader()
        if before == after or self._stopped or tries == 0:
            return

        def again(record: Record) -> None:
            cluster.timeline.after(0.5, lambda: self.change_group(change, tries - 1))

        if leader is None or leader.paused:
            cluster.timeline.after(0.5, lambda: self.change_group(change, tries - 1))
        else:
            self.call(leader, "change group", operations.change_group(before, after), 2.0, then=again)

    def call(
        self,
        node: SimNode,
        what: str,
        operation: Operation[Any],
        timeout_s: float,
        *,
        number: int = 0,
        then: Callable[[Record], None] | None = None,
    ) -> Record:
        """At a node that runs. `then` hears of the end, also of the death of the process, but later in both cases."""
        record, call = self._prepare(node, what, operation, timeout_s, number, then)
        node.inside(lambda: node.replica.add(call))
        node.arrived()
        return record

    def repeat(
        self,
        node: SimNode,
        former: Record,
        operation: Operation[Any],
        timeout_s: float,
        then: Callable[[Record], None],
    ) -> None:
        record, call = self._prepare(node, former.what, operation, timeout_s, former.number, then)
        record.noted_before, record.executed_before = (
            former.noted_before,
            former.executed_before,
        )  # the same call
        node.inside(lambda: node.replica.repeat(former.details["call_id"], call))
        node.arrived()

    def _prepare(
        self,
        node: SimNode,
        what: str,
        operation: Operation[Any],
        timeout_s: float,
        number: int,
        then: Callable[[Record], None] | None,
    ) -> tuple[Record, Call]:
        cluster = self._cluster
        self.records += 1
        record = Record(
            id=self.records,
            what=what,
            node=node.name,
            life=node.lives,
            started_s=cluster.timeline.now_s,
            deadline=node.clock.boot_s + cluster.timeline.now_s + timeout_s,
            number=number,
        )

        def end(raw: Any, error: ConsensusError | None) -> None:
            record.ended_s = node.clock.now_s()
            if error is None:
                record.heard, record.answer = Heard.COMMITTED, operation.read(raw)
            else:
                record.why = str(error)
                record.heard = Heard.UNKNOWN if isinstance(error, OutcomeUnknown) else Heard.REFUSED
                record.details["call_id"] = getattr(error, "call_id", None)
            self._count(record)
            cluster.judges.call_ended(node, record)
            if then is not None:
                cluster.timeline.at(record.ended_s, lambda: then(record))

        call = Call(
            command=operation.command,
            end=end,
            deadline=record.deadline,
            size_bytes=operation.size_bytes,
            needs_session=operation.needs_session,
            alone=operation.alone,
        )
        record.details["then"] = then
        cluster.judges.call_began(record)
        return record, call

    def lost(self, record: Record) -> None:
        """Its process died with it."""
        self._count(record)
        then = record.details["then"]
        if then is not None:
            self._cluster.timeline.after(0.01, lambda: then(record))

    def _count(self, record: Record) -> None:
        kind = (record.what, record.heard)
        self.heard[kind] = self.heard.get(kind, 0) + 1

    # -- one client

    def _think(self, number: int, rng: Random) -> None:
        if not self._stopped:
            pause_s = rng.expovariate(1 / self._cluster.plan.think_s)
            self._cluster.timeline.after(pause_s, lambda: self._act(number, rng))

    def _act(self, number: int, rng: Random) -> None:
        names = sorted(self._cluster.nodes)
        node = self._cluster.nodes[names[number % len(names)]]
        if self._stopped or not node.reachable():
            self._think(number, rng)
            return
        ask = self._draw(rng)
        timeout_s = rng.choice(DEADLINES_S)

        def then(record: Record) -> None:
            if record.heard is Heard.COMMITTED:
                ask.learn(record.answer)
            again = record.heard is Heard.UNKNOWN and record.details.get("call_id") and rng.random() < 0.5
            if again and node.reachable() and not self._stopped and node.lives == record.life:
                self.repeat(node, record, ask.operation, timeout_s, lambda _: self._think(number, rng))
            else:
                self._think(number, rng)

        self.call(node, ask.what, ask.operation, timeout_s, number=ask.number, then=then)

    def _draw(self, rng: Random) -> Ask:
        what = rng.choices(list(WHAT), list(WHAT.values()))[0]
        if what == "reserve" or (not self._keys and what not in ("tally", "barrier")):
            return Ask("reserve", operations.reserve(rng.choice((1, 2, 5, 64, 4096))), learn=self._reserved)
        match what:
            case "claim":
                records = self._records(rng)
                keys = [key for key, _ in records]
                return Ask(
                    what, operations.claim(records), learn=lambda answers: self._claimed(keys, answers)
                )
            case "execute claimed" | "fail" | "release" if self._runs:
                taken = [
                    self._runs.pop(rng.randrange(len(self._runs))) for _ in range(min(len(self._runs), 3))
                ]
                runs = list(dict(taken).items())
                if what == "execute claimed":
                    return Ask(what, operations.execute(runs, rng.choice(("done", "done", "dead"))))
                if what == "fail":
                    return Ask(what, operations.fail(runs), learn=lambda answers: self._ended(runs, answers))
                return Ask(what, operations.release(runs))
            case "execute":
                keys = sorted(rng.choices(self._keys, k=rng.choice((1, 1, 3))))
                return Ask(what, operations.execute(keys, rng.choice(("done", "abandoned"))))
            case "bind":
                self._values += rng.random() < 0.5
                return Ask(what, operations.bind(f"order:{self._values}", rng.choice(self._keys), 1 << 50))
            case "cancel":
                return Ask(what, operations.cancel([rng.choice(self._keys)]))
            case "doubt" if self._runs:
                return Ask(what, operations.doubt([rng.choice(self._runs)[0]], "the check could not tell"))
            case "resolve":
                return Ask(what, operations.resolve([rng.choice(self._keys)], rng.choice(list(Decision))))
            case "barrier":
                return Ask(what, operations.barrier())
        self._numbers += 1
        return Ask("tally", note(self._numbers, rng.choice(PADDING_BYTES)), number=self._numbers)

    def _records(self, rng: Random) -> list[Run]:
        """(key, after): fresh ones, ones that failed before, and ones whose record is old."""
        records: dict[int, int] = {}
        for _ in range(rng.choice((1, 1, 2, 5))):
            if self._failed and rng.random() < 0.4:
                key, attempt = rng.choice(self._failed)
                records[key] = attempt
            else:
                records[rng.choice(self._keys)] = 0
        return list(records.items())

    def _reserved(self, block: range) -> None:
        self._keys += block[:10]
        del self._keys[:-KEYS_KEPT]

    def _claimed(self, keys: list[int], answers: list[ClaimAnswer]) -> None:
        for key, answer in zip(keys, answers, strict=True):
            if answer.kind in (ClaimKind.GO, ClaimKind.RECOVER):
                self._runs.append((key, answer.attempt))
        del self._runs[:-RUNS_KEPT]

    def _ended(self, runs: list[Run], answers: list[bool]) -> None:
        self._failed += [run for run, ended in zip(runs, answers, strict=True) if ended]
        del self._failed[:-RUNS_KEPT]


def note(number: int, padding_bytes: int) -> Operation[int]:
    padding = bytes(padding_bytes)
    return Operation(command=lambda _: [NOTE, number, padding], read=int, size_bytes=32 + padding_bytes)
