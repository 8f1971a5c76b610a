"""Stories that stock pysyncobj fails, told step by step: each is clean with the repairs and breaks without its own.

A story begins with a calm group and a leader, brings it into the very situation of its row in docs/consensus.md, and ends with healing.
The judges are those of the seeds. `python -m tests.simulation --case A1`, and `--case A1 --mutant A1`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from consensus import operations
from consensus.group_commit import REGULAR_URGENT
from consensus.ledger.commands import Entry, Opcode, encode_entry
from tests.simulation.cluster import Cluster
from tests.simulation.faults import Plan, draw_plan
from tests.simulation.judges_calls import Heard, Record
from tests.simulation.judges_raft import Violation
from tests.simulation.node import SimNode
from tests.simulation.workload import note

CALL_S = 5.0
STRANGER = 1  # a proposer that no node is: its entries take room in the log and have no effect


class Story:
    """A calm cluster without clients, told what happens."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._numbers = 0
        for node in cluster.nodes.values():
            node.start()
        self.pass_s(3.0)

    def pass_s(self, seconds: float) -> None:
        timeline = self.cluster.timeline
        timeline.run_until(timeline.now_s + seconds)

    def until(self, happened: Callable[[], bool], *, within_s: float, step_s: float = 0.01) -> None:
        end_s = self.cluster.timeline.now_s + within_s
        while not happened():
            if self.cluster.timeline.now_s > end_s:
                raise Violation("I16", f"the story did not come to the point within {within_s} s")
            self.pass_s(step_s)

    def leader(self) -> SimNode:
        self.until(lambda: self.cluster.leader() is not None, within_s=10.0)
        leader = self.cluster.leader()
        assert leader is not None
        return leader

    def others(self, *nodes: SimNode) -> list[SimNode]:
        return [node for node in self.cluster.nodes.values() if node not in nodes]

    def notes(
        self, node: SimNode, count: int, *, padding_bytes: int = 0, timeout_s: float = CALL_S
    ) -> list[Record]:
        """Asked at once; nobody waits."""
        records = []
        for _ in range(count):
            self._numbers += 1
            self._numbers += self._numbers % 50 == 0  # those are refused
            asked = note(self._numbers, padding_bytes)
            records.append(self.cluster.workload.call(node, "tally", asked, timeout_s, number=self._numbers))
        return records

    def one_by_one(self, node: SimNode, count: int, *, every_s: float = 0.02) -> list[Record]:
        """An entry each."""
        records = []
        for _ in range(count):
            records += self.notes(node, 1)
            self.pass_s(every_s)
        return records

    def committed(self, records: Iterable[Record], *, within_s: float = 10.0) -> None:
        self.until(lambda: all(record.heard is Heard.COMMITTED for record in records), within_s=within_s)

    def cut(self, one: SimNode, others: Iterable[SimNode]) -> None:
        for other in others:
            self.cluster.network.cut(one.name, other.name, holds=False)
            self.cluster.network.cut(other.name, one.name, holds=False)

    def mend(self, one: SimNode, others: Iterable[SimNode]) -> None:
        for other in others:
            self.cluster.network.mend(one.name, other.name)
            self.cluster.network.mend(other.name, one.name)

    def campaign(self, node: SimNode) -> None:
        """As if its leader had asked it to take over."""
        self.until(lambda: self._asked(node), within_s=10.0, step_s=0.1)

    def _asked(self, node: SimNode) -> bool:
        node.replica.raft.campaign_now = True
        node.arrived()
        self.pass_s(0.05)
        return node.replica.raft.is_leader()


def a1_a_snapshot_commits_nothing(story: Story) -> None:
    """A1: the leader is cut off with 30 commands; the others go on and compact; it hears of it by a snapshot in chunks."""
    lonely = story.leader()
    others = story.others(lonely)
    story.committed(story.notes(lonely, 5))
    story.cut(lonely, others)
    story.one_by_one(lonely, 30, every_s=0.005)
    story.until(lambda: any(node.replica.raft.is_leader() for node in others), within_s=10.0)
    leader = story.leader()
    for _ in range(3):
        story.committed(story.one_by_one(leader, 40))
    story.until(lambda: leader.storage.journal[0][1] > lonely.storage.journal[-1][1], within_s=20.0)
    story.mend(lonely, others)
    story.pass_s(3.0)


