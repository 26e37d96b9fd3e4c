"""What steps cost that were not trained: one model, from what was measured, or else from the hardware of the config.

Measured: device-seconds held for each model FLOP of useful training, over all paths that were measured on the same kind
of device and with the same number of processes. Repeated steps, starting, saving, evaluating and waiting are in the
seconds and not in the FLOPs: they are carried over in their measured share. Where the model's FLOPs are not known the
same is done with tokens, within one run. Paths of the run itself come first; a run that measured nothing takes those of
other runs that are compared with it, if they can be of its hardware. Energy likewise.
Hardware: FLOPs over the peak of the device times `hardware.mfu`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from lrps.costs.spending import Spending
from lrps.ledger.records import Counters, Record
from lrps.plan.plan import Plan


@dataclass(frozen=True)
class Sample:
    """What the attempts at one path measured on one kind of device with one number of processes."""

    run: str
    path: str
    device: str
    processes: int
    steps: int
    """Useful ones: each once."""
    tokens: int
    """Of the useful steps."""
    flops: int | None
    """Of these tokens; None where the model's formula is not known."""
    device_seconds: float
    """Held, whatever for."""
    training_seconds: float
    """Of these, in optimizer steps, repeated ones included."""
    joules: float | None
    updated: str
    """Time of the last record."""

    @property
    def like(self) -> tuple[str, int]:
        return self.device, self.processes


def samples_of(plan: Plan, ledgers: Mapping[str, Sequence[Record]]) -> tuple[Sample, ...]:
    """A sample for every path, device and number of processes. ledgers: path -> its records, oldest first."""
    found = []
    for name, records in ledgers.items():
        attempts: dict[tuple[str, int], list[Record]] = {}
        for start, last in _attempts(records):
            if start.facts["path_start"] == plan.graph.by_name[name].start:  # else the path was another one
                attempts.setdefault((start.facts["device"], start.facts["processes"]), []).append(last)
        found += [_sample(plan, name, like, lasts) for like, lasts in attempts.items()]
    return tuple(found)


def _attempts(records: Sequence[Record]) -> Iterable[tuple[Record, Record]]:
    """(first, last record) of every attempt."""
    starts = [index for index, record in enumerate(records) if record.kind == "start"]
    return ((records[start], records[end - 1]) for start, end in pairwise([*starts, len(records)]))


def _sample(plan: Plan, path: str, like: tuple[str, int], lasts: Sequence[Record]) -> Sample:
    spent: list[Counters] = [record.counters for record in lasts]
    tokens = sum(each.tokens - each.repeated_tokens for each in spent)
    per_token = plan.costs.flops_per_token
    joules = [each.energy_joules for each in spent]
    return Sample(
        plan.config.name,
        path,
        *like,
        steps=sum(each.steps - each.repeated_steps for each in spent),
        tokens=tokens,
        flops=None if per_token is None else tokens * per_token,
        device_seconds=sum(each.allocated_seconds for each in spent),
        training_seconds=sum(each.training_seconds + each.repeating_seconds for each in spent),
        joules=None if None in joules else sum(each for each in joules if each is not None),
        updated=lasts[-1].time,
    )


@dataclass(frozen=True)
class Estimate:
    """The cost of a token that was not trained. source: measured | hardware, or None where nothing can tell."""

    tokens_per_step: int
    flops_per_token: int | None
    source: str | None = None
    device: str | None = None
    processes: int | None = None
    seconds_per_token: float | None = None
    lowest: float | None = None
    """seconds_per_token of the path where it is lowest, and (highest) where it is highest."""
    highest: float | None = None
    training_share: float = 1.0
    """Of the seconds, those in optimizer steps; the hardware model knows no others."""
    joules_per_token: float | None = None
    price: float | None = None
    """Of a device-hour."""
    runs: tuple[str, ...] = ()
    """Whose paths were measured."""
    paths: int = 0
    steps: int = 0
    """How many useful steps the measurement rests on."""

    def of(self, steps: int) -> Spending:
        """What that many steps cost."""
        tokens = steps * self.tokens_per_step
        hours = None if self.seconds_per_token is None else tokens * self.seconds_per_token / 3600
        return Spending(
            steps,
            tokens,
            None if self.flops_per_token is None else tokens * self.flops_per_token,
            hours,
            None if hours is None or self.price is None else hours * self.price,
            None if self.joules_per_token is None else tokens * self.joules_per_token / 3.6e6,
            modelled=True,
            training_hours=None if hours is None else hours * self.training_share,
        )

    def as_json(self) -> dict[str, Any]:
        """Keys of the reports."""
        seconds, per_token = self.seconds_per_token, self.flops_per_token
        return {
            "source": self.source,
            "device": self.device,
            "processes": self.processes,
            "device_seconds_per_token": seconds,
            "lowest_device_seconds_per_token": self.lowest,
            "highest_device_seconds_per_token": self.highest,
            "device_seconds_per_flop": None if seconds is None or not per_token else seconds / per_token,
            "training_share": self.training_share,
            "joules_per_token": self.joules_per_token,
            "runs": list(self.runs),
            "paths": self.paths,
            "steps": self.steps,
        }


