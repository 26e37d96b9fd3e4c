"""The check of the state that a path forks from, if nothing has confirmed it yet: its loss, before the first step.

A state is confirmed by a later finite step of its own path, or by its own finite held-out loss. The last state of a
path that is not evaluated has neither, and a broken one would only show in the first steps of its child. So the child
evaluates it: on the held-out sets that its path is watched on, or, in a plan without held-out sets, on the rows of its
own first step.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lrps.base.errors import NonFiniteLoss
from lrps.data.stream import PathData
from lrps.ledger.confirmed import NON_FINITE_EVALUATION
from lrps.paths.graph import TrainingPath
from lrps.plan.main_curve import heldout_after
from lrps.plan.plan import Plan
from lrps.plan.recovery import path_states
from lrps.train.evaluate import HeldoutSet, check_finite, evaluate_state

if TYPE_CHECKING:
    from lrps.engine.deepspeed_engine import Engine


def sets_to_check(plan: Plan, path: TrainingPath) -> tuple[str, ...] | None:
    """Return the held-out versions on which the state that a path forks from is evaluated before its first step.

    None if the state is confirmed. Without held-out sets there are none: then the rows of the first step take their
    place.
    """
    assert path.parent is not None
    parent = plan.graph.by_name[path.parent.path]
    states = path_states(parent.name, plan.layout, plan.graph.children(parent.name))
    return None if path.start in states.confirmed else heldout_after(plan, parent)(path.start)


def checked_loss(engine: Engine, path: TrainingPath, data: PathData, sets: dict[str, HeldoutSet]) -> float:
    """Return the loss of the state that a path has forked from, and that the engine has loaded. Collective.

    sets: those of `sets_to_check`. Raises NonFiniteLoss on all ranks: then the state of the parent is broken.
    """
    if sets:
        results = evaluate_state(engine, sets)
        check_finite(results, path.start)
        return math.fsum(result.facts["loss"] for result in results.values()) / len(results)
    found = engine.evaluate(data.batch(0, engine.grid.data_rank, engine.grid.data_ranks))
    total, tokens = engine.sum_over_ranks([found.total, float(found.tokens)])
    if not math.isfinite(loss := total / max(tokens, 1.0)):
        what = f"step {path.start}: the loss of the state that it forks from is {loss}"
        raise NonFiniteLoss(what, at=path.start, cause=NON_FINITE_EVALUATION)
    return loss
