"""Records that are stored once for a value: bound by a majority, stored in Kafka, confirmed by a majority (shell).

The ledger gives a value to the first key that asks for it. Whoever meets a value that is bound but not confirmed stores the record again
under the key that won: its first submitter may have died in between, and a second record of one key is one task. So a death at any point,
or a change of leader, neither loses what was answered nor makes two tasks of one value.

Such records are acknowledged by all replicas, whatever the cluster's `--acks`: a confirmed value whose record a failover lost would be
taken for ever, as its key is never executed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import NamedTuple, TypeVar

from cluster.envelope import encode_key
from cluster.kafka.confluent import TaskProducer
from consensus import BindAnswer, ConsensusError, KeyService

CONFIRM_S = 2.0  # a confirmation that gets no answer harms nobody: the next who meets the value stores the record again
DEAD_VALUE = "dead:"  # and the dead key: its retry
UNIQUE_VALUE = "unique:"  # and what a submit gave: so no submit takes a value that the cluster uses itself

Answer = TypeVar("Answer")


class ToStore(NamedTuple):
    """`record` goes to `topic` under the key that wins `value`, which is `key` if nobody asked before."""

    value: str
    key: int
    until_ms: int
    topic: str
    record: bytes


class Stored(NamedTuple):
    """`key`: the winner. `is_again`: stored for a value that was bound before and not confirmed. `error`: not stored, ask again."""

    key: int
    was_bound: bool = False
    is_again: bool = False
    error: str | None = None


def store_bound(
    keys: KeyService, producer: TaskProducer, wanted: Sequence[ToStore], *, timeout_s: float
) -> list[Stored]:
    """An answer for each, in order. `producer` must ask for the acknowledgement of all replicas."""
    deadline = time.monotonic() + timeout_s
    binds = [keys.bind_future(one.value, one.key, one.until_ms, timeout_s=timeout_s) for one in wanted]
    answers: list[Stored] = []
    unstored: dict[int, ToStore] = {}  # by winning key: one value that stands twice in a call is stored once
    for one, future in zip(wanted, binds, strict=True):
        bound = _answer(future, deadline)
        if isinstance(bound, BindAnswer):
            was_bound = bound.key != one.key
            answers.append(Stored(bound.key, was_bound, was_bound and not bound.confirmed))
            if not bound.confirmed:
                unstored.setdefault(bound.key, one)
        else:
            answers.append(Stored(one.key, error=f"task {one.key} was not stored: {bound}"))
    records = [(one.topic, encode_key(key), one.record) for key, one in unstored.items()]
    reasons = producer.produce_many(records, timeout_s=max(0.1, deadline - time.monotonic()))
    missing = {key: reason for key, reason in zip(unstored, reasons, strict=True) if reason is not None}
    confirms = [
        keys.confirm_future(one.value, key, timeout_s=CONFIRM_S)
        for key, one in unstored.items()
        if key not in missing
    ]
    until = min(deadline, time.monotonic() + CONFIRM_S)
    for confirm in confirms:
        _answer(confirm, until)
    return [
        one._replace(error=f"Kafka did not acknowledge task {one.key} ({missing[one.key]}): submit it again")
        if one.error is None and one.key in missing
        else one
        for one in answers
    ]


def _answer(future: Future[Answer], deadline: float) -> Answer | Exception:
    try:
        return future.result(max(0.0, deadline - time.monotonic()))
    except (ConsensusError, TimeoutError) as error:
        return error
