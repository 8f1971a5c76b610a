"""`quorate demo`: a real job on a real cluster, whose leader is killed on the way, and the proof at the end (shell).

Every file of the standard library becomes one task. The proof asks three witnesses that outlive the program's own counters: Kafka for what
was submitted, the ledger for what was executed, an SQLite file for what happened. `cluster.audit` judges them.
"""

from __future__ import annotations

import contextlib
import json as json_text
import shutil
import sqlite3
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from cluster.api import TaskState
from cluster.audit import Verdict, judge
from cluster.client import Client
from cluster.errors import QuorateError, Unavailable
from cluster.kafka.confluent import MockBroker, read_record_keys
from cluster.kafka.dev_broker import BrokerError, DevBroker
from cluster.local_cluster import LocalCluster
from cluster.routing import all_topics, task_topics

PREFIX = "quorate"
HANDLERS = ("cluster.demo_handlers",)
SUBMIT_TASKS = 200  # one call: small enough for a moving bar, far below the client's limit
KILL_AT_SHARE = 0.3
RESTART_AFTER_S = 5.0  # longer than an election, shorter than the job
EXECUTED_WITHIN_S = 120.0
READ_WITHIN_S = 30.0
PROGRESS_EVERY_S = 0.2
VIEW_EVERY_S = 0.05
LEADER_WITHIN_S = 20.0
DEAD_SHOWN_MAX = 3
APACHE_KAFKA = "Apache Kafka"
MOCK_BROKER = "librdkafka's in-process broker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the demo proves; the order of the fields is the order of `--json`."""

    files: int
    verdict: Verdict
    dead: int
    seconds_without_leader: float
    elapsed_s: float
    broker: str

    @property
    def is_good(self) -> bool:
        return self.verdict.nothing_lost and self.dead == 0 and self.verdict.submitted >= self.files

    def as_json(self) -> str:
        values = asdict(self)
        verdict = values.pop("verdict")
        return json_text.dumps(verdict | values)


class LeaderWatch:
    """Adds up the time in which no living node says that it leads, to `VIEW_EVERY_S` plus one answer exactly.

    `addresses` are the nodes that stay alive: a view of the killed node is never asked for.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._client = Client(",".join(addresses))
        self._stopping = threading.Event()
        self._leaderless_since: float | None = time.monotonic()
        self._without_s = 0.0
        self._thread = threading.Thread(target=self._run, name="leader-watch", daemon=True)

    def start(self) -> None:
        """Call right after the kill: the clock runs from the construction."""
        self._thread.start()

    def stop(self) -> float:
        """Seconds without a leader; time that still runs is counted."""
        self._stopping.set()
        self._thread.join(10.0)
        self._client.close()
        if self._leaderless_since is not None:
            self._without_s += time.monotonic() - self._leaderless_since
            self._leaderless_since = None
        return self._without_s

    def _run(self) -> None:
        while not self._stopping.wait(VIEW_EVERY_S):
            leads = False
            with contextlib.suppress(QuorateError):
                leads = any(view.is_leader for view in self._client.nodes())
            now = time.monotonic()
            if leads and self._leaderless_since is not None:
                self._without_s += now - self._leaderless_since
                self._leaderless_since = None
            elif not leads and self._leaderless_since is None:
                self._leaderless_since = now


def demo(
    nodes: Annotated[int, typer.Option(min=1, help="How many nodes; the leader is killed from 3 on.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of a table.")] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Where the cluster lives; kept. Default: a temporary one, removed.")
    ] = None,
) -> None:
    """Run a real job on a local cluster, kill its leader on the way, and prove that nothing is lost."""
    notes = Console(stderr=True)
    place = Path(tempfile.mkdtemp(prefix="quorate-demo-")) if directory is None else directory.resolve()
    place.mkdir(parents=True, exist_ok=True)
    is_good = False
    try:
        report = _run(place, nodes, notes)
        is_good = report.is_good
        if json:
            print(report.as_json())
        else:
            Console().print(_table(report))
    except (QuorateError, BrokerError, OSError, sqlite3.Error) as error:
        notes.print(f"[red]The demo could not finish:[/red] {escape(str(error))}", soft_wrap=True)
    if directory is None and is_good:
        shutil.rmtree(place, ignore_errors=True)
    elif not is_good:
        notes.print(f"The cluster's files and logs are kept in {place}", soft_wrap=True)
    raise typer.Exit(0 if is_good else 1)


def standard_library() -> list[Path]:
    """Every .py file of the running Python's standard library, without installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(p for p in root.rglob("*.py") if "site-packages" not in p.parts and p.is_file())


