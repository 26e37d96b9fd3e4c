"""The outline of a rehearsal set before anything is generated, from the plan and the manifests only.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any

from lrps.base.addresses import redact
from lrps.base.errors import ConfigError, DataError
from lrps.base.numbers import count
from lrps.config.models import Rehearsal
from lrps.config.rehearsing import Endpoint, Synthesis
from lrps.data.manifest import Manifest
from lrps.plan.plan import Plan, shards_command
from lrps.rehearsal.demonstrations import pool_size, possible_generations
from lrps.rehearsal.model_ref import ModelRef, base_model, is_available, latest_model

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
    """Return the training manifests of the rehearsed versions. Raises DataError if one is missing."""
    for version in plan.config.data.versions:
        if version.name in synthesis.of and version.name not in plan.manifests:
            raise DataError(f"the rehearsed version {version.name} has no shards; run `{shards_command(version)}`")
    return [plan.manifests[name] for name in synthesis.of]


def generations_of(plan: Plan, rehearsal: Rehearsal, demonstrations: int) -> tuple[int, int]:
    """Return (generations to make, possible generations) for this number of demonstrations."""
    synthesis = _synthesis(rehearsal)
    possible = possible_generations(demonstrations, synthesis.demonstrations, synthesis.samples)
    manifests = rehearsed(plan, synthesis)
    tokens = plan.rows[rehearsal.name] * plan.config.data.sequence_length
    document = min(sum(m.tokens for m in manifests) / sum(m.documents for m in manifests), synthesis.max_tokens)
    wanted = synthesis.generations or ceil(CANDIDATES_WANTED * tokens / document)
    return min(wanted, possible), possible


def longest_demonstration(plan: Plan, synthesis: Synthesis) -> int:
    """Return the maximal number of tokens of a demonstration, by the tokenizer of the data."""
    row = plan.config.data.sequence_length
    return synthesis.demonstration_tokens or max(1, row // (synthesis.demonstrations + 1))


def outline(plan: Plan, name: str) -> dict[str, Any]:
    """Return the outline as JSON values: models, demonstrations, generations, tokens, and whether the set exists."""
    rehearsal = find_set(plan, name)
    synthesis = _synthesis(rehearsal)
    manifests = rehearsed(plan, synthesis)
    documents = sum(manifest.documents for manifest in manifests)
    pool = pool_size(documents, synthesis.demonstration_share, synthesis.demonstrations)
    generations, possible = generations_of(plan, rehearsal, pool)
    prompt = synthesis.demonstrations * min(
        longest_demonstration(plan, synthesis), ceil(sum(m.tokens for m in manifests) / documents)
    )
    base, latest = base_model(plan, rehearsal), latest_model(plan, rehearsal) if synthesis.refine else None
    return {
        "set": name,
        "made": name in plan.manifests,
        "kind": synthesis.kind,
        "since": rehearsal.since,
        "of": {m.version: {"documents": m.documents, "tokens": m.tokens} for m in manifests},
        "base": _server(synthesis.generator) if base is None else _model(plan, base),
        "latest": None if latest is None else _model(plan, latest),
        "demonstrations": {"drawn": pool, "in_a_prompt": synthesis.demonstrations, "prompt_tokens": prompt},
        "generations": {"wanted": generations, "possible": possible},
        "most_generated_tokens": generations * synthesis.max_tokens * (2 if synthesis.refine else 1),
        "selection": synthesis.selection,
        "rows": plan.rows[name],
        "tokens": plan.rows[name] * plan.config.data.sequence_length,
        "directory": str(plan.layout.rehearsal(name)),
    }


def print_outline(document: Mapping[str, Any]) -> None:
    """Print an outline as text."""
    of = ", ".join(
        f"{version} ({count(each['documents'])} documents, {count(each['tokens'])} tokens)"
        for version, each in document["of"].items()
    )
    drawn, generations = document["demonstrations"], document["generations"]
    lines = {
        "set": f"{document['set']}, read since {document['since']}{': already made' if document['made'] else ''}",
        "rehearses": f"{of}, as {document['kind']}",
        "base model": _model_text(document["base"]),
        "latest model": "none: outputs are not refined"
        if document["latest"] is None
        else _model_text(document["latest"]),
        "demonstrations": f"{count(drawn['drawn'])}, {drawn['in_a_prompt']} in a prompt of about "
        f"{count(drawn['prompt_tokens'])} tokens",
        "generations": f"{count(generations['wanted'])} of {count(generations['possible'])} possible, at most "
        f"{count(document['most_generated_tokens'])} tokens of both models",
        "wanted": f"{count(document['rows'])} sequences, {count(document['tokens'])} tokens, selected by "
        f"{document['selection']}",
        "stages": document["directory"],
    }
    for title, text in lines.items():
        print(f"{title:<16}{text}")


def _model(plan: Plan, model: ModelRef) -> dict[str, Any]:
    return {"name": model.name, "path": model.release and model.release.path, "there": is_available(plan, model)}


def _server(generator: object) -> dict[str, Any]:
    assert isinstance(generator, Endpoint)
    return {"name": generator.model, "url": redact(generator.url), "there": None}


def _model_text(model: Mapping[str, Any]) -> str:
    if "url" in model:
        return f"{model['name']} at {model['url']}"
    trained = "" if model["there"] else ": not trained yet, `lrps run` trains it"
    path = f" ({model['path']})" if model["path"] else ""
    return f"{model['name']}{path}{trained}"


def _synthesis(rehearsal: Rehearsal) -> Synthesis:
    assert rehearsal.synthesis is not None
    return rehearsal.synthesis
