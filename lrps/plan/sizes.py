"""Numbers of sequences of a plan's sources: what their shards have, limited to what the config asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import NoReturn

from lrps.base.errors import ConfigError, DataError
from lrps.base.files import located
from lrps.config.models import Config
from lrps.config.versions import CandidateData, MixturePart, Rehearsal, Version
from lrps.data.manifest import Manifest, load_manifest, manifest_path
from lrps.data.sources import DataSource, SourcePart
from lrps.paths.part_share import PartShare, PartSize, count_parts, largest_mixture, share_parts


def wanted_rows(config: Config, version: Version, counted: Mapping[str, int]) -> int | None:
    """Return the number of sequences of an epoch that the config asks for; None if it takes all of the shards.

    counted: sequences of an epoch of the increments, by name.
    """
    if version.tokens is not None:
        return version.tokens // config.data.sequence_length
    if isinstance(version, Rehearsal) and version.synthesis is not None:
        return floor(Fraction(str(version.synthesis.ratio)) * sum(counted[name] for name in version.synthesis.of))
    return None


def plain_rows(config: Config, version: Version, manifest: Manifest | None, wanted: int | None) -> int:
    """Return the number of sequences of an epoch of a source without a mixture.

    manifest: that of its shards; None before they exist. wanted: as `wanted_rows` returns it. Raises ConfigError if the
    number is unknown, DataError if the shards have fewer sequences than wanted.
    """
    if manifest is None:
        return _unmade(config, version) if wanted is None else wanted
    length = config.data.sequence_length
    rows = manifest.rows(length)
    if wanted is not None and wanted > rows:
        where = {Rehearsal: "rehearsal", CandidateData: "candidates"}.get(type(version), "versions")
        hint = "or leave it out to use all"
        if isinstance(version, Rehearsal) and version.synthesis is not None:
            hint = "or its synthesis.ratio; a set that is made never grows: a larger one takes another name"
        raise DataError(
            f"version {version.name}: the config wants {wanted} sequences of {length} tokens, its shards hold {rows}; "
            f"lower data.{where}.{version.name}.tokens {hint}"
        )
    return rows if wanted is None else wanted


def part_shares(
    config: Config, version: Version, manifests: Mapping[str, Manifest], wanted: int | None
) -> tuple[PartShare, ...]:
    """Return the sequences of the parts in an epoch of a mixed source.

    manifests: those of all shards that exist. wanted: as `wanted_rows` returns it. Raises ConfigError if the number is
    unknown, DataError if a part is too small for its share.
    """
    found = _part_sizes(config, version, manifests)
    if wanted is None and any(part.rows is None for part in found):
        _unmade(config, version)
    return share_parts(f"version {version.name}", found, wanted)


def heldout_sources(config: Config, versions: Sequence[Version]) -> dict[str, DataSource]:
    """Return the held-out data of versions or other sets by name, of those that have a whole held-out sequence."""
    found = {version.name: heldout_source(config, version) for version in versions}
    return {name: source for name, source in found.items() if source is not None and source.rows}


def heldout_source(config: Config, version: Version) -> DataSource | None:
    """Return the held-out data of a version; None if shards are missing, or a mixture would have no sequence."""
    files = [manifest_path(config.data.root, shards.name, "heldout") for shards in version.shard_sets]
    if not all(file.exists() for file in files):
        return None
    manifests = {shards.name: load_manifest(file) for shards, file in zip(version.shard_sets, files, strict=True)}
    if not version.mixture:
        manifest = manifests[version.name]
        return DataSource.plain(manifest, manifest.rows(config.data.sequence_length), version.loss)
    once = [PartSize(part.name, part.weight, part.rows) for part in _part_sizes(config, version, manifests)]
    counts = count_parts(once, largest_mixture(once))
    parts = (SourcePart(manifests[part.name], part.rows or 0, count) for part, count in zip(once, counts, strict=True))
    return DataSource(version.name, tuple(parts), version.loss) if sum(counts) else None


def _part_sizes(config: Config, version: Version, manifests: Mapping[str, Manifest]) -> list[PartSize]:
    def size(name: str, part: MixturePart) -> PartSize:
        rows = manifests[name].rows(config.data.sequence_length) if name in manifests else None
        return PartSize(name, Fraction(str(part.weight)), rows, Fraction(str(part.epochs)))

    pairs = zip(version.shard_sets, version.parts.values(), strict=True)
    return [size(shards.name, part) for shards, part in pairs]


def _unmade(config: Config, version: Version) -> NoReturn:
    """Raise ConfigError for a source without shards whose number of sequences the config does not give."""
    hint = "say how many with `tokens:`, or give its `text:` or `url:`"
    makeable = [shards for shards in version.shard_sets if shards.text or shards.url]
    if makeable:
        hint = f"run {' and '.join(dict.fromkeys(f'`{shards.command}`' for shards in makeable))}"
    raise ConfigError(
        f"version {version.name}: no shards in {located(config.data.root)} yet, so its size is unknown; {hint}"
    )
