"""What nodes say to one another, field by field, so that a wrong message is refused whole before anything looks at it (pure).

Every message of Raft carries the sender's term. Those of a leader carry a `number` that the answer repeats as `echo` (stamps.py).
"""

from __future__ import annotations

from typing import Any

from consensus.raft.append_check import LogEntry

NUMBER_MAX = 1 << 63
FIELDS: dict[str, dict[str, type]] = {
    "append_entries": {
        "term": int,
        "number": int,
        "commit_index": int,
        "prev_index": int,
        "prev_term": int,
        "entries": list,
        "quiet": bool,  # only tells the commit index: no answer wanted
    },
    "next_node_idx": {
        "term": int,
        "echo": int,
        "next_node_idx": int,
        "reset": bool,
        "success": bool,
        "caught_up": bool,  # this node lacks nothing that it may once have acknowledged
    },
    "snapshot_chunk": {
        "term": int,
        "number": int,
        "index": int,
        "snapshot_term": int,
        "size": int,
        "sha256": bytes,
        "offset": int,
        "data": bytes,
    },
    "snapshot_ack": {"term": int, "echo": int, "index": int, "offset": int},
    "pre_vote": {"term": int, "round": int, "last_log_index": int, "last_log_term": int},
    "pre_vote_answer": {"term": int, "round": int, "granted": bool, "only_if_all": bool},
    "request_vote": {"term": int, "last_log_index": int, "last_log_term": int, "unanimous": bool},
    "response_vote": {"term": int},
    "newer_term": {"term": int},  # the answer to whoever speaks in an older one
    "timeout_now": {"term": int},
    "apply_command": {"command": bytes},
    "ping": {"at": float, "status": bytes, "hashes": list},
    "pong": {"at": float},
}


def fault(message: Any) -> str | None:
    """Why `message` is none of the above; None when it is one."""
    if not isinstance(message, dict):
        return "is no map"
    kind_of = message.get("type")
    fields = FIELDS.get(kind_of) if isinstance(kind_of, str) else None
    if fields is None:
        return f"has the unknown type {str(kind_of)[:40]!r}"
    for name, kind in fields.items():
        value = message.get(name)
        if type(value) is not kind:
            return f"{message['type']} has no {kind.__name__} {name!r}"
        if isinstance(value, int) and not 0 <= value < NUMBER_MAX:
            return f"{message['type']} has {name!r} out of range"
    return None


def entries_of(message: dict[str, Any]) -> list[LogEntry] | None:
    """The entries of an append as tuples, None unless they follow `prev_index` without a gap."""
    entries: list[LogEntry] = []
    expected = message["prev_index"]
    for entry in message["entries"]:
        expected += 1
        match entry:
            case (bytes(command), int(index), int(term)) if (
                index == expected and 0 <= term <= message["term"]
            ):
                entries.append((command, index, term))
            case _:
                return None
    return entries


def hashes_of(message: dict[str, Any]) -> list[tuple[int, bytes]]:
    """The well-formed checkpoints of a ping."""
    return [
        (entry[0], entry[1])
        for entry in message["hashes"][:8]
        if isinstance(entry, list)
        and len(entry) == 2
        and isinstance(entry[0], int)
        and isinstance(entry[1], bytes)
    ]
