"""What all paradigms compile with: steps, names, decays and rows of one strategy of the config.

T_k steps for increment k, D_k = alpha_k T_k of them a decay (method.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.strategies import Decaying, Mix, Strategy
from lrps.paths.graph import Segment, SourceRange
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.schedule import NEEDS_POSITIVE_FINAL, Decay


@dataclass(frozen=True)
class Compiler:
    """One strategy of a config on its increments: where they begin, how their versions decay, which rows are mixed."""

    config: Config
    name: str
    strategy: Strategy
    increments: Sequence[Increment]
    rehearsal: Sequence[RehearsalSet]

    @property
    def batch(self) -> int:
        return self.config.batch.sequences

    @property
    def peak(self) -> float:
        return self.config.schedule.peak_lr

    @property
    def warmup(self) -> int:
        return self.config.schedule.warmup_steps

    @property
    def edges(self) -> list[int]:
        """edges[k] = steps of the first k increments together."""
        return list(accumulate((inc.steps for inc in self.increments), initial=0))

    def path_name(self, k: int, plain: str | None = None) -> str:
        """`branch-v2`, `ptfs-v3`; a second strategy of the same kind carries its own name."""
        prefix = plain if plain and self.name == self.strategy.kind else self.name
        return f"{prefix}-{self.increments[k].version}"

    def decay(self, k: int) -> Decay:
        """The decay of version k, in whole steps: at least one, and an absolute one at most all steps so far."""
        strategy: Decaying = self.strategy
        version = self.increments[k]
        final = self.config.schedule.final_lr if strategy.final_lr is None else strategy.final_lr
        if final > self.peak:
            raise ConfigError(f"paradigms.{self.name}.final_lr {final:g} lies above schedule.peak_lr {self.peak:g}")
        if strategy.decay in NEEDS_POSITIVE_FINAL and final == 0:
            raise ConfigError(
                f"paradigms.{self.name}: a decay of shape '{strategy.decay}' never reaches 0; "
                f"set paradigms.{self.name}.final_lr (0.1 x peak_lr is usual) or choose another shape"
            )
        so_far = sum(inc.steps for inc in self.increments[: k + 1])
        alpha = Fraction(str(strategy.alpha_per_version.get(version.version, strategy.alpha)))
        unit = {
            "increment": Fraction(version.steps),
            "steps-so-far": Fraction(so_far),
            "steps": Fraction(1),
            "tokens": Fraction(1, self.config.tokens_per_step),
        }[strategy.alpha_of]
        steps = floor(alpha * unit + Fraction(1, 2))
        if steps > so_far and strategy.alpha_of in ("increment", "steps-so-far"):
            raise ConfigError(
                f"paradigms.{self.name}.alpha {float(alpha):g} of version {version.version} is a decay of {steps} "
                f"steps, but there are {so_far} steps so far; a share of the increment is usually below 1"
            )
        return Decay(strategy.decay, min(max(steps, 1), so_far), final)

    def whole(self, k: int) -> Segment:
        """All steps of increment k, alone and in the source's order."""
        inc = self.increments[k]
        return Segment(inc.steps, (SourceRange(inc.version, 0, inc.used(self.batch)),))

    def mixed(self, k: int, segments: tuple[Segment, ...], taken: Mapping[str, int], mix: Mix) -> tuple[Segment, ...]:
        """Steps that read increment k, their new rows cut evenly to make room for what the mix adds to them.

        taken: source -> rows that the lineage has read of it; each source goes on there. A share for which there is
        no source yet stays with the new rows.
        """
        so_far = {increment.version for increment in self.increments[: k + 1]}
        sets = {each.name: each.rows for each in self.rehearsal if each.since in so_far}
        if not mix.replay and not (mix.rehearsal and sets):
            return segments
        fresh = [part for segment in segments for part in segment.parts]
        newer = {part.source for part in fresh}
        old = {each.version: each.rows for each in self.increments[:k] if each.version not in newer}
        total = sum(part.rows for part in fresh)
        added = [*_drawn(old, mix.replay, total, taken), *_drawn(sets, mix.rehearsal, total, taken)]
        room = sum(part.rows for part in added)
        new_rows = _apportion(total - room, [part.rows for part in fresh])
        new = [SourceRange(p.source, p.from_row, rows) for p, rows in zip(fresh, new_rows, strict=True) if rows]
        return (Segment(sum(segment.steps for segment in segments), (*new, *added)),)

    def unmixed(self, start: int, stop: int, taken: Mapping[str, int]) -> tuple[Segment, ...]:
        """Steps [start, stop) of the increments in their order, each from where it was left.

        taken: source -> rows that the lineage has read of it.
        """
        edges = sorted({start, stop, *(edge for edge in self.edges if start < edge < stop)})
        return tuple(self._next(begin, end - begin, taken) for begin, end in pairwise(edges))

    def _next(self, start: int, steps: int, taken: Mapping[str, int]) -> Segment:
        version = self.increments[self.increment_at(start)].version
        return Segment(steps, (SourceRange(version, taken.get(version, 0), steps * self.batch),))

    def increment_at(self, step: int) -> int:
        """Number of the increment that step `step` falls into."""
        return bisect_right(self.edges, step) - 1


def _drawn(sizes: Mapping[str, int], share: float, total: int, taken: Mapping[str, int]) -> list[SourceRange]:
    """`share` of `total` rows out of sources of these sizes, in proportion, each from where it was left."""
    room = floor(Fraction(str(share)) * total + Fraction(1, 2)) if sizes else 0
    shares = zip(sizes, _apportion(room, list(sizes.values())), strict=True)
    return [SourceRange(source, taken.get(source, 0), rows) for source, rows in shares if rows]


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to `weights` that add up to `total`."""
    weight = sum(weights)
    if weight == 0:
        return [0 for _ in weights]
    marks = [total * mark // weight for mark in accumulate(weights, initial=0)]
    return [b - a for a, b in pairwise(marks)]


def after(taken: Mapping[str, int], segments: Iterable[Segment]) -> dict[str, int]:
    """source -> rows that a lineage has read after `segments`, which go on where it was."""
    return {**taken, **{part.source: part.to_row for segment in segments for part in segment.parts}}
