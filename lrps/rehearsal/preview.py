"""A preview of a rehearsal set: a few generations with all that becomes of them, and what the whole set will take."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from lrps.base.numbers import amount, count
from lrps.plan.plan import Plan
from lrps.rehearsal.candidates import Refined, RefinedOutput
from lrps.rehearsal.instances import Instance, Piece
from lrps.rehearsal.rehearse import open_stages
from lrps.rehearsal.show import indented, shortened
from lrps.rehearsal.stages import Stages


@dataclass(frozen=True)
class PreviewedPiece:
    """A part of a generated text, and what becomes of it."""

    text: str
    """Text that the base model wrote."""
    input: str | None
    """Input that was read; null if it is no instance."""
    output: str | None
    """Output that the base model wrote; null if it is no instance."""
    refined: str | None
    """Output of the latest model, or all that it wrote if the piece is dropped for it; null if it was not asked."""
    agreed: bool | None
    """True if both models wrote the same output; null if the latest was not asked."""
    dropped: str | None
    """Reason to drop it, after `latest model: ` if the fault is in the text of that one; null if it is kept."""


@dataclass(frozen=True)
class PreviewedGeneration:
    """One generation."""

    prompt: str
    """Prompt of the base model."""
    tokens: int
    """Number of tokens that it wrote."""
    ended: bool
    """True if it ended by itself; false if it was cut off at the largest number of tokens."""
    pieces: tuple[PreviewedPiece, ...]
    """Parts that were read from it."""


@dataclass(frozen=True)
class Preview:
    """A few generations of a set, and what they say about the whole set."""

    name: str
    """Name of the set."""
    generations: tuple[PreviewedGeneration, ...]
    """The first generations of its order."""
    kept: int
    """Number of pieces that are kept."""
    survival: float
    """Kept pieces for every generation."""
    first_pieces: float
    """Share of the generations whose first piece is an instance."""
    dropped: dict[str, int]
    """Numbers of dropped pieces by reason."""
    seconds: float
    """Seconds that both models took, without their loading."""
    tokens: int
    """Tokens of the documents that are kept, by the tokenizer of the data."""
    wanted_tokens: int
    """Tokens of the set."""
    planned: int
    """Number of generations that will be made."""
    needed: int | None
    """Number of generations that fill the set at this rate; null if nothing was kept."""
    possible: int
    """Number of generations that the demonstrations allow."""
    hours: float | None
    """Hours for `needed` generations by one process as fast as here; null if nothing was kept."""


def preview_set(plan: Plan, name: str, number: int) -> Preview:
    """Return what becomes of the first `number` generations of a set, without storing any.

    Demonstrations are stored, as they are chosen before. Raises the LrpsErrors of the stages.
    """
    stages = open_stages(plan, name, quiet=True)
    _, requests = stages.synthesis_stage
    numbers = range(min(number, requests.available))
    prompts, seeds = zip(*map(stages.synthesis_request, numbers), strict=True)
    base = stages.open_base()
    began = time.monotonic()
    written = base.generate(prompts, stages.synthesis_stage[0].sampling, seeds)
    seconds = time.monotonic() - began
    del base  # Both models need not have room at the same time.
    pieces = [stages.form.pieces(one.text, one.ended, stages.separator) for one in written]
    screened = _screened(stages, [piece for some in pieces for piece in some])
    refined, more = _refined(stages, screened)
    judged = iter(_judged(piece, refined) for piece in screened)
    generations = tuple(
        PreviewedGeneration(prompt, one.tokens, one.ended, tuple(next(judged) for _ in some))
        for prompt, one, some in zip(prompts, written, pieces, strict=True)
    )
    return _measured(stages, generations, seconds + more)


def _screened(stages: Stages, pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces with the reasons to drop instances before they are refined, in their order."""
    distinct = list(dict.fromkeys(piece.instance for piece in pieces if piece.instance is not None))
    verdicts = dict(zip(distinct, stages.screen.verdicts(distinct), strict=True))
    seen: set[Instance] = set()
    found = []
    for piece in pieces:
        reason = piece.dropped
        if piece.instance is not None:
            reason = "duplicate" if piece.instance in seen else verdicts[piece.instance]
            seen.add(piece.instance)
        found.append(piece._replace(dropped=reason))
    return found