def a2_late_entries_cut_nothing(story: Story) -> None:
    """A2: 240 ms round trip, the third node away, entries on their way twice and out of order, then the leader dies."""
    leader = story.leader()
    follower, away = story.others(leader)
    away.pause()
    for way in ((leader.name, follower.name), (follower.name, leader.name)):
        path = story.cluster.network.path(*way)
        path.delay_s, path.duplicate, path.reorder = (0.06, 0.18), 0.5, True
    for _ in range(5):
        story.one_by_one(leader, 20, every_s=0.03)
        story.cluster.network.close_link(leader.name, follower.name)
        story.pass_s(0.7)
    story.cluster.network.calm()
    leader.crash(power=False)
    away.resume()
    story.pass_s(5.0)
    leader.start()


def a3_an_old_acknowledgement_counts_for_nothing(story: Story) -> None:
    """A3: five nodes; an acknowledgement of one term is on its way for 3 s, over two elections, to the same leader."""
    leader = story.leader()
    slow, witness, *others = story.others(leader)
    story.committed(story.notes(leader, 3))
    network = story.cluster.network
    network.path(slow.name, leader.name).delay_s = (3.0, 3.0)
    for other in (witness, *others):
        network.cut(leader.name, other.name, holds=False)
    for _ in range(60):  # only `slow` gets them, and says so, slowly
        fill_the_log(leader, 1)
        story.pass_s(0.003)
    acknowledged_s = story.cluster.timeline.now_s
    for other in (witness, *others):
        network.mend(leader.name, other.name)
    story.campaign(witness)
    story.pass_s(0.1)
    story.campaign(leader)
    story.pass_s(0.2)
    network.cut(leader.name, slow.name, holds=False)
    for other in others:  # they keep it in office, but are late to acknowledge
        network.path(leader.name, other.name).delay_s = (0.3, 0.3)
    story.pass_s(acknowledged_s + 2.8 - story.cluster.timeline.now_s)
    story.one_by_one(leader, 20)
    network.calm()
    story.pass_s(1.0)


def a4_nothing_beyond_the_log_is_committed(story: Story) -> None:
    """A4: a node loses power between hearing of a commit and having the entries on its disk."""
    leader = story.leader()
    victim, _ = story.others(leader)
    for operation in range(1, 9):
        victim.pause()
        story.committed(story.one_by_one(leader, 20, every_s=0.005))
        victim.disk.operations_until_crash, victim.disk.crash_cuts_power = 1 + operation % 3, True
        victim.resume()  # it hears of twenty entries, and that they are committed, at once
        story.pass_s(0.3)
        victim.start()
        story.pass_s(1.0)


def fill_the_log(leader: SimNode, entries: int) -> None:
    """Entries that take room and have no effect."""
    for number in range(entries):
        entry = encode_entry(Entry(STRANGER, number, 0, 0, [[Opcode.BARRIER]]))
        leader.replica.raft.propose(REGULAR_URGENT + entry)
    leader.arrived()


def behind_the_log(story: Story) -> tuple[SimNode, SimNode]:
    """-> the leader, and a node so far behind that it needs a snapshot; they cannot reach one another yet."""
    leader = story.leader()
    behind = story.others(leader)[0]
    story.cut(behind, story.others(behind))
    for _ in range(3):
        story.committed(story.one_by_one(leader, 40))
    end = behind.storage.journal[-1][1]
    story.until(lambda: leader.storage.journal[0][1] > end, within_s=20.0)
    return leader, behind


def a5_a_late_snapshot_takes_nothing_back(story: Story) -> None:
    """A5: the snapshot comes twice, the second time when the node is far ahead of it."""
    leader, behind = behind_the_log(story)
    network = story.cluster.network
    judge, chunks = network.watch, list[dict[str, Any]]()

    def watch(sender: str, receiver: str, message: dict[str, Any]) -> None:
        judge(sender, receiver, message)
        if message["type"] == "snapshot_chunk" and message["data"]:
            chunks.append(message)

    network.watch = watch
    story.mend(behind, story.others(behind))
    story.until(lambda: bool(chunks), within_s=5.0)
    story.committed(story.one_by_one(leader, 30))
    leader.inside(lambda: leader.links.send(behind.name, chunks[0]))
    story.pass_s(1.0)