def _run(place: Path, nodes: int, notes: Console) -> Report:
    from cluster.demo_handlers import open_effects  # late: the node's process shares this command line

    database = place / "effects.sqlite"
    if database.exists():
        raise Unavailable(f"{database} is from an earlier demo: name an empty --directory")
    open_effects(database).close()
    files = standard_library()
    with contextlib.ExitStack() as ended:  # whatever happens: nodes first, then the broker
        broker: DevBroker | MockBroker = DevBroker(place / "broker")
        ended.callback(lambda: broker.stop())
        try:
            notes.print(f"Starting {APACHE_KAFKA} in {place} ...", soft_wrap=True)
            kafka = broker.start()
        except BrokerError as error:
            notes.print(
                f"[bold yellow]NOTICE: {APACHE_KAFKA} cannot be started: {escape(str(error))}[/bold yellow]\n"
                f"The demo goes on with {MOCK_BROKER}: it speaks the protocol, but keeps nothing on disk.",
                soft_wrap=True,
            )
            broker.stop()
            broker = MockBroker(all_topics(PREFIX))
            kafka = broker.start()
        notes.print(f"Starting {nodes} nodes ...")
        cluster = LocalCluster(place, nodes, HANDLERS, kafka=kafka, prefix=PREFIX)
        ended.callback(cluster.down)
        addresses = {node["name"]: node["api"] for node in cluster.up()["nodes"]}
        with Client(",".join(addresses.values())) as client:
            started = time.monotonic()
            keys, without_leader_s = _work(cluster, client, addresses, files, database, notes)
            elapsed_s = time.monotonic() - started
            submitted = read_record_keys(kafka, task_topics(PREFIX), timeout_s=READ_WITHIN_S)
            statuses = client.statuses(sorted(set(submitted) | set(keys)))
        executed = [status.key for status in statuses if status.state in (TaskState.DONE, TaskState.DEAD)]
        dead = [status for status in statuses if status.state is TaskState.DEAD]
        for status in dead[:DEAD_SHOWN_MAX]:
            notes.print(f"[red]Task {status.key} is dead:[/red] {escape(status.error or '')}", soft_wrap=True)
        return Report(
            files=len(files),
            verdict=judge(
                submitted=submitted,
                executed=executed,
                effects=_effects(database),
                dead=[status.key for status in dead],
            ),
            dead=len(dead),
            seconds_without_leader=round(without_leader_s, 3),
            elapsed_s=round(elapsed_s, 3),
            broker=APACHE_KAFKA if isinstance(broker, DevBroker) else MOCK_BROKER,
        )


