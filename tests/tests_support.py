"""Values that several tests build on. Imported by name: pytest puts this folder on the path (pyproject.toml)."""

from __future__ import annotations

from typing import Any


def config_values(**changes: Any) -> dict[str, Any]:
    """A small valid config: 4 versions of 100 steps of 2 rows of 8 tokens; top-level keys can be replaced."""
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
