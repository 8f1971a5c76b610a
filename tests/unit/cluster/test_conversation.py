"""What a client asks for, without a network and without a clock of its own."""

from __future__ import annotations

import pytest

from cluster.conversation import Ask, Conversation
from cluster.rpc import quorate_pb2 as pb
from cluster.rpc import wire

pytestmark = pytest.mark.unit


class Keys:
    """Answers Reserve; remembers how many were asked for."""

    def __init__(self, block: int) -> None:
        self.now = 0.0
        self.talk = Conversation(["h:1"], keys_block=block, clock=lambda: self.now)
        self.asked: list[int] = []
        self._next = 1

    def draw(self, count: int) -> list[int]:
        steps = self.talk.draw(count, 5.0)
        try:
            step = next(steps)
            while True:
                assert isinstance(step, Ask)
                assert step.method == "Reserve"
                self.asked.append(step.request.count)
                first, self._next = self._next, self._next + step.request.count
                step = steps.send(pb.ReserveResponse(first=first, count=step.request.count))
        except StopIteration as end:
            drawn: list[int] = end.value
            return drawn


def test_a_block_of_keys_that_lasts_stays_as_it_is() -> None:
    keys = Keys(64)
    for _ in range(4 * 64):
        keys.draw(1)
        keys.now += 0.1
    assert keys.asked == [64, 64, 64, 64]


def test_a_client_in_a_hurry_draws_larger_blocks_up_to_the_largest() -> None:
    keys = Keys(64)
    drawn = [key for _ in range(30_000) for key in keys.draw(1)]
    assert keys.asked[:8] == [64, 128, 256, 512, 1024, 2048, 4096, wire.KEYS_MAX]
    assert max(keys.asked) == wire.KEYS_MAX
    assert drawn == list(range(1, 30_001)), "each key once"


def test_a_command_that_submits_one_task_draws_one_key() -> None:
    keys = Keys(1)
    keys.draw(1)
    assert keys.asked == [1]


def test_as_many_keys_as_tasks_are_drawn_at_once() -> None:
    keys = Keys(64)
    assert len(keys.draw(10_000)) == 10_000
    assert keys.asked == [wire.KEYS_MAX, 10_000 - wire.KEYS_MAX]
