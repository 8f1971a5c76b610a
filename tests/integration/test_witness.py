"""What the witness confirmed is in its log, whoever dies; what it did not confirm is there at most once."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.addresses import free_addresses
from tests.chaos.witness import CALLERS_MAX, LINE_BYTES_MAX, Witness, WitnessProcess, WitnessSilent, read_log

pytestmark = pytest.mark.integration


@pytest.fixture
def witness(tmp_path: Path) -> Iterator[WitnessProcess]:
    with WitnessProcess(tmp_path / "effects") as process:
        yield process


def test_every_confirmed_line_of_many_callers_is_in_the_log_in_each_callers_order(
    witness: WitnessProcess,
) -> None:
    def tell(name: int) -> None:
        with Witness(witness.address) as caller:
            for number in range(20):
                caller.tell(f"{name} {number}")

    callers = [threading.Thread(target=tell, args=(name,)) for name in range(8)]
    for each in callers:
        each.start()
    for each in callers:
        each.join()

    heard = read_log(witness.log)
    for name in range(8):
        assert [line for line in heard if line.startswith(f"{name} ")] == [f"{name} {n}" for n in range(20)]


def test_confirmed_lines_outlive_the_witness_and_a_torn_one_is_dropped(
    witness: WitnessProcess, tmp_path: Path
) -> None:
    with Witness(witness.address) as caller:
        caller.tell("effect of key 1")
        witness.kill()
        with pytest.raises(WitnessSilent, match="key 2"):
            caller.tell("effect of key 2")
    with witness.log.open("ab") as log:
        log.write(b"effect of k")  # as if it was killed in the middle of a write
    assert read_log(witness.log) == ["effect of key 1"]

    with WitnessProcess(witness.log) as second, Witness(second.address) as caller:
        caller.tell("effect of key 3")
    assert read_log(witness.log) == ["effect of key 1", "effect of key 3"]
    assert read_log(tmp_path / "none") == []


def test_a_line_of_a_caller_that_hangs_up_at_once_is_kept(witness: WitnessProcess) -> None:
    host, port = witness.address.split(":")
    with socket.create_connection((host, int(port))) as hasty:
        hasty.sendall(b"said and gone\n")
    with Witness(witness.address) as caller:
        caller.tell("later")
    assert sorted(read_log(witness.log)) == ["later", "said and gone"]


def test_a_line_too_long_is_refused_on_both_sides(witness: WitnessProcess) -> None:
    with Witness(witness.address) as caller:
        for line in ("two\nlines", "x" * LINE_BYTES_MAX):
            with pytest.raises(ValueError, match="one line"):
                caller.tell(line)
        host, port = witness.address.split(":")
        with socket.create_connection((host, int(port)), 10.0) as stranger:
            stranger.sendall(b"x" * (2 * LINE_BYTES_MAX))
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        caller.tell("still here")
    assert read_log(witness.log) == ["still here"]


def test_one_caller_too_many_is_turned_away_and_the_others_are_served(witness: WitnessProcess) -> None:
    host, port = witness.address.split(":")
    callers = [socket.create_connection((host, int(port)), 10.0) for _ in range(CALLERS_MAX)]
    try:
        for each in callers:
            each.sendall(b"first\n")
            assert each.recv(3) == b"ok\n"
        with Witness(witness.address) as late, pytest.raises(WitnessSilent):
            late.tell("too many")
        callers[0].sendall(b"second\n")
        assert callers[0].recv(3) == b"ok\n"
    finally:
        for each in callers:
            each.close()


def test_a_silent_witness_is_noticed_in_time(tmp_path: Path) -> None:
    [nobody] = free_addresses(1)
    with Witness(nobody, timeout_s=0.5) as caller, pytest.raises(WitnessSilent):
        caller.tell("x")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with Witness(address, timeout_s=0.2) as caller, pytest.raises(WitnessSilent):
            caller.tell("x")
    assert os.listdir(tmp_path) == []
