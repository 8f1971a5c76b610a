"""`quorate member` and `quorate certs`, the first over a real gRPC server in front of a group in memory."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cluster.api import MemberView
from cluster.async_client import AsyncClient
from cluster.cli.main import app
from cluster.client import Client
from cluster.errors import Refused, Unavailable
from cluster.rpc.server import ApiServer

pytestmark = pytest.mark.unit


class MemoryGroup:
    """The part of a node's API that is asked here."""

    def __init__(self) -> None:
        self.nodes = ["a:1", "b:1"]
        self.error: Exception | None = None

    def members(self) -> list[MemberView]:
        return [
            MemberView(node=node, is_leader=node == "a:1", connected=node != "b:1") for node in self.nodes
        ]

    def add_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._change({*self.nodes, node})

    def remove_member(self, node: str, *, timeout_s: float) -> list[str]:
        return self._change({*self.nodes} - {node})

    def _change(self, after: set[str]) -> list[str]:
        if self.error is not None:
            raise self.error
        self.nodes = sorted(after)
        return self.nodes


@pytest.fixture
def group() -> MemoryGroup:
    return MemoryGroup()


@pytest.fixture
def api(group: MemoryGroup) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    server = ApiServer(group, address)  # type: ignore[arg-type]
    server.start()
    yield address
    server.stop(0)


def run(*words: str) -> tuple[int, str, str]:
    ended = CliRunner().invoke(app, list(words))
    return ended.exit_code, ended.stdout, ended.stderr


def test_members_are_listed_added_and_removed(api: str, group: MemoryGroup) -> None:
    assert run("member", "list", "--api", api) == (0, "a:1  leader\nb:1  not connected\n", "")
    assert run("member", "add", "c:1", "--api", api)[:2] == (0, "c:1 belongs to the group: a:1, b:1, c:1\n")
    code, said, _ = run("member", "remove", "b:1", "--api", api, "--json")
    assert (code, json.loads(said)) == (0, {"group": ["a:1", "c:1"]})
    assert group.nodes == ["a:1", "c:1"]
    _, said, _ = run("member", "list", "--api", api, "--json")
    assert json.loads(said) == [
        {"node": "a:1", "is_leader": True, "connected": True},
        {"node": "c:1", "is_leader": False, "connected": True},
    ]


def test_the_asyncio_client_does_the_same(api: str) -> None:
    async def change() -> list[str]:
        async with AsyncClient(api) as client:
            await client.add_member("c:1")
            await client.remove_member("b:1")
            return [member.node for member in await client.members()]

    assert asyncio.run(change()) == ["a:1", "c:1"]


def test_a_refused_change_is_no_reason_to_ask_another_node(api: str, group: MemoryGroup) -> None:
    group.error = Refused("the group was not changed: another change is under way")
    code, _, said = run("member", "add", "c:1", "--api", api)
    assert code == 2
    assert "another change is under way" in said


def test_without_a_majority_it_is_tried_until_the_deadline(api: str, group: MemoryGroup) -> None:
    group.error = Unavailable("the group was not changed: no majority")
    code, _, said = run("member", "add", "c:1", "--api", api, "--timeout", "0.3")
    assert code == 3
    assert "no majority" in said
    with Client(api, timeout_s=0.3) as client, pytest.raises(Unavailable, match="no majority"):
        client.remove_member("a:1")


def test_what_is_no_address_is_no_member(api: str, group: MemoryGroup) -> None:
    code, _, said = run("member", "add", "nowhere", "--api", api)
    assert code == 2
    assert "'nowhere' is no member: expected the host:port" in said
    assert group.nodes == ["a:1", "b:1"]


def test_certificates_are_made_and_never_overwritten_unasked(tmp_path: Path) -> None:
    # When
    code, said, _ = run("certs", "ca", "--dir", str(tmp_path))
    assert code == 0
    assert "keep" in said
    code, said, _ = run("certs", "node", "10.0.0.1:7000", "--dir", str(tmp_path), "--json")
    # Then
    made = json.loads(said)
    assert code == 0
    assert made["replaced"] is False
    assert Path(made["certificate"]).exists()
    assert stat.S_IMODE(Path(made["key"]).stat().st_mode) == 0o600
    for words in (["ca"], ["node", "10.0.0.1:7000"]):
        code, _, said = run("certs", *words, "--dir", str(tmp_path))
        assert code == 2
        assert "--overwrite" in said
        code, said, _ = run("certs", *words, "--dir", str(tmp_path), "--overwrite")
        assert code == 0
        assert said.startswith("replaced")


def test_a_certificate_without_an_authority_is_refused(tmp_path: Path) -> None:
    code, _, said = run("certs", "node", "10.0.0.1:7000", "--dir", str(tmp_path))
    assert code == 2
    assert "ca.crt" in said
    assert len(said.splitlines()) == 1
