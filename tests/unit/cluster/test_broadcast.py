"""What nodes tell one another survives the way, stays small, and strangers' words do no harm."""

from __future__ import annotations

import pytest

from cluster.admission import LaneLoad
from cluster.api import ProgressView
from cluster.broadcast import KEYS_MAX, PROGRESS_MAX, NodeNews, decode_news, encode_news

pytestmark = pytest.mark.unit


def test_news_arrive_as_they_were_told() -> None:
    news = NodeNews(
        name="a",
        api="h:1",
        lanes={"cpu-short": LaneLoad(slots=2, mean_s=0.5)},
        in_hand=(2**62, 3),
        progress={
            3: ProgressView(done=1.0, total=None, note="é"),
            4: ProgressView(done=1.0, total=2.0, note=""),
        },
    )
    assert decode_news(encode_news(news)) == news


def test_a_node_with_much_in_hand_tells_of_the_oldest_and_of_the_newest_progress() -> None:
    progress = {key: ProgressView(done=1.0, total=2.0, note="x" * 1000) for key in range(10_000)}
    sent = encode_news(NodeNews(in_hand=range(10**6), progress=progress))
    assert len(sent) < 32_000
    news = decode_news(sent)
    assert news.in_hand == tuple(range(KEYS_MAX))
    assert list(news.progress) == list(range(10_000 - PROGRESS_MAX, 10_000))


@pytest.mark.parametrize(
    "strange", [b"", b"{", b"[]", b'{"lanes": 3}', b'{"progress": [[1]]}', b"\xff", b'{"in_hand": ["x"]}']
)
def test_strange_words_are_no_news(strange: bytes) -> None:
    assert decode_news(strange) == NodeNews()


def test_a_newer_node_may_tell_more() -> None:
    assert decode_news(b'{"name": "a", "moon": "full"}') == NodeNews(name="a")
