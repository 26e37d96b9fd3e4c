"""The `paradigms` of a config file: how path switching, PTFS, CPT and WSD-S are described. What they compile to is in
lrps.paths."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from lrps.config.values import DecayShape, Float, Int, OptimizerStart, Quantity, Section, Share


def _kind_may_come_from_the_name(schema: dict[str, Any]) -> None:
    """For editors: `ptfs: {decay: cosine}` is complete."""
    schema.get("required", []).clear()


class Decaying(Section):
    """What every paradigm says about its decay."""

    model_config = ConfigDict(json_schema_extra=_kind_may_come_from_the_name)

    alpha: Quantity = 0.6
    """Length of the decay, in the unit of `alpha_of`."""
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "increment"
    """A share of the version's increment, a share of all steps so far, or an absolute number of steps or tokens."""
    alpha_per_version: dict[str, Quantity] = Field(default_factory=dict)
    """`alpha` of single versions, by name."""
    decay: DecayShape = "linear"
    final_lr: Annotated[Float, Field(ge=0)] | None = None
    """Where this paradigm's decays end; by default schedule.final_lr."""

    @model_validator(mode="after")
    def _alpha_fits_its_unit(self) -> Self:
        if self.alpha_of in ("steps", "tokens") and "alpha" not in self.model_fields_set:
            raise ValueError(f"alpha_of {self.alpha_of} needs an alpha: how many {self.alpha_of} is the decay?")
        alphas = (self.alpha, *self.alpha_per_version.values())
        if self.alpha_of == "steps-so-far" and max(alphas) > 1:
            raise ValueError(f"alpha {max(alphas):g} of all steps so far is more than there are; it lies in 0..1")
        if self.decay == "multi-step" and "final_lr" in self.model_fields_set:
            raise ValueError("a multi-step decay ends at 0.1 x peak_lr; leave final_lr out, or choose another shape")
        return self


class Mix(Section):
    """Shares of the rows of a path; they add up to 1."""

    new: Share = 1.0
    replay: Share = 0.0
    """Rows of older increments, each going on at its own next position, in proportion to their size."""
    rehearsal: Share = 0.0
    """Rows of the sets of data.rehearsal that there are for the version, likewise."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs((total := self.new + self.replay + self.rehearsal) - 1) > 1e-9:
            raise ValueError(f"new + replay + rehearsal must be 1 (new is 1 unless it is given), not {total:g}")
        if self.new == 0:
            raise ValueError("new must be above 0: a version is trained on its own increment")
        return self


class Mixing(Decaying):
    """What the paradigms say that read other rows beside those of the version's own increment. A share for which there
    is nothing yet (version 1 has nothing to replay) goes to the new rows."""

    mix: Mix = Mix()
    """What a branch or a CPT path reads."""
    mix_per_version: dict[str, Mix] = Field(default_factory=dict)
    """`mix` of single versions, by name."""

    def mix_of(self, version: str) -> Mix:
        return self.mix_per_version.get(version, self.mix)


class PathSwitching(Mixing):
    """One main path at the maximal learning rate; a branch with a complete decay for every version."""

    kind: Literal["path-switching"]
    main_mix: Mix = Mix()
    """What the main path reads while it goes over an increment after the first; by default each new row once, and
    nothing else. Its steps stay the same, so what is added takes the place of new rows; those come first when their
    increment is replayed."""
    release_first: bool = True
    """false: version 1 is the main path itself after increment 1, without a decay."""
    branch_data: Literal["rest", "whole"] = "rest"
    """The rows a branch reads: those the main path would have read next (`rest`), or as many rows, drawn from a
    reshuffled pass over the whole increment (`whole`): a sample of all of it, of which the main path has seen some."""
    optimizer: OptimizerStart = "carry"


class Ptfs(Decaying):
    """Every version from scratch on all data so far. By default a decay over the whole run."""

    kind: Literal["ptfs"]
    alpha: Quantity = 1.0
    alpha_of: Literal["increment", "steps-so-far", "steps", "tokens"] = "steps-so-far"
    decay: DecayShape = "cosine"


class Cpt(Mixing):
    """Every version from the last one's final state, on its own increment."""

    kind: Literal["cpt"]
    restart: Literal["rewarm", "continue", "constant"] = "rewarm"
    """`rewarm`: back to peak_lr, then decay. `continue`: go on at the last version's final rate. `constant`: all
    versions at peak_lr, none decayed."""
    rewarm_steps: Annotated[Int, Field(ge=0)] | None = None
    """Steps of the re-warm-up; by default schedule.warmup_steps."""
    alpha: Quantity = 1.0
    decay: DecayShape = "cosine"
    optimizer: OptimizerStart = "reset"

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        of_a_decay = {"alpha", "alpha_of", "alpha_per_version", "decay", "final_lr", "rewarm_steps"}
        if self.restart == "constant" and (ignored := sorted(of_a_decay & self.model_fields_set)):
            raise ValueError(f"restart: constant decays nothing; leave out {', '.join(ignored)}")
        return self


class WsdS(Decaying):
    """WSD-S (Wen et al. 2025): the main path goes on from the decayed checkpoint, at peak_lr, without a re-warm."""

    kind: Literal["wsd-s"]
    decay: DecayShape = "inverse"
    optimizer: OptimizerStart = "carry"


Strategy = Annotated[PathSwitching | Ptfs | Cpt | WsdS, Field(discriminator="kind")]
KINDS = ("path-switching", "ptfs", "cpt", "wsd-s")
