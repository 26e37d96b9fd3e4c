"""The `paradigms` section of a config file: path switching, PTFS, CPT, WSD-S and plug-ins. lrps.paths compiles them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticKnownError

from lrps.config.extensions import PARADIGMS
from lrps.config.mixes import Mix
from lrps.config.values import DecayShape, Float, Int, Name, OptimizerStart, Quantity, Section

ReleasedState = Literal["branch", "main", "ema", "merge"]
"""State that path switching releases as a version; see `PathSwitching.release`."""


def _kind_may_come_from_the_name(schema: dict[str, Any]) -> None:
    """Accept a strategy without `kind` in the schema for editors: `ptfs: {decay: cosine}` is complete."""
    schema.get("required", []).clear()


class Decaying(Section):
    """Keys of the decay, which every paradigm has."""

    model_config = ConfigDict(json_schema_extra=_kind_may_come_from_the_name)

    alpha: Quantity = 0.6
    """Length of the decay, in the unit of `alpha_of`."""
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "increment"
    """Unit of `alpha`: a share of the version's increment, a share of all steps so far, or a number of steps or
    tokens."""
    alpha_per_version: dict[str, Quantity] = Field(default_factory=dict)
    """Values of `alpha` for single versions, by name."""
    peak_lr: Annotated[Float, Field(gt=0)] | None = None
    """Maximal learning rate of this paradigm; by default schedule.peak_lr."""
    decay: DecayShape = "linear"
    """Shape of the decay of the learning rate."""
    final_lr: Annotated[Float, Field(ge=0)] | None = None
    """Final learning rate of this paradigm's decays; by default schedule.final_lr."""

    @model_validator(mode="after")
    def _alpha_fits_its_unit(self) -> Self:
        if self.alpha_of in ("steps", "tokens") and "alpha" not in self.model_fields_set:
            raise ValueError(f"alpha_of {self.alpha_of} needs an alpha: set alpha to the number of {self.alpha_of}")
        alphas = (self.alpha, *self.alpha_per_version.values())
        if self.alpha_of == "steps-so-far" and max(alphas) > 1:
            raise ValueError(f"alpha {max(alphas):g} is above 1, and a share of all steps so far is at most 1")
        if self.decay == "multi-step" and "final_lr" in self.model_fields_set:
            raise ValueError("a multi-step decay ends at 0.1 x peak_lr; leave final_lr out, or choose another shape")
        return self


class Mixing(Decaying):
    """Keys of paradigms that also read sequences from outside the version's own increment. A share for which no data
    exists yet (version 1 has nothing to replay) goes to the new sequences."""

    mix: Mix = Mix()
    """Shares of the sequences that a branch or a CPT path reads."""
    mix_per_version: dict[str, Mix] = Field(default_factory=dict)
    """Values of `mix` for single versions, by name."""

    def mix_of(self, version: str) -> Mix:
        return self.mix_per_version.get(version, self.mix)


class PathSwitching(Mixing):
    """One main path at the maximal learning rate, and a branch with a complete decay for every version."""

    kind: Literal["path-switching"]
    """Learning-rate path switching: a main path at the maximal rate, and a branch for every version."""
    main_mix: Mix = Mix()
    """Shares of the sequences that the main path reads in every increment after the first; by default each new sequence
    once and nothing else. The number of steps stays the same, so added sequences replace new ones; the replaced ones
    come first when their increment is replayed."""
    release: ReleasedState = "branch"
    """State that is released as a version. `branch`: the end of a branch with a complete decay. The others cost no
    branch: the undecayed main path at the end of the increment (`main`), the exponential moving average of its weights
    there (`ema`, needs `average.ema`), or the mean of 10 of its states over the last tenth of the steps so far
    (`merge`, whose states are kept). For previews and cheap versions; docs/method.md, section 1.8, has what was
    measured."""
    release_per_version: dict[str, ReleasedState] = Field(default_factory=dict)
    """Values of `release` for single versions, by name."""
    release_first: bool = True
    """Whether version 1 is released as `release` says; false: it is the main path itself after increment 1, as with
    release_per_version: {v1: main}."""
    branch_data: Literal["rest", "whole"] = "rest"
    """Sequences that a branch reads: those the main path would have read next (`rest`), or as many from a reshuffled
    pass over the whole increment (`whole`), some of which the main path has read."""
    optimizer: OptimizerStart = "carry"
    """Whether a branch continues with the optimizer states of the main path (`carry`) or starts without
    (`reset`)."""

    @model_validator(mode="after")
    def _main_path_keeps_its_steps(self) -> Self:
        if self.main_mix.extra:
            raise ValueError("main_mix: the main path keeps its steps; give `extra` to mix, or a share to main_mix")
        return self

    def releases_of(self, versions: Sequence[str]) -> tuple[ReleasedState, ...]:
        """Return the state that is released as each version. versions: names of all versions, oldest first."""
        first: dict[str, ReleasedState] = {} if self.release_first else {versions[0]: "main"}
        chosen = {**dict.fromkeys(versions, self.release), **first, **self.release_per_version}
        return tuple(chosen[name] for name in versions)


