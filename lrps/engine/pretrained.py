"""Writing a checkpoint as a Hugging Face model: weights in shards, config.json, generation_config.json.

No process group and no engine. Parameters are read one at a time, so that about one shard is in memory. Must not
import deepspeed; imports transformers when called, because that takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lrps.base.files import apply_umask
from lrps.config.models import ModelConfig
from lrps.engine.averages.merge import WeightsReader, open_mean, shards_of
from lrps.engine.flat_pieces import WEIGHTS
from lrps.engine.loaded import untie_as_stored
from lrps.engine.model import build_model, build_skeleton
from lrps.engine.state_files.reading import open_state

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Pretrained:
    """The description of a model that was written."""

    architecture: str
    """Class of transformers that loads it."""
    model_type: str
    parameters: int
    """Number of parameters; tied ones are counted once."""


def write_pretrained(
    model: ModelConfig,
    seed: int,
    states: Sequence[Path],
    directory: Path,
    *,
    dtype: str,
    max_shard_bytes: int,
    document_end: int,
    begun: bool = False,
    weights_of: str = WEIGHTS,
) -> Pretrained:
    """Write the weights of a state as a Hugging Face model, or the mean of those of several states.

    states: directories of fragments, of any topology, in the order in which they are added up. dtype: a key of DTYPES;
    bf16 is rounded as in torch. document_end: EOS token, at which generation stops and after which it starts. begun: as
    for `build_model`. weights_of: name of the state in the fragments that is written, such as the average.
    Raises ConfigError or CheckpointError if the model does not fit the weights, OSError or SafetensorError if a file
    cannot be written.
    """
    skeleton: Any = build_skeleton(model, begun)
    if begun:
        with open_state(states[0]) as weights:
            untie_as_stored(skeleton, weights.shapes.keys())
    parameters = dict(skeleton.named_parameters())
    buffers = _persistent_buffers(skeleton, model, seed, begun)
    with open_mean(states, {name: list(values.shape) for name, values in parameters.items()}, weights_of) as weights:
        stored = _Stored(skeleton, parameters, buffers, weights, DTYPES[dtype])
        _write_shards(stored, directory, max_shard_bytes)
    _write_config(skeleton, directory, DTYPES[dtype], document_end)
    count = sum(values.numel() for values in parameters.values())
    return Pretrained(type(skeleton).__name__, skeleton.config.model_type, count)


def _persistent_buffers(skeleton: nn.Module, model: ModelConfig, seed: int, begun: bool) -> dict[str, Tensor]:
    """Return the initial values of a model's persistent buffers, which are not trained; few models have any."""
    known = {name for name, _ in skeleton.named_parameters(remove_duplicate=False)}
    names = [name for name in skeleton.state_dict() if name not in known]
    if not names:
        return {}
    values = build_model(model, seed, begun=begun).state_dict()
    return {name: values[name] for name in names}


@dataclass(frozen=True)
class _Stored:
    """The tensors of a model in the layout of its files, created one group at a time.

    transformers 5 fuses some parameters, such as the experts of a mixture, in memory only; its files have them apart.
    """

    skeleton: nn.Module
    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    weights: WeightsReader
    dtype: torch.dtype

    def sizes(self) -> dict[str, int]:
        """Return name in the files -> bytes, in the order of `tensors`."""
        return {
            name: values.nbytes
            for group in self._groups
            for name, values in self._converted({one: self._empty(one) for one in group}).items()
        }

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name in the files, values)."""
        for group in self._groups:
            # Each in separate memory, since views of one tensor cannot be saved.
            for name, values in self._converted({one: self._read(one) for one in group}).items():
                yield name, values.clone(memory_format=torch.contiguous_format)

    @cached_property
    def _groups(self) -> list[list[str]]:
        """Groups of names to convert: one by one, unless the files join several into one; then all together."""
        names = [*self.parameters, *self.buffers]
        alone = {n: v.shape for name in names for n, v in self._converted({name: self._empty(name)}).items()}
        together = {n: v.shape for n, v in self._converted({name: self._empty(name) for name in names}).items()}
        return [[name] for name in names] if alone == together else [names]

    def _converted(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        from transformers.core_model_loading import revert_weight_conversion

        return revert_weight_conversion(self.skeleton, tensors)

    def _empty(self, name: str) -> Tensor:
        return self._rounded(self.parameters[name]) if name in self.parameters else self.buffers[name].to("meta")

    def _read(self, name: str) -> Tensor:
        return self._rounded(self.weights.read(name)) if name in self.parameters else self.buffers[name]

    def _rounded(self, values: Tensor) -> Tensor:
        return values.detach().to(self.dtype)


def _write_shards(stored: _Stored, directory: Path, max_shard_bytes: int) -> None:
    """Write model.safetensors, or model-00001-of-00003.safetensors and so on with their index."""
    sizes = stored.sizes()
    shards = shards_of(sizes, max_shard_bytes)
    files = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        files = ["model.safetensors"]
    tensors = stored.tensors()
    for file, names in zip(files, shards, strict=True):
        save_file(dict(islice(tensors, len(names))), directory / file, {"format": "pt"})
        apply_umask(directory / file)  # safetensors makes files that only their owner may read.
    if len(shards) > 1:
        index = {
            "metadata": {"total_size": sum(sizes.values())},
            "weight_map": {name: file for file, names in zip(files, shards, strict=True) for name in names},
        }
        text = json.dumps(index, indent=2, sort_keys=True) + "\n"
        (directory / "model.safetensors.index.json").write_text(text, encoding="utf-8")


def _write_config(skeleton: Any, directory: Path, dtype: torch.dtype, document_end: int) -> None:
    from transformers import GenerationConfig

    config = skeleton.config
    config.architectures = [type(skeleton).__name__]
    config.dtype = str(dtype).removeprefix("torch.")
    config.use_cache = True
    for key in ("quantization_config", "auto_map"):  # Of a checkpoint; the weights here are plain, without other code.
        config.__dict__.pop(key, None)
    # In training, the token before the first one of a document is the EOS token of another one.
    config.bos_token_id = config.eos_token_id = document_end
    config.save_pretrained(directory)
    GenerationConfig(bos_token_id=document_end, eos_token_id=document_end, pad_token_id=document_end).save_pretrained(
        directory
    )
