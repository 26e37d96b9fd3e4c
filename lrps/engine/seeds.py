"""Seeds of random generators that are derived from the seed of a plan."""

from __future__ import annotations

import hashlib


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 64 bits that is a function of `parts`, such as the seed of a plan and the number of a step.

    It is a hash, because neighbouring seeds of a generator need not give unrelated numbers.
    """
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big")
