"""The laws of resume and fork, bit for bit, on real DeepSpeed ranks:

run(a + b) = run(a), resume, run(b);  a branch of constant-then-decay = the straight warm-up, stable and decay run;
a fork changes no byte of its parent.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from lrps.audit.run import audit_run
from lrps.config.loader import load_config
from lrps.data.open_source import open_source
from lrps.engine.metrics_sync import MetricsSync, StepResult
from lrps.engine.model import build_model
from lrps.engine.sequence.grid import RankGrid
from lrps.ledger.metrics import read_metrics
from lrps.ledger.reader import EvaluationKey, evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.plan.origin import Origin
from lrps.plan.plan import make_plan
from lrps.store.checkpoints import find, open_checkpoint
from lrps.store.identity import weights_digest
from lrps.store.layout import PathLayout
from lrps.store.row_losses import read_row_losses
from lrps.train.path_start import PathStart
from lrps.train.trainer import Trainer
from support.assembled_state import adam_step, assembled
from support.preloaded import run_ranks
from support.raw_evaluations import raw_evaluations

pytestmark = pytest.mark.slow

WORKER = Path(__file__).with_name("laws_worker.py")
QUICK = ("zero1", "zero3", "from_state", "documents")
"""Cases that `make test` runs; `make test-long` runs all of them."""
CASES: list[dict[str, Any]] = [
    {"name": f"zero{stage}", "settings": [f"engine.zero_stage={stage}", *more]}
    for stage, more in (
        (0, []),
        (1, []),
        (2, ["batch.micro_sequences=1"]),
        (3, ["model.architecture.attention_dropout=0.2", "average={ema: {}}"]),
    )
] + [
    {"name": "bf16", "settings": ["engine.precision=bf16", "checkpoint.asynchronous=false"]},
    {"name": "from_hf", "settings": ["model={checkpoint: HF}", "engine.zero_stage=3"]},
    {"name": "from_state", "settings": ["model.initial_state=STATE/step-00000028", "engine.zero_stage=2"]},
    {"name": "documents", "settings": ["data.attention_across_documents=false", "batch.micro_sequences=1"]},
]
ALL = {case["name"]: case for case in CASES}


@dataclass(frozen=True)
class Laws:
    """Runs that the worker made: `root`/CASE/runs, `root`/CASE/resumed."""

    root: Path
    cases: tuple[str, ...]


EVERY = [pytest.param((ranks, tuple(ALL)), id=f"{ranks}, every case", marks=pytest.mark.long) for ranks in (1, 2)]
every_case = pytest.mark.parametrize("laws", EVERY, indirect=True, scope="module")


@pytest.fixture(scope="module", params=[pytest.param((2, QUICK), id="2"), *EVERY])
def laws(request: pytest.FixtureRequest, tiny_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Laws:
    """The runs of some cases on some ranks, made in one process group."""
    ranks, names = request.param
    root = tmp_path_factory.mktemp(f"laws{ranks}")
    (root / "config.yaml").write_text(tiny_config.read_text())
    save_hf_checkpoint(root / "hf")
    cases = json.dumps([ALL[name] for name in names])
    (root / "cases.json").write_text(cases.replace("HF", str(root / "hf")).replace("STATE", str(root / "state")))
    run_ranks(WORKER, root, logs=root, groups=(ranks,))
    return Laws(root, names)


def save_hf_checkpoint(directory: Path) -> None:
    """A small llama with other weights than the seed of the config gives."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 257, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
    others = {"num_attention_heads": 2, "max_position_embeddings": 64, "eos_token_id": 0}
    config = LlamaConfig(**sizes, **others, initializer_range=0.3)
    LlamaForCausalLM(config).save_pretrained(directory)


def state(layout: PathLayout, step: int) -> dict[str, np.ndarray]:
    """Every fp32 weight and moment of a checkpoint, whole: name -> 1-D array."""
    return {key: values.numpy() for key, values in assembled(find(layout, step).directory).items()}


def assert_equal_states(a: dict[str, np.ndarray], b: dict[str, np.ndarray], case: str) -> None:
    assert a.keys() == b.keys()
    assert len(a) > 30
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=f"{case}: {key}")


def losses(layout: PathLayout) -> dict[int, float]:
    return {metrics.step: metrics.loss for metrics in read_metrics(layout.metrics)}


def test_resume_is_exact(laws: Laws) -> None:
    for case, (name, stop) in product(laws.cases, (("main", 28), ("straight-v1", 20))):
        whole = PathLayout(laws.root / case / "runs" / "tiny" / name)
        resumed = PathLayout(laws.root / case / "resumed" / "tiny" / name)
        attempts = list(read_ledger(resumed.ledger))
        origins = [record.facts["origin"] for record in attempts if record.kind == "start"]
        assert origins == ["start", "resume"], f"{case}: it did go on from a checkpoint"
        assert [record.step for record in attempts if record.kind == "start"] == [0, 6], case
        assert total(attempts).spent.steps == stop, f"{case}: no step was trained twice"
        assert_equal_states(state(whole, stop), state(resumed, stop), case)
        assert losses(whole) == losses(resumed), case


