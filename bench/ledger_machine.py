"""What does the ledger alone cost: no Raft, no disk, one process?

Marks and claims a second through `apply`; then the largest ledger that the figures name (1e9 dense keys and 1e6 strewn over 1e12, a
million ended claims, a million bindings): bytes of its snapshot, the longest single step while it is frozen and written with commands
in between, and, in a fresh process, how long it takes to load and how much memory it then holds. All times are CPU times of the
thread, so that a busy machine does not change them.

`python -m bench.ledger_machine [DIRECTORY]`; the snapshot is written there, or into a temporary directory.
"""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack
import psutil

from consensus.ledger.commands import Entry, Opcode, encode_entry, encode_pairs, encode_runs
from consensus.ledger.executed import Outcome
from consensus.ledger.machine import LedgerMachine
from consensus.ledger.sharded_bitmap import split

BATCH_KEYS = 4096
DENSE_KEYS = 10**9
STREWN_KEYS = 10**6
STREWN_OVER = 10**12


class Proposer:
    """Feeds a machine of one open session; encoding is not part of what is timed."""

    def __init__(self) -> None:
        self.machine = LedgerMachine()
        self.seq = 0
        self.session = self.apply([[Opcode.OPEN_SESSION, "a", 1]])[0]

    def entry(self, commands: list[Any]) -> bytes:
        self.seq += 1
        return encode_entry(Entry(1, self.seq, max(0, self.seq - 16), 0, commands))

    def apply(self, commands: list[Any]) -> list[Any]:
        answers = self.machine.apply(self.entry(commands), 1).answers
        assert answers is not None
        return answers

    def reserve(self, count: int) -> int:
        """Without a million commands: the high-water mark alone."""
        first = self.machine.blocks.next_key
        self.machine.blocks.next_key += count
        return first


def rate(entries: list[bytes], machine: LedgerMachine, count: int) -> float:
    began = time.thread_time()
    for entry in entries:
        machine.apply(entry, 1)
    return count / (time.thread_time() - began)


def marks(order: Callable[[list[int]], list[int]], window: int) -> float:
    """Executed marks a second; keys of each window in `order`, cut into batches."""
    proposer = Proposer()
    first = proposer.reserve(200 * BATCH_KEYS)
    keys = list(range(first, first + 200 * BATCH_KEYS))
    ordered = [key for start in range(0, len(keys), window) for key in order(keys[start : start + window])]
    entries = [
        proposer.entry([[Opcode.EXECUTE, 1, "done", encode_runs(ordered[start : start + BATCH_KEYS])]])
        for start in range(0, len(ordered), BATCH_KEYS)
    ]
    return rate(entries, proposer.machine, len(ordered))


def claims(commands: int, keys: int) -> float:
    """Keys claimed and then executed a second, `keys` a command and `commands` an entry."""
    proposer = Proposer()
    first = proposer.reserve(200_000)
    entries = []
    step = commands * keys
    for start in range(first, first + 196_608, step):
        parts = [
            encode_pairs([(key, 0) for key in range(at, at + keys)])
            for at in range(start, start + step, keys)
        ]
        entries.append(proposer.entry([[Opcode.CLAIM, 1, part] for part in parts]))
        ends = [
            encode_pairs([(key, 1) for key in range(at, at + keys)])
            for at in range(start, start + step, keys)
        ]
        entries.append(proposer.entry([[Opcode.EXECUTE_CLAIMED, 1, "done", part] for part in ends]))
    return rate(entries, proposer.machine, 196_608)


