"""Estimates of the cost of steps that were not trained, from measurements or else from the hardware of the config.

Measured: allocated device-seconds per model FLOP of useful training, over all paths that were measured on the same kind
of device with the same number of processes. Repeated steps, starting, saving, evaluating and waiting add seconds but no
FLOPs, so they are extrapolated in their measured proportion. Where the FLOPs of the model are unknown, tokens take
their place, within one run. Paths of the run itself come first; a run that measured nothing uses those of the other
runs that it is compared with, if they may have run on its hardware. Energy is extrapolated in the same way.

Hardware: FLOPs over the peak of the device times `hardware.mfu`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lrps.costs.measured_cost import JOULES_PER_KWH
from lrps.costs.sample import Sample
from lrps.costs.spending import Spending
from lrps.paths.cost import CostModel
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class CostRate:
    """Cost of one token that was not trained, and the measurements that this figure is based on."""

    source: Literal["measured", "hardware"] | None = None
    """Basis of the rate; null if there is neither a measurement nor a known device, and then no rate."""
    device: str | None = None
    """Name of the device that the rate holds for."""
    processes: int | None = None
    """Number of processes that the rate was measured with."""
    device_seconds_per_token: float | None = None
    """Allocated device-seconds per token, over all measured paths."""
    lowest_device_seconds_per_token: float | None = None
    """Device-seconds per token of the measured path where they are lowest."""
    highest_device_seconds_per_token: float | None = None
    """Device-seconds per token of the measured path where they are highest."""
    device_seconds_per_flop: float | None = None
    """Device-seconds per model FLOP; null if the FLOPs per token of the model are unknown."""
    training_share: float = 1.0
    """Share of the device-seconds in optimizer steps; 1 in an estimate from the hardware."""
    joules_per_token: float | None = None
    """Energy per token in joules; null unless the devices of every measured path metered it."""
    runs: tuple[str, ...] = ()
    """Names of the runs whose paths were measured."""
    paths: int = 0
    """Number of measured paths."""
    steps: int = 0
    """Number of useful optimizer steps of the measured paths."""


@dataclass(frozen=True)
class Estimate:
    """Forecast of the cost of a plan's steps, from the cost of one token."""

    costs: CostModel
    """Tokens per step, FLOPs per token and price of the plan."""
    rate: CostRate
    """Cost of one token."""

    def of(self, steps: int) -> Spending:
        """Return the cost of a number of steps."""
        rate, tokens = self.rate, steps * self.costs.tokens_per_step
        seconds, price = rate.device_seconds_per_token, self.costs.price_per_device_hour
        hours = None if seconds is None else tokens * seconds / 3600
        return Spending(
            steps,
            tokens,
            None if self.costs.flops_per_token is None else tokens * self.costs.flops_per_token,
            hours,
            None if hours is None or price is None else hours * price,
            None if rate.joules_per_token is None else tokens * rate.joules_per_token / JOULES_PER_KWH,
            modelled=True,
            training_hours=None if hours is None else hours * rate.training_share,
        )


def estimate(plan: Plan, own: Sequence[Sample], elsewhere: Sequence[Sample] = ()) -> Estimate:
    """Return the estimate for a plan. own: samples of its run; elsewhere: samples of other runs.

    Of several kinds of device or numbers of processes in a run, those that trained last count: they are the ones likely
    to train the rest.
    """
    samples = _newest_setup(own) or _newest_setup([sample for sample in elsewhere if _is_usable(plan, sample)])
    return Estimate(plan.costs, _measured_rate(plan, samples) if samples else _hardware_rate(plan))


def _newest_setup(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the kind of device and the number of processes that trained last."""
    newest = max((sample for sample in samples if sample.tokens), key=lambda sample: sample.updated, default=None)
    return [] if newest is None else [sample for sample in samples if sample.setup == newest.setup]


def _is_usable(plan: Plan, sample: Sample) -> bool:
    """Return True if another run's sample may be of the plan's hardware.

    It is if the number of processes is the same on this machine, and if the device's name contains that of the config
    (`H100` is in `NVIDIA H100 80GB HBM3`).
    """
    launch, hardware = plan.config.launch, plan.config.hardware
    if sample.flops is None or plan.costs.flops_per_token is None:
        return False
    if launch.fixed_processes not in (None, sample.processes):
        return False
    return hardware is None or _letters(hardware.device) in _letters(sample.device)


def _letters(device: str) -> str:
    return "".join(letter for letter in device.lower() if letter.isalnum())


def _measured_rate(plan: Plan, samples: Sequence[Sample]) -> CostRate:
    flops_per_token = plan.costs.flops_per_token
    flops_known = flops_per_token is not None and all(sample.flops is not None for sample in samples)

    def per_token(amount: float, some: Sequence[Sample]) -> float:
        """Return the amount per token of this plan."""
        if flops_known and flops_per_token is not None:
            return amount / sum(sample.flops or 0 for sample in some) * flops_per_token
        return amount / sum(sample.tokens for sample in some)

    allocated = sum(sample.device_seconds for sample in samples)
    seconds = per_token(allocated, samples)
    each = [per_token(sample.device_seconds, [sample]) for sample in samples if sample.tokens]
    metered = [sample.joules for sample in samples]
    joules = None if None in metered else sum(one for one in metered if one is not None)
    device, processes = samples[0].setup
    return CostRate(
        source="measured",
        device=device,
        processes=processes,
        device_seconds_per_token=seconds,
        lowest_device_seconds_per_token=min(each),
        highest_device_seconds_per_token=max(each),
        device_seconds_per_flop=seconds / flops_per_token if flops_per_token else None,
        training_share=sum(sample.training_seconds for sample in samples) / allocated,
        joules_per_token=None if joules is None else per_token(joules, samples),
        runs=tuple(dict.fromkeys(sample.run for sample in samples)),
        paths=len({(sample.run, sample.path) for sample in samples}),
        steps=sum(sample.steps for sample in samples),
    )


def _hardware_rate(plan: Plan) -> CostRate:
    costs, hardware = plan.costs, plan.config.hardware
    if hardware is None or costs.flops_per_token is None or costs.flops_per_device_hour is None:
        return CostRate()
    seconds = costs.flops_per_token / costs.flops_per_device_hour * 3600
    return CostRate(
        source="hardware",
        device=hardware.device,
        device_seconds_per_token=seconds,
        device_seconds_per_flop=seconds / costs.flops_per_token if costs.flops_per_token else None,
    )
