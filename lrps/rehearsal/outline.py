"""The outline of a rehearsal set before anything is generated, from the plan and the manifests only.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil

from lrps.base.addresses import redact
from lrps.base.document import key
from lrps.base.errors import ConfigError, DataError
from lrps.base.numbers import count
from lrps.config.rehearsing import Endpoint, Synthesis
from lrps.config.versions import Rehearsal
from lrps.data.manifest import Manifest
from lrps.plan.plan import Plan
from lrps.rehearsal.demonstrations import pool_size, possible_generations
from lrps.rehearsal.model_ref import ModelRef, base_model, is_available, latest_model
from lrps.rehearsal.rules import FORMER, begun_rules

CANDIDATES_WANTED = 3
"""Default ratio of generated tokens to the set's tokens: some are dropped, and the set is selected from the others."""


def find_set(plan: Plan, name: str) -> Rehearsal:
    """Return the set of the config. Raises ConfigError if there is none of this name with a `synthesis`."""
    sets = [each for each in plan.config.data.rehearsal if each.synthesis is not None]
    found = next((each for each in sets if each.name == name), None)
    if found is None:
        names = ", ".join(each.name for each in sets) or "none"
        raise ConfigError(f"data.rehearsal has no set {name} with a `synthesis`; sets with one: {names}")
    return found


def rehearsed(plan: Plan, synthesis: Synthesis) -> list[Manifest]:
    """Return the training manifests of the rehearsed versions, of a mixture those of its parts.

    Raises DataError if one is missing.
    """
    sets = {version.name: version.shard_sets for version in plan.config.data.versions}
    wanted = [shards for name in synthesis.of for shards in sets[name]]
    for shards in wanted:
        if shards.name not in plan.manifests:
            raise DataError(f"the rehearsed version {shards.name} has no shards; run `{shards.command}`")
    return [plan.manifests[shards.name] for shards in wanted]


def generations_of(plan: Plan, rehearsal: Rehearsal, demonstrations: int) -> tuple[int, int]:
    """Return (generations to make, possible generations) for this number of demonstrations."""
    synthesis = _synthesis(rehearsal)
    possible = possible_generations(demonstrations, synthesis.demonstrations, synthesis.samples)
    tokens = plan.rows[rehearsal.name] * plan.config.data.sequence_length
    wanted = synthesis.generations or ceil(CANDIDATES_WANTED * tokens / _document_tokens(plan, synthesis))
    return min(wanted, possible), possible


def shortfall(plan: Plan, rehearsal: Rehearsal, demonstrations: int) -> str | None:
    """Return a sentence on why the generations will not fill the set, with what to change; None if they may.

    A generation is expected to give one instance, as long as a document of the rehearsed versions.
    """
    generations, possible = generations_of(plan, rehearsal, demonstrations)
    synthesis = _synthesis(rehearsal)
    needed = ceil(plan.rows[rehearsal.name] * plan.config.data.sequence_length / _document_tokens(plan, synthesis))
    if generations >= needed:
        return None
    sequences = f"about {count(needed)} instances fill its {count(plan.rows[rehearsal.name])} sequences"
    if generations < possible:
        return f"{sequences}, but synthesis.generations is {count(generations)}; raise it"
    return (
        f"{sequences}, but {count(demonstrations)} demonstrations allow only {count(possible)} generations; raise "
        f"min_demonstrations, demonstration_share or samples of the synthesis, or lower the tokens of the set"
    )


def _document_tokens(plan: Plan, synthesis: Synthesis) -> float:
    """Return the mean length of a document of the rehearsed versions, at most that of a generation."""
    manifests = rehearsed(plan, synthesis)
    return min(sum(m.tokens for m in manifests) / sum(m.documents for m in manifests), synthesis.max_tokens)