def a6_chunks_in_any_order_make_the_right_snapshot(story: Story) -> None:
    """A6: the chunks of a snapshot overtake one another, and the node is restarted with what it has made of them."""
    leader, behind = behind_the_log(story)
    path = story.cluster.network.path(leader.name, behind.name)
    path.reorder, path.delay_s = True, (0.001, 0.02)
    story.mend(behind, story.others(behind))
    story.pass_s(2.0)
    behind.crash(power=False)
    behind.start()
    story.pass_s(1.0)


def a7_two_removals_at_once_are_one(story: Story) -> None:
    """A7: an isolated leader is asked to remove both of its peers."""
    leader = story.leader()
    others = story.others(leader)
    group = story.cluster.group()
    story.cut(leader, others)
    first = tuple(name for name in group if name != others[0].name)
    for before, after in ((group, first), (first, (leader.name,))):
        story.cluster.workload.call(leader, "change group", operations.change_group(before, after), CALL_S)
        story.pass_s(0.05)
    story.notes(leader, 5)
    story.pass_s(3.0)
    story.mend(leader, others)


def a7b_a_restarted_group_is_the_last_in_its_log(story: Story) -> None:
    """A fourth node was added; all are killed and start again before any of them has applied that anew."""
    cluster = story.cluster
    added = cluster.add_spare()
    assert added is not None
    added.start()
    cluster.workload.change_group(lambda group: tuple(sorted({*group, added.name})))
    story.until(lambda: len(cluster.group()) == 4, within_s=10.0)
    story.committed(story.notes(story.leader(), 3))
    for node in cluster.live():
        node.crash(power=False)
    for node in cluster.nodes.values():
        node.start()
    story.leader()


def a8_a_vote_that_comes_twice_is_one_vote(story: Story) -> None:
    """A8: five nodes; a candidate is heard by one other only, whose answer comes twice."""
    leader = story.leader()
    candidate, voter, *deaf = story.others(leader)
    for node in (leader, *deaf):
        story.cluster.network.cut(candidate.name, node.name, holds=False)
    story.cluster.network.path(voter.name, candidate.name).duplicate = 1.0
    candidate.replica.raft.campaign_now = True
    candidate.arrived()
    story.pass_s(2.0)
    story.cluster.network.calm()


def b6_a_torn_vote_is_no_old_vote(story: Story) -> None:
    """B6: a node loses power in the middle of writing its vote, again and again."""
    victim, rival, third = story.cluster.nodes.values()
    network = story.cluster.network
    for number in range(24):
        story.campaign(third)
        story.cut(third, [victim, rival])
        network.cut(victim.name, rival.name, holds=False)
        rival.replica.raft.campaign_now = (
            True  # the victim votes for it, which nothing but the slots will know
        )
        rival.arrived()
        story.pass_s(0.05)
        victim.disk.operations_until_crash, victim.disk.crash_cuts_power = 1 + number % 2, True
        victim.replica.raft.campaign_now = True  # and is torn on its way into the next term
        victim.arrived()
        story.pass_s(0.3)
        network.calm()
        victim.start()
        story.pass_s(0.7)


def b2_a_snapshot_costs_no_entries(story: Story) -> None:
    """B2: a node is killed when its snapshot has its name and its log has not been shortened yet."""
    leader = story.leader()
    victim = story.others(leader)[0]

    def snapshots() -> list[str]:
        return [name for name in victim.disk.names() if name.startswith("snapshot-0")]

    story.one_by_one(leader, 20)
    known = snapshots()
    for _ in range(200):
        story.one_by_one(leader, 1, every_s=0.001)
        victim.step()
        if snapshots() != known:
            break
    victim.crash(power=False)
    story.one_by_one(leader, 5)
    victim.start()
    story.pass_s(1.0)