def _refined(stages: Stages, pieces: Sequence[Piece]) -> tuple[dict[Instance, tuple[str | None, Refined]], float]:
    """Return text and result of the latest model for the instances that are kept, and its seconds."""
    kept = [piece.instance for piece in pieces if piece.instance is not None and piece.dropped is None]
    rules, seconds = stages.candidate_rules, 0.0
    answers: list[RefinedOutput | None] = [None] * len(kept)
    if stages.synthesis.refine and kept:
        latest, sampling = stages.open_latest(), stages.refinement_sampling
        began = time.monotonic()
        written = latest.generate([stages.question(one) for one in kept], sampling, [0] * len(kept))
        seconds = time.monotonic() - began
        answers = [RefinedOutput(one.text, one.ended) for one in written]
    found = {}
    for one, answer in zip(kept, answers, strict=True):
        refined = rules.refined(one, answer)
        if refined.dropped is None and rules.heldout(stages.form.text(refined.instance)):
            refined = refined._replace(dropped="held out")
        found[one] = (None if answer is None else answer.text, refined)
    return found, seconds


def _judged(piece: Piece, refined: dict[Instance, tuple[str | None, Refined]]) -> PreviewedPiece:
    one = piece.instance
    if one is None:
        return PreviewedPiece(piece.text, None, None, None, None, piece.dropped)
    if piece.dropped is not None:
        return PreviewedPiece(piece.text, one.input, one.output, None, None, piece.dropped)
    answer, found = refined[one]
    if answer is None:
        return PreviewedPiece(piece.text, one.input, one.output, None, found.agreed, found.dropped)
    if found.dropped is None:
        return PreviewedPiece(piece.text, one.input, one.output, found.instance.output, found.agreed, None)
    return PreviewedPiece(piece.text, one.input, one.output, answer, found.agreed, f"latest model: {found.dropped}")


def _measured(stages: Stages, generations: tuple[PreviewedGeneration, ...], seconds: float) -> Preview:
    pieces = [piece for one in generations for piece in one.pieces]
    kept = [piece for piece in pieces if piece.dropped is None]
    texts = [stages.form.text(Instance(str(one.input), str(one.refined or one.output))) for one in kept]
    tokens = sum(len(stages.encoder.encode([text])[0]) for text in texts)
    _, requests = stages.synthesis_stage
    wanted = stages.plan.rows[stages.rehearsal.name] * stages.plan.config.data.sequence_length
    needed = ceil(wanted * len(generations) / tokens) if tokens else None
    return Preview(
        name=stages.rehearsal.name,
        generations=generations,
        kept=len(kept),
        survival=len(kept) / len(generations),
        first_pieces=sum(one.pieces[0].input is not None for one in generations) / len(generations),
        dropped=dict(sorted(Counter(piece.dropped for piece in pieces if piece.dropped is not None).items())),
        seconds=seconds,
        tokens=tokens,
        wanted_tokens=wanted,
        planned=requests.total,
        needed=needed,
        possible=requests.available,
        hours=None if needed is None else seconds / len(generations) * needed / 3600,
    )


def print_preview(found: Preview) -> None:
    """Print prompts, the first in full, every piece with its verdict, and what the whole set will take."""
    for number, one in enumerate(found.generations, 1):
        end = "ended" if one.ended else "cut off"
        print(f"--- generation {number} of {len(found.generations)}: {count(one.tokens)} tokens, {end}")
        if number == 1:
            print("prompt:")
            print(indented(one.prompt))
        else:
            print(f"prompt: {shortened(one.prompt)}")
        for piece in one.pieces:
            _print_piece(piece)
    name, made = found.name, len(found.generations)
    print(f"{name}: {found.kept} instances kept of {made} generations ({amount(found.survival)} for each)")
    print(f"{name}: the first piece is an instance in {found.first_pieces:.0%} of them")
    for reason, number in found.dropped.items():
        print(f"{name}: dropped: {number} {reason}")
    for line in _forecast(found):
        print(f"{name}: {line}")


def _print_piece(piece: PreviewedPiece) -> None:
    verdict = "kept" if piece.dropped is None else f"dropped ({piece.dropped})"
    if piece.input is None:
        print(f"  {verdict}: {shortened(piece.text)}")
        return
    print(f"  {verdict}: {shortened(piece.input)}")
    print(f"      base model:   {shortened(str(piece.output))}")
    if piece.refined is not None:
        print(f"      latest model: {shortened(piece.refined)}{' (the same)' if piece.agreed else ''}")


def _forecast(found: Preview) -> list[str]:
    """Return the sentences on the generations and the time that the whole set takes at this rate."""
    if found.needed is None or found.hours is None:
        return ["nothing was kept: look at the reasons above, or preview more generations"]
    lines = [
        f"about {count(found.needed)} generations fill its {count(found.wanted_tokens)} tokens at this rate, in "
        f"{amount(found.hours)} hours of one process as fast as here"
    ]
    if found.needed > found.possible:
        lines.append(
            f"but the demonstrations allow only {count(found.possible)}: raise min_demonstrations, demonstration_share "
            "or samples of the synthesis, or lower the tokens of the set"
        )
    elif found.needed > found.planned:
        lines.append(f"but {count(found.planned)} are planned: set synthesis.generations to {found.needed} or more")
    return lines
