"""Means of saved weights, compared bit for bit with torch's mean of a stack."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lrps.base.errors import CheckpointError
from lrps.base.files import sha256_file
from lrps.engine.averages import merge
from lrps.engine.averages.merge import open_mean, shards_of, write_mean
from lrps.engine.state_files.reading import open_state
from support.first_fragments import write_first_fragments

SHAPES = {"embed.weight": [33, 8], "layer.0.weight": [8, 8], "norm.weight": [8], "scale": []}


def state(directory: Path, seed: int, ranks: int, shapes: dict[str, list[int]] = SHAPES) -> dict[str, torch.Tensor]:
    """Write random weights in the first format, as `ranks` processes did, and return them."""
    directory.mkdir()
    generator = torch.Generator().manual_seed(seed)
    whole = {name: torch.randn(tuple(shape), generator=generator) for name, shape in shapes.items()}
    of_ranks: list[dict[tuple[str, str, int], torch.Tensor]] = [{} for _ in range(ranks)]
    for rank, tensors in enumerate(of_ranks):
        for name, values in whole.items():
            flat, share = values.reshape(-1), -(-values.numel() // ranks)
            if part := flat[rank * share : (rank + 1) * share].tolist():
                tensors["fp32", name, rank * share] = torch.tensor(part)
                tensors["exp_avg", name, rank * share] = torch.zeros(len(part))
    write_first_fragments(directory, of_ranks, shapes, 5.0)
    return whole


def test_the_mean_of_states_of_any_topology_is_torchs_mean_of_a_stack(tmp_path: Path) -> None:
    places = [tmp_path / f"step-{number}" for number in range(10)]
    states = [state(place, number, 1 + number % 3) for number, place in enumerate(places)]
    with open_mean(places) as mean:
        assert list(mean.shapes) == list(SHAPES)
        for name in SHAPES:
            expected = torch.stack([each[name].double() for each in states]).mean(0).float()
            assert torch.equal(mean.read(name), expected)


@pytest.mark.parametrize(("ranks", "shard_bytes"), [(1, 10**9), (1, 300), (3, 300), (4, 1)])
def test_written_by_any_number_of_ranks_it_is_the_same_mean_without_moments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int, shard_bytes: int
) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    states = [state(place, number, 2) for number, place in enumerate(places)]
    monkeypatch.setattr(merge, "SHARD_BYTES", shard_bytes)
    (target := tmp_path / "mean").mkdir()
    written = [write_mean(places, target, rank, ranks) for rank in range(ranks)]
    (target / "index.json").write_text(written[-1][0].text())
    segments = sorted((segment for _, share in written for segment in share), key=lambda each: each.file)
    assert [each.file for each in segments] == sorted(path.name for path in target.glob("*.safetensors"))
    assert [each.sha256 for each in segments] == [sha256_file(target / each.file) for each in segments]
    assert len(segments) == (1 if shard_bytes == 10**9 else 4 if shard_bytes == 1 else 2)
    with open_state(target, SHAPES) as mean:
        for name in SHAPES:
            assert torch.equal(mean.read(name), ((states[0][name].double() + states[1][name]) / 2).float())
        with pytest.raises(CheckpointError, match="lacks elements 0 to 64 of exp_avg"):
            mean.read("layer.0.weight", "exp_avg")


def test_the_mean_of_one_state_is_the_state(tmp_path: Path) -> None:
    whole = state(tmp_path / "one", 7, 2)
    with open_mean([tmp_path / "one"]) as mean:
        assert all(torch.equal(mean.read(name), values) for name, values in whole.items())


def test_states_of_different_models_have_no_mean(tmp_path: Path) -> None:
    state(tmp_path / "one", 7, 2)
    state(tmp_path / "other", 7, 1, SHAPES | {"norm.weight": [9]})
    with (
        pytest.raises(CheckpointError, match=r"norm.weight is \[9\] there and \[8\] in the model"),
        open_mean([tmp_path / "one", tmp_path / "other"]),
    ):
        pass


def test_names_are_divided_in_their_order() -> None:
    assert shards_of({"a": 4, "b": 6, "c": 20, "d": 1}, 10) == [["a", "b"], ["c"], ["d"]]
