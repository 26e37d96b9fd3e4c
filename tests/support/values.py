"""Values of small configs, and modules of tools/, for many tests.

The modules of this folder are imported as `support.NAME`, because pytest has `tests` on its path (pyproject.toml).
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


def load_tool(name: str) -> ModuleType:
    """Return tools/NAME.py as a module."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[2] / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Dataclasses look up their module there.
    spec.loader.exec_module(module)
    return module


def config_values(**changes: Any) -> dict[str, Any]:
    """Return a small valid config, with some top-level keys replaced: 4 versions of 100 steps of 2 rows of 8 tokens."""
    values: dict[str, Any] = {
        "name": "small",
        "seed": 7,
        "model": {
            "architecture": {
                "model_type": "llama",
                "vocab_size": 257,
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "max_position_embeddings": 64,
                "tie_word_embeddings": True,
            }
        },
        "data": {
            "root": "nowhere",
            "sequence_length": 8,
            "versions": [{"name": f"v{k}", "tokens": 1600} for k in (1, 2, 3, 4)],
        },
        "batch": {"sequences": 2},
        "schedule": {"peak_lr": 1e-2, "warmup_steps": 5},
        "paradigms": {"path-switching": {}, "ptfs": {}, "cpt": {}},
    }
    return {**values, **changes}


def tiny_values(root: Path, versions: int, **changes: Any) -> dict[str, Any]:
    """Return a config that trains in seconds: versions of 20 steps of 4 rows of 16 tokens, files below `root`."""
    named = [{"name": f"v{k}", "text": [str(root / f"v{k}.jsonl")], "tokens": 1280} for k in range(1, versions + 1)]
    values = config_values(
        name="tiny",
        runs=str(root / "runs"),
        data={
            "root": str(root / "shards"),
            "train_vocabulary": 257,
            "sequence_length": 16,
            "heldout_share": 0.2,
            "versions": named,
        },
        batch={"sequences": 4},
        schedule={"peak_lr": 1e-2, "warmup_steps": 4},
        paradigms={
            "path-switching": {"alpha": 0.6},
            "straight": {"kind": "ptfs", "alpha": 0.6, "alpha_of": "increment", "decay": "linear"},
            "cpt": {},
        },
        checkpoint={"every_steps": 5, "keep_last": 2},
        launch={"processes": 2},
        track={"log_every_steps": 1},
    )
    return {**values, **changes}
