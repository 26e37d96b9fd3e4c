"""The benchmark of what grows runs, and counts what it says it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "bench_growth.py"


def test_it_runs(tmp_path: Path) -> None:
    words = ["--versions", "2", "3", "--ranks", "2", "5", "--fragment-bytes", "64", "--checkpoints", "3"]
    words += ["--directory", str(tmp_path), "--out", str(tmp_path / "out.json")]
    subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, check=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(each["versions"], each["paths"]) for each in found["plans"]] == [(2, 7), (3, 10)]
    assert [each["ranks"] for each in found["checkpoints"]] == [2, 5]
    small, large = (each["manifest_bytes"] for each in found["checkpoints"])
    assert large > small
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]
