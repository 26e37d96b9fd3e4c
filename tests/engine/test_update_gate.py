"""A step that passes without an update leaves every bit as if it had never been taken, on real ranks."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.slow
STEPS, PASSED = 5, {0, 3, 4}
"""What gate_cases.py takes and lets pass."""
JUDGED = ("judged", "loss first", "loss last", "gradients first", "gradients last")


@pytest.fixture(scope="module", params=["quick", pytest.param("sweep", marks=pytest.mark.long)])
def cases(request):
    """[(topology, world size, runs)]."""
    findings = request.getfixturevalue("matrix" if request.param == "quick" else "gate")
    found = [(name, world, runs) for world in (1, 2) for name, runs in findings[world][request.param].items()]
    assert len(found) == (2 if request.param == "quick" else 2 * 14)
    return found


def judged(cases):
    """Every run with a judge that lets steps pass, beside the one that never takes them."""
    return [(f"{name} on {world}: {how}", world, runs[how], runs["never"])
            for name, world, runs in cases for how in JUDGED if how in runs]  # fmt: skip


def test_a_passed_step_leaves_every_bit_as_if_it_had_never_been_taken(cases):
    for case, world, run, never in judged(cases):
        assert len(never["state"]) == world
        assert {count for _, count in never["state"]} == {STEPS - len(PASSED)}, "Adam counts updates"
        assert run["state"] == never["state"], case
        assert run["failure"] == "None", case
        assert run["going_on"] == [[True] * STEPS] * world, case


def test_the_judge_is_asked_once_a_step_with_what_is_recorded_on_all_ranks(cases):
    for case, world, run, _ in judged(cases):
        first, *others = run["asked"]
        assert others == [first] * (world - 1), case
        assert [step for step, *_ in first] == list(range(STEPS)), case
        assert [numbers for _, *numbers in first] == run["results"][0], case


def test_what_is_not_finite_reaches_the_judge_as_such(cases):
    for case, _, run, _ in judged(cases):
        asked = {step: (loss, norm) for step, loss, norm in run["asked"][0]}
        bad = {step for step, numbers in asked.items() if not {"nan", "inf"}.isdisjoint(numbers)}
        assert bad == (set() if "judged" in case else PASSED), case
        if "gradients" in case:
            assert all(loss != "nan" for loss, _ in asked.values()), case


def test_a_step_that_is_clipped_otherwise_is_that_of_an_engine_made_to_clip_so(cases):
    for name, world, runs in cases:
        assert runs["clipped"]["state"] == runs["made to clip"]["state"], f"{name} on {world}"
        assert runs["clipped"]["state"] != runs["not clipped"]["state"], f"{name} on {world}"


@pytest.mark.long
def test_a_judge_that_lets_nothing_pass_changes_nothing(gate):
    for world in (1, 2):
        for name, runs in gate[world]["sweep"].items():
            assert runs["none"]["state"] == runs["unjudged"]["state"], f"{name} on {world}"
            assert runs["none"]["results"] == runs["unjudged"]["results"]
            assert runs["unjudged"]["asked"] == [[]] * world


@pytest.mark.parametrize("world", [1, 2])
def test_deepspeed_reports_no_overflow_of_a_passed_step(matrix, matrix_directory, world):
    reported = (matrix_directory / f"log-{world}-0.txt").read_text().count("OVERFLOW")
    failed = json.loads((matrix_directory / f"world-{world}.json").read_text())["non_finite"]
    assert reported == sum(not case.startswith("s0") for case in failed), "only of the steps that end a run"
