"""WSD-S: every version continues from the decayed state of the previous one, with stable and decay phases of its own.

Wen et al., ICLR 2025, arXiv 2410.05192 (docs/method.md, section 1.7). Cost in steps: sum_k T_k.
"""

from __future__ import annotations

from itertools import pairwise

from lrps.config.strategies import WsdS
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm
from lrps.paths.paradigms.chain import chain
from lrps.paths.schedule import warmup_stable_decay


def wsd_s(compiler: Compiler, strategy: WsdS) -> Paradigm:
    """Return a chain of paths that start at the peak rate and decay. Only the first one has a warm-up."""
    schedules = []
    for k, (start, stop) in enumerate(pairwise(compiler.edges)):
        warmup, peak, decay = 0 if k else compiler.warmup, compiler.peak, compiler.decay(k)
        schedules.append(warmup_stable_decay(start, stop, warmup=warmup, lr_start=0.0, peak=peak, decay=decay))
    return chain(compiler, schedules, strategy.optimizer)
