"""The versions of torch that may read files of strangers. Imports no torch."""

from __future__ import annotations

from packaging.version import Version

SAFE_TORCH = "2.10"
"""First version whose `torch.load(weights_only=True)` runs no code of a prepared file (CVE-2026-24747)."""


def unpickles_safely(version: str) -> bool:
    """Return whether a version of torch, such as `2.10.0+cu128`, may read .pt files that others have made."""
    return Version(version).release >= Version(SAFE_TORCH).release