class PeakPerVersion(Section):
    """Key of paradigms whose versions do not hang on one path at the peak rate."""

    peak_lr_per_version: dict[str, Annotated[Float, Field(gt=0)]] = Field(default_factory=dict)
    """Values of `peak_lr` for single versions, by name."""


class Ptfs(Decaying, PeakPerVersion):
    """Every version trained from scratch on all data so far, by default with a decay over the whole run."""

    kind: Literal["ptfs"]
    """Pre-training from scratch for every version."""
    alpha: Quantity = 1.0
    """Length of the decay, in the unit of `alpha_of`; by default the whole path."""
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "steps-so-far"
    """Unit of `alpha`: a share of the version's increment, a share of all steps so far, or a number of steps or
    tokens."""
    decay: DecayShape = "cosine"
    """Shape of the decay of the learning rate."""
    steps_of: Name | None = None
    """Paradigm whose marginal steps each version is trained for from scratch, in place of all steps so far: the control
    with as many steps. Increments so far are mixed evenly, each in proportion to its steps; `alpha` with `alpha_of:
    steps-so-far` is a share of the steps of the version. By default all steps so far."""


class Cpt(Mixing, PeakPerVersion):
    """Every version trained from the last one's final state on its own increment."""

    kind: Literal["cpt"]
    """Continual pre-training: every version continues the one before."""
    restart: Literal["rewarm", "autoregressive", "continue", "constant"] = "rewarm"
    """Learning rate at the start of a version. `rewarm`: back to peak_lr, then decay. `autoregressive`: the same, with
    peaks of later versions on one cosine that falls to the final rate (TiC-LM, arXiv 2504.02107). `continue`: the last
    version's final rate. `constant`: all versions at peak_lr, none decayed."""
    rewarm_steps: Annotated[Int, Field(ge=0)] | None = None
    """Number of steps of the re-warm-up; by default schedule.warmup_steps."""
    alpha: Quantity = 1.0
    """Length of the decay, in the unit of `alpha_of`; by default the whole increment."""
    decay: DecayShape = "cosine"
    """Shape of the decay of the learning rate."""
    optimizer: OptimizerStart = "reset"
    """Whether a version continues with the optimizer states of the one before (`carry`) or starts without
    (`reset`)."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        of_a_decay = {"alpha", "alpha_of", "alpha_per_version", "decay", "final_lr", "rewarm_steps"}
        if self.restart == "constant" and (ignored := sorted(of_a_decay & self.model_fields_set)):
            raise ValueError(f"restart: constant decays nothing; leave out {', '.join(ignored)}")
        if self.restart != "rewarm" and self.peak_lr_per_version:
            raise ValueError(
                f"peak_lr_per_version needs restart: rewarm; with restart: {self.restart} the peaks follow from peak_lr"
            )
        return self


class WsdS(Decaying):
    """WSD-S (Wen et al. 2025): the main path continues from the decayed state, at peak_lr, without a re-warm-up."""

    kind: Literal["wsd-s"]
    """WSD-S: the main path continues from the decayed state."""
    decay: DecayShape = "inverse"
    """Shape of the decay of the learning rate."""
    optimizer: OptimizerStart = "carry"
    """Whether the main path continues with the optimizer states of the decayed state (`carry`) or starts without
    (`reset`)."""


class PluginStrategy(Decaying):
    """Strategy of a paradigm that a plug-in adds, with the keys of its decay. A plug-in with keys of its own, or with
    those of Mixing or PeakPerVersion, has a subclass."""

    kind: str


KINDS = PARADIGMS.builtin


def _of_kind(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Return the strategy of a plug-in as its own section, and any other one as pydantic finds it by its kind."""
    kind = value.get("kind", KINDS[0]) if isinstance(value, dict) else KINDS[0]
    if not isinstance(kind, str) or kind in KINDS:
        return validate(value)
    plugin = PARADIGMS.find(kind)
    if plugin is None:
        expected = ", ".join(f"'{name}'" for name in PARADIGMS.names)
        raise PydanticKnownError(
            "union_tag_invalid", {"discriminator": "'kind'", "tag": kind, "expected_tags": expected}
        )
    return (plugin.value.section or PluginStrategy).model_validate(value)


Strategy = Annotated[
    SerializeAsAny[PathSwitching | Ptfs | Cpt | WsdS], Field(discriminator="kind"), WrapValidator(_of_kind)
]
"""A strategy; that of a plug-in is a PluginStrategy, which validation finds by its kind."""


def section_of(kind: str) -> type[Section]:
    """Return the class of the strategies of a kind, of which there is one."""
    builtin: dict[str, type[Section]] = dict(zip(KINDS, (PathSwitching, Ptfs, Cpt, WsdS), strict=True))
    plugin = PARADIGMS.find(kind)
    return builtin[kind] if plugin is None else plugin.value.section or PluginStrategy
