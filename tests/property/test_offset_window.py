"""The low watermark against a naive twin: the smallest delivered offset that is not completed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kafka.offsets import OffsetWindow

pytestmark = pytest.mark.unit


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_nothing_is_committed_past_an_open_record(gaps: list[int], random) -> None:  # type: ignore[no-untyped-def]
    offsets = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    window, done = OffsetWindow(), set()
    for offset in offsets:
        window.deliver(offset)
    order = list(offsets)
    random.shuffle(order)
    for offset in order:
        window.complete(offset)
        window.complete(offset)
        done.add(offset)
        naive = min((o for o in offsets if o not in done), default=offsets[-1] + 1)
        assert (window.to_commit() or window.committed) == naive
        window.mark_committed(naive)
        assert window.to_commit() is None


def test_an_offset_delivered_twice_in_one_assignment_is_an_error() -> None:
    window = OffsetWindow()
    window.deliver(5)
    with pytest.raises(ValueError, match="delivered again"):
        window.deliver(5)
