"""Pre-training from scratch (PTFS): every version is trained from the initial weights on all increments so far.

docs/method.md, section 1.7. Cost in steps: sum_k sum_{i<=k} T_i.
"""

from __future__ import annotations

from lrps.config.strategies import Ptfs
from lrps.paths.compiler import Compiler
from lrps.paths.graph import Paradigm, Segment, TrainingPath
from lrps.paths.paradigms.chain import final_releases
from lrps.paths.schedule import warmup_stable_decay


def ptfs(compiler: Compiler, strategy: Ptfs) -> Paradigm:
    """Return one path per version from the initial weights; that of version k mixes increments 1..k evenly."""
    warmup = compiler.warmup
    parts = tuple(part for k in range(len(compiler.increments)) for part in compiler.whole(k).parts)
    paths = []
    for k, stop in enumerate(compiler.edges[1:]):
        peak, decay = compiler.peak_of(k), compiler.decay(k)
        schedule = warmup_stable_decay(0, stop, warmup=warmup, lr_start=0.0, peak=peak, decay=decay)
        segments = (Segment(stop, parts[: k + 1]),)
        paths.append(TrainingPath(compiler.path_name(k), strategy.kind, None, 0, stop, schedule, segments))
    return Paradigm(compiler.name, strategy.kind, tuple(paths), final_releases(compiler, paths))
