"""The low watermark against a naive twin: the smallest delivered offset that is not completed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kafka.offsets import OffsetWindow

pytestmark = pytest.mark.unit


def _cut(items: list[int], sizes: list[int]) -> list[list[int]]:
    """`items` in pieces of these sizes, over and over."""
    pieces, start, turn = [], 0, 0
    while start < len(items):
        size = sizes[turn % len(sizes)]
        pieces.append(items[start : start + size])
        start, turn = start + size, turn + 1
    return pieces


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
)
def test_nothing_is_committed_past_an_open_record(gaps: list[int], sizes: list[int], random) -> None:  # type: ignore[no-untyped-def]
    offsets = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    window, done = OffsetWindow(), set()
    for piece in _cut(offsets, sizes):
        window.deliver(piece)
    order = list(offsets)
    random.shuffle(order)
    for piece in _cut(order, sizes):
        window.complete(piece)
        window.complete(piece)
        done.update(piece)
        naive = min((o for o in offsets if o not in done), default=offsets[-1] + 1)
        assert (window.to_commit() or window.committed) == naive
        assert len(window) == len([o for o in offsets if o >= naive])
        window.mark_committed(naive)
        assert window.to_commit() is None


@pytest.mark.parametrize("again", [[5], [4, 9], [6, 8, 7], [6, 6]])
def test_offsets_of_one_assignment_that_do_not_rise_are_an_error_and_none_is_taken(again: list[int]) -> None:
    window = OffsetWindow()
    window.deliver([3, 5])
    with pytest.raises(ValueError, match=r"delivered again|do not rise"):
        window.deliver(again)
    assert len(window) == 2
    window.deliver([6])