def test_evaluations_of_the_main_path_are_recorded_sequence_by_sequence(laws: Laws) -> None:
    """That they change no bit is what `test_resume_is_exact` shows: the runs that it compares differ in them."""
    for case in laws.cases:
        whole, resumed = (PathLayout(laws.root / case / runs / "tiny" / "main") for runs in ("runs", "resumed"))
        assert [step for step, _ in raw_evaluations(read_ledger(whole.ledger)) if step] == [], case
        found = raw_evaluations(read_ledger(resumed.ledger))
        assert sorted({step for step, _ in found if step}) == [3, 6, 8, 9, 12, 15, 18, 21, 24, 27, 28], case
        for (step, version), each in found.items():
            losses = read_row_losses(resumed.row_losses(step, version), each.row_losses_sha256)
            assert losses is not None, case
            assert len(losses) == each.rows, case
            assert np.mean(losses) == pytest.approx(each.loss, rel=1e-5), case


def test_losses_of_sequences_are_in_the_order_of_the_set_on_any_number_of_ranks(laws: Laws) -> None:
    config = load_config(laws.root / "config.yaml")
    plan, layout = make_plan(config), PathLayout(laws.root / "zero1" / "resumed" / "tiny" / "main")
    weights = {key: value for key, value in state(layout, 8).items() if key.startswith("fp32|")}
    model = build_model(config.model, seed=0).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[f"fp32|{name}"]).view_as(parameter))
        ids = open_source(plan.heldout["v2"], config.data, seed=0).read(np.arange(plan.heldout_rows("v2")))
        rows = torch.from_numpy(ids.astype(np.int64))
        expected = [float(model(input_ids=row[None], labels=row[None]).loss) for row in rows]
    sha256 = raw_evaluations(read_ledger(layout.ledger))[8, "v2"].row_losses_sha256
    np.testing.assert_allclose(read_row_losses(layout.row_losses(8, "v2"), sha256), expected, rtol=1e-5)


def test_a_branch_is_the_straight_run(laws: Laws) -> None:
    for case in laws.cases:
        run = laws.root / case / "runs" / "tiny"
        main, branch, straight = (PathLayout(run / name) for name in ("main", "branch-v1", "straight-v1"))
        switched = {step: loss for step, loss in losses(main).items() if step <= 8} | losses(branch)
        assert switched == losses(straight), case
        assert sorted(switched) == list(range(1, 21)), case
        assert_equal_states(state(branch, 20), state(straight, 20), case)


def test_a_fork_changes_no_byte_of_its_parent(laws: Laws) -> None:
    for case in laws.cases:
        before, after = json.loads((laws.root / case / "parent.json").read_text())
        assert before == after, case
        assert any(name.startswith("branch_points/step-00000028/") for name in before), case