def b10_an_empty_disk_elects_nobody_who_lacks_entries(story: Story) -> None:
    """One node lags; of the two that have the entries one gets an empty disk and the other loses its power."""
    leader = story.leader()
    lagging, wiped = story.others(leader)
    story.until(lambda: not any(node.lacks for node in story.cluster.live()), within_s=5.0)
    story.cut(lagging, [leader, wiped])
    story.committed(story.one_by_one(leader, 20))
    leader.crash(power=True)
    wiped.wipe()
    story.mend(lagging, [leader, wiped])
    wiped.start()
    story.pass_s(6.0)
    leader.start()
    story.committed(story.notes(lagging, 1))


def c3_a_new_life_hears_no_old_answers(story: Story) -> None:
    """C3: a follower that speaks to a slow leader is restarted with calls in flight, and asks again in its new life."""
    leader = story.leader()
    asking = story.others(leader)[0]
    story.committed(story.one_by_one(asking, 5))
    leader.clock.slowness = 50.0
    story.notes(asking, 5)
    story.pass_s(0.01)
    asking.crash(power=False)
    asking.start()
    leader.clock.slowness = 1.0
    story.until(lambda: asking.replica.session is not None, within_s=10.0)
    story.committed(story.one_by_one(asking, 20))


def e1_two_long_tails_meet_quickly(story: Story) -> None:
    """E1: a long uncommitted tail of an old term against one of another, two nodes up, 120 ms apart."""
    first = story.leader()
    others = story.others(first)
    story.cut(first, others)
    story.one_by_one(first, 150, every_s=0.002)  # before it steps down
    story.until(lambda: any(node.replica.raft.is_leader() for node in others), within_s=10.0)
    second = story.leader()
    third = next(node for node in others if node is not second)
    story.cut(second, [third])
    story.one_by_one(second, 150, every_s=0.002)
    third.crash(power=False)
    for way in ((first.name, second.name), (second.name, first.name)):
        story.cluster.network.path(*way).delay_s = (0.06, 0.06)
    story.mend(first, [second])
    story.until(
        lambda: first.reachable() and second.reachable() and story.cluster.leader() is not None, within_s=5.0
    )
    story.committed(story.notes(second, 1, timeout_s=9.0), within_s=9.0)
    third.start()


STORIES: dict[str, tuple[Callable[[Story], None], int]] = {  # and how many nodes
    "A1": (a1_a_snapshot_commits_nothing, 3),
    "A2": (a2_late_entries_cut_nothing, 3),
    "A3": (a3_an_old_acknowledgement_counts_for_nothing, 5),
    "A4": (a4_nothing_beyond_the_log_is_committed, 3),
    "A5": (a5_a_late_snapshot_takes_nothing_back, 3),
    "A6": (a6_chunks_in_any_order_make_the_right_snapshot, 3),
    "A7": (a7_two_removals_at_once_are_one, 3),
    "A7b": (a7b_a_restarted_group_is_the_last_in_its_log, 3),
    "A8": (a8_a_vote_that_comes_twice_is_one_vote, 5),
    "B6": (b6_a_torn_vote_is_no_old_vote, 3),
    "B2": (b2_a_snapshot_costs_no_entries, 3),
    "B10": (b10_an_empty_disk_elects_nobody_who_lacks_entries, 3),
    "C3": (c3_a_new_life_hears_no_old_answers, 3),
    "E1": (e1_two_long_tails_meet_quickly, 3),
}


def plan_of(name: str) -> Plan:
    """No faults but those of the story, no clients but its own."""
    nodes = STORIES[name][1]
    return replace(
        draw_plan(0),
        nodes=nodes,
        clients=0,
        faults=(),
        kinds=(),
        interval=False,
        chunk_bytes=128 * 1024 if name == "A5" else 200,
        snapshot_entries=30 if name in ("A1", "A5", "A6", "B2") else 10_000,
        segment_bytes=64 * 1024,
    )


def tell(name: str, cluster: Cluster) -> None:
    """Raises `Violation`."""
    story = Story(cluster)
    STORIES[name][0](story)
    cluster.heal()
