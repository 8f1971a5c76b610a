"""Who may import whom, read from the source itself.

Three rooms: only `cluster` knows the other two. Each big library has one home. A file that is not listed as a shell
is a core: it has no clock, chance, thread, socket, process or environment, so it can be tested without them.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[3]

# package -> the packages of ours that it may import
ARROWS = {
    "consensus": {"consensus"},
    "executor": {"executor"},
    "cluster": {"cluster", "consensus", "executor"},
}

# library -> the files, or folders ending in "/", that may import it
HOMES = {
    "pysyncobj": ("consensus/raft/binding.py",),
    "confluent_kafka": (
        "cluster/delay/delayer.py",
        "cluster/kafka/confluent.py",
        "cluster/kafka/consumer.py",
        "cluster/kafka/lag.py",
        "cluster/kafka/parked_reader.py",
        "cluster/kafka/slices.py",
        "cluster/kafka/topics.py",
    ),
    "cryptography": ("consensus/transport/authority.py", "consensus/transport/certificates.py"),
    "grpc": ("cluster/rpc/", "executor/rpc/"),
    "typer": ("cluster/cli/",),
    "rich": ("cluster/cli/",),
}

IMPURE = {"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time"}

SHELLS = {
    "cluster/async_client.py",
    "cluster/bound_stores.py",
    "cluster/cli/dead.py",
    "cluster/cli/demo.py",
    "cluster/cli/node.py",
    "cluster/cli/outcome.py",
    "cluster/cli/task_file.py",
    "cluster/client.py",
    "cluster/cluster_file.py",
    "cluster/delay/delayer.py",
    "cluster/flow_thread.py",
    "cluster/gathering.py",
    "cluster/kafka/confluent.py",
    "cluster/kafka/consumer.py",
    "cluster/kafka/dev_broker.py",
    "cluster/kafka/jars.py",
    "cluster/kafka/lag.py",
    "cluster/kafka/parked_reader.py",
    "cluster/kafka/slices.py",
    "cluster/key_blocks.py",
    "cluster/labels.py",
    "cluster/local_cluster.py",
    "cluster/node.py",
    "cluster/node_changes.py",
    "cluster/node_dead.py",
    "cluster/node_doubts.py",
    "cluster/node_submits.py",
    "cluster/node_tasks.py",
    "cluster/node_tuning.py",
    "cluster/node_views.py",
    "cluster/results.py",
    "cluster/rpc/channel.py",
    "cluster/rpc/server.py",
    "cluster/told.py",
    "consensus/calls.py",
    "consensus/key_reads.py",
    "consensus/raft/binding.py",
    "consensus/raft/campaigns.py",
    "consensus/raft/handlers.py",
    "consensus/raft/leading.py",
    "consensus/raft/raft_thread.py",
    "consensus/raft/replica.py",
    "consensus/raft/snapshot_job.py",
    "consensus/storage/disk.py",
    "consensus/storage/snapshots.py",
    "consensus/transport/authority.py",
    "consensus/transport/calls.py",
    "consensus/transport/certificates.py",
    "consensus/transport/links.py",
    "consensus/transport/listener.py",
    "consensus/transport/reception.py",
    "consensus/transport/resolver.py",
    "consensus/transport/stream.py",
    "consensus/waiting.py",
    "executor/checks/asking.py",
    "executor/checks/deadline.py",
    "executor/checks/file_check.py",
    "executor/context.py",
    "executor/executor.py",
    "executor/gauges.py",
    "executor/intake.py",
    "executor/owner.py",
    "executor/runners/channel.py",
    "executor/runners/child.py",
    "executor/runners/crew.py",
    "executor/runners/descriptors.py",
    "executor/runners/inside/answers.py",
    "executor/runners/inside/copies.py",
    "executor/runners/inside/coroutine_run.py",
    "executor/runners/inside/gate.py",
    "executor/runners/inside/loop_form.py",
    "executor/runners/inside/meter.py",
    "executor/runners/inside/output.py",
    "executor/runners/inside/place.py",
    "executor/runners/inside/process_form.py",
    "executor/runners/inside/side_thread.py",
    "executor/runners/inside/steps.py",
    "executor/runners/inside/threads_form.py",
    "executor/runners/nursery.py",
    "executor/runners/process.py",
    "executor/runners/zygote.py",
    "executor/testing.py",
}

FILES = sorted(str(path.relative_to(ROOT)) for package in ARROWS for path in (ROOT / package).rglob("*.py"))


def imported(source: str) -> set[str]:
    """The top names of all modules that `source` imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def imports_of(file: str) -> set[str]:
    return imported((ROOT / file).read_text(encoding="utf-8"))


def test_the_reader_of_imports_sees_every_form() -> None:
    source = "import os.path as p, time\ndef f():\n    from socket import socket\nfrom . import near\n"
    assert imported(source) == {"os", "time", "socket"}


@pytest.mark.parametrize("file", FILES)
def test_arrows_point_only_where_the_design_allows(file: str) -> None:
    package = file.split("/")[0]
    assert imports_of(file) & ARROWS.keys() <= ARROWS[package]


@pytest.mark.parametrize("library", HOMES)
def test_a_library_stays_in_its_home(library: str) -> None:
    strays = [file for file in FILES if library in imports_of(file) and not file.startswith(HOMES[library])]
    assert strays == []


@pytest.mark.parametrize("file", [file for file in FILES if file not in SHELLS])
def test_a_core_has_no_clock_no_chance_and_no_world(file: str) -> None:
    assert imports_of(file) & IMPURE == set()


def test_every_listed_shell_exists_and_needs_to_be_one() -> None:
    assert sorted(SHELLS - set(FILES)) == []
    assert [file for file in sorted(SHELLS) if not imports_of(file) & IMPURE] == []
