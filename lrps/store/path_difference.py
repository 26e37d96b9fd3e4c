"""Differences between two paths of one name in words: which keys of the schedule, a paradigm or the data changed.

A path.json has no keys of the config, but what follows from them: pieces of rates, forks and ranges of sequences. So
the cause is found from these, and stated in their terms (`a decay of 60 steps` for alpha).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from lrps.paths.graph import Segment, TrainingPath
from lrps.paths.schedule import POWER_EXPONENT, SchedulePiece
from lrps.store.difference import IdentityDifference, Key

_DEFAULT_NAMES = {"main": "path-switching", "branch": "path-switching"}
"""Paradigm whose paths are named by what they are instead of by the paradigm."""


@dataclass(frozen=True)
class PathPair:
    """A path as the run began it and as a config has it; neither extends the other."""

    begun: TrainingPath
    wanted: TrainingPath
    tokens_per_step: int
    """Number of tokens of a step in the config."""
    same_batch: bool = True
    """Whether both have the same sequences in a step; else every other length is a consequence."""
    sets: frozenset[str] = frozenset()
    """Names of the rehearsal sets of the config."""

    @property
    def both(self) -> tuple[TrainingPath, TrainingPath]:
        return self.begun, self.wanted

    @cached_property
    def version(self) -> str:
        """Version that the path is named after; empty for a main path."""
        named = [name for name in self.wanted.sources if self.wanted.name.endswith(f"-{name}")]
        return max(named, key=len, default="")

    @cached_property
    def paradigm(self) -> str:
        """Name of the paradigm in the config, by the name of the path."""
        name = self.wanted.name
        prefix = name.removesuffix(f"-{self.version or 'main'}")
        return _DEFAULT_NAMES.get(prefix, prefix)

    def key(self, *names: str) -> Key:
        """Return a key of the paradigm."""
        return ("paradigms", self.paradigm, *names)

    def difference(self, words: Iterable[object], key: Key, *others: Key, note: str = "") -> IdentityDifference:
        """Return a difference. words: the value that was begun and the wanted one. others: further possible causes."""
        begun, wanted = map(str, words)
        keys = (each for first in (key, *others) for each in self._with_own_value(first))
        return IdentityDifference(tuple(keys), begun, wanted, note)

    def _with_own_value(self, key: Key) -> tuple[Key, ...]:
        """Return a key, and where the path's version can have a value of its own, the key of that."""
        if key[-1] not in ("alpha", "mix", "peak_lr") or not self.version:
            return (key,)
        return (key, (*key[:-1], f"{key[-1]}_per_version", self.version))


@dataclass(frozen=True)
class _Rates:
    """The values of a config that the pieces of a path's schedule show."""

    peak: float
    warmup: int
    first: float
    """Rate that the warm-up starts from."""
    shape: str | None
    """Shape of the decay; None for a path without one."""
    length: int
    """Steps of the decay."""
    final: float
    coefficient: float | None
    """Coefficient of the power law for steps."""
    squeezed: bool
    """Whether the decay starts where the warm-up ends, which may have shortened it."""


def _rates(path: TrainingPath) -> _Rates:
    pieces = path.schedule.clipped(path.start, path.stop)
    warm = pieces[0] if pieces[0].shape == "warmup" else None
    rest = pieces[1:] if warm else pieces
    power = next((piece for piece in rest if piece.shape == "power"), None)
    decay = _decay(rest)
    if power is not None or warm is None:
        peak = (power or rest[0]).lr_start
    else:
        peak = warm.lr_stop
    return _Rates(
        peak,
        warm.stop - warm.start if warm and warm.stop is not None else 0,
        warm.lr_start if warm else 0.0,
        None if decay is None else "multi-step" if decay.shape == "constant" else decay.shape,
        0 if decay is None else path.stop - decay.start,
        decay.lr_stop if decay and decay.shape != "constant" else 0.0,
        power.coefficient if power else None,
        decay is not None and decay is rest[0],
    )


def _decay(pieces: tuple[SchedulePiece, ...]) -> SchedulePiece | None:
    """Return the first piece of the decay: of a multi-step one, the first of its levels; None without one."""
    falling = next((piece for piece in pieces if piece.shape not in ("constant", "power")), None)
    if falling is None and len({piece.lr_start for piece in pieces}) > 1:
        return pieces[max(0, len(pieces) - 3)]
    return falling


