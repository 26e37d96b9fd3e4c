"""The check that no probe trains on held-out text, on which its result would be measured."""

from __future__ import annotations

from collections.abc import Mapping

from lrps.base.errors import DataError
from lrps.config.models import Config
from lrps.data.manifest import Manifest, load_manifest, manifest_path


def check_probe_data(config: Config, manifests: Mapping[str, Manifest]) -> None:
    """Raise DataError if a set that a probe reads is held-out data, or may contain documents that a version holds out.

    manifests: training manifests of all shards that exist, by name.
    """
    read = {name for probe in config.probes.values() for name in probe.data}
    sets = [shards for shards in config.data.shard_sets if shards.version in read and shards.name in manifests]
    owners = _heldout_shards(config) if sets else {}
    for shards in sets:
        manifest = manifests[shards.name]
        held_out = sorted({owners[shard.sha256] for shard in manifest.shards if shard.sha256 in owners})
        if manifest.split != "train" or held_out:
            whose = f" of {', '.join(held_out)}" if held_out else ""
            raise DataError(
                f"probes read {shards.version}, whose training manifest lists held-out shards{whose}: a model that is "
                "trained on the text that it is measured on shows nothing; build the set from other text"
            )
    for candidate in config.data.candidates:
        for shards in candidate.shard_sets:
            if shards.version in read and shards.name in manifests:
                _check_share(config, shards.name, manifests)


def _heldout_shards(config: Config) -> dict[str, str]:
    """Return SHA-256 -> set, of all held-out shards."""
    files = {shards.name: manifest_path(config.data.root, shards.name, "heldout") for shards in config.data.shard_sets}
    found = {name: load_manifest(file) for name, file in files.items() if file.exists()}
    return {shard.sha256: name for name, manifest in found.items() for shard in manifest.shards}


def _check_share(config: Config, name: str, manifests: Mapping[str, Manifest]) -> None:
    """Raise DataError if a version holds out more texts than a candidate set does.

    The hash of a text decides whether it is held out, so a larger share holds out what a smaller one does.
    """
    versions = [shards.name for version in config.data.versions for shards in version.shard_sets]
    shares = {each: manifests[each].provenance.get("heldout_share") for each in (name, *versions) if each in manifests}
    own = shares[name]
    for version, share in shares.items():
        if isinstance(own, int | float) and isinstance(share, int | float) and own < share:
            raise DataError(
                f"probes read {name}, which was built with heldout_share {own:g}, and {version} with {share:g}: "
                f"documents that are held out of {version} may be in {name}; build {name} with {share:g}"
            )
