"""The benchmark of training: its cases and ratios by hand, and one comparison of real processes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lrps.data.files import LocalFiles
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.stream import TokenSource

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def tools() -> Iterator[Any]:
    """The tool's modules, imported as it imports them."""
    sys.path.insert(0, str(TOOLS))
    try:
        import bench_train
        import bench_train_setup
        import bench_train_turns

        yield type("Tools", (), {"main": bench_train, "setup": bench_train_setup, "turns": bench_train_turns})
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture
def case(tools: Any) -> Any:
    return tools.setup.Case("100k", ranks=1, zero=1, precision="fp32", rows=4, length=16, steps=64)


@pytest.mark.parametrize(("size", "wanted"), [("1M", 1e6), ("10M", 1e7), ("50M", 5e7), ("1.2B", 1.2e9)])
def test_a_model_has_about_the_parameters_of_its_name(tools: Any, size: str, wanted: float, tmp_path: Path) -> None:
    case = tools.setup.Case(size, 1, 1, "fp32", 4, 64, 64)
    assert case.decoder(tmp_path).parameters == pytest.approx(wanted, rel=0.1)


def test_lrps_and_the_others_read_the_same_tokens(tools: Any, case: Any, tmp_path: Path) -> None:
    tools.setup.write_data(tmp_path / "data", case)
    flat = tools.setup.rows_of(tmp_path / "data", case)
    manifest = load_manifest(manifest_path(tmp_path / "data", "v1", "train"))
    files = LocalFiles(tmp_path / "data" / "v1")
    source = TokenSource(manifest, files, sequence_length=case.length, seed=0)
    assert source.rows == len(flat) == case.rows * case.steps
    read = source.read(np.arange(source.rows))
    assert sorted(map(bytes, read)) == sorted(map(bytes, flat))


def test_every_switch_is_tried_by_itself(tools: Any, case: Any, tmp_path: Path) -> None:
    found = tools.setup.switches()
    assert {"compile": True} in found
    assert {"attention": "eager"} in found
    assert not [switch for switch in found if {"zero_stage", "precision"} & switch.keys()]
    assert all(len(switch) == 1 for switch in found)


def test_ratios_are_taken_round_by_round(tools: Any, case: Any) -> None:
    def found(*walls: float) -> Any:
        blocks = [tools.turns.Block(5, wall, wall / 2, {}, 0) for wall in walls]
        return tools.turns.Found(tools.turns.Contestant("x", "x", case), blocks)

    one, other = found(1.0, 10.0, 4.0), found(3.0, 20.0, 2.0)
    assert other.ratio(one) == other.ratio(one, "cpu") == 2.0  # of 3, 2 and 0.5; that of the medians is 0.75
    assert (one.step_seconds, one.tokens_per_second, one.spread) == (4.0, 16.0, 2.25)
    assert found().ratio(one) is None


def test_waves_share_their_first(tools: Any) -> None:
    assert list(tools.turns.in_waves("abcd", 4)) == ["abcd"]
    assert list(tools.turns.in_waves("abcd", 3)) == [["a", "b", "c"], ["a", "d"]]
    assert list(tools.turns.in_waves("abcd", 2)) == [["a", "b"], ["a", "c"], ["a", "d"]]


@pytest.mark.parametrize(
    ("product", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA H200", 989.0),
        ("NVIDIA H20", 148.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA B200", 2250.0),
        ("Tesla T4", None),
    ],
)
def test_peaks_are_found_by_the_name_of_the_product(tools: Any, product: str, tflops: float | None) -> None:
    assert tools.main.peak_tflops(product) == tflops


def test_a_gpu_is_asked_for_in_vain(tmp_path: Path) -> None:
    words = [sys.executable, str(TOOLS / "bench_train.py"), "--preset", "gpu", "--out", str(tmp_path / "x.json")]
    told = subprocess.run(words, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert told.returncode == 1
    assert "--dry-run" in told.stderr


@pytest.mark.long
def test_programs_take_turns(tools: Any, case: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real processes, one of them broken; none of them compiles anything."""
    extensions = tmp_path / "extensions"
    extensions.mkdir()
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(extensions))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    bench = tools.main.Bench(_arguments(tmp_path), None)
    broken = tools.setup.Case(**{**case.to_json(), "engine": {"zero_stage": 9}})
    contestants = [
        tools.turns.Contestant("lrps", "lrps", case),
        tools.turns.Contestant("bare DeepSpeed", "deepspeed", case),
        tools.turns.Contestant("broken", "pytorch", broken),
    ]
    bench.compare("programs", contestants)
    (result,) = json.loads((tmp_path / "out.json").read_text())["results"]
    lrps, deepspeed, failed = result["programs"].values()
    assert "zero_stage" in failed["failure"] or "ValidationError" in failed["failure"]
    for facts in (lrps, deepspeed):
        assert len(facts["rounds_wall_seconds"]) == 2
        assert facts["tokens_per_second"] == pytest.approx(case.tokens / facts["step_seconds"])
        assert facts["peak_bytes"] > 1e8
    assert lrps["step_ratio"] == 1.0
    spent = lrps["spent_seconds_per_step"]
    assert 0 < spent["data"] < spent["step"]
    assert sum(spent.values()) <= sum(lrps["rounds_wall_seconds"]) / 2
    assert lrps["ledger_device_seconds"]["saving"] > 0
    assert any("lrps / bare DeepSpeed" in line for line in tools.main.sentences(result))
    assert list(extensions.iterdir()) == []


def _arguments(tmp_path: Path) -> Any:
    from argparse import Namespace

    return Namespace(
        limit_minutes=5, blocks=2, seconds=0.2, threads=1, dry_run=False, out=tmp_path / "out.json", sizes=["100k"]
    )
