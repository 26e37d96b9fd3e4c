"""Continual pre-training (CPT): every version continues from the last one's final state on its own increment.

Cost in steps: sum_k T_k (docs/method.md).
"""

from __future__ import annotations

from itertools import pairwise

from lrps.base.errors import ConfigError
from lrps.config.strategies import Cpt
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm
from lrps.paths.paradigms.chain import chain
from lrps.paths.schedule import Schedule, constant, warmup_stable, warmup_stable_decay


def cpt(c: Compiler, s: Cpt) -> Paradigm:
    """Every version from the last one's final state, on its own increment and what its mix adds."""
    rewarm = c.warmup if s.rewarm_steps is None else s.rewarm_steps
    schedules: list[Schedule] = []
    for k, (start, stop) in enumerate(pairwise(c.edges)):
        if s.restart == "constant":
            schedules.append(warmup_stable(c.peak, c.warmup) if k == 0 else constant(start, stop, c.peak))
        elif s.restart == "continue" and k:
            schedules.append(constant(start, stop, _final_rate(c, schedules[-1], start)))
        else:
            warmup = rewarm if k else c.warmup
            lr_start = schedules[-1].lr_after(start) if k else 0.0
            schedules.append(
                warmup_stable_decay(start, stop, warmup=warmup, lr_start=lr_start, peak=c.peak, decay=c.decay(k))
            )
    return chain(c, schedules, s.optimizer)


def _final_rate(c: Compiler, last: Schedule, stop: int) -> float:
    if (rate := last.lr_after(stop)) > 0:
        return rate
    raise ConfigError(
        f"paradigms.{c.name}: restart 'continue' goes on at the last version's final rate, which is 0: nothing "
        f"would be learned; set paradigms.{c.name}.final_lr above 0, or use restart: rewarm"
    )
