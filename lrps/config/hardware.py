"""The `hardware` of a config file: what the plan computes device-hours, money and memory with."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import Field

from lrps.config.values import Float, Int, Section


class PriceConfig(Section):
    """What one device costs for one hour; without it no money is shown."""

    amount: Annotated[Float, Field(gt=0)]
    currency: Annotated[str, Field(min_length=1, max_length=8)] = "USD"
    source: Annotated[str, Field(min_length=1)]
    """Who says so, so that a reader of the report can check it."""
    date: date
    """The day of the price, as YYYY-MM-DD."""


class HardwareConfig(Section):
    """What the plan computes GPU-hours and money with."""

    device: str
    """`A100`, `H100`, `H100-PCIe`, `H200`, `H20`, `B200`, or any other name (`cpu`) with or without a peak_tflops."""
    devices: Annotated[Int, Field(ge=1)] = 1
    """Devices at work together: device-hours over this is the time on the wall."""
    peak_tflops: Annotated[Float, Field(gt=0)] | None = None
    """Dense bf16 peak of one device, for devices whose peak lrps does not know."""
    mfu: Annotated[Float, Field(gt=0, le=1)] = 0.4
    """Model FLOPs utilisation that the plan assumes."""
    memory_gb: Annotated[Float, Field(gt=0)] | None = None
    """Memory of one device in 1e9 bytes, beside which `lrps plan` shows what training is going to hold; for devices
    that lrps does not know, or that exist with less (A100)."""
    price_per_device_hour: PriceConfig | None = None
    mtbf_hours_per_device: Annotated[Float, Field(gt=0)] | None = None
    """Mean time between failures that end a run, of one device with its share of host and network, in hours; that of
    the run is this over `devices`. With it `lrps plan` says how often to save. 50,675 is what Llama 3 405B had
    (419 unexpected interruptions in 54 days on 16,384 H100)."""
    save_gb_per_second: Annotated[Float, Field(gt=0)] | None = None
    """How fast a whole checkpoint is written, all devices together, in 1e9 bytes; for `lrps plan` while no ledger of
    this plan has measured what a save takes. `lrps doctor CONFIG` measures what one process of this machine can do."""
