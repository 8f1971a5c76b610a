"""Which topic a record goes to. Names are `<prefix>.<lane>.<priority>`, `<prefix>.delay.<rung>`, `<prefix>.parked`, `<prefix>.dead`,
`<prefix>.results`."""

from __future__ import annotations

from cluster.delay.ladder import RUNGS_S

LANES = ("cpu-short", "cpu-long", "io-short", "io-long")
PRIORITIES = ("high", "normal", "low")
PARKED = "parked"
DEFAULT_LANE = (
    "cpu-short"  # where a handler without a declared or learnt lane starts: its clocks are exact there
)
DEFAULT_ASYNC_LANE = "io-short"


def task_topic(prefix: str, lane: str, priority: str) -> str:
    if lane not in LANES or priority not in PRIORITIES:
        raise ValueError(f"no topic for lane {lane!r} and priority {priority!r}")
    return f"{prefix}.{lane}.{priority}"


def lane_topics(prefix: str, lane: str) -> list[str]:
    return [task_topic(prefix, lane, priority) for priority in PRIORITIES]


def task_topics(prefix: str) -> list[str]:
    return [topic for lane in LANES for topic in lane_topics(prefix, lane)]


def dead_topic(prefix: str) -> str:
    return f"{prefix}.dead"


def results_topic(prefix: str) -> str:
    return f"{prefix}.results"


def parked_topic(prefix: str) -> str:
    """Tasks of paused handlers."""
    return f"{prefix}.{PARKED}"


def delay_topic(prefix: str, wait_s: int | None) -> str:
    """The rung whose records wait so long; None: those that are due soon."""
    return f"{prefix}.delay.near" if wait_s is None else f"{prefix}.delay.{wait_s}s"


def delay_topics(prefix: str) -> dict[str, int | None]:
    """Topic -> how long its records wait there."""
    return {delay_topic(prefix, wait_s): wait_s for wait_s in (None, *RUNGS_S)}


def delay_group(prefix: str) -> str:
    """The consumer group of all rungs."""
    return f"{prefix}.delay"


def is_rung(topic: str) -> bool:
    """Its records wait, so its partitions share out moves and no work."""
    return ".delay." in topic and not topic.endswith(".near")


def all_topics(prefix: str) -> list[str]:
    return [
        *task_topics(prefix),
        *delay_topics(prefix),
        parked_topic(prefix),
        dead_topic(prefix),
        results_topic(prefix),
    ]


def lane_of(declared: str | None, *, is_async: bool) -> str:
    """The lane whose topic a handler's tasks are written to: the declared one wins."""
    return declared or (DEFAULT_ASYNC_LANE if is_async else DEFAULT_LANE)
