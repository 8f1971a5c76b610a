"""Sessions, and the process life of each node whose entries may take effect.

A *session* is open until `close_session` or until its node opens the next; a closed one is kept only while claims still stand under it,
for people to see: a number below the next one that is not in the table is closed.

A *life* is one process of a node, known by its proposer number. Entries of a proposer that is not the current life of a node take no
effect, so that nothing of a former life can act after a newer one opened its session, however late it arrives. Forbidden proposers need
no list that would grow with every restart: a new life is let in by `open_session(node, nonce)` alone, and only when the nonce is one
above the newest of that node. The proposer computes it from its own replica (`next_nonce`); had it read an old state, it is not let in,
sees the newer nonce when that is applied, and asks again. A late `open_session` of a former life carries a nonce that was used up. An
entry that came before its life's `open_session` is settled by it and stays without effect: so let no call leave before the first session.

A life also keeps the answers that its proposer has not seen, so that an entry proposed twice has one effect and one answer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from consensus.ledger.commands import CommandRefused, Opcode, session_closed
from consensus.ledger.table import Context

NODE_CHARACTERS_MAX = 255
# Of one life. While its proposer keeps an unknown entry to repeat, all later answers are kept as well: some 30 s of heavy load. Beyond
# that the oldest is settled: it takes no effect any more, and its repeat is told nothing.
STORED_ANSWERS_MAX = 16_384
STORED_BYTES_MAX = 8 << 20


@dataclass(slots=True, kw_only=True)
class Session:
    """`renewals` only counts; leases are judged by the leader's own clock. `claims`: how many stand under it."""

    node: str
    nonce: int
    open: bool = True
    renewals: int = 0
    claims: int = 0


@dataclass(slots=True, kw_only=True)
class Life:
    """`answers`: seq -> packed answers that the proposer may still ask for. All others below `answered_below` are settled."""

    node: str
    nonce: int
    session: int
    proposer: int
    answered_below: int
    answers: dict[int, bytes] = field(default_factory=dict)
    answer_bytes: int = 0

    def keep(self, seq: int, answers: bytes, answered_below: int) -> None:
        self.answers[seq] = answers
        self.answer_bytes += len(answers)
        if answered_below - self.answered_below > len(self.answers):
            self._forget([known for known in self.answers if known < answered_below])
        else:
            self._forget(range(self.answered_below, answered_below))
        self.answered_below = max(self.answered_below, answered_below)
        while len(self.answers) > STORED_ANSWERS_MAX or self.answer_bytes > STORED_BYTES_MAX:
            if self.answered_below not in self.answers:
                self.answered_below = min(self.answers)
            self._forget([self.answered_below])
            self.answered_below += 1

    def _forget(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            self.answer_bytes -= len(self.answers.pop(seq, b""))


class Sessions:
    """One thread applies; `open`, `items` and `next_session` may be asked by any."""

    name = "sessions"
    version = 1
    opcodes = (Opcode.OPEN_SESSION, Opcode.RENEW, Opcode.CLOSE_SESSION)

    def __init__(self) -> None:
        self.next_session = 1
        self._sessions: dict[int, Session] = {}
        self._lives: dict[str, Life] = {}
        self._by_proposer: dict[int, Life] = {}

    def open(self, number: int) -> bool:
        session = self._sessions.get(number)
        return session is not None and session.open

    def items(self) -> list[tuple[int, Session]]:
        """Open sessions, and closed ones under which claims still stand."""
        return list(self._sessions.items())

    def closed_with_claims(self) -> list[int]:
        return [number for number, session in self.items() if not session.open]

    def next_nonce(self, node: str) -> int:
        """What this node's next `open_session` must carry."""
        life = self._lives.get(node)
        return 1 if life is None else life.nonce + 1

    def life_of(self, proposer: int) -> Life | None:
        return self._by_proposer.get(proposer)

    def admit(self, proposer: int, seq: int, commands: list[Any]) -> Life | None:
        """The life of an unknown proposer, if its entry opens a session by right; the command itself follows."""
        for command in commands:
            match command:
                case [Opcode.OPEN_SESSION, str(node), int(nonce)] if self._may_open(node, nonce):
                    life = Life(node=node, nonce=nonce - 1, session=0, proposer=proposer, answered_below=seq)
                    former = self._lives.get(node)
                    if former is not None:
                        life.session = former.session
                        del self._by_proposer[former.proposer]
                    self._lives[node] = self._by_proposer[proposer] = life
                    return life
        return None

    def require_open(self, number: int) -> None:
        if not self.open(number):
            self.require_known(number)
            raise session_closed(number)

    def require_known(self, number: int) -> None:
        """0 stands for "no session": calls of a node that has none just now."""
        if not 0 <= number < self.next_session:
            raise CommandRefused(f"session {number} was never opened")

    def count_claims(self, number: int, change: int) -> None:
        session = self._sessions[number]
        session.claims += change
        if not session.open and not session.claims:
            del self._sessions[number]

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [Opcode.OPEN_SESSION, str(node), int(nonce)]:
                return self._open(node, nonce, context.proposer)
            case [Opcode.RENEW, int(number)]:
                self.require_open(number)
                session = self._sessions[number]
                session.renewals += 1
                return session.renewals
            case [Opcode.CLOSE_SESSION, int(number)]:
                self.require_known(number)
                self._close(number)
                return None
            case _:
                raise CommandRefused("malformed session command")

    def _may_open(self, node: str, nonce: int) -> bool:
        return 0 < len(node) <= NODE_CHARACTERS_MAX and nonce == self.next_nonce(node)

    def _open(self, node: str, nonce: int, proposer: int) -> int:
        life = self._by_proposer[proposer]
        if node != life.node:
            raise CommandRefused(f"this process speaks for {life.node}, not for {node[:NODE_CHARACTERS_MAX]}")
        if nonce == life.nonce and self.open(life.session):
            return life.session  # asked twice in one life: the same session
        if nonce != life.nonce + 1:
            raise CommandRefused(f"nonce {nonce} of {node}: the next is {life.nonce + 1}")
        self._close(life.session)
        number = self.next_session
        self.next_session += 1
        self._sessions[number] = Session(node=node, nonce=nonce)
        life.nonce, life.session = nonce, number
        return number

    def _close(self, number: int) -> None:
        session = self._sessions.get(number)
        if session is not None:
            session.open = False
            if not session.claims:
                del self._sessions[number]

    def freeze(self) -> Iterator[bytes]:
        sessions = [[n, s.node, s.nonce, s.open, s.renewals, s.claims] for n, s in self._sessions.items()]
        lives = [
            [li.node, li.nonce, li.session, li.proposer, li.answered_below, dict(li.answers)]
            for li in self._lives.values()
        ]
        return map(_pack, [[self.next_session, sessions], *lives])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        (next_session, sessions), *lives = (
            msgpack.unpackb(piece, strict_map_key=False, use_list=True) for piece in pieces
        )
        self._lives = {
            node: Life(
                node=node,
                nonce=nonce,
                session=session,
                proposer=proposer,
                answered_below=below,
                answers=answers,
                answer_bytes=sum(map(len, answers.values())),
            )
            for node, nonce, session, proposer, below, answers in lives
        }
        self._by_proposer = {life.proposer: life for life in self._lives.values()}
        self._sessions = {
            number: Session(node=node, nonce=nonce, open=is_open, renewals=renewals, claims=claims)
            for number, node, nonce, is_open, renewals, claims in sessions
        }
        self.next_session = next_session


def _pack(value: Any) -> bytes:
    return bytes(msgpack.packb(value))
