"""The core of claimed tasks, story by story; and its duties of order under answers of any kind."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.claims.claim_flow import ClaimFlow
from cluster.claims.events import (
    Adopted,
    Arrived,
    CheckAnswered,
    Claimed,
    DoubtAnswered,
    Endings,
    Executed,
    FailAnswered,
    Kept,
    Lease,
    ReleaseAnswered,
    Revoked,
    SessionOpened,
    Stopping,
    Succeeded,
    Tick,
)
from cluster.claims.instructions import (
    Check,
    Claim,
    Complete,
    Doubt,
    Execute,
    ExecuteUnclaimed,
    Fail,
    Instruction,
    Release,
    Run,
    Stop,
    StoreCopy,
    StoreDead,
    StoreResults,
    StoreRetry,
)
from cluster.claims.values import Ended, Guarantee, Record, State, Terms, needs_claim
from cluster.claims.waits import HELD_OF_A_PARTITION_MAX
from cluster.task_flow import Ending, Place
from consensus import ClaimAnswer, ClaimKind, ExecuteAnswer
from executor import Task
from executor.checks import Answer

pytestmark = pytest.mark.unit

PLACE = Place("cpu-short", "normal", "t", 0, 1)
LATER = Place("cpu-short", "normal", "t", 0, 2)
ONCE = Terms(guarantee=Guarantee.EXACTLY_ONCE)
LEAST = Terms(guarantee=Guarantee.AT_LEAST_ONCE, attempts_max=3)
MOST = Terms(guarantee=Guarantee.AT_MOST_ONCE)
SESSION = 5


def record(
    key: int = 1, *, terms: Terms = ONCE, after: int = 0, offset: int = 10, place: Place = PLACE
) -> Record:
    return Record(Task(key, key, 0, "h", b"a"), after, place, offset, terms)


def task(attempt: int, key: int = 1) -> Task:
    return Task(key, key, attempt, "h", b"a")


def claimed(kind: ClaimKind, attempt: int = 1, *, key: int = 1, session: int = SESSION) -> Claimed:
    return Claimed(keys=[key], answers=[ClaimAnswer(kind=kind, attempt=attempt, session=session)])


def ended(ending: Ending, retry_after_s: float | None = None) -> Endings:
    return Endings(endings=[Ended(key=1, ending=ending, error="why", retry_after_s=retry_after_s)])


class Flow:
    """A core, with the time of the story."""

    def __init__(self, *records: Record) -> None:
        self.core = ClaimFlow()
        self.now = 100.0
        self.hear(SessionOpened(session=SESSION))
        if records:
            self.hear(Arrived(records=records))

    def hear(self, *events: object) -> list[Instruction]:
        out: list[Instruction] = []
        for event in events:
            out = self.core.handle(event, self.now)  # type: ignore[arg-type]
            self.core.check_invariants()
        return out

    def tick(self) -> list[Instruction]:
        due = self.core.next_due()
        assert due is not None
        self.now = due
        return self.hear(Tick())


def execute(outcome: str = "done", attempt: int = 1) -> list[Instruction]:
    return [Execute(pairs=[(1, attempt)], outcome=outcome)]


DONE_OFFSET: list[Instruction] = [Complete(place=PLACE, offsets=[10])]
NEW = Executed(keys=[1], answers=[ExecuteAnswer.NEW])


def test_a_first_undisturbed_run_is_claimed_run_marked_and_completed_in_this_order() -> None:
    flow = Flow()
    assert flow.hear(Arrived(records=[record()])) == [Claim(pairs=[(1, 0)])]
    assert flow.hear(claimed(ClaimKind.GO)) == [Run(tasks=[task(1)], session=SESSION)]
    assert flow.hear(Succeeded(keys=[1])) == execute()
    assert flow.hear(NEW) == DONE_OFFSET
    assert len(flow.core) == 0


def test_a_result_is_stored_before_the_mark() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(Succeeded(keys=[1], results=[b"r"])) == [StoreResults(keys=(1,), results=(b"r",))]
    assert flow.hear(Kept(keys=[1])) == execute()


def test_a_check_always_wanted_comes_before_the_first_run() -> None:
    flow = Flow(record(terms=Terms(guarantee=Guarantee.EXACTLY_ONCE, is_always_checked=True)))
    assert flow.hear(claimed(ClaimKind.GO)) == [Check(tasks=[task(1)])]
    assert flow.hear(CheckAnswered(key=1, answer=Answer.NOT_DONE)) == [Run(tasks=[task(1)], session=SESSION)]


@pytest.mark.parametrize(("kind", "after"), [(ClaimKind.RECOVER, 0), (ClaimKind.GO, 1)])
def test_what_may_have_had_its_effect_is_checked_and_marked_if_it_had(kind: ClaimKind, after: int) -> None:
    flow = Flow(record(after=after))
    assert flow.hear(claimed(kind, 2)) == [Check(tasks=[task(2)])]
    assert flow.hear(CheckAnswered(key=1, answer=Answer.DONE)) == execute(attempt=2)


def test_a_check_that_only_observes_waits_until_effects_have_settled() -> None:
    flow = Flow(record(terms=Terms(guarantee=Guarantee.EXACTLY_ONCE, settle_s=7.0)))
    assert flow.hear(claimed(ClaimKind.RECOVER, 2)) == []
    assert flow.core.next_due() == 107.0
    assert flow.tick() == [Check(tasks=[task(2)])]


def test_a_check_that_never_can_tell_ends_in_doubt_and_parked() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.RECOVER, 2))
    out: list[Instruction] = [Check(tasks=[task(2)])]
    asked = 1
    while out == [Check(tasks=[task(2)])]:
        if out := flow.hear(CheckAnswered(key=1, answer=Answer.UNKNOWN, why="no mail box")):
            break
        out = flow.tick()
        asked += 1
    assert out == [Doubt(key=1, why="no mail box")]
    assert 10 < asked < 25
    assert 700.0 <= flow.now < 800.0
    assert flow.hear(DoubtAnswered(keys=[1], doubted={1})) == [StoreCopy(key=1, why="in doubt: no mail box")]
    assert flow.hear(Kept(keys=[1])) == DONE_OFFSET


def test_a_failure_is_its_retry_record_then_fail_then_the_offset() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.FAILED, 3.0)) == [
        StoreRetry(key=1, attempt=1, after_s=3.0, is_counted=True, error="why")
    ]
    assert flow.hear(Kept(keys=[1])) == [Fail(pairs=[(1, 1)])]
    assert flow.hear(FailAnswered(keys=[1], owns=[True])) == DONE_OFFSET


def test_a_failure_without_a_retry_is_dead_before_it_is_marked() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO, 4))
    assert flow.hear(ended(Ending.FAILED)) == [StoreDead(key=1, attempt=4, reason="why")]
    assert flow.hear(Kept(keys=[1])) == execute("dead", 4)


def test_a_lost_run_costs_no_attempt_and_does_not_run_again_under_its_number() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.LOST, 3.0)) == [
        StoreRetry(key=1, attempt=1, after_s=0.0, is_counted=False, error="why")
    ]


def test_what_never_began_is_released_and_claimed_again() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.RETURNED)) == [Release(pairs=[(1, 1)])]
    assert flow.hear(ReleaseAnswered(keys=[1], owns=[True])) == [Claim(pairs=[(1, 0)])]


def test_a_cancelled_run_is_marked_cancelled() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.CANCELLED)) == execute("cancelled")


@pytest.mark.parametrize("kind", [ClaimKind.STALE, ClaimKind.EXECUTED])
def test_what_is_superseded_or_executed_completes(kind: ClaimKind) -> None:
    assert Flow(record()).hear(claimed(kind, 0)) == DONE_OFFSET


def test_an_at_most_once_task_is_abandoned_when_it_may_have_been_started() -> None:
    assert Flow(record(terms=MOST)).hear(claimed(ClaimKind.RECOVER, 2)) == execute("abandoned", 2)
    assert Flow(record(terms=MOST, after=1)).hear(claimed(ClaimKind.GO, 2)) == execute("abandoned", 2)
    flow = Flow(record(terms=MOST))
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.LOST, 1.0)) == execute("abandoned")


def test_an_at_most_once_task_that_fails_is_dead_whatever_the_policy_says() -> None:
    flow = Flow(record(terms=MOST))
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(ended(Ending.DIED, 1.0)) == [StoreDead(key=1, attempt=1, reason="why")]


def test_an_at_least_once_task_runs_again_after_a_takeover_until_it_is_poison() -> None:
    assert Flow(record(terms=LEAST)).hear(claimed(ClaimKind.RECOVER, 3)) == [
        Run(tasks=[task(3)], session=SESSION)
    ]
    [dead] = Flow(record(terms=LEAST)).hear(claimed(ClaimKind.RECOVER, 4))
    assert isinstance(dead, StoreDead)
    counted_less = record(terms=LEAST)._replace(uncounted=1)
    assert Flow(counted_less).hear(claimed(ClaimKind.RECOVER, 4)) == [Run(tasks=[task(4)], session=SESSION)]


def test_a_held_key_is_asked_for_ever_more_seldom_and_parked_after_a_minute() -> None:
    flow = Flow(record())
    waits = []
    out: list[Instruction] = []
    while not out:
        out = flow.hear(claimed(ClaimKind.HELD, session=9))
        if not out:
            before = flow.now
            assert flow.tick() == [Claim(pairs=[(1, 0)])]
            waits.append(flow.now - before)
    assert waits == [1, 2, 4, 8, 16, 30]
    assert out == [StoreCopy(key=1, why="held")]
    assert flow.hear(Kept(keys=[1])) == DONE_OFFSET


def test_many_held_keys_of_a_partition_are_parked_at_once() -> None:
    flow = Flow()
    keys = range(1, HELD_OF_A_PARTITION_MAX + 3)
    flow.hear(Arrived(records=[record(key, offset=key) for key in keys]))
    held = [ClaimAnswer(kind=ClaimKind.HELD, attempt=1, session=9)] * len(keys)
    out = flow.hear(Claimed(keys=list(keys), answers=held))
    assert out == [StoreCopy(key=key, why="held") for key in keys[-2:]]


def test_a_key_in_doubt_is_parked_at_once() -> None:
    held = [ClaimAnswer(kind=ClaimKind.HELD, attempt=1, session=9)]
    out = Flow(record()).hear(Claimed(keys=[1], answers=held, doubted={1}))
    assert out == [StoreCopy(key=1, why="in doubt")]


def test_a_key_held_by_this_very_session_is_an_answer_that_was_lost_and_released() -> None:
    flow = Flow(record())
    assert flow.hear(claimed(ClaimKind.HELD, 3)) == [Release(pairs=[(1, 3)])]
    assert flow.hear(ReleaseAnswered(keys=[1], owns=[True])) == [Claim(pairs=[(1, 0)])]
    flow.hear(Revoked(place=PLACE))
    assert flow.hear(claimed(ClaimKind.HELD, 4)) == [Release(pairs=[(1, 4)])]


def test_an_overtaken_mark_completes_nothing_and_asks_the_ledger_again() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO), Succeeded(keys=[1]))
    assert flow.hear(Executed(keys=[1], answers=[ExecuteAnswer.OVERTAKEN])) == [Claim(pairs=[(1, 0)])]
    assert flow.core.overtaken == 1


def test_a_fail_that_is_not_owned_completes_nothing() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO), ended(Ending.FAILED, 1.0), Kept(keys=[1]))
    assert flow.hear(FailAnswered(keys=[1], owns=[False])) == [Claim(pairs=[(1, 0)])]


def test_a_doubt_that_is_not_owned_completes_nothing() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.RECOVER, 2), CheckAnswered(key=1, answer=Answer.UNKNOWN))
    flow.tick()
    flow.now += 600
    flow.hear(CheckAnswered(key=1, answer=Answer.UNKNOWN))
    assert flow.hear(DoubtAnswered(keys=[1], doubted=set())) == [Claim(pairs=[(1, 0)])]


def test_a_retry_record_that_comes_before_its_fail_is_answered_is_claimed_after_it() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO), ended(Ending.FAILED, 0.0), Kept(keys=[1]))
    assert flow.hear(Arrived(records=[record(after=1, offset=11)])) == []
    assert flow.hear(FailAnswered(keys=[1], owns=[True])) == [*DONE_OFFSET, Claim(pairs=[(1, 1)])]


def test_further_records_complete_when_the_key_is_final() -> None:
    flow = Flow(record(), record(offset=11), record(after=1, offset=12))
    flow.hear(claimed(ClaimKind.GO), Succeeded(keys=[1]))
    assert flow.hear(NEW) == [Complete(place=PLACE, offsets=[10, 11, 12])]


def test_a_closed_session_stops_what_it_claimed_and_the_next_recovers_it() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(SessionOpened(session=6)) == [Stop(keys=[1])]
    assert flow.hear(ended(Ending.CANCELLED)) == [Claim(pairs=[(1, 0)])]
    assert flow.hear(claimed(ClaimKind.RECOVER, 2, session=6)) == [Check(tasks=[task(2)])]


def test_a_success_that_was_faster_than_its_stop_is_told_as_a_late_answer() -> None:
    flow = Flow(record())
    flow.hear(claimed(ClaimKind.GO), SessionOpened(session=6))
    assert flow.hear(Succeeded(keys=[1])) == execute()


def test_a_claim_that_was_answered_under_a_closed_session_is_not_run() -> None:
    flow = Flow(record())
    flow.hear(SessionOpened(session=6))
    assert flow.hear(claimed(ClaimKind.GO, session=5)) == [Claim(pairs=[(1, 0)])]


def test_an_answer_of_a_newer_session_is_its_news() -> None:
    flow = Flow(record(), record(2, offset=11))
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(claimed(ClaimKind.GO, key=2, session=6)) == [
        Stop(keys=[1]),
        Run(tasks=[task(1, 2)], session=6),
    ]


def test_of_answers_of_two_sessions_only_those_of_the_newer_one_are_run() -> None:
    flow = Flow(record(), record(2, offset=11))
    answers = [ClaimAnswer(kind=ClaimKind.GO, attempt=1, session=session) for session in (SESSION, 6)]
    out = flow.hear(Claimed(keys=[1, 2], answers=answers))
    assert out == [Claim(pairs=[(1, 0)]), Run(tasks=[task(1, 2)], session=6)]


def test_when_the_lease_is_about_to_end_claimed_runs_are_stopped_and_none_begins() -> None:
    flow = Flow(record(), record(2, offset=11))
    flow.hear(claimed(ClaimKind.GO))
    assert flow.hear(Lease(is_held=False)) == [Stop(keys=[1])]
    assert flow.hear(claimed(ClaimKind.GO, key=2)) == [Release(pairs=[(2, 1)])]
    assert flow.hear(Lease(is_held=True)) == []
    assert flow.hear(ended(Ending.DIED, 3.0)) == [
        StoreRetry(key=1, attempt=1, after_s=0.0, is_counted=False, error="why")
    ]


def test_of_a_revoked_partition_what_waits_is_left_and_what_runs_goes_on() -> None:
    flow = Flow(record(), record(2, offset=11))
    flow.hear(claimed(ClaimKind.GO), claimed(ClaimKind.HELD, key=2, session=9))
    assert flow.hear(Revoked(place=PLACE)) == []
    assert 2 not in flow.core
    assert flow.hear(Succeeded(keys=[1])) == execute()


def test_a_claim_answered_after_the_revocation_is_released_and_left() -> None:
    flow = Flow(record())
    flow.hear(Revoked(place=PLACE))
    assert flow.hear(claimed(ClaimKind.GO)) == [Release(pairs=[(1, 1)])]
    assert flow.hear(ReleaseAnswered(keys=[1], owns=[True])) == []
    assert len(flow.core) == 0


def test_a_record_that_comes_again_with_a_new_assignment_outlives_the_old_one() -> None:
    flow = Flow(record())
    flow.hear(Revoked(place=PLACE), Arrived(records=[record(place=LATER)]), claimed(ClaimKind.GO))
    assert flow.hear(ReleaseAnswered(keys=[1], owns=[True])) == [Claim(pairs=[(1, 0)])]
    flow.hear(claimed(ClaimKind.GO, 2), Succeeded(keys=[1]))
    assert flow.hear(NEW) == [Complete(place=LATER, offsets=[10])]


def test_a_first_run_without_a_claim_that_fails_is_claimed_before_its_retry_is_stored() -> None:
    flow = Flow()
    flow.hear(Adopted(records=[record(terms=LEAST)]))
    assert flow.hear(ended(Ending.FAILED, 2.0)) == [Claim(pairs=[(1, 0)])]
    assert flow.hear(claimed(ClaimKind.RECOVER, 3)) == [
        StoreRetry(key=1, attempt=3, after_s=2.0, is_counted=True, error="why")
    ]
    assert flow.hear(Kept(keys=[1])) == [Fail(pairs=[(1, 3)])]
    assert flow.hear(FailAnswered(keys=[1], owns=[True])) == DONE_OFFSET


def test_a_retry_record_held_by_this_very_session_ends_the_attempt_that_it_is_the_retry_of() -> None:
    flow = Flow(record(after=1), record(after=1, offset=11))
    assert flow.hear(claimed(ClaimKind.HELD, 1)) == [Fail(pairs=[(1, 1)])]
    assert flow.hear(FailAnswered(keys=[1], owns=[True])) == [Claim(pairs=[(1, 1)])]


def test_what_runs_without_a_claim_is_claimed_when_its_partition_is_revoked() -> None:
    flow = Flow()
    assert flow.hear(Adopted(records=[record(terms=LEAST)], is_revoked=True)) == [Claim(pairs=[(1, 0)])]
    assert flow.hear(ended(Ending.FAILED, 2.0)) == []
    assert flow.hear(claimed(ClaimKind.GO)) == [
        StoreRetry(key=1, attempt=1, after_s=2.0, is_counted=True, error="why")
    ]
    assert flow.hear(Kept(keys=[1])) == [Fail(pairs=[(1, 1)])]


def test_a_run_without_a_claim_leaves_its_failure_to_who_has_the_key_by_now() -> None:
    flow = Flow()
    flow.hear(Adopted(records=[record(terms=LEAST)], is_revoked=True), claimed(ClaimKind.HELD, session=9))
    assert flow.hear(ended(Ending.FAILED, 2.0)) == []
    assert len(flow.core) == 0


def test_a_success_without_a_claim_is_marked_until_the_mark_counts() -> None:
    flow = Flow()
    flow.hear(Adopted(records=[record(terms=LEAST)]))
    marked: list[Instruction] = [ExecuteUnclaimed(keys=[1], outcome="done")]
    assert flow.hear(Succeeded(keys=[1])) == marked
    assert flow.hear(Executed(keys=[1], answers=[ExecuteAnswer.OVERTAKEN])) == marked
    assert flow.hear(NEW) == DONE_OFFSET


def test_a_node_that_stops_gives_back_what_has_not_begun_and_claims_nothing() -> None:
    flow = Flow(record(), record(2, offset=11))
    flow.hear(claimed(ClaimKind.GO), Stopping())
    assert flow.hear(claimed(ClaimKind.GO, key=2)) == [Release(pairs=[(2, 1)])]
    assert flow.hear(ended(Ending.RETURNED)) == [Release(pairs=[(1, 1)])]
    assert flow.hear(ReleaseAnswered(keys=[1, 2], owns=[True, True])) == []
    assert flow.hear(Arrived(records=[record(3)])) == []
    assert len(flow.core) == 0


def test_which_records_are_claimed() -> None:
    far = 500
    assert needs_claim(ONCE, after=0, position=far)
    assert needs_claim(MOST, after=0, position=far)
    assert not needs_claim(LEAST, after=0, position=far)
    assert needs_claim(LEAST, after=1, position=far)
    assert needs_claim(LEAST, after=0, position=499)
    assert needs_claim(LEAST, after=0, position=far, is_marked=True)


class Court:
    """Answers every instruction of one key with anything at all, and judges the order of what comes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        guarantee = self.chance.choice(tuple(Guarantee))
        self.terms = Terms(guarantee=guarantee, attempts_max=5, settle_s=self.chance.choice((0.0, 1.0)))
        self.core, self.now = ClaimFlow(), 0.0
        self.under_way: list[Instruction] = []
        self.last: object = None  # what was heard last of the key
        self.attempt, self.session, self.after = 0, 1, 0
        self.is_recovered = self.may_run = False
        self.ran: set[int] = set()
        self.settled = False

    def play(self) -> None:
        self.hear(SessionOpened(session=1))
        self.hear(Arrived(records=[record(terms=self.terms)]))
        for _ in range(60):
            self.now += self.chance.choice((0.1, 30.0, 700.0))
            if self.chance.random() < 0.1:
                self.session += 1
                self.hear(SessionOpened(session=self.session))
            elif self.chance.random() < 0.1:
                self.hear(Lease(is_held=self.chance.random() < 0.7))
            elif self.under_way:
                self.hear(self.answer(self.under_way.pop(self.chance.randrange(len(self.under_way)))))
            else:
                self.hear(Tick())
            state = self.core.state(1)
            assert (state is None) == self.settled
            waits = state in (State.HELD, State.SETTLING, None)
            assert len(self.under_way) == (not waits), f"{state} with {self.under_way}"

    def hear(self, event: object) -> None:
        if not isinstance(event, (SessionOpened, Lease, Tick)):
            self.last = event
        for instruction in self.core.handle(event, self.now):  # type: ignore[arg-type]
            self.judge(instruction)
            if not isinstance(instruction, (Complete, Stop)):
                self.under_way.append(instruction)

    def answer(self, instruction: Instruction) -> object:
        match instruction:
            case Claim():
                kind = self.chance.choice(tuple(ClaimKind))
                if kind in (ClaimKind.GO, ClaimKind.RECOVER):
                    self.attempt += 1
                    self.is_recovered = kind is ClaimKind.RECOVER
                    self.may_run = self.terms.guarantee is not Guarantee.EXACTLY_ONCE or not self.is_recovered
                if kind is ClaimKind.HELD:
                    return claimed(kind, max(1, self.attempt), session=self.chance.choice((self.session, 99)))
                return claimed(
                    kind,
                    self.attempt,
                    session=self.chance.choice((self.session, self.session, self.session - 1)),
                )
            case Run():
                how = self.chance.choice((None, *Ending))
                return Succeeded(keys=[1]) if how is None else ended(how, self.chance.choice((None, 1.0)))
            case Check():
                answer = self.chance.choice(tuple(Answer))
                self.may_run = answer is Answer.NOT_DONE
                return CheckAnswered(key=1, answer=answer)
            case StoreRetry() | StoreDead() | StoreCopy() | StoreResults():
                return Kept(keys=[1])
            case Execute():
                return Executed(keys=[1], answers=[self.chance.choice(tuple(ExecuteAnswer))])
            case Fail():
                return FailAnswered(keys=[1], owns=[self.chance.random() < 0.5])
            case Release():
                return ReleaseAnswered(keys=[1], owns=[self.chance.random() < 0.5])
            case Doubt():
                return DoubtAnswered(keys=[1], doubted=self.chance.choice((set(), {1})))
        raise AssertionError(f"not asked for: {instruction}")

    def judge(self, instruction: Instruction) -> None:
        match instruction, self.last:
            case Run(tasks=[run], session=session), Claimed() | CheckAnswered(answer=Answer.NOT_DONE):
                assert self.may_run
                assert run.attempt == self.attempt
                assert run.attempt not in self.ran
                assert session == self.session
                assert not (self.terms.guarantee is Guarantee.AT_MOST_ONCE and self.is_recovered)
                self.ran.add(run.attempt)
            case Execute(pairs=[(1, attempt)], outcome=outcome), _:
                assert attempt == self.attempt
                allowed = {
                    "done": isinstance(self.last, Succeeded | CheckAnswered),
                    "dead": isinstance(self.last, Kept),
                    "cancelled": isinstance(self.last, Endings),
                    "abandoned": self.terms.guarantee is Guarantee.AT_MOST_ONCE,
                }
                assert allowed[outcome]
            case Fail(pairs=[(1, attempt)]), Kept():
                assert attempt == self.attempt
            case Complete(), FailAnswered(owns=[True]) | Kept():
                self.settled = True
            case Complete(), Executed(answers=[answer]):
                assert answer is not ExecuteAnswer.OVERTAKEN
                self.settled = True
            case Complete(), Claimed(answers=[answer]):
                assert answer.kind in (ClaimKind.STALE, ClaimKind.EXECUTED)
                self.settled = True
            case ((Run() | Fail() | Complete()), _):
                raise AssertionError(f"{instruction} after {self.last}")
            case _:
                pass


@given(st.integers(0, 2**32))
def test_whatever_is_answered_the_duties_of_order_hold(seed: int) -> None:
    Court(seed).play()


def test_an_old_word_changes_nothing() -> None:
    old: Sequence[object] = (
        Succeeded(keys=[1]),
        ended(Ending.FAILED, 1.0),
        CheckAnswered(key=1, answer=Answer.DONE),
        Kept(keys=[1]),
        NEW,
        FailAnswered(keys=[1], owns=[True]),
        ReleaseAnswered(keys=[1], owns=[True]),
        DoubtAnswered(keys=[1], doubted={1}),
    )
    flow = Flow(record())
    assert [flow.hear(event) for event in old] == [[]] * len(old)
    assert flow.core.state(1) is State.CLAIMING
