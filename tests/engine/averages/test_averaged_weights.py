"""The average of an engine's weights on real ranks: exact through every save and load, and without effect on training.

At the end, the same laws for every topology, and every saved topology in every other one.
"""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow
QUICK = ("s0 fp32", "s1 bf16", "s3 fp32")


def check(found):
    """Check the findings about one topology."""
    before, averaged, after = found["evaluated"]["losses"]
    assert [before, averaged] == pytest.approx(found["evaluated"]["plain"], rel=1e-6)
    assert before == after
    assert abs(averaged - before) > 1, "another loss than that of the weights"
    assert found["evaluated"]["told"] == [
        "the averages are in the place of the weights, so that no state can be saved now"
    ]
    assert found["an error"] == []
    assert found["off"] < 3e-7 < 0.01 < found["moved"], "far closer to plain torch in fp64 than to the weights"
    assert found["training"], "losses and norms are those without an average, bit for bit"
    assert found["trained"] == []
    assert found["asynchronous"]
    assert (found["loaded"], found["resumed"], found["end"]) == ([], True, [])
    assert found["ignored"] == [], "an engine without an average reads the rest"
    assert found["reset"] == [], "weights and average stay"
    assert found["moments"] == []
    assert found["begun"] == [], "it begins from the weights of a checkpoint without one"


@pytest.mark.parametrize("topology", QUICK)
def test_an_average_is_exact_and_changes_no_training(averages, topology):
    check(averages[topology])


def test_another_topology_loads_it_exactly(averages):
    loaded = averages[QUICK[-1]]["crossed"]
    assert len(loaded) == len(QUICK)
    assert {name: differs for name, differs in loaded.items() if differs} == {}


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
def test_the_laws_in_every_topology(all_averages, world):
    found = all_averages[f"every-{world}"]
    assert len(found) == 7
    for topology in found.values():
        check(topology)


@pytest.mark.long
@pytest.mark.parametrize("world", [1, 2])
def test_every_topology_loads_the_average_of_every_other_one(all_averages, world):
    found = all_averages[f"crossed-{world}"]
    pairs = {(target, source): differs for target, loaded in found.items() for source, differs in loaded.items()}
    assert len(pairs) == 7 * 14
    assert {pair: differs for pair, differs in pairs.items() if differs} == {}
