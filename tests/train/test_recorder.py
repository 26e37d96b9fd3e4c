"""What rank 0 writes down."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lrps.ledger.heldout_metrics import HeldoutMetrics, parse_heldout
from lrps.ledger.metrics import read_metrics
from lrps.ledger.metrics_check import metrics_fault
from lrps.ledger.reader import EvaluationKey, evaluations, read_ledger
from lrps.ledger.totals import total
from lrps.paths.graph import Segment, SourceRange, TrainingPath
from lrps.paths.schedule import constant
from lrps.paths.usage import Usage
from lrps.plan.origin import Origin
from lrps.store.layout import PathLayout
from lrps.store.row_losses import read_row_losses
from lrps.track.console import TrainingConsole
from lrps.train.account import Account, DeviceClock, Rate
from lrps.train.evaluate import HeldoutResult
from lrps.train.recorder import Recorder, scheduler_facts

PATH = TrainingPath("main", "main", None, 0, 7, constant(0, None, 0.5), (Segment(7, (SourceRange("v1", 0, 14),)),))


def recorder(layout: PathLayout, since: float | None = None) -> Recorder:
    clock = DeviceClock() if since is None else DeviceClock(since)
    account = Account(Rate(16, 3, 2), clock, lambda step: Usage(16 * step), reached=0)
    return Recorder(
        PATH,
        layout,
        TrainingConsole(7),
        account,
        log_every_steps=3,
    )


def train(book: Recorder, losses: list[float]) -> None:
    book.start(Origin("start", 0, None), {"device": "cpu"})
    for step, loss in enumerate(losses, 1):
        book.step(step, loss, lr=0.5, grad_norm=2.0, seconds=0.25)


def test_an_attempt_is_booked_whole(tmp_path: Path) -> None:
    layout = PathLayout(tmp_path / "main")
    with recorder(layout, since=time.monotonic() - 100) as book:
        train(book, [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
        book.before_save()
        with book.account.booking("saving_seconds"):
            time.sleep(0.01)
        result = {"loss": 2.0, "bits_per_byte": 3.0, "rows": 1, "tokens": 5, "manifest_sha256": "m"}
        book.evaluation(7, {"v1": HeldoutResult(result, [1.5, 2.5])})
        book.stop("complete")
    records = list(read_ledger(layout.ledger))
    assert [record.kind for record in records] == ["start", *["heartbeat"] * 3, "evaluation", "stop"]
    sums = total(records)
    assert (sums.spent.steps, sums.spent.tokens, sums.spent.flops) == (7, 112, 336)
    assert sums.spent.training_seconds == pytest.approx(7 * 0.25 * 2)
    assert sums.spent.allocated_seconds > 200, "both processes, from the launch on"
    assert 200 < sums.spent.starting_seconds < sums.spent.allocated_seconds
    assert sums.spent.saving_seconds >= 0.02
    found = evaluations(records)[EvaluationKey(7, "v1")]
    assert found.loss == 2.0
    losses = read_row_losses(layout.row_losses(7, "v1"), found.row_losses_sha256)
    assert losses is not None
    assert list(losses) == [1.5, 2.5]
    assert sums.state == "complete"
    heldout = [found for line in layout.metrics.read_bytes().splitlines(True) if (found := parse_heldout(line))]
    assert heldout == [HeldoutMetrics({"v1": {"loss": 2.0, "bits_per_byte": 3.0, "rows": 1}}, 7, 112, "raw")]
    assert metrics_fault(layout.metrics, layout.ledger) is None


def test_a_logged_loss_is_the_mean_since_the_line_before(tmp_path: Path) -> None:
    with recorder(PathLayout(tmp_path / "main")) as book:
        train(book, [7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
        book.before_save()
        book.before_save()
    metrics = read_metrics(PathLayout(tmp_path / "main").metrics)
    assert [(m.step, m.loss, m.tokens) for m in metrics] == [(3, 6.0, 48), (6, 3.0, 96), (7, 1.0, 112)]
    assert metrics[0].tokens_per_second == pytest.approx(16 / 0.25)


def test_what_goes_wrong_is_in_the_ledger(tmp_path: Path) -> None:
    book = recorder(PathLayout(tmp_path / "main"))
    train(book, [7.0])
    error = RuntimeError("a shard vanished")
    book.__exit__(RuntimeError, error, None)
    last = list(read_ledger(PathLayout(tmp_path / "main").ledger))[-1]
    assert (last.kind, last.step, last.facts) == ("failure", 1, {"error": "RuntimeError: a shard vanished"})


def test_the_job_of_a_cluster_is_told() -> None:
    assert scheduler_facts({}) == {}
    assert scheduler_facts({"SLURM_JOB_ID": "7"}) == {"slurm": {"job_id": "7", "restarts": 0}}
    again = {"SLURM_JOB_ID": "7", "SLURM_RESTART_COUNT": "2"}
    assert scheduler_facts(again) == {"slurm": {"job_id": "7", "restarts": 2}}