def longest_demonstration(plan: Plan, synthesis: Synthesis) -> int:
    """Return the maximal number of tokens of a demonstration, by the tokenizer of the data."""
    row = plan.config.data.sequence_length
    return synthesis.demonstration_tokens or max(1, row // (synthesis.demonstrations + 1))


@dataclass(frozen=True)
class RehearsedVersion:
    """Size of a version that a set rehearses."""

    documents: int
    """Documents of its training shards."""
    tokens: int
    """Tokens of its training shards."""


@dataclass(frozen=True)
class TrainedModel:
    """Model of the run that writes a set."""

    name: str
    """Name of the model."""
    path: str | None
    """Path whose release it is; null for a model that the run does not train."""
    exists: bool = field(metadata=key("there"))
    """True if it is trained already."""


@dataclass(frozen=True)
class ServedModel:
    """Model of a server that writes a set."""

    name: str
    """Name of the model."""
    url: str
    """Address of the server, without secrets."""
    exists: None = field(metadata=key("there"), default=None)
    """Null: the server is not asked."""


@dataclass(frozen=True)
class DemonstrationCounts:
    """Demonstrations that prompts are made of."""

    drawn: int
    """Documents that prompts draw from."""
    in_a_prompt: int
    """Demonstrations of one prompt."""
    prompt_tokens: int
    """Tokens of a prompt, at most."""


@dataclass(frozen=True)
class GenerationCounts:
    """Numbers of generations."""

    wanted: int
    """Generations to make."""
    possible: int
    """Different prompts that the demonstrations allow, times the samples of each."""


@dataclass(frozen=True)
class Outline:
    """Plan of a rehearsal set: models, demonstrations, generations, tokens."""

    name: str = field(metadata=key("set"))
    """Name of the set."""
    made: bool
    """True if its shards exist already."""
    kind: str
    """Kind of the synthesis."""
    since: str
    """First version whose paths may read it."""
    of: Mapping[str, RehearsedVersion]
    """Versions that it rehearses, by name."""
    base: TrainedModel | ServedModel
    """Base model, which writes the instances."""
    latest: TrainedModel | ServedModel | None
    """Model that writes the outputs again; null if they stay as the base model wrote them."""
    demonstrations: DemonstrationCounts
    """Demonstrations of the prompts."""
    generations: GenerationCounts
    """Numbers of generations."""
    most_generated_tokens: int
    """Tokens that both models generate, at most."""
    shortfall: str | None
    """Sentence on why the generations will not fill the set; null if they may."""
    selection: str
    """Method that selects from the candidates."""
    rows: int
    """Rows of the set."""
    tokens: int
    """Tokens of the set."""
    directory: str
    """Directory of its stages."""


def outline(plan: Plan, name: str) -> Outline:
    """Return the plan of a rehearsal set. Raises ConfigError or DataError like find_set and rehearsed."""
    rehearsal = find_set(plan, name)
    synthesis = _synthesis(rehearsal)
    manifests = rehearsed(plan, synthesis)
    documents = sum(manifest.documents for manifest in manifests)
    rules = begun_rules(plan.layout.rehearsal(name), synthesis)
    fewest = 0 if rules == FORMER else synthesis.min_demonstrations
    pool = pool_size(documents, synthesis.demonstration_share, synthesis.demonstrations, fewest)
    generations, possible = generations_of(plan, rehearsal, pool)
    prompt = synthesis.demonstrations * min(
        longest_demonstration(plan, synthesis), ceil(sum(m.tokens for m in manifests) / documents)
    )
    return Outline(
        name=name,
        made=name in plan.manifests,
        kind=synthesis.kind,
        since=rehearsal.since,
        of={m.version: RehearsedVersion(m.documents, m.tokens) for m in manifests},
        base=_named(plan, base_model(plan, rehearsal), synthesis.generator),
        latest=_named(plan, latest_model(plan, rehearsal), synthesis.latest) if synthesis.refine else None,
        demonstrations=DemonstrationCounts(pool, synthesis.demonstrations, prompt),
        generations=GenerationCounts(generations, possible),
        most_generated_tokens=generations * synthesis.max_tokens * (2 if synthesis.refine else 1),
        shortfall=shortfall(plan, rehearsal, pool),
        selection=synthesis.selection,
        rows=plan.rows[name],
        tokens=plan.rows[name] * plan.config.data.sequence_length,
        directory=str(plan.layout.rehearsal(name)),
    )


def print_outline(found: Outline) -> None:
    """Print the plan of a rehearsal set, one fact a line."""
    of = ", ".join(
        f"{version} ({count(each.documents)} documents, {count(each.tokens)} tokens)"
        for version, each in found.of.items()
    )
    demonstrations, generations = found.demonstrations, found.generations
    lines = {
        "set": f"{found.name}, read since {found.since}{': already made' if found.made else ''}",
        "rehearses": f"{of}, as {found.kind}",
        "base model": _model_text(found.base),
        "latest model": "none: outputs are not refined" if found.latest is None else _model_text(found.latest),
        "demonstrations": f"{count(demonstrations.drawn)}, {demonstrations.in_a_prompt} in a prompt of about "
        f"{count(demonstrations.prompt_tokens)} tokens",
        "generations": f"{count(generations.wanted)} of {count(generations.possible)} possible, at most "
        f"{count(found.most_generated_tokens)} tokens of both models",
        "wanted": f"{count(found.rows)} sequences, {count(found.tokens)} tokens, selected by {found.selection}",
        "stages": found.directory,
        **({"too few": found.shortfall} if found.shortfall else {}),
    }
    for title, text in lines.items():
        print(f"{title:<16}{text}")


def _named(plan: Plan, model: ModelRef | None, server: object) -> TrainedModel | ServedModel:
    if model is not None:
        return TrainedModel(model.name, model.release.path if model.release else None, is_available(plan, model))
    assert isinstance(server, Endpoint)
    return ServedModel(server.model, redact(server.url))


def _model_text(model: TrainedModel | ServedModel) -> str:
    if isinstance(model, ServedModel):
        return f"{model.name} at {model.url}"
    trained = "" if model.exists else ": not trained yet, `lrps run` trains it"
    path = f" ({model.path})" if model.path else ""
    return f"{model.name}{path}{trained}"


def _synthesis(rehearsal: Rehearsal) -> Synthesis:
    assert rehearsal.synthesis is not None
    return rehearsal.synthesis
