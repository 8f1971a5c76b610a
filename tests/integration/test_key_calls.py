"""Every call of the key service in each of its forms, on one real node; what it shows; what the next life of the node finds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from consensus import (
    BindAnswer,
    CancelKind,
    ClaimAnswer,
    ClaimKind,
    CommandRefused,
    Context,
    Decision,
    ExecuteAnswer,
    KeyService,
    Outcome,
    Refused,
)
from tests.chaos.addresses import free_addresses

pytestmark = pytest.mark.integration


@pytest.fixture
def address() -> str:
    return free_addresses(1)[0]


@pytest.fixture
def service(address: str, tmp_path: Path) -> Iterator[KeyService]:
    with KeyService(address, [], tmp_path / "data") as keys:
        yield keys


def test_each_call_answers(service: KeyService, address: str) -> None:
    session = service.session
    assert session is not None
    a, b, c, d, e, f = service.reserve(6)
    go = ClaimAnswer(kind=ClaimKind.GO, attempt=1, session=session)
    held = ClaimAnswer(kind=ClaimKind.HELD, attempt=1, session=session)
    assert service.claim([(b, 0), (a, 0), (c, 0)]) == [go] * 3
    assert service.claim([(a, 0)]) == [held]
    assert service.release([(a, 1)]) == [True]
    assert service.fail([(b, 1), (d, 1)]) == [True, False]
    assert service.doubt([c, d], "unreachable") == [c]
    assert service.in_doubt() == {c: "unreachable"}
    assert [claim.key for claim in service.claims_of(session)] == [c]
    assert service.resolve([c, d], Decision.RETRY) == [c]
    [again] = service.claim([(c, 0)])
    assert service.execute([(c, again.attempt)]) == [ExecuteAnswer.NEW]
    assert service.execute([c, d], outcome=Outcome.DEAD) == [ExecuteAnswer.ALREADY, ExecuteAnswer.NEW]
    assert [service.outcome(key) for key in (c, d, e)] == [Outcome.DONE, Outcome.DEAD, None]
    until_ms = int(time.time() * 1000) + 60_000
    assert service.bind("order:42", e, until_ms) == BindAnswer(key=e, confirmed=False)
    assert service.confirm("order:42", e)
    assert service.bind("order:42", f, until_ms) == BindAnswer(key=e, confirmed=True)
    assert [answer.kind for answer in service.cancel([f, c])] == [CancelKind.CANCELLED, CancelKind.TOO_LATE]
    assert service.is_executed(f, linearizable=True)
    assert service.members() == (address,)
    assert service.add_member(address) == (address,)  # there already: nothing to do
    [shown] = service.sessions()
    assert (shown.number, shown.node, shown.open) == (session, address, True)
    statistics = service.statistics()
    assert (statistics.executed_count, statistics.claims_count, statistics.bindings_count) == (3, 2, 1)
    assert service.double_effects() == []


def test_each_call_can_be_awaited(service: KeyService) -> None:
    async def use() -> None:
        a, b, c = await service.areserve(3)
        assert [answer.kind for answer in await service.aclaim([(a, 0), (b, 0), (c, 0)])] == [
            ClaimKind.GO
        ] * 3
        assert await service.arelease([(a, 1)]) == [True]
        assert await service.afail([(b, 1)]) == [True]
        assert await service.adoubt([c], "?") == [c]
        assert await service.aresolve([c], Decision.EXECUTED) == [c]
        assert await service.aexecute([a, c]) == [ExecuteAnswer.NEW, ExecuteAnswer.ALREADY]
        assert await service.abind("v", a, 1) == BindAnswer(key=a, confirmed=False)
        assert await service.aconfirm("v", a)
        assert [answer.kind for answer in await service.acancel([b])] == [CancelKind.CANCELLED]
        await service.abarrier()
        assert await service.ais_executed(b, linearizable=True)
        with pytest.raises(Refused, match="not known"):
            await service.arepeat("1-2-3")
        with pytest.raises(ValueError, match="last node"):
            await service.aremove_member(service.members()[0])

    asyncio.run(use())


def test_a_call_of_many_keys_is_one_call(service: KeyService) -> None:
    block = service.reserve(20_000)
    claimed = service.claim([(key, 0) for key in block])
    assert {answer.kind for answer in claimed} == {ClaimKind.GO}
    assert len(service.claims_of(service.session or 0)) == len(block)
    marked = service.execute([(key, answer.attempt) for key, answer in zip(block, claimed, strict=True)])
    assert marked == [ExecuteAnswer.NEW] * len(block)
    assert service.statistics().claims_count == 0


def test_the_next_life_of_a_node_recovers_what_the_former_had_claimed(address: str, tmp_path: Path) -> None:
    with KeyService(address, [], tmp_path) as keys:
        a, b = keys.reserve(2)
        keys.claim([(a, 0), (b, 0)])
        former = keys.session
        keys.execute([(a, 1)])
    with KeyService(address, [], tmp_path) as keys:
        assert [(claim.key, claim.session) for claim in keys.recoverable()] == [(b, former)]
        [answer] = keys.claim([(b, 0)])
        assert (answer.kind, answer.attempt) == (ClaimKind.RECOVER, 2)
        assert keys.recoverable() == []


class Notes:
    """A table as another package would bring it: lines of text, none of them empty."""

    name, version, opcodes = "notes", 1, (64,)

    def __init__(self) -> None:
        self.lines: tuple[str, ...] = ()

    def apply(self, command: list[Any], context: Context) -> Any:
        match command:
            case [64, str(line)] if line:
                self.lines = (*self.lines, line)
                return len(self.lines)
            case _:
                raise CommandRefused("an empty note")

    def freeze(self) -> Iterator[bytes]:
        return iter(["\n".join(self.lines).encode()])

    def load(self, pieces: Sequence[bytes], version: int) -> None:
        self.lines = tuple(b"".join(pieces).decode().split()) if pieces else ()


def test_a_table_of_another_package_takes_commands_and_is_there_in_the_next_life(
    address: str, tmp_path: Path
) -> None:
    notes = Notes()
    with KeyService(address, [], tmp_path, tables=[notes]) as keys:
        # When commands are given in all three forms.
        assert keys.command([64, "one"]) == 1
        assert keys.command_future([64, "two"]).result(5.0) == 2
        assert asyncio.run(keys.acommand([64, "three"])) == 3
        # Then what the table refuses, and what no table knows, is refused, and the caller's faults are the caller's.
        with pytest.raises(Refused, match="an empty note"):
            keys.command([64, ""])
        with pytest.raises(Refused, match="an empty note"):
            asyncio.run(keys.acommand([64, ""]))
        with pytest.raises(Refused, match="unknown command 99"):
            keys.command([99])
        with pytest.raises(ValueError, match="opcode"):
            keys.command([1])
        assert notes.lines == ("one", "two", "three")
    # And the next life finds it.
    again = Notes()
    with KeyService(address, [], tmp_path, tables=[again]) as keys:
        keys.barrier()
        assert again.lines == ("one", "two", "three")


def test_beyond_loopback_a_node_needs_certificates_or_to_be_told(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="certificates"):
        KeyService("192.0.2.1:7400", [], tmp_path).start()
    with pytest.raises(Refused, match="not started"):
        KeyService("127.0.0.1:7400", [], tmp_path).high_water()
