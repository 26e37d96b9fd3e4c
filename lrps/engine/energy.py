"""Energy that this process's GPU has used, by its own counter (NVML). The package nvidia-ml-py is optional."""

from __future__ import annotations

import torch


def used_joules(device: torch.device) -> float | None:
    """Joules since the driver was loaded; None without a GPU, without nvidia-ml-py, or where the GPU does not count.

    Never an estimate from its rated power.
    """
    if device.type != "cuda":
        return None
    try:
        import pynvml  # type: ignore[import-not-found]

        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(device).uuid)
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000
    except Exception:  # No package, no driver, no counter: nothing is measured, and training goes on.
        return None
