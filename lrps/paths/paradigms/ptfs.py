"""Pre-training from scratch (PTFS): every version is trained from the initial weights on all data so far.

Cost in steps: sum_k sum_{i<=k} T_i (docs/method.md).
"""

from __future__ import annotations

from lrps.config.strategies import Ptfs
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm, Segment, TrainingPath
from lrps.paths.paradigms.chain import final_releases
from lrps.paths.schedule import warmup_stable_decay


def ptfs(c: Compiler, s: Ptfs) -> Paradigm:
    """Every version from the initial weights on increments 1..k, mixed evenly over the whole run."""
    parts = tuple(part for k in range(len(c.increments)) for part in c.whole(k).parts)
    paths = []
    for k, stop in enumerate(c.edges[1:]):
        schedule = warmup_stable_decay(0, stop, warmup=c.warmup, lr_start=0.0, peak=c.peak, decay=c.decay(k))
        paths.append(TrainingPath(c.path_name(k), "ptfs", None, 0, stop, schedule, (Segment(stop, parts[: k + 1]),)))
    return Paradigm(c.name, s.kind, tuple(paths), final_releases(c, paths))
