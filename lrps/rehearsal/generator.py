"""Text generation in batches: the interface of generators, and the one that runs a Hugging Face model.

Each prompt has its own seed, so a completion does not depend on the other prompts of its batch, except by rounding: a
batch of another size may compute other last bits, which can change a token. The same call on the same kind of device
gives the same completions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from lrps.base.errors import ConfigError, GenerationError
from lrps.rehearsal.sampling import Sampling, TokenSampler
from lrps.store.model_files import check_model_files


@dataclass(frozen=True)
class Completion:
    """The generated continuation of a prompt."""

    text: str
    tokens: int
    """Number of generated tokens, by the model's own tokenizer, without the EOS token."""
    ended: bool = True
    """True if the model ended the text, False if it was cut off at a limit."""


class Generator(Protocol):
    """A model that completes prompts."""

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """Return a completion for every prompt, in order. seeds: one per prompt, >= 0; equal seeds give equal text."""


class HfGenerator:
    """A generator with a causal language model from a Hugging Face directory, for example one of `lrps export`."""

    def __init__(
        self,
        directory: Path,
        batch_size: int,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        *,
        chat: bool = False,
    ) -> None:
        """Load model and tokenizer, without downloads and without running code from the directory.

        device: `cuda` by default if there is one. dtype: that of the checkpoint by default, fp32 on a CPU. chat:
        whether prompts are messages of a user, which are put into the chat template of the tokenizer. Raises
        ConfigError for a directory without a model, weights (safetensors) or tokenizer, or the template.
        """
        self.device = torch.device(device or default_device())
        self.batch_size = batch_size
        self.model, self._tokenizer = load_model(directory, self.device, dtype)
        self._directory = directory
        self._template = _chat_template(self._tokenizer, directory) if chat else None
        config = self.model.config.get_text_config()
        self.positions: int | None = getattr(config, "max_position_embeddings", None)
        """Maximal number of tokens of prompt and completion together; None if no limit is known."""
        stated = self.model.generation_config.eos_token_id
        ends = [self._tokenizer.eos_token_id, *(stated if isinstance(stated, list) else [stated])]
        self._ends = tuple(dict.fromkeys(end for end in ends if end is not None))

    def generate(self, prompts: Sequence[str], sampling: Sampling, seeds: Sequence[int]) -> list[Completion]:
        """Return a completion for every prompt, as `Generator.generate`; it ends at the model's last position.

        Raises GenerationError for a prompt that leaves no position, or if the device runs out of memory.
        """
        if len(prompts) != len(seeds):
            raise ValueError(f"{len(prompts)} prompts, but {len(seeds)} seeds")
        tokens = [self._encode(prompt) for prompt in prompts]
        completions: dict[int, Completion] = {}
        for limit, batch in self._batches(tokens, sampling.max_new_tokens):
            choice = TokenSampler(sampling, [seeds[number] for number in batch], limit)
            written = self._continue([tokens[number] for number in batch], choice, limit, sampling.stop)
            for number, new in zip(batch, written, strict=True):
                completions[number] = self._completion(tokens[number], new, sampling.stop)
        return [completions[number] for number in range(len(prompts))]

    def _encode(self, prompt: str) -> list[int]:
        if self._template is not None:
            message = [{"role": "user", "content": prompt}]
            prompt = self._tokenizer.apply_chat_template(
                message, chat_template=self._template, tokenize=False, add_generation_prompt=True
            )
        # A chat template has the special tokens of its prompt.
        ids: list[int] = self._tokenizer(prompt, add_special_tokens=self._template is None)["input_ids"]
        if not ids:  # An empty prompt is the beginning of a document.
            ids = [end for end in (self._tokenizer.bos_token_id, *self._ends) if end is not None][:1]
        if not ids:
            raise GenerationError(f"{self._directory}: the prompt is empty and there is no BOS token; give a prompt")
        return ids

    def _batches(self, tokens: Sequence[Sequence[int]], max_new_tokens: int) -> Iterator[tuple[int, list[int]]]:
        """Yield (maximal number of new tokens, numbers of prompts) of each batch, with prompts of similar lengths.

        All prompts of a batch have the same limit, so that a long prompt does not shorten the others' completions.
        """
        limits = []
        for ids in tokens:
            left = max_new_tokens if self.positions is None else self.positions - len(ids)
            if left < 1:
                raise GenerationError(
                    f"a prompt of {len(ids)} tokens leaves none of the {self.positions} positions of "
                    f"{self._directory}; shorten it"
                )
            limits.append(min(left, max_new_tokens))
        order = sorted(range(len(tokens)), key=lambda number: (limits[number], len(tokens[number]), number))
        for limit in sorted(set(limits)):
            equal = [number for number in order if limits[number] == limit]
            for start in range(0, len(equal), self.batch_size):
                yield limit, equal[start : start + self.batch_size]

    def _continue(
        self, prompts: Sequence[Sequence[int]], choice: TokenSampler, limit: int, stop: Sequence[str]
    ) -> list[list[int]]:
        """Return the new tokens of each prompt, including the EOS token if the model generated it.

        They end with the token that completes one of the texts `stop`.
        """
        from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

        width = max(map(len, prompts))
        pad = self._ends[0] if self._ends else 0
        ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        settings = GenerationConfig(
            max_new_tokens=limit, do_sample=False, eos_token_id=list(self._ends) or None, pad_token_id=pad
        )
        stopped = StopTexts(stop, self._decode, width, len(prompts))
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    ids.to(self.device),
                    attention_mask=mask.to(self.device),
                    generation_config=settings,
                    logits_processor=LogitsProcessorList([choice.processor(mask)]),
                    stopping_criteria=StoppingCriteriaList([stopped] if stop else []),
                )
        except torch.cuda.OutOfMemoryError as error:
            raise GenerationError(
                f"not enough memory for {len(prompts)} prompts of up to {width} tokens at once; lower the batch size"
            ) from error
        rows = zip(output[:, width:].tolist(), stopped.lengths, strict=True)
        return [_until_end(row[:length], self._ends) for row, length in rows]

    def _completion(self, prompt: Sequence[int], new: Sequence[int], stop: Sequence[str]) -> Completion:
        ended = bool(new) and new[-1] in self._ends
        own = new[:-1] if ended else new
        # Decoded with the prompt, because some tokenizers drop the space before the first word.
        before, whole = self._decode(prompt), self._decode([*prompt, *own])
        text = whole[len(before) :] if whole.startswith(before) else self._decode(own)
        places = [place for one in stop if (place := text.find(one)) >= 0]
        return Completion(text[: min(places)], len(own)) if places else Completion(text, len(own), ended)

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


