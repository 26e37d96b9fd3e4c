"""Planned cost of training steps: FLOPs, device-hours, money and disk, computed from the config alone.

docs/method.md, section 4, has the formulas. The FLOPs of a token are those of `Decoder.flops_per_token`. They assume
that every token attends over a whole row, so with attention within documents they are an upper bound. Imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from lrps.config.hardware import HardwareConfig, PriceConfig
from lrps.config.models import Config
from lrps.paths.decoder import decoder_of, parameter_count
from lrps.paths.optimizer_states import MAIN, saved_bytes

PEAK_TFLOPS = {
    "A100": 312.0,
    "H100": 989.0,
    "H100-PCIe": 756.0,
    "H200": 989.0,
    "H20": 148.0,
    "B200": 2250.0,
}
"""Dense bf16 peak of one device in TFLOP/s, from the makers' data sheets. An unknown device is n/a, never 0."""


@dataclass(frozen=True)
class Cost:
    """Cost of some optimizer steps. None means not applicable: it cannot be computed from what the config says."""

    steps: int
    """Number of optimizer steps."""
    tokens: int
    """Number of trained tokens."""
    flops: int | None
    """Number of model FLOPs of the trained tokens."""
    device_hours: float | None
    """Number of hours of one device, by the peak FLOP/s and the MFU of the config's hardware."""
    money: float | None
    """Price of the device-hours."""


@dataclass(frozen=True)
class CostModel:
    """Factors that turn steps into tokens, FLOPs, device-hours and money. None is not known."""

    tokens_per_step: int
    """Number of tokens of an optimizer step."""
    flops_per_token: int | None
    """Number of model FLOPs of a trained token."""
    flops_per_device_hour: float | None
    """Number of FLOPs that one device does in an hour, by its peak and the MFU of the config."""
    price_per_device_hour: float | None
    """Price of an hour of one device."""
    currency: str | None
    """Currency of the price."""
    checkpoint_bytes: int | None
    """Number of bytes of one checkpoint; of one of the main path if that averages its weights."""

    def of(self, steps: int) -> Cost:
        """Return the cost of some steps."""
        tokens = steps * self.tokens_per_step
        flops = None if self.flops_per_token is None else tokens * self.flops_per_token
        hours = None if flops is None or self.flops_per_device_hour is None else flops / self.flops_per_device_hour
        money = None if hours is None or self.price_per_device_hour is None else hours * self.price_per_device_hour
        return Cost(steps, tokens, flops, hours, money)

    def at_price(self, price: PriceConfig | None) -> CostModel:
        """Return the model with another price; with its own if that is None."""
        return self if price is None else replace(self, price_per_device_hour=price.amount, currency=price.currency)


def peak_flops(hardware: HardwareConfig | None) -> float | None:
    """Return the peak FLOP/s of one device; None if it is not known."""
    if hardware is None:
        return None
    known = {name.lower(): tflops for name, tflops in PEAK_TFLOPS.items()}
    tflops = hardware.peak_tflops or known.get(hardware.device.lower())
    return None if tflops is None else tflops * 1e12


def mfu(tokens_per_second: float | None, flops_per_token: int | None, peak: float | None) -> float | None:
    """Return the model FLOPs utilisation; None if anything is unknown. peak: FLOP/s of all devices together."""
    if tokens_per_second is None or flops_per_token is None or peak is None:
        return None
    return tokens_per_second * flops_per_token / peak


def cost_model(config: Config) -> CostModel:
    """Return the cost model of a config; what the config does not say is None."""
    decoder, hardware = decoder_of(config.model), config.hardware
    counted = parameter_count(config.model)
    if decoder is not None:
        per_token: int | None = decoder.flops_per_token(config.data.sequence_length)
    else:  # without the shape of the model its attention cannot be counted
        per_token = None if config.model.parameters is None else 6 * config.model.parameters
    peak = peak_flops(hardware)
    price = hardware.price_per_device_hour if hardware else None
    return CostModel(
        tokens_per_step=config.tokens_per_step,
        flops_per_token=per_token,
        flops_per_device_hour=None if peak is None or hardware is None else peak * hardware.mfu * 3600,
        price_per_device_hour=price.amount if price else None,
        currency=price.currency if price else None,
        checkpoint_bytes=None if counted is None else saved_bytes(config, MAIN, counted),
    )


def ptfs_steps(increments: list[int]) -> int:
    """Return the steps of PTFS in closed form: the sum over k of T_1 + .. + T_k. increments: T_k of each."""
    return sum((len(increments) - i) * steps for i, steps in enumerate(increments))


def cpt_steps(increments: list[int]) -> int:
    """Return the steps of CPT in closed form: the sum of all T_k. increments: T_k of each."""
    return sum(increments)
