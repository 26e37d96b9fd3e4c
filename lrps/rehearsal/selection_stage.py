"""The last stage of a set before its shards: the selection of candidates that fill its rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from lrps.base.errors import GenerationError
from lrps.rehearsal.candidates import Candidate
from lrps.rehearsal.embed import embed
from lrps.rehearsal.kmeans import kmeans
from lrps.rehearsal.model_ref import ModelRef
from lrps.rehearsal.rules import FORMER
from lrps.rehearsal.selection_methods import ClusterSelection, RandomSelection, SelectionMethod, smallest_selection
from lrps.rehearsal.stages import Stages
from lrps.store.identity import weights_digest

BLOCK_TOKENS = 2**20
"""Tokens per block of the set's shards; a row does not span two blocks."""
CANDIDATES_PER_CLUSTER = 5
"""Smallest mean number of candidates in a cluster."""


def whole_rows(tokens: int, sequence_length: int) -> int:
    """Return the number of rows in shards with this number of tokens."""
    blocks, rest = divmod(tokens, BLOCK_TOKENS)
    return blocks * (BLOCK_TOKENS // sequence_length) + rest // sequence_length


def select_candidates(stages: Stages) -> list[Candidate]:
    """Return the smallest selection of candidates that fills the rows of the set, in their order.

    Raises GenerationError if all candidates together do not fill them.
    """
    candidates, length = stages.candidates, stages.plan.config.data.sequence_length
    rows = stages.plan.rows[stages.rehearsal.name]
    embedding = _embedding(stages)
    file = stages.file(
        "selection",
        candidates=stages.files["candidates"].key,
        selection=stages.synthesis.selection,
        clusters=_clusters(stages) if embedding is not None else None,
        embedding=None if embedding is None else weights_digest(embedding.directory),
        seed=stages.seed,
        rows=[rows, length],
    )
    numbers = file.read()
    if numbers is None:
        if whole_rows(sum(one.tokens for one in candidates), length) < rows:
            raise _too_few(stages)  # Before the embedding, which takes long.
        began = time.monotonic()
        tokens = [one.tokens for one in candidates]
        numbers = smallest_selection(
            _selection(stages, candidates, embedding),
            len(candidates),
            lambda some: whole_rows(sum(tokens[number] for number in some), length) >= rows,
        )
        assert numbers is not None
        file.write(numbers)
        stages.costs.add(file, time.monotonic() - began)
    stages.counts["selected"] = len(numbers)
    return [candidates[number] for number in numbers]


def embedding_identity(stages: Stages) -> dict[str, Any] | None:
    """Return name and weights' hash of the model that embeds, or None if the selection is random."""
    embedding = _embedding(stages)
    return (
        None if embedding is None else {"name": embedding.label, "weights_sha256": weights_digest(embedding.directory)}
    )


def _embedding(stages: Stages) -> ModelRef | None:
    """Return the model that embeds, or None if the selection is random."""
    if stages.synthesis.selection == "random":
        return None
    if stages.synthesis.embedding is not None:
        return ModelRef(stages.synthesis.embedding.name, stages.synthesis.embedding)
    return stages.base or stages.latest


def _selection(stages: Stages, candidates: Sequence[Candidate], embedding: ModelRef | None) -> SelectionMethod:
    if embedding is None:
        return RandomSelection(len(candidates), stages.seed)
    texts = [stages.form.text(one.instance) for one in candidates]
    with stages.watch("embedding", len(texts)) as progress:
        points = embed(embedding.directory, texts, stages.synthesis.batch_size, progress)
    return ClusterSelection(kmeans(points, _clusters(stages), stages.seed))


def _clusters(stages: Stages) -> int:
    """Return the number of clusters: at most a fifth of the candidates, so that a cluster has some to choose from."""
    wanted = stages.synthesis.clusters
    if stages.rules == FORMER:
        return wanted
    return min(wanted, max(1, len(stages.candidates) // CANDIDATES_PER_CLUSTER))


def _too_few(stages: Stages) -> GenerationError:
    length = stages.plan.config.data.sequence_length
    tokens = sum(one.tokens for one in stages.candidates)
    rows, wanted = whole_rows(tokens, length), stages.plan.rows[stages.rehearsal.name]
    made, name = stages.counts["generated"], stages.rehearsal.name
    lower = f"lower data.rehearsal.{name}.tokens to {rows * length} or less" if rows else "see why they were dropped"
    return GenerationError(
        f"{name}: {len(stages.candidates)} instances of {made} generations remain, {rows} sequences of {length} "
        f"tokens; {wanted} are wanted ({_dropped(stages)}); raise synthesis.generations above {made} (or samples or "
        f"demonstration_share, which start again), or {lower}. The generations are kept in {stages.directory}"
    )


def _dropped(stages: Stages) -> str:
    found = {**stages.counts["parsed"]["dropped"]}
    for reason, number in stages.counts["refined"]["dropped"].items():
        found[f"{reason} when refined"] = number
    found["duplicates"] = stages.counts["parsed"]["duplicates"] + stages.counts["refined"]["duplicates"]
    found["held out"] = stages.counts["refined"]["held_out"]
    return ", ".join(f"{reason}: {number}" for reason, number in found.items() if number) or "none dropped"
