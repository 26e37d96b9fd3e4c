"""The price that costs are computed with: whose, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.paths.cost import PEAK_TFLOPS, peak_flops

AREA = "price"
OLD_DAYS = 365


def check_price(subject: Subject) -> Iterator[Finding]:
    """Nothing without a config."""
    if subject.config is None:
        return
    hardware = subject.config.hardware
    if hardware is None:
        way_out = "add `hardware:` with device, devices and mfu (configs/hardware/h100-8.yaml is one)"
        yield Finding(AREA, "hardware", "warn", "not given: no device-hours and no money are planned", way_out)
        return
    if peak_flops(hardware) is None:
        way_out = f"add hardware.peak_tflops, or take one of {', '.join(PEAK_TFLOPS)}"
        yield Finding(AREA, "hardware", "warn", f"the peak of {hardware.device} is not known: no device-hours", way_out)
    price = hardware.price_per_device_hour
    if price is None:
        way_out = "add hardware.price_per_device_hour: {amount, currency, source, date}"
        yield Finding(AREA, "price", "warn", "not given: no money is shown", way_out)
        return
    what = f"{price.amount:g} {price.currency} a device-hour, by {price.source}, of {price.date}"
    age = (date.today() - price.date).days
    if age > OLD_DAYS:
        yield Finding(AREA, "price", "warn", f"{what}: {age} days old", "look it up again and give the new date")
    elif age < 0:
        yield Finding(AREA, "price", "warn", f"{what}: a day that is still to come", "correct the date")
    else:
        yield Finding(AREA, "price", "ok", what)
