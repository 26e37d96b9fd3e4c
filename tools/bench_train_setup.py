"""What tools/bench_train.py measures: a model, a batch, an engine, and random tokens to train on.

Every program of a case reads the same tokens: lrps from shards, the others from one flat file. Must not import torch.
"""

from __future__ import annotations

import typing
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lrps.config.models import Config, EngineConfig
from lrps.config.values import parse_quantity
from lrps.data.build.writer import TokenWriter
from lrps.data.tokenizer import train_tokenizer
from lrps.paths.decoder import Decoder, decoder_of
from lrps.paths.memory import Setting, memory_need

VERSION = "v1"
GPU_SHAPES = {
    "125M": {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 12},
    "350M": {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24, "num_attention_heads": 16},
    "1.2B": {"hidden_size": 2048, "intermediate_size": 5504, "num_hidden_layers": 22, "num_attention_heads": 16},
}
"""The usual shapes; 1.2B is that of configs/llama-1.2b.yaml."""
SMALL_VOCABULARY, GPU_VOCABULARY = 2048, 32000


@dataclass(frozen=True)
class Case:
    """What all programs of one comparison train alike."""

    size: str
    """A name of GPU_SHAPES, or about how many parameters a llama shall have."""
    ranks: int
    zero: int
    precision: str
    rows: int
    """Of a step, over all ranks."""
    length: int
    steps: int
    """More than are ever trained: rows for so many are written."""
    engine: dict[str, Any] = field(default_factory=dict)
    """Switches of lrps's engine that differ from their defaults."""

    @property
    def tokens(self) -> int:
        """Of a step."""
        return self.rows * self.length

    @property
    def title(self) -> str:
        switches = "".join(f", {key} {value}" for key, value in self.engine.items())
        ranks = f"{self.ranks} rank{'s' if self.ranks > 1 else ''}"
        return f"{self.size}, {ranks}, ZeRO {self.zero}, {self.precision}, {self.rows} x {self.length}{switches}"

    def architecture(self) -> dict[str, Any]:
        """Of a llama whose embeddings are tied, but for the sizes that are trained on GPUs."""
        shape, vocabulary = GPU_SHAPES.get(self.size), GPU_VOCABULARY
        if shape is None:
            vocabulary, shape = SMALL_VOCABULARY, _shape(int(parse_quantity(self.size)))
        return {
            "model_type": "llama",
            "vocab_size": vocabulary,
            "max_position_embeddings": self.length,
            "tie_word_embeddings": self.size not in GPU_SHAPES,
            **shape,
        }

    def config(self, root: Path, runs: Path) -> Config:
        """The config with which lrps trains the case, and from which the other programs take model and optimizer."""
        data = {"root": str(root), "sequence_length": self.length, "versions": [{"name": VERSION}]}
        return Config.model_validate(
            {
                "name": "bench",
                "runs": str(runs),
                "model": {"architecture": self.architecture()},
                "data": data,
                "batch": {"sequences": self.rows},
                "schedule": {"peak_lr": 1e-4, "warmup_steps": 10},
                "launch": {"launcher": "deepspeed", "hostfile": "none"},
                "engine": {"zero_stage": self.zero, "precision": self.precision, **self.engine},
                "paradigms": {"ptfs": {}},
            }
        )

    def decoder(self, root: Path) -> Decoder:
        decoder = decoder_of(self.config(root, root).model)
        assert decoder is not None
        return decoder

    def forecast_bytes(self, root: Path, chunked: bool = True, gloo: bool = False) -> int:
        """Return the forecast of the peak memory of one rank in a step, of tensors; see `lrps plan`."""
        setting = Setting(
            zero_stage=self.zero,
            precision="bf16" if self.precision == "bf16" else "fp32",
            devices=self.ranks,
            rows=self.rows // self.ranks,
            micro_batches=1,
            length=self.length,
            checkpointing=self.engine.get("activation_checkpointing", False),
            attention=self.engine.get("attention"),
            chunked=chunked and self.engine.get("cross_entropy") != "full",
            gloo=gloo,
        )
        return memory_need(self.decoder(root), setting).peak.total

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def _shape(parameters: int) -> dict[str, int]:
    """Of a llama of about so many parameters, of at most some 20 layers."""
    hidden = next(h for h in range(64, 8192, 64) if parameters < 12 * h * h * 20 + SMALL_VOCABULARY * h)
    inner = hidden * 8 // 3 // 64 * 64
    layer = 4 * hidden * hidden + 3 * hidden * inner
    return {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": max(1, round((parameters - SMALL_VOCABULARY * hidden) / layer)),
        "num_attention_heads": hidden // 64,
    }


def write_data(root: Path, case: Case) -> None:
    """Shards of one version and `tokens.bin`, which holds the same tokens."""
    tokens = case.tokens * case.steps
    root.mkdir(parents=True)
    identity = train_tokenizer(["a path"], 257, root / "tokenizer.json")
    document = np.random.default_rng(0).integers(0, identity.vocabulary - 1, tokens, np.uint16)
    document.tofile(root / "tokens.bin")
    with TokenWriter(root, VERSION, "train", identity) as writer:
        writer.add_documents(document, np.full(case.rows * case.steps, case.length), tokens)
        writer.close({"made_by": "tools/bench_train.py"})


def rows_of(root: Path, case: Case) -> np.ndarray:
    """The rows of `tokens.bin`, mapped: (rows, length)."""
    return np.memmap(root / "tokens.bin", np.uint16, "r").reshape(-1, case.length)


def switches(names: Collection[str] | None = None) -> list[dict[str, Any]]:
    """Return every engine switch by itself, at each value that is not its default: [{name: value}, ..].

    names: switches that are wanted; by default all. Read from the config model, so that a new switch is measured
    without being named here. Numbers are left out.
    """
    found = []
    for name, info in EngineConfig.model_fields.items():
        if name in ("zero_stage", "precision") or (names is not None and name not in names):
            continue
        values = [True, False] if info.annotation is bool else _named_values(info.annotation)
        found += [{name: value} for value in values if value != info.default]
    return found


def _named_values(annotation: Any) -> list[Any]:
    """Of a Literal, wherever it stands in the annotation."""
    if typing.get_origin(annotation) is typing.Literal:
        return list(typing.get_args(annotation))
    return [value for inner in typing.get_args(annotation) for value in _named_values(inner)]