def path_differences(pair: PathPair) -> list[IdentityDifference]:
    """Return the differences between two paths, most likely causes first: at least one, unless the batch differs."""
    if pair.wanted.kind == "probe":
        probe = ("probes", pair.wanted.name.removeprefix("probe-"))
        note = "a probe that was trained keeps its data and steps: give the changed one another name"
        keys = ((*probe, key) for key in ("data", "steps", "decay", "at"))
        return [pair.difference(map(_summary, pair.both), *keys, note=note)]
    rates = tuple(_rate_differences(pair))
    fork = tuple(_fork_differences(pair))
    moved = any(each.keys[0] == pair.key("alpha") for each in rates)
    data = () if moved or not pair.same_batch else tuple(_data_differences(pair))
    found = [*rates, *fork, *data]
    if found or not pair.same_batch:
        return found
    return [pair.difference(map(_summary, pair.both), ("paradigms", pair.paradigm))]


def _summary(path: TrainingPath) -> str:
    origin = "the initial weights" if path.parent is None else f"{path.parent.path} at step {path.parent.step}"
    rates = f"rates from {path.lr_start:g} to {path.lr_stop:g}"
    return f"steps {path.start} to {path.stop} from {origin}, with {rates}, on {', '.join(path.sources)}"


def _rate_differences(pair: PathPair) -> Iterator[IdentityDifference]:
    old, new = both = tuple(_rates(path) for path in pair.both)
    peak, final, warmup = (("schedule", name) for name in ("peak_lr", "final_lr", "warmup_steps"))
    if pair.wanted.kind == "cpt" and None in (old.shape, new.shape) and (old.shape, old.peak) != (new.shape, new.peak):
        yield pair.difference(map(_restart_words, both), pair.key("restart"), peak, final)
        return
    # A branch's first rate follows from its fork, if the main path has a power law.
    if old.peak != new.peak and not (pair.wanted.kind == "branch" and old.length != new.length):
        words = (f"{each.peak:g}" for each in both)
        yield pair.difference(words, peak, pair.key("peak_lr"), ("schedule", "power_coefficient"))
    if old.warmup != new.warmup:
        is_restarted = pair.wanted.kind == "cpt" and pair.wanted.parent is not None
        keys = (pair.key("rewarm_steps"), warmup) if is_restarted else (warmup,)
        yield pair.difference((f"{each.warmup} steps" for each in both), *keys)
    if old.coefficient != new.coefficient:
        words = (_of_tokens(each.coefficient, pair.tokens_per_step) for each in both)
        yield pair.difference(words, ("schedule", "power_coefficient"))
    yield from _decay_differences(pair, old, new)


def _restart_words(rates: _Rates) -> str:
    return f"a decay of {rates.length} steps" if rates.shape else f"the rate {rates.peak:g} without a decay"


def _of_tokens(coefficient: float | None, tokens_per_step: int) -> str:
    """Return the coefficient of a power law for tokens, as the config has it."""
    return "null" if coefficient is None else f"{coefficient / tokens_per_step**POWER_EXPONENT:.6g}"


def _decay_differences(pair: PathPair, old: _Rates, new: _Rates) -> Iterator[IdentityDifference]:
    """Yield differences of shape, length and final rate. Lengths follow from alpha only if all else is equal."""
    if old.shape != new.shape:
        yield pair.difference((each.shape or "no decay" for each in (old, new)), pair.key("decay"))
    decays = [each for each in (old, new) if each.shape is not None]
    is_squeezed = old.warmup != new.warmup and (old.squeezed or new.squeezed)
    is_comparable = len(decays) == 2 and pair.begun.stop == pair.wanted.stop and not is_squeezed
    if is_comparable and old.length != new.length:
        words = (f"a decay of {each.length} steps" for each in decays)
        yield pair.difference(words, pair.key("alpha"), pair.key("alpha_of"))
    ends = [(each.final, each.first) for each in decays if each.shape != "multi-step"]
    if len(ends) == 2 and ends[0] != ends[1]:
        # The rate that a re-warm-up starts from is the final one of the version before.
        place = 0 if ends[0][0] != ends[1][0] else 1
        yield pair.difference((f"{each[place]:g}" for each in ends), ("schedule", "final_lr"), pair.key("final_lr"))


def _fork_differences(pair: PathPair) -> Iterator[IdentityDifference]:
    old, new = (path.parent for path in pair.both)
    if old is not None and new is not None:
        if old.optimizer != new.optimizer:
            yield pair.difference((old.optimizer, new.optimizer), pair.key("optimizer"))
        if old.path != new.path:
            yield pair.difference((f"a fork of {each.path}" for each in (old, new)), ("paradigms", pair.paradigm))


