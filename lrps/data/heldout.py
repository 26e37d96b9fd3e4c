"""The held-out set of a version: which texts are in it, and the share that gives it some.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from decimal import ROUND_CEILING, Decimal
from itertools import accumulate, islice

from lrps.base.errors import ConfigError
from lrps.config.data import DataConfig
from lrps.data.manifest import Manifest

HELDOUT_SALT = "lrps"
"""Text before every text that is hashed, so that other choices by a hash of the text do not agree with this one."""
LARGEST_SHARE = 0.5
"""Shares that a config can have are below this."""
SEARCHED_TEXTS = 200_000
"""Number of texts from which a sufficient share is computed; further ones only add to what it holds out."""


def check_heldout_share(data: DataConfig, manifests: Mapping[str, Manifest]) -> None:
    """Raise ConfigError if `data.heldout_share` is the share of none of the versions that exist.

    manifests: those of all shards that exist, by name. Shards that were built elsewhere keep their share if the config
    builds none itself; those that models write have no part in it.
    """
    sets = [shards for shards in data.shard_sets if shards.name in manifests and not shards.synthesized]
    shares = {shards.name: manifests[shards.name].provenance.get("heldout_share") for shards in sets}
    known = {name: share for name, share in shares.items() if isinstance(share, int | float)}
    if known and any(shards.text for shards in data.shard_sets) and data.heldout_share not in known.values():
        built = ", ".join(f"{name} with {share:g}" for name, share in known.items())
        raise ConfigError(
            f"data.heldout_share is {data.heldout_share:g}, but shards were built with another one ({built}), and a "
            f"version never changes: set it to {next(iter(known.values())):g}; with another share a document that is "
            "held out of one version would be trained on in another"
        )


def is_heldout(text: str, share: float, salt: str) -> bool:
    """Return True for about `share` of all texts.

    The result depends on a hash of the text only, so a text that is held out is held out in every version, and a larger
    share holds out what a smaller one does.
    """
    return _below(_hash(text, salt), share)


def _below(number: int, share: float) -> bool:
    return number < share * 2**64


def _hash(text: str, salt: str) -> int:
    return int.from_bytes(hashlib.blake2b(f"{salt}\0{text}".encode(), digest_size=8).digest(), "little")


def sufficient_share(texts: Iterable[str], salt: str, text_bytes: float) -> float | None:
    """Return the smallest share, rounded up to two digits, that holds out texts of `text_bytes` bytes in UTF-8.

    None if no share below LARGEST_SHARE does and leaves a text to train on.
    """
    hashed = sorted((_hash(text, salt), len(text.encode())) for text in islice(texts, SEARCHED_TEXTS))
    sums = accumulate(size for _, size in hashed)
    for (number, _), size in zip(hashed, sums, strict=True):
        if size >= text_bytes:
            exact = Decimal(number + 1) / 2**64
            share = float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), ROUND_CEILING))
            return share if share < LARGEST_SHARE and not _below(hashed[-1][0], share) else None
    return None
