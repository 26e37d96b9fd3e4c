"""The sizes of a first run: vocabulary, sequence, batch, model, steps, warm-up and held-out share, from its text.

Every rule is a table or a formula of this file, and `lrps init` prints what it gave. They are starting points for text
that nobody has trained on yet, not optima.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lrps.base.errors import DataError
from lrps.base.numbers import size
from lrps.config.model_directory import read_model_config
from lrps.config.models import ModelConfig
from lrps.data.heldout import HELDOUT_SALT, is_heldout, sufficient_share
from lrps.data.tokenizer import SMALLEST_VOCABULARY
from lrps.paths.decoder import decoder_of
from lrps.start.families import FAMILIES, sized_model
from lrps.start.machine import Machine
from lrps.start.survey import ENOUGH_DOCUMENTS, Survey, SurveyedVersion
from lrps.start.token_rate import TokenRate, rate_of, trained_rate

Number = TypeVar("Number", int, float)
FEWEST_STEPS, FEWEST_SEQUENCES, SHORTEST = 40, 4, 64
"""Least steps of a version, sequences of a batch, and tokens of a sequence."""
_MOST_SEQUENCES = 512
_USUAL_STEPS = 300
"""Number of steps of the smallest version below which its batch is made smaller."""
_MICRO_TOKENS = 2**14
"""Number of tokens of one forward pass of a process."""
_REST = float("inf")
_VOCABULARIES = ((2e6, SMALLEST_VOCABULARY), (2e7, 1024), (2e8, 4096), (2e9, 16384), (_REST, 32000))
"""Bytes of text of all versions -> vocabulary."""
_LENGTHS = ((4e6, 64), (1.6e7, 128), (6.4e7, 256), (2.56e8, 512), (2e9, 1024), (_REST, 2048))
"""Tokens of all versions -> tokens of a sequence."""
_RATES = ((1e6, 3e-3), (1e7, 2e-3), (5e7, 1e-3), (2e8, 6e-4), (1e9, 3e-4), (_REST, 2e-4))
"""Parameters of a model -> peak learning rate."""
_CONTINUED_RATE = 1e-4
"""Peak learning rate of a model that was trained before."""
_WARMUP_SHARE, _LONGEST_WARMUP = 0.1, 2000
"""Warm-up as a share of the first version, and its largest number of steps."""
_MARGIN = 0.95
"""Share of the estimated tokens with which a config plans where they are not counted."""
_HELDOUT_SEQUENCES, _LEAST_HELDOUT, _MUCH_HELDOUT = 128, 0.01, 0.2
"""Sequences that every version should hold out, and the least share of documents; above the large share two do."""


@dataclass(frozen=True)
class Sizes:
    """The numbers of a config."""

    model: ModelConfig
    parameters: int | None
    """Number of parameters of the model; None for a checkpoint whose sizes lrps cannot count."""
    vocabulary: int
    """Number of tokens of the vocabulary."""
    sequence_length: int
    """Number of tokens of a sequence."""
    sequences: int
    """Number of sequences of a batch."""
    micro_sequences: int | None
    """Number of sequences of one process in one forward pass; None for its whole share of the batch."""
    steps: tuple[int, ...]
    """Number of steps of every version."""
    is_exact: bool
    """True if the tokens were counted, False if they were estimated."""
    warmup_steps: int
    """Number of steps of the warm-up."""
    peak_lr: float
    """Maximal learning rate."""
    heldout_share: float
    """Share of the documents that are held out."""

    @property
    def tokens(self) -> tuple[int, ...]:
        """Number of tokens of every version."""
        return tuple(steps * self.sequences * self.sequence_length for steps in self.steps)


def sizes_of(text: Survey, model: str, machine: Machine, sequences: int | None = None) -> Sizes:
    """Return the sizes for the text. model: a model family, or the directory of a Hugging Face model.

    sequences: those of a batch; by default as many as suit the text. Raises DataError for too little text, ConfigError
    for a directory that is no model.
    """
    directory = None if model in FAMILIES else Path(model)
    positions = _positions(directory)
    rate = _rate(text, directory)
    estimates = [rate.tokens(each.read) / each.share for each in text.versions]
    length = min(up_to(_LENGTHS, sum(estimates)), positions)
    share = _heldout_share(text.versions, rate, length)
    is_exact = rate.is_exact and all(each.is_whole for each in text.versions)
    rows = [int(_trained(each, rate, share) * (1 if is_exact else _MARGIN)) // length for each in text.versions]
    batch = sequences or _batch(min(rows), machine.devices)
    _check_rows(text.versions, rows, batch, length, rate)
    parameters, config = _model(model, directory, sum(rows) * length, rate.vocabulary, length)
    micro = max(1, _MICRO_TOKENS // length)
    steps = tuple(number // batch for number in rows)
    return Sizes(
        model=config,
        parameters=parameters,
        vocabulary=rate.vocabulary,
        sequence_length=length,
        sequences=batch,
        micro_sequences=micro if batch // machine.devices > micro and batch % (micro * machine.devices) == 0 else None,
        steps=steps,
        is_exact=is_exact,
        warmup_steps=max(1, min(_LONGEST_WARMUP, round(_WARMUP_SHARE * steps[0]))),
        peak_lr=_CONTINUED_RATE if directory else up_to(_RATES, parameters or 0),
        heldout_share=share,
    )


def up_to(table: Sequence[tuple[float, Number]], value: float) -> Number:
    """Return the entry of the first limit that is not below the value."""
    return next(entry for limit, entry in table if value <= limit)


def _positions(directory: Path | None) -> int:
    """Return the largest number of tokens of a sequence of a model."""
    if directory is None:
        return _LENGTHS[-1][1]
    values = read_model_config(directory, "--model")
    found = values.get("max_position_embeddings", values.get("n_positions"))
    return found if isinstance(found, int) else _LENGTHS[-1][1]


def _rate(text: Survey, directory: Path | None) -> TokenRate:
    first = text.versions[0].read
    if directory is not None:
        return rate_of(directory / "tokenizer.json", first)
    return trained_rate(first, up_to(_VOCABULARIES, sum(each.bytes for each in text.versions)))


def _heldout_share(versions: Sequence[SurveyedVersion], rate: TokenRate, length: int) -> float:
    """Return a share of documents that holds out enough of every version. Raises DataError if there is none."""
    for version in versions:
        if version.documents < ENOUGH_DOCUMENTS:
            raise DataError(_too_little(version, rate, length))
    for sequences, most in ((_HELDOUT_SEQUENCES, _MUCH_HELDOUT), (2, 0.5)):
        wanted = sequences * length / rate.per_byte
        shares = [sufficient_share(each.read, HELDOUT_SALT, wanted * each.share) for each in versions]
        if all(share is not None and share <= most for share in shares):
            return max(_LEAST_HELDOUT, *(share for share in shares if share is not None))
    least = min(versions, key=lambda each: each.bytes)
    raise DataError(_too_little(least, rate, length))


def _trained(version: SurveyedVersion, rate: TokenRate, share: float) -> float:
    """Return the number of tokens of a version that are not held out."""
    return rate.tokens(text for text in version.read if not is_heldout(text, share, HELDOUT_SALT)) / version.share


def _batch(rows: int, devices: int) -> int:
    """Return the sequences of a batch: a power of two for every device, so that `rows` give the usual steps."""
    wanted = rows / _USUAL_STEPS / devices
    most = max(1, _MOST_SEQUENCES // devices)
    power = 1
    while power * 2 <= min(wanted, most):
        power *= 2
    return max(power * devices, FEWEST_SEQUENCES if devices == 1 else devices)


def _check_rows(
    versions: Sequence[SurveyedVersion], rows: Sequence[int], batch: int, length: int, rate: TokenRate
) -> None:
    for version, number in zip(versions, rows, strict=True):
        if number < FEWEST_STEPS * batch:
            raise DataError(_too_little(version, rate, length, batch))


def _too_little(version: SurveyedVersion, rate: TokenRate, length: int, batch: int = FEWEST_SEQUENCES) -> str:
    """Return how much text a version has, and how much it needs."""
    needed = FEWEST_STEPS * batch * length / rate.per_byte / (1 - _MUCH_HELDOUT)
    different, documents = len(set(version.read)), f"{version.documents:,} documents"
    if version.is_whole and different < version.documents:
        documents += f", {different:,} of them different"
    if version.documents == 1:
        documents = "one document (`fold -s -w 1000 FILE > NEW.txt` divides text without line ends)"
    return (
        f"{version.text}: too little text for {version.name}: {size(version.bytes)} in {documents}. A version needs at "
        f"least {ENOUGH_DOCUMENTS} different documents and about {size(needed)}: {FEWEST_STEPS} steps of {batch} "
        f"sequences of {length} tokens, and some held-out documents. Add text, or join several versions to one"
    )


def _model(
    model: str, directory: Path | None, tokens: int, vocabulary: int, length: int
) -> tuple[int | None, ModelConfig]:
    """Return the number of parameters and the section `model`."""
    if directory is None:
        sized = sized_model(model, tokens, vocabulary, length)
        return sized.parameters, ModelConfig(architecture=sized.architecture)
    config = ModelConfig(checkpoint=directory)
    decoder = decoder_of(config)
    return decoder.parameters if decoder else None, config
