"""The benchmark of what grows runs, and counts what it says it counts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / "tools" / "bench_growth.py"


def test_it_runs(tmp_path: Path) -> None:
    words = [
        "--versions",
        "2",
        "3",
        "--ranks",
        "2",
        "5",
        "--segment-bytes",
        "64",
        "--ranks-per-file",
        "2",
        "--checkpoints",
        "3",
    ]
    words += ["--directory", str(tmp_path), "--out", str(tmp_path / "out.json")]
    subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, check=True)
    found = json.loads((tmp_path / "out.json").read_text())
    assert [(each["versions"], each["paths"]) for each in found["plans"]] == [(2, 7), (3, 10)]
    assert [each["ranks"] for each in found["checkpoints"]] == [2, 5]
    small, large = (each["manifest_bytes"] for each in found["checkpoints"])
    assert large > small
    assert [each["files"] for each in found["checkpoints"]] == [1, 3]
    files = {(each["saved"], each["loaded"]): each["files_of_a_rank"] for each in found["resumes"]}
    assert files["ZeRO 3", "ZeRO 3 on 5"] == files["ZeRO 1", "ZeRO 1 on 5"] == 1, "of the same topology"
    assert files["ZeRO 1", "ZeRO 3 on 5"] == 3, "every rank needs a share of every parameter"
    assert [file.name for file in tmp_path.iterdir()] == ["out.json"]
