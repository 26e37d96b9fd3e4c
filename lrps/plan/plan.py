"""The plan: a config, the increments of its data, and the graph that they compile to.

Everything that executes, accounts for or draws a run starts from a plan. Imports no torch and no numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from math import floor
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError, DataError
from lrps.config.loader import load_config
from lrps.config.models import Config, Rehearsal, Version
from lrps.data.manifest import Manifest, load_manifest, manifest_path
from lrps.paths.cost import CostModel, cost_model
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.increments import Increment, RehearsalSet
from lrps.paths.paradigms.compile import compile_graph
from lrps.store.conventions import PADDING, conventions_of
from lrps.store.identity import equal_digests, path_identity, read_path, training_digest
from lrps.store.layout import RunLayout


@dataclass(frozen=True)
class Plan:
    """Everything that is known about a run before training."""

    config: Config
    increments: tuple[Increment, ...]
    manifests: dict[str, Manifest]
    """Training manifests by name, of the increments and rehearsal sets whose shards exist."""
    rehearsal: tuple[RehearsalSet, ...] = ()

    @cached_property
    def graph(self) -> Graph:
        return compile_graph(self.config, self.increments, self.existing, self.rehearsal)

    @cached_property
    def existing(self) -> dict[str, TrainingPath]:
        """Mapping from name to path of every path in the run directory, of this plan or another."""
        files = sorted(self.config.run_dir.glob("*/path.json"))
        stored = {file.parent.name: read_path(file) for file in files}
        return {name: path for name, path in stored.items() if path is not None}

    @cached_property
    def conventions(self) -> dict[str, str]:
        """Conventions that the run follows: those that it began with, or the newest ones."""
        return conventions_of(self.config.run_dir)

    @property
    def own_padding(self) -> bool:
        """Whether the run keeps the padding rows of transformers, because it was begun with them."""
        return PADDING not in self.conventions

    @cached_property
    def costs(self) -> CostModel:
        return cost_model(self.config)

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.config.run_dir)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Mapping from source to the number of sequences that the plan counts: increments, then rehearsal sets."""
        increments = {increment.version: increment.rows for increment in self.increments}
        return increments | {each.name: each.rows for each in self.rehearsal}

    @cached_property
    def heldout(self) -> dict[str, Manifest]:
        """Held-out manifests by version, of the versions whose held-out shards exist."""
        files = {v.version: manifest_path(self.config.data.root, v.version, "heldout") for v in self.increments}
        return {version: load_manifest(file) for version, file in files.items() if file.exists()}

    def identity(self, path: TrainingPath) -> dict[str, Any]:
        """Return the identity of a path, by which its directory is distinguished from one of another plan.

        Sources whose shards do not exist yet are left out.
        """
        tokenizers = {manifest.tokenizer.sha256 for manifest in self.manifests.values()}
        sources = {
            name: {"manifest_sha256": self.manifests[name].sha256, "rows": rows}
            for name, rows in self.rows.items()
            if name in self.manifests
        }
        return path_identity(path, self.config, ", ".join(sorted(tokenizers)) or None, sources, self.conventions)

    @cached_property
    def training_sha256(self) -> str:
        """Training digest: a hash of what all paths share (model, optimizer, batch, seed ...), in every checkpoint."""
        return training_digest(self.identity(self.graph.paths[0]))

    @cached_property
    def training_digests(self) -> frozenset[str]:
        """Training digests that checkpoints of the run may carry: its own, and equal ones that `lrps repair` found."""
        return equal_digests(self.config.run_dir) | {self.training_sha256}

    def heldout_rows(self, version: str) -> int:
        """Return the number of sequences of a held-out set that versions are evaluated on."""
        available = self.heldout[version].rows(self.config.data.sequence_length)
        return min(available, self.config.evaluation.max_rows or available)

    def heldout_versions(self, version: str) -> tuple[str, ...]:
        """Return the versions on whose held-out sets `version` is evaluated: all so far, and the next one."""
        names = [increment.version for increment in self.increments]
        return tuple(names[: names.index(version) + 2])

    def named_paths(self, names: Iterable[str]) -> tuple[TrainingPath, ...]:
        """Return the paths with these names, in the order of the graph.

        Raises ConfigError with the names of all paths if the plan does not have one of them.
        """
        wanted, known = set(names), self.graph.by_name
        if unknown := sorted(wanted - known.keys()):
            near = get_close_matches(unknown[0], known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"the plan has no path {', '.join(unknown)}; it has {', '.join(known)}{hint}")
        return tuple(path for path in self.graph.paths if path.name in wanted)


