"""Continual pre-training (CPT): every version continues from the previous one's final state, on its own increment.

Three kinds of `restart` follow the baselines of Ibrahim et al. 2024, `autoregressive` follows TiC-LM (docs/method.md,
section 1.7). Cost in steps: sum_k T_k.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lrps.base.errors import ConfigError
from lrps.config.strategies import Cpt
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm
from lrps.paths.increments import Increment
from lrps.paths.paradigms.chain import chain
from lrps.paths.schedule import Schedule, constant, warmup_stable, warmup_stable_decay


def cpt(compiler: Compiler, strategy: Cpt) -> Paradigm:
    """Return a chain of paths, each on its own increment and the rows that its mix adds.

    Raises ConfigError if versions would continue at a final rate of 0.
    """
    schedules: list[Schedule] = []
    for k, (start, stop) in enumerate(compiler.spans):
        peak = _peak(compiler, strategy, k)
        if strategy.restart == "constant":
            schedules.append(constant(start, stop, peak) if k else warmup_stable(peak, compiler.warmup))
        elif strategy.restart == "continue" and k:
            schedules.append(constant(start, stop, _final_rate(compiler, schedules[-1], start)))
        else:
            warmup = _rewarm_steps(strategy, compiler.warmup) if k else compiler.warmup
            decay = compiler.decay(k).longer(stop - start - compiler.increments[k].steps)
            lr_start = schedules[-1].lr_after(start) if k else 0.0
            schedules.append(warmup_stable_decay(start, stop, warmup=warmup, lr_start=lr_start, peak=peak, decay=decay))
    return chain(compiler, schedules, strategy.optimizer)


def _peak(compiler: Compiler, strategy: Cpt, k: int) -> float:
    """Return the maximal rate of version k.

    Autoregressive peaks (TiC-LM, arXiv 2504.02107) lie on one cosine from the first version's peak eta_0 to the final
    rate eta_end: with P_k steps before version k, T_k steps of it, and w and w_0 warm-up steps of it and of version 1,
    eta_k = eta_end + (eta_0 - eta_end) (1 + cos(pi (P_k + w - w_0) / (P_k + T_k - w_0))) / 2.
    """
    if strategy.restart != "autoregressive" or k == 0:
        return compiler.peak_of(k)
    first, end = compiler.warmup, compiler.decay(k).final
    begin, stop = compiler.spans[k]
    done = (begin + _rewarm_steps(strategy, first) - first) / (stop - first)
    return end + (compiler.peak - end) * (1 + math.cos(math.pi * done)) / 2


def check_rewarm(name: str, strategy: Cpt, warmup: int, increments: Sequence[Increment]) -> None:
    """Raise ConfigError if a re-warm-up leaves no step of a version for its decay.

    name: that of the strategy in the config. warmup: steps of the first version's warm-up.
    """
    if strategy.restart not in ("rewarm", "autoregressive"):
        return
    rewarm = _rewarm_steps(strategy, warmup)
    for increment in increments[1:]:
        if increment.steps <= rewarm:
            raise ConfigError(
                f"paradigms.{name}: a re-warm-up of {rewarm} steps leaves no step of version {increment.version} "
                f"({increment.steps} steps) for its decay; lower paradigms.{name}.rewarm_steps"
            )


def _rewarm_steps(strategy: Cpt, warmup: int) -> int:
    return warmup if strategy.rewarm_steps is None else strategy.rewarm_steps


def _final_rate(compiler: Compiler, last: Schedule, stop: int) -> float:
    if (rate := last.lr_after(stop)) > 0:
        return rate
    raise ConfigError(
        f"paradigms.{compiler.name}: restart 'continue' trains at the previous version's final rate, which is 0, so "
        f"nothing would be learned; set paradigms.{compiler.name}.final_lr above 0, or use restart: rewarm"
    )
