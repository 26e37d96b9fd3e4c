"""Compilation of the probes of a config: short decays from the main path, each with its control.

A probe is a path like any other, so that it is planned, trained, evaluated and audited as they are. Its control has the
same start, steps and schedule, and the rows that the main path would read next; one control serves all probes of the
same start, length and shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from math import floor

from lrps.base.errors import ConfigError
from lrps.config.models import Config
from lrps.config.strategies import PathSwitching
from lrps.paths.compiler import Compiler, after
from lrps.paths.graph import Fork, Graph, Probe, Segment, SourceRange, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.schedule import NEEDS_POSITIVE_FINAL, Decay, warmup_stable_decay

PROBE = "probe"
"""Kind of the paths of probes and of their controls."""


def compile_probes(
    config: Config, graph: Graph, increments: Sequence[Increment], rehearsal: Sequence[RehearsalSet]
) -> tuple[Probe, ...]:
    """Return the probes of a config in its order, as if each were alone: no path is shared yet.

    graph: that of the paradigms, whose first path switching has the main path. Raises ConfigError for a probe that
    cannot fork where it is to, or has no rows for its control.
    """
    return tuple(_Prober(config, graph, name, increments, rehearsal).probe for name in config.probes)


class _Prober:
    """Compilation of one probe."""

    def __init__(
        self,
        config: Config,
        graph: Graph,
        name: str,
        increments: Sequence[Increment],
        rehearsal: Sequence[RehearsalSet],
    ) -> None:
        self._name, self._wanted = name, config.probes[name]
        self._paradigm = next(each for each in graph.paradigms if each.kind == "path-switching")
        strategy = config.paradigms[self._paradigm.name]
        assert isinstance(strategy, PathSwitching)
        self._strategy = strategy
        self._compiler = Compiler(config, self._paradigm.name, strategy, increments, rehearsal)
        own = next((path for path in self._paradigm.paths if path.kind == "main"), None)
        if own is None:
            raise self._error("at", "the paradigm has no main path: its branches begin at step 0")
        self._main = graph.by_name[own.name]

    @property
    def probe(self) -> Probe:
        wanted, batch = self._wanted, self._compiler.batch
        start = self._start()
        taken = self._rows_read_by(start)
        data = _shared_out(wanted.data, wanted.steps * batch, taken)
        if unread := wanted.data.keys() - {part.source for part in data}:
            raise self._error("data", f"the share of {min(unread)} is less than one sequence of {wanted.steps} steps")
        path = self._path(f"{PROBE}-{self._name}", start, (Segment(wanted.steps, data),))
        control = self._path(
            f"{PROBE}-control-{start}-{wanted.steps}-{wanted.decay}", start, self._control_rows(start, taken)
        )
        return Probe(self._name, path, control)

    def _error(self, key: str, text: str) -> ConfigError:
        return ConfigError(f"probes.{self._name}.{key}: {text}")

    def _start(self) -> int:
        """Return the step at which the probe forks."""
        main, warmup = self._main, self._compiler.warmup
        start = self._wanted.at.step
        if start is None:
            start = self._fork_of(str(self._wanted.at.version))
        if start > main.stop:
            raise self._error("at", f"{main.name} ends at step {main.stop}; choose that step or an earlier one")
        if start < max(warmup, 1):
            raise self._error("at", f"step {start} is in the warm-up; choose step {max(warmup, 1)} or a later one")
        return start

    def _fork_of(self, version: str) -> int:
        release = next(each for each in self._paradigm.releases if each.version == version)
        if release.path == self._main.name:
            return release.step
        parent = next(path.parent for path in self._paradigm.paths if path.name == release.path)
        if parent is None:
            raise self._error("at", f"{release.path} begins at step 0 and forks from no main path; name a later step")
        return parent.step

    def _rows_read_by(self, start: int) -> dict[str, int]:
        """Return source -> rows that the main path has read of it at a step."""
        begin, read = 0, list[Segment]()
        for segment in self._main.segments:
            if (end := begin + segment.steps) > start:
                if begin < start and len(segment.parts) > 1:
                    raise self._error(
                        "at",
                        f"step {start} is within steps {begin} to {end} of {self._main.name}, which mix several "
                        f"sources and cannot be cut; choose step {begin if start - begin <= end - start else end}",
                    )
                read += [segment.first(start - begin)] if begin < start else []
                break
            read.append(segment)
            begin = end
        return after(read)

    def _control_rows(self, start: int, taken: Mapping[str, int]) -> tuple[Segment, ...]:
        """Return the rows that the main path would read in the steps of the probe."""
        compiler, stop, so_far = self._compiler, start + self._wanted.steps, dict(taken)
        if stop > compiler.edges[-1]:
            raise self._error(
                "steps",
                f"the increments end at step {compiler.edges[-1]}, so that no rows are left for a control of "
                f"{self._wanted.steps} steps from step {start}; at most {compiler.edges[-1] - start}",
            )
        segments: list[Segment] = []
        cuts = [start, *(edge for edge in compiler.edges if start < edge < stop), stop]
        for begin, end in pairwise(cuts):
            fresh = compiler.unmixed(begin, end, so_far)
            read = compiler.mixed(compiler.increment_at(begin), fresh, so_far, self._strategy.main_mix)
            so_far |= after(read)
            segments += read
        return tuple(segments)

    def _path(self, name: str, start: int, segments: tuple[Segment, ...]) -> TrainingPath:
        wanted, final = self._wanted, self._compiler.config.schedule.final_lr
        if wanted.decay in NEEDS_POSITIVE_FINAL and final == 0:
            raise self._error(
                "decay", f"'{wanted.decay}' never reaches schedule.final_lr, which is 0; choose another shape or rate"
            )
        stop, peak = start + wanted.steps, self._main.schedule.lr_at(start)
        if final > peak:
            raise self._error(
                "decay", f"it would rise from the main path's rate {peak:g} to schedule.final_lr {final:g}; lower that"
            )
        decay = Decay(wanted.decay, wanted.steps, final)
        schedule = warmup_stable_decay(start, stop, warmup=0, lr_start=0.0, peak=peak, decay=decay)
        parent = Fork(self._main.name, start, self._strategy.optimizer)
        return TrainingPath(name, PROBE, parent, start, stop, schedule, segments)


def _shared_out(shares: Mapping[str, float], total: int, taken: Mapping[str, int]) -> tuple[SourceRange, ...]:
    """Return ranges of `total` rows in these shares, in the order of the names. taken: source -> rows read before.

    The end of every range is the nearest row to its exact place, so that no set is a row or more from its share.
    """
    exact = {name: Fraction(str(shares[name])) for name in sorted(shares)}
    whole = sum(exact.values())
    marks = [floor(total * mark / whole + Fraction(1, 2)) for mark in accumulate(exact.values(), initial=Fraction())]
    counts = (end - begin for begin, end in pairwise(marks))
    return tuple(SourceRange(name, taken.get(name, 0), rows) for name, rows in zip(exact, counts, strict=True) if rows)
