"""Branch of a main path as the forecast sees it: where it forks, how long it decays, in which shape, and its loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from lrps.forecast.decay_integrals import GAIN_EXPONENT, DecayIntegrals, decay_integrals


@dataclass(frozen=True)
class BranchPlan:
    """Decay of a branch, whether it was trained or not. Steps count along the lineage, warm-up included."""

    fork: int
    """Step of the main path at which the branch forks."""
    steps: int
    """Number of optimizer steps of the decay."""
    shape: str
    """Shape of the decay, by its name in a config: `linear`, `1-sqrt`, `cosine`, `multi-step` and so on."""
    final: float = field(default=0.0, kw_only=True)
    """Learning rate at the end as a share of the peak. A multi-step decay does not use it."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.fork < 0:
            raise ValueError(f"a branch needs steps >= 1 and a fork >= 0, got {self.steps} steps from step {self.fork}")

    @cached_property
    def integrals(self) -> DecayIntegrals:
        """Progress and gain of the whole decay."""
        return decay_integrals(self.shape, self.final)

    @property
    def main_step(self) -> float:
        """Step of the main path whose progress the branch has made at its end: f + sigma D."""
        return self.fork + self.integrals.progress * self.steps

    @property
    def gain_factor(self) -> float:
        """Gain of the branch in units of the gain constant g: H D^kappa."""
        return float(self.integrals.gain * self.steps**GAIN_EXPONENT)


@dataclass(frozen=True)
class Branch(BranchPlan):
    """Finished branch with its final loss: `Branch(fork, steps, shape, loss)`, all on one held-out set."""

    loss: float
    """Final loss in nats a token."""
