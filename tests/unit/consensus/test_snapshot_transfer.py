"""A snapshot arrives whole whatever is lost on the way, and never more than a window is on its way."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.raft.snapshot_transfer import CHUNK_BYTES, RESEND_AFTER_S, WINDOW_CHUNKS, Transfer

pytestmark = pytest.mark.unit
WINDOW_BYTES = WINDOW_CHUNKS * CHUNK_BYTES


@dataclass
class File:
    content: bytes
    index: int = 7
    term: int = 2
    sha256: bytes = b"digest"

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, offset: int, size_bytes: int) -> bytes:
        return self.content[offset : offset + size_bytes]

    def close(self) -> None: ...


def test_no_more_than_a_window_is_sent_before_an_answer_and_the_rest_follows_it() -> None:
    transfer = Transfer(File(bytes(3 * WINDOW_BYTES)), progress_at=0.0)
    assert sum(len(chunk["data"]) for chunk in transfer.chunks(0.0)) == WINDOW_BYTES
    assert transfer.chunks(0.1) == []
    transfer.answered(CHUNK_BYTES, 0.2)
    assert [chunk["offset"] for chunk in transfer.chunks(0.3)] == [WINDOW_BYTES]


def test_without_progress_the_transfer_goes_on_from_what_was_acknowledged() -> None:
    transfer = Transfer(File(bytes(5 * CHUNK_BYTES)), progress_at=0.0)
    transfer.chunks(0.0)
    transfer.answered(2 * CHUNK_BYTES, 0.1)
    again = transfer.chunks(0.2 + RESEND_AFTER_S)
    assert [chunk["offset"] for chunk in again] == [2 * CHUNK_BYTES, 3 * CHUNK_BYTES, 4 * CHUNK_BYTES]


@given(st.integers(0, 2**32))
def test_a_receiver_that_takes_the_next_chunk_only_ends_with_the_whole_file(seed: int) -> None:
    rng = random.Random(seed)
    file = File(rng.randbytes(rng.randint(1, 12 * CHUNK_BYTES)))
    transfer, received, now = Transfer(file, progress_at=0.0), b"", 0.0
    for _ in range(2000):
        if len(received) == file.size_bytes:
            break
        now += rng.uniform(0.0, 0.7)
        chunks = [chunk for chunk in transfer.chunks(now) or [transfer.probe()] if rng.random() < 0.7]
        if rng.random() < 0.3:
            rng.shuffle(chunks)
        if rng.random() < 0.02:
            received = b""  # the receiver restarted
        for chunk in chunks:
            if chunk["data"] and chunk["offset"] == len(received):
                received += chunk["data"]
            if rng.random() < 0.7:
                transfer.answered(len(received), now)
    assert received == file.content
