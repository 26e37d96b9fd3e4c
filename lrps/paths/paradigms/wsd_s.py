"""WSD-S: the main path continues from the decayed state, with a stable and a decay phase for every increment.

Wen et al., ICLR 2025, arXiv 2410.05192. Cost in steps: sum_k T_k (docs/method.md).
"""

from __future__ import annotations

from itertools import pairwise

from lrps.config.strategies import WsdS
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm
from lrps.paths.paradigms.chain import chain
from lrps.paths.schedule import warmup_stable_decay


def wsd_s(c: Compiler, s: WsdS) -> Paradigm:
    """The main path goes on from the decayed checkpoint: stable and decay again for every increment."""
    schedules = [
        warmup_stable_decay(start, stop, warmup=0 if start else c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        for k, (start, stop) in enumerate(pairwise(c.edges))
    ]
    return chain(c, schedules, s.optimizer)
