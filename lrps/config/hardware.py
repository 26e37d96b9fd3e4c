"""The sections `hardware` and `budget` of a config file: devices, price and failure rate, and what a run may spend."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self

from pydantic import Field, model_validator

from lrps.config.values import Float, Int, Section


class PriceConfig(Section):
    """Price of one device for one hour. Without it no money is shown."""

    amount: Annotated[Float, Field(gt=0)]
    """Price of an hour of one device, in the currency."""
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"
    """Currency, as its usual three letters."""
    source: Annotated[str, Field(min_length=1)]
    """Source of the price, so that a reader of the report can check it."""
    date: date
    """Day of the price, as YYYY-MM-DD."""


class HardwareConfig(Section):
    """Devices that a plan computes device-hours, money and memory for."""

    device: str
    """Name of the device: `A100`, `H100`, `H100-PCIe`, `H200`, `H20`, `B200`, or any other name (`cpu`) with or
    without a peak_tflops."""
    devices: Annotated[Int, Field(ge=1)] = 1
    """Number of devices that train at the same time: device-hours divided by it are hours of wall-clock time."""
    peak_tflops: Annotated[Float, Field(gt=0)] | None = None
    """Dense bf16 peak of one device in 1e12 FLOP/s, for devices whose peak lrps does not know."""
    mfu: Annotated[Float, Field(gt=0, le=1)] = 0.4
    """Model FLOPs utilisation that the plan assumes, between 0 and 1."""
    memory_gb: Annotated[Float, Field(gt=0)] | None = None
    """Memory of one device in 1e9 bytes, which `lrps plan` compares with its forecast; for devices that lrps does not
    know, or that exist with less (A100)."""
    host_memory_gb: Annotated[Float, Field(gt=0)] | None = None
    """Memory of one host in 1e9 bytes, by which `lrps plan` says how often data is read from storage (docs/data.md); by
    default that of the machine on which it runs."""
    price_per_device_hour: PriceConfig | None = None
    """Price of one device for an hour; without it no money is shown."""
    mtbf_hours_per_device: Annotated[Float, Field(gt=0)] | None = None
    """Mean time between failures that end a run, in hours, of one device with its share of host and network; that of
    the run is this divided by `devices`. With it `lrps plan` recommends how often to save. Llama 3 405B had 50,675
    (419 unexpected interruptions in 54 days on 16,384 H100)."""
    save_gb_per_second: Annotated[Float, Field(gt=0)] | None = None
    """Speed at which all devices together write a checkpoint, in 1e9 bytes per second; for `lrps plan`, until a ledger
    of this plan has measured a save. `lrps doctor CONFIG` measures one process of this machine."""


class BudgetConfig(Section):
    """Most that all attempts at all paths of the run may spend: exactly one of its two keys. Changing it changes
    nothing else."""

    money: Annotated[Float, Field(gt=0)] | None = None
    """Price of the allocated device-hours, in the currency of hardware.price_per_device_hour, which it needs."""
    device_hours: Annotated[Float, Field(gt=0)] | None = None
    """Number of allocated device-hours: wall-clock hours multiplied by the processes."""

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        if (self.money is None) == (self.device_hours is None):
            raise ValueError("give exactly one of 'money' and 'device_hours'")
        return self