class StopTexts:
    """The texts that end a completion: a criterion that transformers asks after every token."""

    def __init__(self, stop: Sequence[str], decode: Callable[[Sequence[int]], str], width: int, rows: int) -> None:
        """Begin before the first token. width: number of tokens of the prompts."""
        self._stop, self._decode, self._width = stop, decode, width
        # A text is in as many tokens as it has bytes, or fewer; one more completes a character before it.
        self._tail = max((len(text.encode()) for text in stop), default=0) + 1
        self.lengths: list[int | None] = [None] * rows
        """Number of new tokens of each row until a text ended it; None if none did."""

    def __call__(self, tokens: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        """Return which rows are ended."""
        length = tokens.shape[1] - self._width
        tails = tokens[:, max(self._width, tokens.shape[1] - self._tail) :].tolist()
        for row, tail in enumerate(tails):
            if self.lengths[row] is None and any(text in self._decode(tail) for text in self._stop):
                self.lengths[row] = length
        return torch.tensor([ended is not None for ended in self.lengths], device=tokens.device)


def _until_end(tokens: list[int], ends: Sequence[int]) -> list[int]:
    """Return the tokens up to and including the first EOS token; the rest is padding."""
    first = min((tokens.index(end) for end in ends if end in tokens), default=len(tokens) - 1)
    return tokens[: first + 1]


def document_end(directory: Path, begin: str | None = None) -> str | None:
    """Return the text between two documents in a prompt: the EOS token of a Hugging Face directory's tokenizer.

    begin: BOS token of the data's documents, which follows if it is that of the directory's tokenizer too.
    """
    tokenizer = _load_tokenizer(directory)
    end: str | None = tokenizer.eos_token
    return end + begin if end is not None and begin is not None and begin == tokenizer.bos_token else end


def chat_template_sha256(directory: Path) -> str:
    """Return the hash of the chat template of a Hugging Face directory. Raises ConfigError if it has none."""
    return hashlib.sha256(_chat_template(_load_tokenizer(directory), directory).encode()).hexdigest()


def _chat_template(tokenizer: Any, directory: Path) -> str:
    """Return the default chat template of a tokenizer. Raises ConfigError if it has none."""
    try:
        template: str = tokenizer.get_chat_template()
    except ValueError as error:  # It has none, or several without a default.
        raise ConfigError(
            f"{directory} has no chat template ({str(error).split('. ')[0]}): leave synthesis.chat out, so that the "
            "model gets the input between its marks"
        ) from None
    return template


def default_device() -> str:
    """Return the kind of device that models run on: `cuda` if there is one, or else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _load_tokenizer(directory: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # OSError, ValueError or KeyError, depending on the file that is wrong.
        raise ConfigError(f"{directory} has no tokenizer that can be loaded: {error}") from error


def load_model(directory: Path, device: torch.device, dtype: torch.dtype | None = None) -> tuple[Any, Any]:
    """Return a causal language model in evaluation mode, and its tokenizer. Raises ConfigError as `HfGenerator`."""
    from transformers import AutoModelForCausalLM

    check_model_files(directory, "the model of the rehearsal", trained=False)
    tokenizer = _load_tokenizer(directory)
    wanted = dtype or (torch.float32 if device.type == "cpu" else "auto")
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            directory,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,  # Weights in other files are pickles.
            dtype=wanted,
            output_loading_info=True,
        )
    # transformers raises OSError, ValueError, KeyError or its own classes, depending on the file that is wrong.
    except Exception as error:
        raise ConfigError(f"{directory} cannot be loaded as a language model: {error}") from error
    # transformers initializes missing weights at random, without an error.
    if absent := sorted(loading["missing_keys"]):
        raise ConfigError(f"{directory} lacks weights: {', '.join(absent[:5])}; use a whole model")
    return model.to(device).eval(), tokenizer
