"""A parked partition read by `ParkedPartition`, with stale reads, failures and changing pauses, against what must be true of it:
nothing passes unacted, nothing free is left once a pass ends, what stays paused ends parked, each once."""

from __future__ import annotations

import random as chance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.parked import ParkedPartition, Step

pytestmark = pytest.mark.unit


class Topic:
    """One partition: offset -> handler. What is taken out is remembered in order."""

    def __init__(self, handlers: list[str]) -> None:
        self.records = list(handlers)
        self.freed: list[int] = []
        self.origin = list(range(len(handlers)))  # offset -> which task stands there
        self.stale: set[tuple[int, int]] = set()  # (expected, read): none is read twice before a seek

    def park_again(self, offset: int) -> None:
        self.records.append(self.records[offset])
        self.origin.append(self.origin[offset])


def turn(topic: Topic, partition: ParkedPartition, paused: set[str], random: chance.Random) -> None:
    """One poll: records from where the reader stands, at times some from before its last seek first; perhaps not acknowledged."""
    end = len(topic.records)
    start = partition.next
    stale = random.randrange(partition.first, end + 1)
    if random.random() < 0.2 and (partition.next, stale) not in topic.stale:
        topic.stale.add((partition.next, stale))
        start = stale
    acts: list[int] = []
    for offset in range(start, min(end, start + random.randint(1, 7))):
        step = partition.look(offset, is_free=topic.records[offset] not in paused, end=end)
        if step is Step.GO_BACK:
            break
        if step is Step.ACT:
            acts.append(offset)
    if not acts:
        return
    if random.random() < 0.2:
        partition.not_acted()
        return
    for offset in acts:
        if topic.records[offset] in paused:
            topic.park_again(offset)
        else:
            topic.freed.append(topic.origin[offset])
    assert acts == list(range(partition.first, acts[-1] + 1)), "an offset was passed over"
    partition.acted()
    assert partition.first == acts[-1] + 1


@given(
    st.lists(st.sampled_from("abc"), max_size=30),
    st.lists(st.sets(st.sampled_from("abc")), min_size=1, max_size=4),
    st.integers(0, 2**32),
)
def test_what_is_free_leaves_once_and_what_is_paused_stays(
    handlers: list[str], pauses: list[set[str]], seed: int
) -> None:
    random = chance.Random(seed)
    topic, partition = Topic(handlers), ParkedPartition(0)
    freed_by_right: set[int] = set()
    for paused in pauses:
        partition.limits_changed()
        for _ in range(2000):
            turn(topic, partition, paused, random)
            if partition.until is None and partition.next == len(topic.records):
                break
        else:
            pytest.fail("the reader never comes to the end")
        freed_by_right |= {task for task, handler in enumerate(handlers) if handler not in paused}
        assert sorted(topic.freed) == sorted(freed_by_right), "each once, none of the paused ones"
        left = {topic.origin[offset] for offset in range(partition.first, len(topic.records))}
        assert left >= set(range(len(handlers))) - freed_by_right
    partition.limits_changed()


def test_what_is_kept_costs_no_writing() -> None:
    partition = ParkedPartition(5)
    assert [partition.look(offset, is_free=False, end=0) for offset in (5, 6, 7)] == [Step.KEEP] * 3
    assert partition.first == 5


def test_a_free_record_behind_kept_ones_sends_the_reader_back_to_the_first() -> None:
    partition = ParkedPartition(5)
    partition.look(5, is_free=False, end=0)
    assert partition.look(6, is_free=True, end=9) is Step.GO_BACK
    steps = [partition.look(offset, is_free=offset == 6, end=9) for offset in (5, 6, 7, 8)]
    assert steps == [Step.ACT] * 4
    assert partition.acted() == 9
    assert partition.look(9, is_free=False, end=0) is Step.KEEP


def test_a_hole_in_the_topic_stops_the_reader_once() -> None:
    partition = ParkedPartition(0)
    assert partition.look(3, is_free=True, end=4) is Step.GO_BACK
    assert partition.look(3, is_free=True, end=4) is Step.ACT


def test_records_that_are_gone_from_the_beginning_are_not_waited_for() -> None:
    partition = ParkedPartition(0)
    partition.begins_at(3)
    assert partition.look(3, is_free=True, end=4) is Step.ACT
    assert partition.acted() == 4
