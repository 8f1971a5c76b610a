"""One connection with what the loop knows of it: how far its greeting is, who is there, until when it may go on like this."""

from __future__ import annotations

import enum
import selectors

from consensus.transport.frames import FrameReader
from consensus.transport.stream import Stream


class State(enum.Enum):
    """Called: CONNECTING, SECURING (TLS only), GREETING, LINKED. Accepted: SECURING, GREETING, WELCOMED, LINKED.
    From each but LINKED to LEAVING, from all to CLOSED."""

    CONNECTING = "connecting"
    SECURING = "securing"
    GREETING = "greeting"
    WELCOMED = "welcomed"  # we said welcome and wait for the confirmation
    LINKED = "linked"
    LEAVING = (
        "leaving"  # was told why not; closed a little later, for closing at once could take the words back
    )
    CLOSED = "closed"


class Connection:
    __slots__ = ("deadline", "heard_at", "host", "is_call", "peer", "reader", "state", "stream", "watched")

    def __init__(
        self, stream: Stream, *, state: State, host: str, peer: str, is_call: bool, deadline: float
    ) -> None:
        self.stream = stream
        self.state = state
        self.host = host
        self.peer = peer  # "" until a stranger has said who it is
        self.is_call = is_call  # ours; else theirs
        self.deadline = deadline  # of everything before LINKED
        self.heard_at: float | None = None
        self.reader = FrameReader()
        self.watched = 0

    @property
    def who(self) -> str:
        return self.peer or self.host

    def watch(self, selector: selectors.BaseSelector) -> None:
        """Tells the selector what this connection waits for now."""
        wanted = self._wanted()
        if wanted == self.watched:
            return
        if not self.watched:
            selector.register(self.stream.sock, wanted, self)
        elif not wanted:
            selector.unregister(self.stream.sock)
        else:
            selector.modify(self.stream.sock, wanted, self)
        self.watched = wanted

    def close(self, selector: selectors.BaseSelector) -> None:
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self.watch(selector)
            self.stream.sock.close()

    def _wanted(self) -> int:
        match self.state:
            case State.CLOSED | State.LEAVING:
                return 0
            case State.CONNECTING:
                return selectors.EVENT_WRITE
            case _:
                return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.stream.unsent_bytes else 0)