def load_plan(config_file: Path, overrides: Sequence[str] | None = None) -> Plan:
    """Load a config file with `key=value` overrides and make its plan. Raises as `load_config` and `make_plan` do."""
    return make_plan(load_config(config_file, overrides or ()))


def make_plan(config: Config) -> Plan:
    """Make the plan of a config from the manifests that exist.

    Raises DataError for a damaged manifest or one that is smaller than the config says, ConfigError for a version
    with neither shards nor a planned number of tokens.
    """
    data = config.data
    files = {source.name: manifest_path(data.root, source.name, "train") for source in data.sources}
    manifests = {name: load_manifest(file) for name, file in files.items() if file.exists()}
    rows: dict[str, int] = {}
    for source in data.sources:  # The increments come first: what is synthetic may be a share of them.
        rows[source.name] = _rows(config, source, manifests.get(source.name), rows)
    increments = (Increment(v.name, rows[v.name], rows[v.name] // config.batch.sequences) for v in data.versions)
    rehearsal = (RehearsalSet(each.name, rows[each.name], each.since) for each in data.rehearsal)
    return Plan(config, tuple(increments), manifests, tuple(rehearsal))


def shards_command(version: Version) -> str:
    """Return the command that makes or fetches the shards of a version."""
    if isinstance(version, Rehearsal) and version.synthesis is not None:
        return f"lrps rehearse CONFIG {version.name}"
    return f"lrps data {'fetch' if version.url else 'build'} CONFIG"


def wanted_rows(config: Config, version: Version, counted: Mapping[str, int]) -> int | None:
    """Return the number of sequences that the config asks for; None if it takes all of the shards.

    counted: sequences of the increments, by name.
    """
    if version.tokens is not None:
        return version.tokens // config.data.sequence_length
    if isinstance(version, Rehearsal) and version.synthesis is not None:
        return floor(Fraction(str(version.synthesis.ratio)) * sum(counted[name] for name in version.synthesis.of))
    return None


def _rows(config: Config, version: Version, manifest: Manifest | None, counted: Mapping[str, int]) -> int:
    """Return the number of sequences of a source: those of its shards, limited to those that the config asks for.

    counted: sequences of the sources before it, by name.
    """
    length, wanted = config.data.sequence_length, wanted_rows(config, version, counted)
    if manifest is None:
        if wanted is not None:
            return wanted
        hint = "say how many with `tokens:`, or give its `text:` or `url:`"
        if version.text or version.url:
            hint = f"run `{shards_command(version)}`"
        raise ConfigError(
            f"version {version.name}: no shards in {config.data.root} yet, so its size is unknown; {hint}"
        )
    rows = manifest.rows(length)
    if wanted is not None and wanted > rows:
        where = "rehearsal" if isinstance(version, Rehearsal) else "versions"
        hint = "or leave it out to use all"
        if isinstance(version, Rehearsal) and version.synthesis is not None:
            hint = "or its synthesis.ratio; a set that is made never grows: a larger one takes another name"
        raise DataError(
            f"version {version.name}: the config wants {wanted} sequences of {length} tokens, its shards hold {rows}; "
            f"lower data.{where}.{version.name}.tokens {hint}"
        )
    return rows if wanted is None else wanted
