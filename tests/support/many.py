"""Plans of many versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lrps.config.models import Config
from lrps.plan.plan import Plan, make_plan


def many_versions(directory: Path, versions: int, **paradigms: Any) -> Plan:
    """Return a plan without shards: of PTFS, CPT and path switching if no paradigms are given."""
    values = {
        "name": "many",
        "runs": directory,
        "model": {"architecture": {"model_type": "llama", "vocab_size": 32000}, "parameters": "1.2B"},
        "data": {
            "root": directory / "data",
            "sequence_length": 8,
            "versions": [{"name": f"v{k}", "tokens": 8 * (40 + k)} for k in range(versions)],
        },
        "batch": {"sequences": 4},
        "schedule": {"peak_lr": 3e-4},
        "paradigms": paradigms or {"path-switching": {}, "ptfs": {}, "cpt": {}},
    }
    return make_plan(Config.model_validate(values))