def _data_differences(pair: PathPair) -> Iterator[IdentityDifference]:
    """Yield the first difference of the data that two paths read; nothing if one reads on from the other."""
    old, new = pair.both
    order = _order_difference(pair)
    if order is not None:
        yield order
        return
    for number, (there, here) in enumerate(zip(old.segments, new.segments, strict=False), 1):
        is_last = number in (len(old.segments), len(new.segments)) and new.kind == "main"
        if there != here and not (is_last and (here.starts_with(there) or there.starts_with(here))):
            yield _segment_difference(pair, there, here)
            return
    if old.stop != new.stop and new.kind != "main":
        # Its own data is equal, so that what was read before it is longer or shorter.
        words = (f"{path.stop} steps up to the end of {path.name}" for path in pair.both)
        yield IdentityDifference((("data", "versions"),), *words)


def _order_difference(pair: PathPair) -> IdentityDifference | None:
    """Return the first difference of the names of what two paths read, by their first use."""
    old, new = (path.sources for path in pair.both)
    for place, (there, here) in enumerate(zip(old, new, strict=False)):
        if there == here:
            continue
        if there not in new:
            return _names_difference(pair, place, there, f"{there} is missing: put it back")
        if here not in old:
            return _names_difference(pair, place, here, f"{here} is new before {there}: add new ones at the end")
        return _names_difference(pair, place, there, f"{there} came before {here}: restore the order")
    place = min(len(old), len(new))
    if len(old) == len(new) or pair.wanted.kind == "main":
        return None
    if len(old) > place:
        return _names_difference(pair, place, old[place], f"{old[place]} is missing: put it back")
    return _names_difference(pair, place, new[place], f"{new[place]} is new")


def _names_difference(pair: PathPair, place: int, name: str, note: str) -> IdentityDifference:
    """Return the difference of the names of sources, with those around the first one that differs."""
    shown = slice(max(0, place - 1), place + 2)
    words = (", ".join(path.sources[shown]) or "nothing" for path in pair.both)
    key = ("data", "rehearsal" if name in pair.sets else "versions")
    is_mixed = any(len(segment.parts) > 1 for path in pair.both for segment in path.segments)
    mixes = (_mix_key(pair), pair.key("branch_data")) if is_mixed and pair.wanted.kind in _MIXING else ()
    return pair.difference(words, key, *mixes, note=note)


_MIXING = ("main", "branch", "cpt")
"""Kinds of paths whose paradigm has a mix."""


def _mix_key(pair: PathPair) -> Key:
    return pair.key("main_mix" if pair.wanted.kind == "main" else "mix")


def _size_keys(source: str) -> tuple[Key, ...]:
    """Return the keys that decide how many sequences of a source a path reads."""
    return tuple(("data", "versions", source, name) for name in ("tokens", "epochs", "mixture"))


def _segment_difference(pair: PathPair, there: Segment, here: Segment) -> IdentityDifference:
    """Return the difference between the first segments of two paths that differ."""
    both, fresh = (there, here), here.parts[0].source
    if max(len(each.parts) for each in both) > 1 and pair.wanted.kind in _MIXING:
        return _mix_difference(pair, there, here)
    first_rows = {each.parts[0].from_row for each in both}
    if there.steps == here.steps and len(first_rows) > 1 and pair.wanted.kind == "branch":
        return pair.difference(map(_ranges, both), pair.key("branch_data"))
    pairs = zip(there.parts, here.parts, strict=False)
    changed = next((new.source for old, new in pairs if old != new), fresh)
    keys = _size_keys(changed)
    if pair.wanted.kind == "ptfs" and there.steps != here.steps:
        keys = (*keys, pair.key("steps_of"))
    return pair.difference((f"{_ranges(each)} ({each.steps} steps)" for each in both), *keys)


def _mix_difference(pair: PathPair, there: Segment, here: Segment) -> IdentityDifference:
    """Return the difference between two segments one of which is mixed: in its steps, or in its shares."""
    both, sizes = (there, here), _size_keys(here.parts[0].source)
    if there.steps == here.steps:
        words = [[describe(each) for each in both] for describe in (_shares, _ranges)]
        differing = next((each for each in words if each[0] != each[1]), words[-1])
        return pair.difference(differing, _mix_key(pair), pair.key("branch_data"), *sizes)
    # The main path is mixed from fork to fork, which alpha decides.
    keys = (pair.key("alpha"), _mix_key(pair), pair.key("alpha_of")) if pair.wanted.kind == "main" else ()
    return pair.difference((f"{_shares(each)} in {each.steps} steps" for each in both), *keys, *sizes)


def _shares(segment: Segment) -> str:
    return ", ".join(f"{100 * part.rows / segment.rows:.4g} % {part.source}" for part in segment.parts)


def _ranges(segment: Segment) -> str:
    return ", ".join(f"sequences {part.from_row} to {part.to_row} of {part.source}" for part in segment.parts)
