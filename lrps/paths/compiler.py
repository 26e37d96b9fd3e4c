"""Tools that all paradigms compile with: step numbers, path names, decays and rows of one strategy of the config.

docs/method.md, sections 1.2 and 1.3, defines the lengths T_k and D_k and the mixes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from itertools import accumulate, pairwise

from lrps.base.errors import ConfigError
from lrps.config.mixes import Mix
from lrps.config.models import Config
from lrps.config.strategies import Decaying, Mixing, PeakPerVersion, Strategy
from lrps.paths.graph import Segment, SourceRange
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.schedule import NEEDS_POSITIVE_FINAL, Decay


@dataclass(frozen=True)
class Compiler:
    """One strategy of a config with the increments and rehearsal sets that it is compiled for."""

    config: Config
    name: str
    """Name of the strategy in the config."""
    strategy: Strategy
    increments: Sequence[Increment]
    """Increments, oldest first. Increment and version k are numbered from 0."""
    rehearsal: Sequence[RehearsalSet]

    @property
    def batch(self) -> int:
        """Rows of an optimizer step."""
        return self.config.batch.sequences

    @property
    def peak(self) -> float:
        """Maximal learning rate of the paradigm."""
        return self.config.peak_lr_of(self.strategy)

    def peak_of(self, k: int) -> float:
        """Return the maximal learning rate of version k, where versions may have rates of their own."""
        own = self.strategy.peak_lr_per_version if isinstance(self.strategy, PeakPerVersion) else {}
        return own.get(self.increments[k].version, self.peak)

    @property
    def warmup(self) -> int:
        """Steps of the warm-up."""
        return self.config.schedule.warmup_steps

    @cached_property
    def edges(self) -> tuple[int, ...]:
        """Steps at which the increments end: edges[k] is the number of steps of the first k increments."""
        return tuple(accumulate((inc.steps for inc in self.increments), initial=0))

    def path_name(self, k: int, plain: str | None = None) -> str:
        """Return the name of version k's path, such as `branch-v2` or `ptfs-v3`.

        The name begins with `plain` if that is given and the strategy is named after its kind, else with the name of
        the strategy, so that two strategies of one kind have different paths.
        """
        prefix = plain if plain and self.name == self.strategy.kind else self.name
        return f"{prefix}-{self.increments[k].version}"

    def decay(self, k: int, so_far: int | None = None) -> Decay:
        """Return the decay of version k, in whole steps (docs/method.md, section 1.2).

        so_far: steps of the version's lineage, if they are not those of all increments up to it. The decay has at least
        one step. A length in steps or tokens is cut to the number of steps so far. Raises ConfigError for a share that
        gives more steps than that, and for a final rate that is above the peak rate, or is 0 where the shape never
        reaches 0.
        """
        strategy: Decaying = self.strategy
        version = self.increments[k]
        final = self.config.schedule.final_lr if strategy.final_lr is None else strategy.final_lr
        if final > (peak := self.peak_of(k)):
            raise ConfigError(
                f"paradigms.{self.name}: the final rate {final:g} is above the peak rate {peak:g} of version "
                f"{version.version}; lower final_lr, or raise peak_lr"
            )
        if strategy.decay in NEEDS_POSITIVE_FINAL and final == 0:
            raise ConfigError(
                f"paradigms.{self.name}: a decay of shape '{strategy.decay}' never reaches 0; "
                f"set paradigms.{self.name}.final_lr (0.1 x peak_lr is usual) or choose another shape"
            )
        so_far = self.edges[k + 1] if so_far is None else so_far
        alpha = _exact(strategy.alpha_per_version.get(version.version, strategy.alpha))
        units = {"increment": version.steps, "steps-so-far": so_far, "steps": 1, "tokens": 1}[strategy.alpha_of]
        units_of_step = self.config.tokens_per_step if strategy.alpha_of == "tokens" else 1
        steps = half_up(alpha.numerator * units, alpha.denominator * units_of_step)
        if steps > so_far and strategy.alpha_of in ("increment", "steps-so-far"):
            raise ConfigError(
                f"paradigms.{self.name}.alpha {float(alpha):g} gives version {version.version} a decay of {steps} "
                f"steps, but there are only {so_far} steps so far; a share of the increment is usually below 1"
            )
        return Decay(strategy.decay, min(max(steps, 1), so_far), final)

    def whole(self, k: int) -> Segment:
        """Return increment k as one segment of all its steps, in the order of the source, epoch after epoch."""
        inc = self.increments[k]
        return Segment(inc.steps, (SourceRange(inc.version, 0, inc.used(self.batch)),))

    def mixed(self, k: int, segments: tuple[Segment, ...], taken: Mapping[str, int], mix: Mix) -> tuple[Segment, ...]:
        """Return steps that read increment k with the replayed, rehearsal and extra rows of a mix.

        segments: the steps without the mix; their rows are cut evenly to make room for shares (docs/method.md, section
        1.3), and steps are added for `extra`. A share for which there is no source yet stays with the new rows. taken:
        source -> rows that the lineage has read of it; each source continues there.
        """
        if not (mix.replay or mix.rehearsal or mix.names):
            return segments  # Most versions: sizes of older ones would take time that grows with their number.
        fresh = [part for segment in segments for part in segment.parts]
        old, sets = self._older(k, fresh), self._sets(k)
        named = {name: share for name, share in mix.sets.items() if name in old or name in sets}
        extra = {name: share for name, share in mix.extra.items() if name in old or name in sets}
        if not (mix.replay or (mix.rehearsal and sets) or named or extra):
            return segments
        total, steps = sum(part.rows for part in fresh), sum(segment.steps for segment in segments)
        shares = [*_divided(old, mix.replay, total), *_divided(sets, mix.rehearsal, total), *_named(named, total)]
        room = sum(rows for _, rows in shares)
        added = self._extra_steps(steps, extra)
        new_rows = _apportion(total - room, [part.rows for part in fresh])
        new = [SourceRange(p.source, p.from_row, rows) for p, rows in zip(fresh, new_rows, strict=True) if rows]
        read: dict[str, int] = {}
        for source, rows in (*shares, *_named(_scaled(extra), added * self.batch)):
            read[source] = read.get(source, 0) + rows
        more = (SourceRange(source, taken.get(source, 0), rows) for source, rows in read.items())
        return (Segment(steps + added, (*new, *more)),)

    def _older(self, k: int, fresh: Sequence[SourceRange]) -> dict[str, int]:
        """Return the sizes of the increments before number k that none of the fresh rows are of, by name."""
        newer = {part.source for part in fresh}
        return {each.version: each.planned_rows for each in self.increments[:k] if each.version not in newer}

    def _sets(self, k: int) -> dict[str, int]:
        """Return the sizes of the rehearsal sets that version k may read, by name."""
        so_far = {increment.version for increment in self.increments[: k + 1]}
        return {each.name: each.planned_rows for each in self.rehearsal if each.since in so_far}

    def extra_steps(self, k: int, segments: Sequence[Segment], mix: Mix) -> int:
        """Return the number of steps that `mixed` adds to segments of version k."""
        if not mix.extra:
            return 0
        fresh = [part for segment in segments for part in segment.parts]
        readable = self._older(k, fresh).keys() | self._sets(k).keys()
        steps = sum(segment.steps for segment in segments)
        return self._extra_steps(steps, {name: share for name, share in mix.extra.items() if name in readable})

    def _extra_steps(self, steps: int, extra: Mapping[str, float]) -> int:
        share = sum(map(_exact, extra.values()), Fraction())
        return half_up(share.numerator * steps, share.denominator)

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """Steps [start, stop) of each version in a chain of paths, each of an increment and what its mix adds."""
        strategy, spans = self.strategy, list[tuple[int, int]]()
        for k, increment in enumerate(self.increments):
            start = spans[-1][1] if spans else 0
            mix = strategy.mix_of(increment.version) if isinstance(strategy, Mixing) else Mix()
            spans.append((start, start + increment.steps + self.extra_steps(k, (self.whole(k),), mix)))
        return tuple(spans)

    def unmixed(self, start: int, stop: int, taken: Mapping[str, int]) -> tuple[Segment, ...]:
        """Return steps [start, stop) of the increments in their order, one segment for each increment.

        taken: source -> rows that the lineage has read of it; each source continues there.
        """
        between = self.edges[bisect_right(self.edges, start) : bisect_left(self.edges, stop)]
        return tuple(self._next(begin, end - begin, taken) for begin, end in pairwise((start, *between, stop)))

    def _next(self, start: int, steps: int, taken: Mapping[str, int]) -> Segment:
        version = self.increments[self.increment_at(start)].version
        return Segment(steps, (SourceRange(version, taken.get(version, 0), steps * self.batch),))

    def increment_at(self, step: int) -> int:
        """Return the number of the increment that contains a step."""
        return bisect_right(self.edges, step) - 1


@cache
def _exact(share: float) -> Fraction:
    """Return the decimal form of a share."""
    return Fraction(str(share))


def half_up(numerator: int, denominator: int) -> int:
    """Return the nearest whole number, the larger one of two."""
    return (2 * numerator + denominator) // (2 * denominator)


def evenly(parts: Sequence[SourceRange], rows: int) -> tuple[SourceRange, ...]:
    """Return the first rows of all parts, `rows` together, of each a share in proportion to its size."""
    shares = zip(parts, _apportion(rows, [part.rows for part in parts]), strict=True)
    return tuple(SourceRange(part.source, part.from_row, share) for part, share in shares if share)


def _divided(sizes: Mapping[str, int], share: float, total: int) -> list[tuple[str, int]]:
    """Return the rows of each source, `share` of `total` together, in proportion to the sizes of the sources."""
    room = half_up(_exact(share).numerator * total, _exact(share).denominator) if sizes else 0
    shares = zip(sizes, _apportion(room, list(sizes.values())), strict=True)
    return [(source, rows) for source, rows in shares if rows]


def _named(shares: Mapping[str, float | Fraction], total: int) -> list[tuple[str, int]]:
    """Return the rows of each source that are its share of `total`, rounded so that none is a row from its share."""
    exact = [_exact(share) if isinstance(share, float) else share for share in shares.values()]
    marks = [half_up(mark.numerator * total, mark.denominator) for mark in accumulate(exact, initial=Fraction())]
    return [(source, b - a) for source, (a, b) in zip(shares, pairwise(marks), strict=True) if b > a]


def _scaled(shares: Mapping[str, float]) -> dict[str, Fraction]:
    """Return shares divided by their sum."""
    whole = sum(map(_exact, shares.values()), Fraction())
    return {name: _exact(share) / whole for name, share in shares.items()}


def _apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole numbers in proportion to `weights` that add up to `total`; zeros if all weights are 0."""
    weight = sum(weights)
    if weight == 0:
        return [0 for _ in weights]
    marks = [total * mark // weight for mark in accumulate(weights, initial=0)]
    return [b - a for a, b in pairwise(marks)]


def after(segments: Iterable[Segment]) -> dict[str, int]:
    """Return source -> rows that a lineage has read after `segments`, of the sources that these read."""
    return {part.source: part.to_row for segment in segments for part in segment.parts}
