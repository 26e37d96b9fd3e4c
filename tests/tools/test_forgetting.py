"""tools/forgetting.py: its tasks, its table and claims, and a small real experiment with a tiny model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.rehearsal_models import save_model, tiny_model

REPOSITORY = Path(__file__).parents[2]
PLAIN = {
    "model_type": "llama",
    "vocab_size": 257,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def tool() -> Iterator[Any]:
    """The tool's modules, imported as it imports them."""
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        import forgetting
        import forgetting_tasks

        yield type("Tools", (), {"main": forgetting, "tasks": forgetting_tasks})
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))


def test_no_test_pair_is_trained_on_and_a_seed_gives_the_same_pairs(tool: Any, tmp_path: Path) -> None:
    for name, pairs in (("one", 300), ("two", 300), ("fewer", 30)):
        tool.tasks.write_tasks(tmp_path / name, pairs, 200)
    for task in tool.tasks.TASKS:
        trained, tested = (
            [json.loads(line) for line in (tmp_path / "one" / f"{task.name}{end}.jsonl").read_text().splitlines()]
            for end in ("", "-test")
        )
        assert (len(trained), len(tested)) == (300, 200)
        assert len({each["input"] for each in (*trained, *tested)}) == 500
        assert {each["task"] for each in (*trained, *tested)} == {task.definition}
        assert all(len(each["output"].split()) > 3 for each in trained)
        files = [(tmp_path / name / f"{task.name}.jsonl").read_text() for name in ("one", "two", "fewer")]
        assert files[0] == files[1]
        assert files[0].startswith(files[2])


def test_the_test_pairs_show_five_points(tool: Any) -> None:
    assert tool.main.pairs_needed(5.0, 3) == 257
    assert tool.main.pairs_needed(5.0, 1) == 769
    assert tool.main.pairs_needed(2.5, 3) == 1025


def outcome(tool: Any, backward: float) -> Any:
    return tool.main.Outcome({"rouge_l": 50.0, "loss": 1.0}, {"rouge_l": backward, "loss": 0.5})


def test_the_table_shows_what_is_missing_and_claims_have_fixed_words(tool: Any) -> None:
    found = {
        seed: {
            "cpt": outcome(tool, -40.0 - seed),
            "cpt-replay": outcome(tool, -5.0 - seed),
            "cpt-random": outcome(tool, -5.5 - seed),
            **({"cpt-kmeans": outcome(tool, -9.0)} if seed == 1 else {}),
        }
        for seed in (1, 2, 3)
    }
    names = ["cpt", "cpt-replay", "cpt-random", "cpt-kmeans", "cpt-unrefined"]
    page = tool.main.page(found, names, dict.fromkeys(names, 1234))
    assert "| cpt | 1,234 | 50.0 ± 0.0 | -42.0 ± 1.0 | 1.000 ± 0.000 | 0.500 ± 0.000 | 3 of 3 |" in page
    assert "| cpt-kmeans | 1,234 | 50.0 | -9.0 | 1.000 | 0.500 | 1 of 3 |" in page
    assert "| cpt-unrefined | 1,234 | missing | missing | missing | missing | 0 of 3 |" in page
    assert "- BWT of cpt-replay against cpt: better: shown\n" in page
    assert "- BWT of cpt-random against cpt-replay: worse: shown; equal within 5 %\n" in page
    assert "- BWT of cpt-kmeans against cpt: not shown, needs more than one seed\n" in page
    assert "- BWT of cpt-unrefined against cpt: missing\n" in page


def run(tool: Any, folder: Path, *more: str) -> int:
    """Run the tool with a tiny model of bytes, and few pairs that its shards hold."""
    model = folder / "model"
    if not model.exists():
        save_model(model, tiny_model(1, plain=PLAIN))
    settings = [f"--set=data.{each}" for each in ("sequence_length=128", "heldout_share=0.3")]
    settings.append("--set=batch.sequences=4")
    settings += [f"--set=data.versions.{k}.epochs=1" for k in range(3)]
    settings += [f"--set=evaluation.tasks.{k}.max_new_tokens=4" for k in range(3)]
    where = [f"--model={model}", f"--data={folder / 'data'}", f"--runs={folder / 'runs'}"]
    config = str(REPOSITORY / "configs" / "rehearsal.yaml")
    return tool.main.main([config, *where, "--seeds=1", "--pairs=24", "--test-pairs=3", *settings, *more])


@pytest.mark.slow
@pytest.mark.long
def test_a_small_experiment_and_a_second_call_does_nothing(
    tool: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("rouge_score", reason="rouge-score is not installed: pip install 'lrps[eval]'")
    chosen = "--paradigms=cpt,cpt-replay"
    assert run(tool, tmp_path, chosen, "--plan") == 0
    assert "steps to train in 1 runs" in capfd.readouterr().out
    assert run(tool, tmp_path, chosen, "--show") == 0
    assert "| cpt-replay |" in (shown := capfd.readouterr().out)
    assert "| missing | missing | missing | missing | 0 of 1 |" in shown
    assert run(tool, tmp_path, chosen) == 0
    assert "missing" not in (first := capfd.readouterr().out).split("| paradigm |")[1]
    records = json.loads((tmp_path / "runs" / "rehearsal-results" / "forgetting.json").read_text())
    assert {record["paradigm"] for record in records} == {"cpt", "cpt-replay"}
    assert run(tool, tmp_path, chosen) == 0
    again = capfd.readouterr().out
    assert "nothing to train in these cells; 0 of them have something left to evaluate" in again
    assert again.split("| paradigm |")[1] == first.split("| paradigm |")[1]
