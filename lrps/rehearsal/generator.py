"""Text generation in batches: what a generator is, and the one that runs a Hugging Face model in this process.

Each prompt has a seed of its own, so a completion does not depend on the prompts beside it. What is left is rounding: a
batch of another size may compute other last bits, and a token whose chance lies exactly there may change. The same call
on the same kind of device gives the same completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from lrps.base.errors import ConfigError, GenerationError
from lrps.rehearsal.sampling import Choice, Sampling


@dataclass(frozen=True)
class Completion:
    """What follows a prompt."""

    text: str
    tokens: int
    """Generated tokens, by the model's own tokenizer, without the end mark."""
    ended: bool = True
    """The model has ended it; False: it was cut off at a limit."""


class Generator(Protocol):
    """Something that completes prompts."""

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """A completion for every prompt, in order. seeds: one a prompt, at least 0; equal ones give equal text."""


class HfGenerator:
    """A causal language model from a Hugging Face directory: a local checkpoint, or what `lrps export` wrote."""

    def __init__(
        self, directory: Path, batch_size: int, device: str | None = None, dtype: torch.dtype | None = None
    ) -> None:
        """Loads model and tokenizer; nothing is downloaded, and no code of the directory is run.

        device: by default `cuda` if there is one. dtype: by default that of the checkpoint, on a CPU fp32. Raises
        ConfigError for a directory without a model, weights (safetensors) or tokenizer.
        """
        self.device = torch.device(device or default_device())
        self.batch_size = batch_size
        self.model, self._tokenizer = load_model(directory, self.device, dtype)
        self._directory = directory
        config = self.model.config.get_text_config()
        self.positions: int | None = getattr(config, "max_position_embeddings", None)
        """Tokens that prompt and completion may have together; None: no limit is known."""
        stated = self.model.generation_config.eos_token_id
        ends = [self._tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])]
        self._ends = tuple(dict.fromkeys(end for end in ends if end is not None))

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """As Generator says. A completion ends at the model's last position at the latest.

        Raises GenerationError for a prompt that leaves no position, or if the device has not enough memory.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
        tokens = [self._encode(prompt) for prompt in prompts]
        completions: dict[int, Completion] = {}
        for limit, batch in self._batches(tokens, sampling.max_new_tokens):
            choice = Choice(sampling, [seeds[number] for number in batch], limit)
            written = self._continue([tokens[number] for number in batch], choice, limit)
            for number, new in zip(batch, written, strict=True):
                completions[number] = self._completion(tokens[number], new)
        return [completions[number] for number in range(len(prompts))]

    def _encode(self, prompt: str) -> list[int]:
        ids: list[int] = self._tokenizer(prompt)["input_ids"]
        if not ids:  # Nothing to go on from: the beginning of a document.
            ids = [end for end in (self._tokenizer.bos_token_id, *self._ends) if end is not None][:1]
        if not ids:
            raise GenerationError(f"{self._directory}: an empty prompt, and no token that begins a text; give a prompt")
        return ids

    def _batches(self, tokens: Sequence[Sequence[int]], max_new_tokens: int) -> Iterator[tuple[int, list[int]]]:
        """(tokens that may be generated, numbers of prompts), prompts of like length together.

        All prompts of a batch may go equally far: one that is near the last position is not ended by a neighbour.
        """
        limits = []
        for ids in tokens:
            room = max_new_tokens if self.positions is None else self.positions - len(ids)
            if room < 1:
                raise GenerationError(
                    f"a prompt of {len(ids)} tokens leaves no room in the {self.positions} positions of "
                    f"{self._directory}; shorten it"
                )
            limits.append(min(room, max_new_tokens))
        order = sorted(range(len(tokens)), key=lambda number: (limits[number], len(tokens[number]), number))
        for limit in sorted(set(limits)):
            equal = [number for number in order if limits[number] == limit]
            for start in range(0, len(equal), self.batch_size):
                yield limit, equal[start : start + self.batch_size]

    def _continue(self, prompts: Sequence[Sequence[int]], choice: Choice, limit: int) -> list[list[int]]:
        """The new tokens of each prompt, its end mark included if it came."""
        from transformers import GenerationConfig, LogitsProcessorList

        width = max(map(len, prompts))
        pad = self._ends[0] if self._ends else 0
        ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        settings = GenerationConfig(
            max_new_tokens=limit, do_sample=False, eos_token_id=list(self._ends) or None, pad_token_id=pad
        )
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    ids.to(self.device),
                    attention_mask=mask.to(self.device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([choice.processor(mask)]),
                )
        except torch.cuda.OutOfMemoryError as error:
            raise GenerationError(
                f"not enough memory for {len(prompts)} prompts of up to {width} tokens at once; lower the batch size"
            ) from error
        return [_until_end(row, self._ends) for row in output[:, width:].tolist()]

    def _completion(self, prompt: Sequence[int], new: Sequence[int]) -> Completion:
        ended = bool(new) and new[-1] in self._ends
        own = new[:-1] if ended else new
        # Decoded together: some tokenizers drop the blank before the first word.
        before, whole = self._decode(prompt), self._decode([*prompt, *own])
        text = whole[len(before) :] if whole.startswith(before) else self._decode(own)
        return Completion(text, len(own), ended)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def _until_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """The tokens up to the first end mark, which is the last of them then; what follows is padding."""
    first = min((tokens.index(end) for end in ends if end in tokens), default=len(tokens) - 1)
    return tokens[: first + 1]


def document_end(directory: Path) -> str | None:
    """The end mark of the tokenizer in a Hugging Face directory; in a prompt its text is that mark."""
    end: str | None = _load_tokenizer(directory).eos_token
    return end


def default_device() -> str:
    """The kind of device that models run on here."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_tokenizer(directory: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError or KeyError, as the file that is wrong likes.
        raise ConfigError(f"{directory} has no tokenizer that can be loaded: {error}") from error


def load_model(directory: Path, device: torch.device, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """A causal language model, ready for inference, and its tokenizer. ConfigError as `HfGenerator`."""
    from transformers import AutoModelForCausalLM

    if not (directory / "config.json").is_file():
        raise ConfigError(
            f"{directory} {'has no config.json' if directory.is_dir() else 'is no directory'}; give the local "
            "directory of a Hugging Face model (lrps downloads nothing)"
        )
    tokenizer = _load_tokenizer(directory)
    wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
    try:
        model, told = AutoModelForCausalLM.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,  # Weights in other files are pickles.
            dtype=wanted,
            output_loading_info=True,
        )
    # transformers raises OSError, ValueError, KeyError or its own classes, as the file that is wrong likes.
    except Exception as error:
        raise ConfigError(f"{directory} cannot be loaded as a language model: {error}") from error
    # A weight that the files lack would be drawn at random, without an error.
    if absent := sorted(told["missing_keys"]):
        raise ConfigError(f"{directory} lacks weights: {', '.join(absent[:5])}; use a whole model")
    return model.to(device).eval(), tokenizer