@every_case
def test_a_model_that_starts_from_a_checkpoint_is_known_by_its_weights(laws: Laws) -> None:
    case = laws.root / "from_hf" / "runs" / "tiny"
    identity = json.loads((case / "main" / "path.json").read_text())["training"]
    assert identity["initial_weights"] == weights_digest(laws.root / "hf")
    first = losses(PathLayout(case / "main"))[1]
    scratch = losses(PathLayout(laws.root / "zero1" / "runs" / "tiny" / "main"))[1]
    assert abs(first - scratch) > 0.05, "it did not start from the seed"
    (weights,) = (laws.root / "hf").glob("*.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert weights_digest(laws.root / "hf") != identity["initial_weights"]
    weights.write_bytes(whole)


def test_a_plan_goes_on_from_a_state_that_was_trained_elsewhere(laws: Laws) -> None:
    began, donor = laws.root / "state" / "step-00000028", laws.root / "zero1" / "runs" / "tiny" / "main"
    run = laws.root / "from_state" / "runs" / "tiny"
    digest = open_checkpoint(began).manifest["digest"]
    for name in ("main", "straight-v1"):
        first = next(iter(read_ledger(PathLayout(run / name).ledger)))
        assert (first.facts["origin"], first.step, first.facts["initial_state"]) == ("start", 0, digest)
    written = json.loads((run / "main" / "path.json").read_text())
    assert (written["training"]["initial_weights"], written["initial_state"]["step"]) == (digest, 28)
    assert written["initial_state"]["origin"]["tag"] == "global_step28_universal"
    held = adam_step(find(PathLayout(run / "main"), 8).directory)
    assert held == 28 + 8, "the count of Adam goes on, that of the plan begins"
    scratch, trained = losses(PathLayout(donor)), losses(PathLayout(run / "main"))
    assert trained[1] < scratch[1] - 1.0
    audit = audit_run(run)
    assert (audit.ok, audit.differences) == (True, ())


@every_case
@pytest.mark.parametrize("case", ["from_hf", "from_state"])
def test_the_model_that_a_plan_starts_from_is_evaluated_and_nothing_else_changes(laws: Laws, case: str) -> None:
    run = laws.root / case / "runs" / "tiny"
    found = {name: evaluations(read_ledger(PathLayout(run / name).ledger)) for name in ("main", "straight-v1")}
    assert [key.heldout for key in found["main"] if key.step == 0] == ["v1", "v2"]
    # So the law of the branch compares a lineage with the evaluation and a run without it.
    assert [key.heldout for key in found["straight-v1"] if key.step == 0] == []
    assert found["main"][EvaluationKey(0, "v1")].loss == pytest.approx(losses(PathLayout(run / "main"))[1], abs=0.5)
    digest = json.loads((run / "main" / "path.json").read_text())["training"]["initial_weights"]
    assert found["main"][EvaluationKey(0, "v1")].initial_weights == digest


def test_a_state_of_another_model_is_refused_before_a_step(laws: Laws) -> None:
    told = (laws.root / "refused.txt").read_text()
    assert "parameter model.embed_tokens.weight is [257, 16] there and [257, 32] in the model" in told
    assert list((laws.root / "refused").rglob("step-*")) == []


def test_the_clock_of_rank_0_saves_too(tiny_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(load_config(tiny_config, ["checkpoint={every_minutes: 2}"]))
    seen: list[bool] = []

    def sync_metrics(*, save_due: bool, **_: Any) -> MetricsSync:
        seen.append(save_due)
        due = save_due or other_rank_due
        return MetricsSync(
            (StepResult(1.0, 1.0),), stop=False, written=False, save_due=due, steps_until_sync=1, failure=None
        )

    def train_step(*_: Any, **__: Any) -> bool:
        now[0] += lasts[0]
        return True

    grid = RankGrid(rank=0, ranks=1)
    engine: Any = SimpleNamespace(rank=0, world_size=1, grid=grid, train_step=train_step, sync_metrics=sync_metrics)
    data: Any = SimpleNamespace(batch=lambda *_: None)
    request: Any = SimpleNamespace(seen=False)
    recorder: Any = SimpleNamespace(step=lambda *_: None)
    now, lasts, other_rank_due = [1000.0], [0.0], False
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    start = PathStart(Origin("start", 0, None), 28, {}, ())
    first, other = (
        Trainer(
            plan.config,
            plan.graph.by_name["main"],
            plan.layout,
            engine,
            data,
            start,
            training_sha256=plan.training_sha256,
            heldout={},
            stop_request=request,
            recorder=each,
        )
        for each in (recorder, None)
    )
    for minute, seconds, saves in ((0, 0, False), (1.9, 0, False), (2, 0, True), (1, 90, True)):
        now[0], lasts[0] = 1000.0 + 60 * minute, seconds
        first._train_step()
        assert (seen[-1], first._saves_now()) == (saves, saves), "by the clock at the sync, after the step"
    lasts[0] = 0.0
    other._train_step()
    assert (seen[-1], other._saves_now()) == (False, False), "its own clock says nothing"
    other_rank_due = True
    other._train_step()
    assert (seen[-1], other._saves_now()) == (False, True), "rank 0 has said so"


def test_training_does_something(laws: Laws) -> None:
    main = losses(PathLayout(laws.root / "zero1" / "runs" / "tiny" / "main"))
    assert main[28] < main[1] - 1.0


def test_attention_within_documents_is_another_training(laws: Laws) -> None:
    across, within = (laws.root / case / "runs" / "tiny" / "main" for case in ("zero1", "documents"))
    one, other = losses(PathLayout(across)), losses(PathLayout(within))
    apart = [abs(one[step] - other[step]) for step in one]
    assert 1e-4 < max(apart) < 1.0
    trained = [json.loads((path / "path.json").read_text())["training"] for path in (across, within)]
    assert "attention_across_documents" not in trained[0]
    assert trained[1] == {**trained[0], "attention_across_documents": False}


@every_case
def test_zero_stages_agree(laws: Laws) -> None:
    reference = losses(PathLayout(laws.root / "zero1" / "runs" / "tiny" / "main"))
    for case in ("zero0", "zero2"):
        other = losses(PathLayout(laws.root / case / "runs" / "tiny" / "main"))
        assert other == pytest.approx(reference, abs=1e-3)