def large() -> Proposer:
    proposer = Proposer()
    machine, rng = proposer.machine, random.Random(1)
    machine.blocks.next_key = STREWN_OVER
    for start in range(1, DENSE_KEYS, 1 << 26):
        machine.executed.mark(split([start, min(start + (1 << 26), DENSE_KEYS)]), Outcome.DONE)
    for _ in range(STREWN_KEYS // 1000):
        runs = encode_runs(rng.randrange(DENSE_KEYS, STREWN_OVER) for _ in range(1000))
        proposer.apply([[Opcode.EXECUTE, 1, "done", runs]])
    return proposer


def end_claims(proposer: Proposer, count: int) -> None:
    rng = random.Random(2)
    done = 0
    while done < count:
        keys = sorted({rng.randrange(DENSE_KEYS, STREWN_OVER) for _ in range(1000)})
        claimed = proposer.apply([[Opcode.CLAIM, 1, encode_pairs((key, 0) for key in keys)]])[0]
        pairs = [
            (key, attempt)
            for key, kind, attempt in zip(keys, claimed[::3], claimed[1::3], strict=True)
            if kind == 0
        ]
        done += sum(proposer.apply([[Opcode.FAIL, 1, encode_pairs(pairs)]])[0])


def bind(proposer: Proposer, count: int) -> None:
    for start in range(0, count, 500):
        proposer.apply(
            [[Opcode.BIND, f"order:{number}", 1 + number, 10**13] for number in range(start, start + 500)]
        )


def write(proposer: Proposer, path: Path) -> dict[str, float]:
    """Freezes and writes while commands are applied; milliseconds of the longest step of each kind.

    A full garbage collection of the interpreter looks at every object of every import and falls into any step: it is shown apart.
    """
    rng = random.Random(3)
    gc.disable()
    longest: defaultdict[str, float] = defaultdict(float)

    def timed(name: str, step: Callable[[], Any]) -> Any:
        began = time.thread_time()
        outcome = step()
        longest[name] = max(longest[name], (time.thread_time() - began) * 1000)
        return outcome

    sections: Iterator[tuple[str, bytes]] = timed("freeze", proposer.machine.freeze)
    with path.open("wb") as file:
        for number in range(1 << 30):
            section = timed("section", lambda: next(sections, None))
            if section is None:
                break
            file.write(msgpack.packb(section))
            strewn = encode_runs(rng.randrange(1, STREWN_OVER) for _ in range(BATCH_KEYS))
            if number < 50:
                entry = proposer.entry([[Opcode.EXECUTE, 1, "done", strewn]])
                timed("apply of 4096 strewn keys", lambda entry=entry: proposer.machine.apply(entry, 1))
            entry = proposer.entry([[Opcode.CLAIM, 1, [rng.randrange(1, STREWN_OVER), 0]]])
            timed("apply of one claim", lambda entry=entry: proposer.machine.apply(entry, 1))
    timed("full garbage collection", gc.collect)
    gc.enable()
    return longest


def load(path: Path) -> None:
    """In a process of its own: seconds, and resident bytes before and after."""
    before = psutil.Process().memory_info().rss
    machine = LedgerMachine()
    began = time.thread_time()
    with path.open("rb") as file:
        machine.load(tuple(section) for section in msgpack.Unpacker(file, max_buffer_size=1 << 30))
    took = time.thread_time() - began
    rss = psutil.Process().memory_info().rss
    print(json.dumps([took, before, rss, len(machine.executed), len(machine.claims), len(machine.bindings)]))


def report_snapshot(proposer: Proposer, path: Path, what: str) -> int:
    longest = write(proposer, path)
    out = subprocess.run(
        [sys.executable, "-m", "bench.ledger_machine", "--load", str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    took, before, rss, *_ = json.loads(out.stdout)
    print(f"{what}: file {path.stat().st_size / 1e6:.1f} MB, load {took:.2f} s, RSS {rss / 1e6:.0f} MB")
    print(f"  (of which interpreter and imports {before / 1e6:.0f} MB)")
    for name, milliseconds in longest.items():
        print(f"  longest {name}: {milliseconds:.1f} ms")
    return rss


def main() -> None:
    if sys.argv[1:2] == ["--load"]:
        load(Path(sys.argv[2]))
        return
    rng = random.Random(0)
    print(f"marks/s, batches of {BATCH_KEYS}")
    print(f"  in order: {marks(lambda keys: keys, BATCH_KEYS):,.0f}")
    print(f"  shuffled in a window of 65,536: {marks(lambda keys: rng.sample(keys, len(keys)), 65_536):,.0f}")
    print(f"  every second one: {marks(lambda keys: keys[::2] + keys[1::2], 2 * BATCH_KEYS):,.0f}")
    for commands, keys in ((1, 1), (64, 1), (1, 64), (1, BATCH_KEYS)):
        print(f"claim + execute/s, {commands} commands of {keys} keys: {claims(commands, keys):,.0f}")
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        proposer = large()
        empty = report_snapshot(proposer, directory / "executed", "1e9 dense + 1e6 strewn keys")
        end_claims(proposer, 10**6)
        ended = report_snapshot(proposer, directory / "claims", "the same + 1e6 ended claims")
        print(f"  memory for each ended claim: {(ended - empty) / len(proposer.machine.claims):.0f} bytes")
        bind(proposer, 10**6)
        bound = report_snapshot(proposer, directory / "bindings", "the same + 1e6 bindings")
        print(f"  memory for each binding: {(bound - ended) / 1e6:.0f} bytes")


if __name__ == "__main__":
    main()