def _work(
    cluster: LocalCluster,
    client: Client,
    addresses: dict[str, str],
    files: Sequence[Path],
    database: Path,
    notes: Console,
) -> tuple[list[int], float]:
    """Submits, kills, starts again, waits. Returns the keys and the seconds without a leader; at the deadline it gives
    up waiting, so that the proof shows what is lost."""
    deadline = time.monotonic() + EXECUTED_WITHIN_S
    with Progress(
        TextColumn("{task.description:<38}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=notes,
        transient=True,
    ) as progress:
        keys = _submit(client, files, database, progress)
        bar = progress.add_task("executed", total=len(keys))
        share = KILL_AT_SHARE if len(addresses) >= 3 else 2.0
        if _follow(client, keys, progress, bar, until=share, deadline=deadline) or share > 1:
            return keys, 0.0
        leader = _leader(client)
        cluster.kill(leader)
        watch = LeaderWatch([api for name, api in addresses.items() if name != leader])
        watch.start()
        try:
            notes.print(f"Killed the leader {leader} with SIGKILL at {share:.0%} executed.")
            restart_at = time.monotonic() + RESTART_AFTER_S
            progress.update(bar, description=f"executed ([red]{leader} is dead[/red])")
            all_executed = _follow(client, keys, progress, bar, until=1.0, deadline=restart_at)
            time.sleep(max(0.0, restart_at - time.monotonic()))
            cluster.start_node(leader)
            notes.print(f"Started {leader} again.")
            progress.update(bar, description=f"executed ({leader} is back)")
            all_executed = all_executed or _follow(client, keys, progress, bar, until=1.0, deadline=deadline)
        finally:
            without_leader_s = watch.stop()
        if not all_executed:
            notes.print(f"[red]Not everything was executed within {EXECUTED_WITHIN_S:g} s.[/red]")
        return keys, without_leader_s


def _submit(client: Client, files: Sequence[Path], database: Path, progress: Progress) -> list[int]:
    bar = progress.add_task("submitted", total=len(files))
    keys: list[int] = []
    for start in range(0, len(files), SUBMIT_TASKS):
        arguments = [(str(path), str(database)) for path in files[start : start + SUBMIT_TASKS]]
        keys += [handle.key for handle in client.submit_many("count_syntax", arguments)]
        progress.update(bar, completed=len(keys))
    return keys


def _follow(
    client: Client, keys: Sequence[int], progress: Progress, bar: TaskID, *, until: float, deadline: float
) -> bool:
    """Shows how many are executed, until the share `until` (above 1: all) or the deadline; True when all are."""
    while True:
        executed = 0
        with contextlib.suppress(Unavailable):  # an election, or the node that was asked has just died
            statuses = client.statuses(keys)
            executed = sum(status.state in (TaskState.DONE, TaskState.DEAD) for status in statuses)
            progress.update(bar, completed=executed)
        if executed >= len(keys):
            return True
        if executed >= until * len(keys) or time.monotonic() >= deadline:
            return False
        time.sleep(PROGRESS_EVERY_S)


def _leader(client: Client) -> str:
    """The name of the node that leads. Raises `Unavailable` when none does for `LEADER_WITHIN_S`."""
    deadline = time.monotonic() + LEADER_WITHIN_S
    while time.monotonic() < deadline:
        for view in client.nodes():
            if view.is_leader:
                return view.name
        time.sleep(VIEW_EVERY_S)
    raise Unavailable(f"no node leads for {LEADER_WITHIN_S:g} s: see the nodes' logs")


def _effects(database: Path) -> list[int]:
    """The key of each row, read without the right to write."""
    with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM effects")]


def _table(report: Report) -> Table:
    verdict = report.verdict
    table = Table(title="The proof", show_header=True)
    table.add_column("what")
    table.add_column("number", justify="right")
    table.add_column("witness", style="dim")
    lost_style = "bold green" if verdict.nothing_lost else "bold red"
    table.add_row("submitted", f"{verdict.submitted}", f"the records in {report.broker}")
    table.add_row("executed", f"{verdict.executed}", "the ledger")
    table.add_row("lost", f"[{lost_style}]{verdict.lost}[/]", "submitted and not executed")
    table.add_row("effects", f"{verdict.effects}", "rows in the SQLite file")
    table.add_row("doubled effects", f"{verdict.doubled_effects}", "allowed: the handler is at-least-once")
    table.add_row("executed without effect", f"{verdict.missing_effects}", "the ledger against the rows")
    table.add_row("dead", f"{report.dead}", "the ledger")
    table.add_row("seconds without a leader", f"{report.seconds_without_leader:.2f}", "the living nodes")
    table.add_row("seconds in all", f"{report.elapsed_s:.1f}", f"for {report.files} files")
    return table
