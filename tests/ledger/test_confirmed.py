"""Which saved states a ledger confirms, and which ones it makes doubtful."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lrps.ledger.confirmed import (
    NON_FINITE_EVALUATION,
    STEPS_BEFORE_FAILURE,
    FailedStep,
    failed_step,
    saved_states,
)
from lrps.ledger.reader import evaluations
from lrps.ledger.records import Counters, Record


def record(kind: str, step: int, steps: int, **facts: Any) -> Record:
    return Record(kind, step, "", Counters(steps=steps), facts, "")


def attempt(
    start: int,
    last: int,
    saved: tuple[int, ...] = (),
    failed: str | None = None,
    path_start: int = 0,
    more: tuple[Record, ...] = (),
    **facts: Any,
) -> list[Record]:
    """Return the records of steps `start` to `last`, of which the states in `saved` were saved."""
    begin = record("start", start, 0, path_start=path_start, **facts)
    saves = [record("checkpoint", last, last - start, saved_step=step, digest=f"{start}-{step}") for step in saved]
    end = [] if failed is None else [record("failure", last, last - start, error="x", at=last, cause=failed)]
    return [begin, record("heartbeat", last, last - start, loss=1.0), *more, *saves, *end]


def test_a_later_finite_step_confirms() -> None:
    states = saved_states(attempt(0, 50, (10, 20, 30, 40, 50), failed="non-finite"))
    assert states.saved == {10, 20, 30, 40, 50}
    assert states.confirmed == {0, 10, 20, 30, 40}
    assert states.doubtful == {50}
    assert states.failures == (FailedStep(50, "non-finite"),)


def test_the_newest_state_of_a_running_path_is_neither_confirmed_nor_doubtful() -> None:
    states = saved_states(attempt(0, 50, (40, 50)))
    assert (states.unconfirmed, states.doubtful, states.settled) == ({50}, set(), {0, 40})
    assert saved_states(attempt(0, 51, (40, 50))).confirmed == {0, 40, 50}
    assert saved_states(attempt(0, 51, (40, 50))).settled == {0, 40}
    assert saved_states(attempt(0, 51 + STEPS_BEFORE_FAILURE, (40, 50))).settled == {0, 40, 50}


def test_finite_steps_shortly_before_a_failure_confirm_nothing() -> None:
    for more in range(STEPS_BEFORE_FAILURE + 1):
        assert saved_states(attempt(0, 50 + more, (40, 50), failed="non-finite")).doubtful == {50}
    after = saved_states(attempt(0, 51 + STEPS_BEFORE_FAILURE, (40, 50), failed="non-finite"))
    assert (after.doubtful, after.confirmed) == (set(), {0, 40, 50})


def test_steps_without_an_update_and_spikes_confirm_nothing() -> None:
    skip = record("skip", 52, 52, first=50, last=51, cause="norm")
    assert saved_states(attempt(0, 52, (40, 50), more=(skip,))).unconfirmed == {50}
    assert saved_states(attempt(0, 53, (40, 50), more=(skip,))).unconfirmed == set()
    spike = record("spike", 51, 51, first=50, cause="loss")
    assert saved_states(attempt(0, 51, (40, 50), more=(spike,))).unconfirmed == {50}


def test_a_state_that_is_saved_again_is_confirmed_anew() -> None:
    before = attempt(0, 60, (40, 50), failed=None)
    again = saved_states([*before, *attempt(40, 50, (50,))])
    assert again.unconfirmed == {50}, "what the older state of step 50 had proved says nothing of the newer one"
    assert again.digests == {40: "0-40", 50: "40-50"}
    assert saved_states([*before, *attempt(40, 45)]).saved == {40}, "50 belongs to an abandoned history"


def test_its_own_evaluation_confirms_a_state() -> None:
    evaluation = record("evaluation", 50, 50, heldout="v1", loss=2.0)
    assert saved_states(attempt(0, 50, (40, 50), more=(evaluation,))).settled == {0, 40, 50}
    average = record("evaluation", 50, 50, heldout="v1", loss=2.0, form="ema")
    assert saved_states(attempt(0, 50, (40, 50), more=(average,))).unconfirmed == {50}


def test_a_failure_soon_after_a_state_outweighs_its_evaluation() -> None:
    """Weights that are far too large may still give a finite loss."""
    evaluation = record("evaluation", 50, 50, heldout="v1", loss=5.5)
    evaluated = attempt(0, 50, (40, 50), more=(evaluation,))
    assert saved_states([*evaluated, *attempt(50, 52, failed="non-finite")]).doubtful == {50}
    child = saved_states(attempt(50, 51, path_start=50, failed="non-finite"))
    assert saved_states(evaluated).with_child(50, child).doubtful == {50}
    assert saved_states([*evaluated, *attempt(50, 60, failed="non-finite")]).confirmed == {0, 40, 50}


def test_evaluations_of_a_state_that_was_given_up_do_not_count() -> None:
    facts = {"heldout": "v1", "manifest_sha256": "x", "bits_per_byte": None, "rows": 1, "tokens": 1}
    taken = tuple(record("evaluation", step, step, loss=5.5, **facts) for step in (40, 50))
    broken = [*attempt(0, 50, (40, 50), more=taken), *attempt(50, 51, failed="non-finite")]
    assert {key.step for key in evaluations(broken)} == {40, 50}
    assert {key.step for key in evaluations([*broken, *attempt(40, 45, doubtful=[50])])} == {40}


def test_an_evaluation_that_is_not_finite_makes_only_an_unconfirmed_state_doubtful() -> None:
    assert saved_states(attempt(0, 50, (40, 50), failed=NON_FINITE_EVALUATION)).doubtful == {50}
    later = [*attempt(0, 60, (40, 50, 60)), record("failure", 50, 60, error="x", at=50, cause=NON_FINITE_EVALUATION)]
    assert saved_states(later).failures == ()


def test_failures_count_until_their_step_is_passed_or_the_path_is_rewound() -> None:
    twice = [*attempt(0, 47, (40,), failed="non-finite"), *attempt(40, 47, failed="non-finite")]
    assert [each.at for each in saved_states(twice).failures] == [47, 47]
    assert [each.at for each in saved_states([*twice, *attempt(40, 47)]).failures] == [47, 47]
    assert saved_states([*twice, *attempt(40, 48)]).failures == ()
    rewound = saved_states([*twice, *attempt(40, 40, more=(record("rewind", 40, 0, to=40),))])
    assert (rewound.failures, rewound.failed_before, rewound.rewound_to) == ((), {47}, {40})
    beyond = [*twice, *attempt(40, 40, more=(record("rewind", 40, 0, to=40),)), *attempt(40, 60, (50,))]
    assert (saved_states(beyond).failed_before, saved_states(beyond).rewound_to) == (set(), set())


def test_a_doubtful_state_stays_so_until_it_is_saved_again() -> None:
    broken = attempt(0, 50, (40, 50), failed="non-finite")
    killed = attempt(40, 40, doubtful=[50])
    assert saved_states([*broken, *killed]).doubtful == {50}, "a kill came before it was set aside"
    assert saved_states([*broken, *killed, *attempt(40, 50, (50,))]).doubtful == set()
    assert saved_states([*broken, *killed]).given_up == (50,)


def test_a_child_confirms_the_state_that_it_starts_from_or_puts_it_in_doubt() -> None:
    main = saved_states(attempt(0, 50, (40, 50)))
    fork = {"path": "main", "step": 50}
    child = saved_states(attempt(50, 51, path_start=50, parent=fork))
    assert main.with_child(50, child).confirmed == {0, 40, 50}
    assert main.with_child(50, saved_states([])) == main
    failed = saved_states(attempt(50, 50, path_start=50, failed="non-finite", parent=fork))
    assert main.with_child(50, failed).doubtful == {50}
    gone_back = saved_states([*attempt(0, 50, (40, 50)), *attempt(40, 50, (50,), doubtful=[50])])
    assert gone_back.with_child(50, failed) == gone_back, "the child failed on the state that was given up"
    again = saved_states([*attempt(50, 50, path_start=50, failed="non-finite", parent=fork)] * 2)
    assert [each.at for each in gone_back.with_child(50, again).failures] == [50, 50]
    other = saved_states(attempt(50, 51, path_start=50, parent=fork | {"digest": "of another state"}))
    assert main.with_child(50, other) == main, "it started from an older state of that step"
    anew = replace(main, digests={50: "of the new state"})
    old = fork | {"digest": "of the old state"}
    failed_before = saved_states(attempt(50, 50, path_start=50, failed="non-finite", parent=old))
    assert anew.with_child(50, failed_before) == anew, "it failed on an older state of that step"
    confirmed = saved_states(attempt(0, 55, (40, 50)))
    assert confirmed.with_child(50, failed) == confirmed, "a confirmed state is not to blame for a child's failure"


def test_a_child_that_reads_other_data_is_no_evidence_against_a_state_whose_loss_was_finite() -> None:
    fork = {"path": "main", "step": 50}
    evaluation = record("evaluation", 50, 50, heldout="v1", loss=5.5)
    unknown, evaluated = (
        saved_states(attempt(0, 50, (40, 50))),
        saved_states(attempt(0, 50, (40, 50), more=(evaluation,))),
    )
    failed = attempt(50, 51, path_start=50, failed="non-finite", parent=fork)
    failure = failed[-1]
    checked = [*failed[:-1], failure._replace(facts={**failure.facts, "parent_loss": 3.0})]
    assert unknown.with_child(50, saved_states(failed), other_data=True).doubtful == {50}
    assert unknown.with_child(50, saved_states(checked), other_data=True) == unknown
    assert unknown.with_child(50, saved_states(checked)).doubtful == {50}
    assert evaluated.with_child(50, saved_states(failed), other_data=True) == evaluated
    broken = saved_states(attempt(50, 50, path_start=50, failed=NON_FINITE_EVALUATION, parent=fork))
    assert unknown.with_child(50, broken, other_data=True).doubtful == {50}, "the loss of the state itself"


def test_old_failure_records_are_read_by_their_words() -> None:
    words = "NonFiniteLoss: step 47: the loss is nan; no checkpoint contains it"
    assert failed_step(record("failure", 47, 47, error=words)) == FailedStep(47, "non-finite")
    assert failed_step(record("failure", 47, 47, error="CheckpointError: step 47: the disk is full")) is None


Attempts = list[tuple[int, int, set[int], set[int], bool]]


@st.composite
def histories(draw: st.DrawFn) -> Attempts:
    """(start, last, saved, passed, failed) of attempts, each from a state of the history that the one before left."""
    found: Attempts = []
    there: set[int] = {0}
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.sampled_from(sorted(there)))
        last = start + draw(st.integers(0, 12))
        steps = range(start + 1, last + 1)
        saved = draw(st.sets(st.sampled_from(steps))) if steps else set()
        passed = draw(st.sets(st.sampled_from(range(start, last)))) if last > start else set()
        found.append((start, last, saved, passed, draw(st.booleans())))
        there = {step for step in there if step <= start} | saved
    return found


def as_records(history: Attempts) -> Iterator[Record]:
    for start, last, saved, passed, failed in history:
        skips = tuple(record("skip", step + 1, last - start, first=step, last=step) for step in sorted(passed))
        yield from attempt(start, last, tuple(sorted(saved)), "non-finite" if failed else None, more=skips)


@given(histories())
def test_a_state_is_confirmed_exactly_by_the_updates_that_followed_from_its_own_bytes(history: Attempts) -> None:
    """Every state is an object here, with the updates that were made from it or from a state that it led to."""
    proofs: dict[int, set[int]] = {0: set()}
    for start, last, saved, passed, failed in history:
        proofs = {step: each for step, each in proofs.items() if step <= start} | {step: set() for step in saved}
        proving = range(start, last - STEPS_BEFORE_FAILURE * failed)
        for step in proving:
            if step not in passed:
                for state in proofs:
                    if state <= step:
                        proofs[state].add(step)
    states = saved_states(as_records(history))
    assert states.saved == proofs.keys() - {0}
    assert states.confirmed == {state for state, steps in proofs.items() if steps}
    assert states.settled <= states.confirmed
    assert not states.doubtful & states.confirmed
    failing = [*as_records(history), *attempt(max(proofs), max(proofs), failed="non-finite")]
    assert states.settled <= saved_states(failing).confirmed
