"""The disk port in memory, as bad as a real disk may be.

What a program wrote is seen by it at once, but what a power cut leaves is another matter: each page written since the last sync of its
file may be there, be missing, or be torn in its middle, whatever the order of writing; the file's size may be the old one or the new one;
and an entry of the directory (created, renamed, removed) may be lost until the directory itself was synced. A killed process, unlike a
power cut, loses nothing that was written. A sync that failed proves nothing, ever: its pages stay at risk.
Asked for, a disk also fills up, fails a sync (EIO), syncs slowly, turns a bit, or ends its node in the middle of an operation.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

PAGE_BYTES = 4096
CALL_S = 4e-6
BYTES_PER_S = 800e6
SYNC_S = (0.00008, 0.0004)


class SimulatedCrash(BaseException):
    """The node dies here. A BaseException, so that no handler of the node can catch it."""

    def __init__(self, *, power: bool) -> None:
        super().__init__("simulated crash")
        self.power = power


@dataclass(slots=True, eq=False)
class _Inode:
    data: bytearray = field(default_factory=bytearray)
    undo: dict[int, bytes] = field(default_factory=dict)  # page -> what a power cut may bring back
    synced_bytes: int = 0  # the size that is certain
    failed: bool = False  # a sync failed: no later one makes these pages certain

    def touch(self, start: int, end: int) -> None:
        """Remembers the pages of [start, end) before they change."""
        for page in range(start // PAGE_BYTES, -(-end // PAGE_BYTES)):
            if page not in self.undo:
                self.undo[page] = bytes(self.data[page * PAGE_BYTES : (page + 1) * PAGE_BYTES])

    def sync(self) -> None:
        if not self.failed:
            self.undo.clear()
            self.synced_bytes = len(self.data)

    def lose_unsynced(self, rng: Random) -> None:
        """Each page at risk: there, gone, or new up to some byte and old behind it; the size: any that it may have had."""
        self.failed = False
        if not self.undo and self.synced_bytes == len(self.data):
            return
        low, high = sorted((self.synced_bytes, len(self.data)))
        size = rng.choice((low, high, rng.randint(low, high)))
        self.data.extend(bytes(high - len(self.data)))
        for page, old in sorted(self.undo.items()):
            start, end = page * PAGE_BYTES, min((page + 1) * PAGE_BYTES, high)
            before, now = old.ljust(PAGE_BYTES, b"\0")[: end - start], self.data[start:end]
            changed = [place for place in range(end - start) if before[place] != now[place]]
            if changed:
                torn = rng.choice(changed) + rng.randrange(2)  # where tearing is seen
                cut = rng.choice((0, torn, torn, end - start))
                self.data[start + cut : end] = before[cut:]
        del self.data[size:]
        self.undo.clear()
        self.synced_bytes = size


class SimFile:
    def __init__(self, disk: SimDisk, inode: _Inode, life: int) -> None:
        self._disk, self._inode, self._life = disk, inode, life

    def write(self, data: bytes) -> None:
        self.write_at(len(self._inode.data), data)

    def write_at(self, offset: int, data: bytes) -> None:
        disk, inode = self._disk, self._inode
        late = disk._begin(self._life, lambda: self._put(offset, data[: max(1, len(data) // 2)]), len(data))
        room = disk.room_bytes()
        growth = max(0, offset + len(data) - len(inode.data))
        if growth > room:
            self._put(offset, data[: max(0, len(data) - (growth - room))])
            raise OSError(errno.ENOSPC, "No space left on device (simulated)")
        if disk.failing_writes and disk._take_failure():
            raise OSError(errno.EIO, "Input/output error (simulated)")
        self._put(offset, data)
        disk._end(late)

    def size_bytes(self) -> int:
        return len(self._inode.data)

    def truncate(self, size_bytes: int) -> None:
        late = self._disk._begin(self._life, lambda: None, 0)
        self._inode.touch(size_bytes, len(self._inode.data))
        del self._inode.data[size_bytes:]
        self._inode.data.extend(bytes(size_bytes - len(self._inode.data)))
        self._disk._end(late)

    def sync(self) -> None:
        disk = self._disk
        late = disk._begin(self._life, lambda: None, 0)
        disk.syncs += 1
        disk.wait(disk.rng.uniform(*SYNC_S) + disk.slow_sync_s * disk.rng.random())
        if not disk.failing_writes and disk._take_failure():
            self._inode.failed = True
            raise OSError(errno.EIO, "Input/output error (simulated)")
        if disk.honest_sync:
            self._inode.sync()
        disk._end(late)

    def close(self) -> None:
        pass

    def _put(self, offset: int, data: bytes) -> None:
        inode = self._inode
        end = offset + len(data)
        inode.touch(min(offset, len(inode.data)), end)
        if offset > len(inode.data):
            inode.data.extend(bytes(offset - len(inode.data)))
        inode.data[offset:end] = data


class SimDisk:
    """One directory. `wait(seconds)` spends the node's time; `rng` decides what a crash leaves."""

    def __init__(self, rng: Random, wait: Callable[[float], None]) -> None:
        self.rng, self.wait = rng, wait
        self.syncs = 0
        self.slow_sync_s = 0.0
        self.honest_sync = True  # False: a mutant, a disk that says synced and is not
        self.failures_due = 0  # that many syncs, or writes, end with EIO
        self.failing_writes = False
        self.limit_bytes: int | None = None
        self.operations_until_crash: int | None = None
        self.crash_cuts_power = True
        self._life = 0
        self._now: dict[str, _Inode] = {}
        self._certain: dict[str, _Inode] = {}
        self._changes: list[tuple[str, str, str, _Inode | None]] = []  # of the directory, since its last sync

    # -- the port

    def names(self) -> list[str]:
        return sorted(self._now)

    def size_bytes(self, name: str) -> int:
        return len(self._found(name).data)

    def read(self, name: str, offset: int = 0, size_bytes: int | None = None) -> bytes:
        data = self._found(name).data
        end = len(data) if size_bytes is None else offset + size_bytes
        part = bytes(data[offset:end])
        self.wait(CALL_S + len(part) / BYTES_PER_S)
        return part

    def open(self, name: str) -> SimFile:
        return SimFile(self, self._found(name), self._life)

    def create(self, name: str) -> SimFile:
        if name in self._now:
            raise FileExistsError(errno.EEXIST, "File exists (simulated)", name)
        if self.room_bytes() <= 0:
            raise OSError(errno.ENOSPC, "No space left on device (simulated)", name)
        inode = _Inode()
        self._change("create", name, name, inode)
        return SimFile(self, inode, self._life)

    def rename(self, old: str, new: str) -> None:
        self._found(old)
        self._change("rename", old, new, None)

    def remove(self, name: str) -> None:
        self._found(name)
        self._change("remove", name, name, None)

    def sync_directory(self) -> None:
        late = self._begin(self._life, lambda: None, 0)
        self.syncs += 1
        self.wait(self.rng.uniform(*SYNC_S) + self.slow_sync_s * self.rng.random())
        if self.honest_sync:
            self._certain = dict(self._now)
            self._changes.clear()
        self._end(late)

    # -- what the world does to it

    def used_bytes(self) -> int:
        return sum(len(inode.data) for inode in self._now.values())

    def room_bytes(self) -> int:
        return 1 << 60 if self.limit_bytes is None else self.limit_bytes - self.used_bytes()

    def crash(self, *, power: bool) -> None:
        """After it the disk can be opened by the next life of the node; files of the former life are dead."""
        self._life += 1
        self.operations_until_crash = None
        self.failures_due = 0
        if not power:
            return
        if self._changes and self.rng.random() < 0.5:  # a journaling file system: a prefix of the changes
            survivors = self._changes[: self.rng.randrange(len(self._changes) + 1)]
        else:
            survivors = [change for change in self._changes if self.rng.random() < 0.5]
        entries = dict(self._certain)
        for change in survivors:
            _apply_change(entries, change)
        for inode in list(entries.values()):
            inode.lose_unsynced(self.rng)
        self._now, self._certain = entries, dict(entries)
        self._changes.clear()

    def forgive(self) -> None:
        """The failed pages were written in the end: a later sync counts again."""
        for inode in self._now.values():
            inode.failed = False

    def turn_a_bit(self, name: str, offset: int, bit: int) -> None:
        """At rest: both what is read now and what a power cut would leave."""
        self._found(name).data[offset] ^= 1 << bit

    # -- inside

    def _found(self, name: str) -> _Inode:
        if name not in self._now:
            raise FileNotFoundError(errno.ENOENT, "No such file (simulated)", name)
        return self._now[name]

    def _change(self, kind: str, old: str, new: str, inode: _Inode | None) -> None:
        late = self._begin(self._life, lambda: None, 0)
        change = (kind, old, new, inode)
        _apply_change(self._now, change)
        self._changes.append(change)
        self._end(late)

    def _take_failure(self) -> bool:
        if self.failures_due:
            self.failures_due -= 1
            return True
        return False

    def _begin(self, life: int, half: Callable[[], None], size_bytes: int) -> bool:
        """Costs time; a due crash happens before the operation, in its middle (`half`), or, if this is True, after it."""
        if life != self._life:
            raise RuntimeError("a dead process writes: the simulator kept an old life of this node running")
        self.wait(CALL_S + size_bytes / BYTES_PER_S)
        if self.operations_until_crash is None:
            return False
        self.operations_until_crash -= 1
        if self.operations_until_crash > 0:
            return False
        self.operations_until_crash = None
        when = self.rng.randrange(3)
        if when == 0:
            raise SimulatedCrash(power=self.crash_cuts_power)
        if when == 1:
            half()
            raise SimulatedCrash(power=self.crash_cuts_power)
        return True

    def _end(self, crashes: bool) -> None:
        if crashes:
            raise SimulatedCrash(power=self.crash_cuts_power)


def _apply_change(entries: dict[str, _Inode], change: tuple[str, str, str, _Inode | None]) -> None:
    """On entries that lack what a lost change would have brought, a change does nothing."""
    kind, old, new, inode = change
    if kind == "create" and inode is not None:
        entries[new] = inode
    elif kind == "rename" and old in entries:
        entries[new] = entries.pop(old)
    elif kind == "remove":
        entries.pop(old, None)
