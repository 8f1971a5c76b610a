"""Keys for submits without waiting for consensus: blocks drawn ahead of use (shell around `KeyService.reserve_future`).

The next block is asked for when half of the current one is used. A crash loses the rest of a block; no key is handed out twice.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future

from consensus import ConsensusError, KeyService

BLOCK_KEYS_MIN = 64
BLOCK_KEYS_MAX = 65_536


class KeyBlocks:
    """Thread-safe. The block size doubles while blocks are used up, from 64 to 65,536 keys."""

    def __init__(self, keys: KeyService) -> None:
        self._keys = keys
        self._lock = threading.Lock()
        self._free: deque[range] = deque()
        self._next: Future[range] | None = None
        self._block_keys = BLOCK_KEYS_MIN

    def draw(self, count: int, *, timeout_s: float) -> list[int]:
        """`count` fresh keys. Raises `ConsensusError` when a block is needed and no majority answers in time."""
        drawn: list[int] = []
        with self._lock:
            while len(drawn) < count:
                if not self._free:
                    self._refill(count - len(drawn), timeout_s)
                block = self._free.popleft()
                taken = min(len(block), count - len(drawn))
                drawn.extend(block[:taken])
                if taken < len(block):
                    self._free.appendleft(block[taken:])
            if self._next is None and sum(map(len, self._free)) < self._block_keys // 2:
                self._next = self._keys.reserve_future(self._block_keys)
        return drawn

    def _refill(self, wanted: int, timeout_s: float) -> None:
        ahead, self._next = self._next, None
        if ahead is not None:
            try:
                self._free.append(ahead.result(timeout_s))
                self._block_keys = min(self._block_keys * 2, BLOCK_KEYS_MAX)
                return
            except (ConsensusError, TimeoutError):
                pass  # its keys may be lost: never reused, only skipped
        self._block_keys = min(max(self._block_keys, wanted), BLOCK_KEYS_MAX)
        self._free.append(self._keys.reserve(max(self._block_keys, wanted), timeout_s=timeout_s))
