"""What nodes tell one another every second beside the log: name, lanes, what they have in hand and how far it is (pure).

JSON, so that a neighbouring version reads what it knows and passes over the rest. Bounded: a node with more in hand tells of the tasks
that it has had for longest and of the progress that is newest; whoever asks for another one hears that it waits, as before it was fetched.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cluster.admission import LaneLoad
from cluster.api import ProgressView

KEYS_MAX = 500  # 10 kB a second to each peer
PROGRESS_MAX = 100
NOTE_CHARACTERS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeNews:
    """`in_hand`: keys that run there or wait in its executor."""

    name: str = ""
    api: str = ""
    lanes: Mapping[str, LaneLoad] = field(default_factory=dict)
    in_hand: Sequence[int] = ()
    progress: Mapping[int, ProgressView] = field(default_factory=dict)


def encode_news(news: NodeNews) -> bytes:
    told = {
        "name": news.name,
        "api": news.api,
        "lanes": {lane: [load.slots, load.mean_s] for lane, load in news.lanes.items()},
        "in_hand": list(news.in_hand[:KEYS_MAX]),
        "progress": [
            [key, one.done, one.total, one.note[:NOTE_CHARACTERS_MAX]]
            for key, one in list(news.progress.items())[-PROGRESS_MAX:]
        ],
    }
    return json.dumps(told, separators=(",", ":")).encode()


def decode_news(status: bytes) -> NodeNews:
    """Empty news for what is none: a peer that has just started, or of a strange version."""
    try:
        told = json.loads(status or b"{}")
        return NodeNews(
            name=str(told.get("name", "")),
            api=str(told.get("api", "")),
            lanes={
                str(lane): LaneLoad(slots=int(slots), mean_s=float(mean_s))
                for lane, (slots, mean_s) in told.get("lanes", {}).items()
            },
            in_hand=tuple(int(key) for key in told.get("in_hand", ())),
            progress={
                int(key): ProgressView(
                    done=float(done), total=None if total is None else float(total), note=str(note)
                )
                for key, done, total, note in told.get("progress", ())
            },
        )
    except (ValueError, TypeError, AttributeError):
        return NodeNews()