def estimate(plan: Plan, own: Sequence[Sample], elsewhere: Sequence[Sample] = ()) -> Estimate:
    """The model of a plan. own: what its run measured; elsewhere: what other runs did.

    Of several kinds of device or numbers of processes in a run, those that trained last count: the rest is likely to be
    trained by them.
    """
    chosen = _chosen(own) or _chosen([sample for sample in elsewhere if _may_serve(plan, sample)])
    return _measured(plan, chosen) if chosen else _from_hardware(plan)


def _chosen(samples: Sequence[Sample]) -> list[Sample]:
    """Those of the kind that trained last."""
    newest = max((sample for sample in samples if sample.tokens), key=lambda sample: sample.updated, default=None)
    return [] if newest is None else [sample for sample in samples if sample.like == newest.like]


def _may_serve(plan: Plan, sample: Sample) -> bool:
    """True if another run's sample can be of the plan's hardware: as many processes here, and a device of that name
    (`H100` is in `NVIDIA H100 80GB HBM3`)."""
    launch, hardware = plan.config.launch, plan.config.hardware
    if sample.flops is None or plan.costs.flops_per_token is None:
        return False
    if launch.launcher in ("local", "torchrun") and launch.processes != sample.processes:
        return False
    return hardware is None or _letters(hardware.device) in _letters(sample.device)


def _letters(device: str) -> str:
    return "".join(letter for letter in device.lower() if letter.isalnum())


def _measured(plan: Plan, samples: Sequence[Sample]) -> Estimate:
    per_token = plan.costs.flops_per_token
    known = per_token is not None and all(sample.flops is not None for sample in samples)

    def rate(amount: float, some: Sequence[Sample]) -> float:
        """amount for each token of this plan."""
        if known and per_token is not None:
            return amount / sum(sample.flops or 0 for sample in some) * per_token
        return amount / sum(sample.tokens for sample in some)

    held = sum(sample.device_seconds for sample in samples)
    each = [rate(sample.device_seconds, [sample]) for sample in samples if sample.tokens]
    counted = [sample.joules for sample in samples]
    joules = None if None in counted else sum(one for one in counted if one is not None)
    return Estimate(
        plan.config.tokens_per_step,
        per_token,
        "measured",
        *samples[0].like,
        seconds_per_token=rate(held, samples),
        lowest=min(each),
        highest=max(each),
        training_share=sum(sample.training_seconds for sample in samples) / held,
        joules_per_token=None if joules is None else rate(joules, samples),
        price=plan.costs.price_per_device_hour,
        runs=tuple(dict.fromkeys(sample.run for sample in samples)),
        paths=len({(sample.run, sample.path) for sample in samples}),
        steps=sum(sample.steps for sample in samples),
    )


def _from_hardware(plan: Plan) -> Estimate:
    costs, hardware = plan.costs, plan.config.hardware
    nothing = Estimate(plan.config.tokens_per_step, costs.flops_per_token)
    if hardware is None or costs.flops_per_token is None or costs.flops_per_device_hour is None:
        return nothing
    return Estimate(
        plan.config.tokens_per_step,
        costs.flops_per_token,
        "hardware",
        hardware.device,
        seconds_per_token=costs.flops_per_token / costs.flops_per_device_hour * 3600,
        price=costs.price_per_device_hour,
    )
