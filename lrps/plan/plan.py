"""The plan: a config, the increments of its data, and the graph that they compile to.

Everything that executes, accounts for or draws a run starts from a plan. Imports no torch and no numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from difflib import get_close_matches
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from lrps.base.errors import ConfigError
from lrps.config.hardware import PriceConfig
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.data.heldout import check_heldout_share
from lrps.data.manifest import Manifest, load_manifest, manifest_path
from lrps.data.sources import DataSource, SourcePart
from lrps.paths.amended import amended
from lrps.paths.cost import CostModel, cost_model
from lrps.paths.graph import Graph, TrainingPath
from lrps.paths.increments import CandidateSet, Increment, RehearsalSet
from lrps.paths.paradigms.compile import compile_graph
from lrps.paths.part_share import PartShare
from lrps.paths.usage import FirstReads, RowUsage
from lrps.plan.probe_data import check_probe_data
from lrps.plan.set_order import check_set_order
from lrps.plan.sizes import heldout_sources, part_shares, plain_rows, wanted_rows
from lrps.store.abandoned import has_states
from lrps.store.conventions import PADDING, conventions_of
from lrps.store.identity import equal_digests, path_identity, read_path, training_digest
from lrps.store.layout import RunLayout


@dataclass(frozen=True)
class Plan:
    """Everything that is known about a run before training."""

    config: Config
    increments: tuple[Increment, ...]
    manifests: dict[str, Manifest]
    """Training manifests of all shards that exist, by name: <version>, or <version>.<part> for a mixture."""
    rehearsal: tuple[RehearsalSet, ...] = ()
    mixtures: Mapping[str, tuple[PartShare, ...]] = field(default_factory=dict)
    """Mapping from mixed source to the rows of its parts in an epoch, in the order of the parts' names."""
    candidates: tuple[CandidateSet, ...] = ()
    """Candidate sets, which only probes read."""
    stated_price: PriceConfig | None = None
    """Price of a device-hour in place of that of the config and those that attempts recorded (`--price`)."""

    @cached_property
    def graph(self) -> Graph:
        """Paths of the config, with the amendments that the run directory records."""
        graph = compile_graph(self.config, self.increments, self.existing, self.rehearsal)
        check_set_order(self.config, graph, self.manifests)
        return amended(graph, self.existing, lambda name: has_states(self.layout.path(name)))

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

    def following(self, conventions: Mapping[str, str]) -> Plan:
        """Return the plan with the conventions that another process has found, and all else that this one has found."""
        plan = copy(self)
        for derived in ("training_sha256", "training_digests"):
            plan.__dict__.pop(derived, None)
        plan.__dict__["conventions"] = dict(conventions)
        return plan

    @property
    def begun(self) -> bool:
        """Whether the run was begun before models were examined and padding became a convention.

        It keeps the model that it began with: padding rows, and what a new run is refused for.
        """
        return PADDING not in self.conventions

    @cached_property
    def costs(self) -> CostModel:
        return cost_model(self.config).at_price(self.stated_price)

    @property
    def price(self) -> PriceConfig | None:
        """Price of a device-hour: the stated one, or else that of the config."""
        hardware = self.config.hardware
        return self.stated_price or (hardware.price_per_device_hour if hardware else None)

    @property
    def layout(self) -> RunLayout:
        return RunLayout(self.config.run_dir)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Mapping from source to the number of sequences of an epoch: increments, rehearsal sets, candidate sets."""
        increments = {increment.version: increment.rows for increment in self.increments}
        rehearsal = {each.name: each.rows for each in self.rehearsal}
        return increments | rehearsal | {each.name: each.rows for each in self.candidates}

    @cached_property
    def sources(self) -> dict[str, DataSource]:
        """Training data by source, of the increments and other sets all of whose shards exist."""
        found: dict[str, DataSource] = {}
        losses = {source.name: source.loss for source in self.config.data.sources}
        for name, rows in self.rows.items():
            shares = self.mixtures.get(name)
            if shares is None and name in self.manifests:
                found[name] = DataSource.plain(self.manifests[name], rows, losses[name])
            elif shares is not None and all(share.name in self.manifests for share in shares):
                parts = (SourcePart(self.manifests[share.name], share.rows, share.count) for share in shares)
                found[name] = DataSource(name, tuple(parts), losses[name])
        return found

    @cached_property
    def first_reads(self) -> dict[str, FirstReads]:
        """Mapping from mixed source to the number of its first rows that no part has read before; see paths/usage."""
        return {name: _first_reads(shares) for name, shares in self.mixtures.items()}

    @cached_property
    def row_usage(self) -> RowUsage:
        """Classification of the rows that paths read."""
        return RowUsage(self.increments, self.rehearsal, self.first_reads, self.candidates)

    @cached_property
    def heldout(self) -> dict[str, DataSource]:
        """Held-out data by version, of the versions whose held-out shards have a whole sequence.

        That of a mixed version is the largest mixture of its parts' held-out rows, at the weights of the version, in
        which no row is twice; it is left out if that has no row.
        """
        return heldout_sources(self.config, self.config.data.versions)

    @cached_property
    def candidate_heldout(self) -> dict[str, DataSource]:
        """Held-out data by candidate set, on which only probes are evaluated."""
        return heldout_sources(self.config, self.config.data.candidates)

    @cached_property
    def all_heldout(self) -> dict[str, DataSource]:
        """Held-out data by version, then by candidate set."""
        return {**self.heldout, **self.candidate_heldout}

    @property
    def without_heldout(self) -> tuple[str, ...]:
        """Versions that are built without a whole held-out sequence, on which every loss is n/a."""
        return tuple(v.version for v in self.increments if v.version in self.sources.keys() - self.heldout.keys())

    def identity(self, path: TrainingPath) -> dict[str, Any]:
        """Return the identity of a path, by which its directory is distinguished from one of another plan.

        Sources whose shards do not exist yet are left out.
        """
        # That of a candidate set has to be the same, which is checked before it is read; it identifies no other path.
        only_probed = {shards.name for each in self.config.data.candidates for shards in each.shard_sets}
        manifests = {name: manifest for name, manifest in self.manifests.items() if name not in only_probed}
        tokenizers = {manifest.tokenizer.sha256 for manifest in manifests.values()}
        sources = {name: source.identity for name, source in self.sources.items()}
        return path_identity(path, self.config, ", ".join(sorted(tokenizers)) or None, sources, self.conventions)

    @cached_property
    def training_sha256(self) -> str:
        """Training digest: a hash of what all paths share (model, optimizer, batch, seed ...), in every checkpoint."""
        return training_digest(self.identity(self.graph.paths[0]))

    @cached_property
    def training_digests(self) -> frozenset[str]:
        """Training digests that checkpoints of the run may carry: its own, and equal ones that `lrps repair` found."""
        return equal_digests(self.config.run_dir, self.training_sha256) | {self.training_sha256}

    def heldout_rows(self, version: str) -> int:
        """Return the number of sequences of a held-out set that models are evaluated on."""
        available = self.all_heldout[version].rows
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
    with neither shards nor a planned number of tokens, and for a held-out share other than that of the shards. Raises
    DataError if a probe would be trained on held-out text.
    """
    data = config.data
    files = {shards.name: manifest_path(data.root, shards.name, "train") for shards in data.shard_sets}
    manifests = {name: load_manifest(file) for name, file in files.items() if file.exists()}
    check_heldout_share(data, manifests)
    check_probe_data(config, manifests)
    rows: dict[str, int] = {}
    mixtures: dict[str, tuple[PartShare, ...]] = {}
    for source in data.sources:  # The increments come first: what is synthetic may be a share of them.
        wanted = wanted_rows(config, source, rows)
        if source.mixture:
            mixtures[source.name] = part_shares(config, source, manifests, wanted)
            rows[source.name] = sum(share.count for share in mixtures[source.name])
        else:
            rows[source.name] = plain_rows(config, source, manifests.get(source.name), wanted)
    batch = config.batch.sequences
    epochs = {source.name: Fraction(str(source.epochs)) for source in data.sources}
    increments = (Increment.of(v.name, rows[v.name], batch, epochs[v.name]) for v in data.versions)
    rehearsal = (RehearsalSet(each.name, rows[each.name], each.since, epochs[each.name]) for each in data.rehearsal)
    candidates = (CandidateSet(each.name, rows[each.name]) for each in data.candidates)
    return Plan(config, tuple(increments), manifests, tuple(rehearsal), mixtures, tuple(candidates))


def _first_reads(shares: Sequence[PartShare]) -> FirstReads:
    from lrps.data.composition import Composition  # It imports numpy, which only a plan with a mixture needs.

    composition = Composition([share.count for share in shares])

    def first_reads(position: int) -> int:
        taken = composition.taken(position)
        return sum(min(count, share.rows) for count, share in zip(taken, shares, strict=True))

    return first_reads
