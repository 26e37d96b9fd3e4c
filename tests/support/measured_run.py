"""A small finished run without training: ledgers, metrics and checkpoints, written by the real writers.

Times and losses come from formulas that a test can repeat. There are no shards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest

from lrps.base.files import atomic_write_json
from lrps.config.models import Config
from lrps.ledger.metrics import Metrics, MetricsWriter
from lrps.ledger.reader import RAW
from lrps.ledger.records import FORMAT, Counters
from lrps.ledger.writer import LedgerWriter
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan, make_plan
from lrps.store.checkpoints import begin, fsync_and_hash, publish
from lrps.store.layout import PathLayout

STEPS = 500
ROW_TOKENS, BATCH = 64, 4
SECONDS_A_STEP = 0.036
"""100,000 steps are one hour."""
STARTING_SECONDS, SAVING_SECONDS = 10.0, 2.0

MakePlan = Callable[..., Plan]


def config(root: Path, *, versions: int = 4, steps: int = STEPS, **changes: Any) -> Config:
    """Return a config with path switching, PTFS and CPT over equal versions, without shards."""
    tokens = steps * BATCH * ROW_TOKENS
    values: dict[str, Any] = {
        "name": "small",
        "runs": root / "runs",
        "model": {
            "architecture": {"model_type": "llama", "vocab_size": 257, "hidden_size": 128},
            "parameters": 460_000,
        },
        "data": {
            "root": root / "data",
            "sequence_length": ROW_TOKENS,
            "versions": [{"name": f"v{k}", "tokens": tokens} for k in range(1, versions + 1)],
        },
        "batch": {"sequences": BATCH},
        "schedule": {"peak_lr": 3e-3, "warmup_steps": 50},
        "paradigms": {
            "path-switching": {"alpha": 0.6, "decay": "linear"},
            "ptfs": {"decay": "cosine"},
            "cpt": {"restart": "rewarm"},
        },
    }
    return Config.model_validate(values | changes)


class Run:
    """A writer of the paths of a plan, as if they had been trained."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def train(
        self,
        names: Collection[str] | None = None,
        *,
        fail_at: Mapping[str, tuple[int, int]] | None = None,
        stop_at: Mapping[str, int] | None = None,
    ) -> Run:
        """Write paths as trained to their ends, all of them by default.

        fail_at: path -> (step that it reaches before it fails, step of the checkpoint that it resumes from).
        stop_at: path -> step at which it is interrupted.
        """
        for path in self.plan.graph.paths:
            if names is None or path.name in names:
                begin_at = reached = path.start
                if fail_at and path.name in fail_at:
                    reached, begin_at = fail_at[path.name]
                    self._attempt(path, path.start, reached, "failure", saved=begin_at)
                stop = (stop_at or {}).get(path.name, path.stop)
                outcome = "complete" if stop == path.stop else "interrupted"
                self._attempt(path, begin_at, stop, outcome, saved=stop, reached=reached)
        return self

    def _attempt(self, path: TrainingPath, start: int, stop: int, outcome: str, saved: int, reached: int = 0) -> None:
        """Write one attempt from step `start` to `stop`. reached: step that an earlier attempt had trained to."""
        layout = self.plan.layout.path(path.name)
        layout.directory.mkdir(parents=True, exist_ok=True)
        atomic_write_json(layout.path_json, self.plan.identity(self.plan.graph.by_name[path.name]))
        ledger, metrics = LedgerWriter(layout.ledger), MetricsWriter(layout.metrics)
        counters = Counters(allocated_seconds=STARTING_SECONDS, starting_seconds=STARTING_SECONDS)
        facts = {"format": FORMAT, "path": path.name, "path_start": path.start, "device": "cpu", "processes": 2}
        if self.plan.config.hardware and (price := self.plan.config.hardware.price_per_device_hour):
            facts["price_per_device_hour"] = price.model_dump(mode="json")
        ledger.append("start", start, counters, **facts)
        if self.plan.config.model.is_given and path == self.plan.graph.paths[0] and start == path.start:
            self._evaluate_initial_model(ledger, counters)
        # The ledger has a record of every branch point and of every logged step.
        logged = {*range(start + 10, stop, 10), *self.plan.graph.branch_points(path.name), stop}
        for step in sorted(step for step in logged if start < step <= stop):
            self._spend(counters, step - start, repeated=max(0, min(step, reached) - start))
            metrics.write(self._metrics(path, step))
            ledger.append("heartbeat", step, counters, loss=training_loss(path, step))
        if saved > path.start:
            publish_checkpoint(layout, saved, path.name)
            counters.saving_seconds += SAVING_SECONDS
            counters.allocated_seconds += SAVING_SECONDS
            ledger.append("checkpoint", stop, counters, directory=f"step-{saved:08d}", bytes=1)
        if outcome == "complete":
            self._evaluate(path, ledger, counters)
        if outcome == "failure":
            ledger.append("failure", stop, counters, error="RuntimeError: made up")
        else:
            ledger.append("stop", stop, counters, outcome=outcome)
        ledger.close()
        metrics.close()

    def _spend(self, counters: Counters, steps: int, repeated: int) -> None:
        counters.steps, counters.tokens = steps, steps * BATCH * ROW_TOKENS
        counters.repeated_steps, counters.repeated_tokens = repeated, repeated * BATCH * ROW_TOKENS
        counters.flops = counters.tokens * (self.plan.costs.flops_per_token or 0)
        counters.repeating_seconds = repeated * SECONDS_A_STEP
        counters.training_seconds = (steps - repeated) * SECONDS_A_STEP
        counters.allocated_seconds = STARTING_SECONDS + steps * SECONDS_A_STEP

    def _metrics(self, path: TrainingPath, step: int) -> Metrics:
        lr = path.schedule.lr_at(step - 1)
        return Metrics(step, step * BATCH * ROW_TOKENS, training_loss(path, step), lr, 1.0, BATCH * ROW_TOKENS / 0.018)

    def _evaluate(self, path: TrainingPath, ledger: LedgerWriter, counters: Counters) -> None:
        for release in dict.fromkeys(r for r in self.plan.graph.releases if r.path == path.name):
            for heldout in self.plan.heldout_versions(release.version):
                loss = heldout_loss(path.kind, release.version, heldout)
                facts = {"heldout": heldout, "loss": loss, "bits_per_byte": loss / 2, "rows": 1024, "tokens": 65_536}
                form = {} if release.form == RAW else {"form": release.form}
                ledger.append("evaluation", release.step, counters, manifest_sha256="0" * 64, **facts, **form)

    def _evaluate_initial_model(self, ledger: LedgerWriter, counters: Counters) -> None:
        for heldout in (increment.version for increment in self.plan.increments):
            loss = initial_loss(heldout)
            facts = {"heldout": heldout, "loss": loss, "bits_per_byte": loss / 2, "rows": 1024, "tokens": 65_536}
            ledger.append("evaluation", 0, counters, manifest_sha256="0" * 64, initial_weights="i" * 64, **facts)


def initial_loss(heldout: str) -> float:
    """Return the loss of the model that a plan starts from: better on old data than on new."""
    return 2.3 + 0.15 * int(heldout[1:])


def training_loss(path: TrainingPath, step: int) -> float:
    """Return a loss that falls with the steps and with the decay, with a small reproducible jitter."""
    lr = path.schedule.lr_at(min(step, path.stop) - 1)
    jitter = ((step * 2654435761 + len(path.name) * 40503) % 1000 / 1000 - 0.5) * 0.06
    return 1.9 + 3.6 / (1 + step / 18) ** 0.55 + 55 * lr + jitter


def heldout_loss(job: str, version: str, heldout: str) -> float:
    """Return a loss that falls with every version, is higher for data not seen yet, and with CPT for older data."""
    k, j = int(version[1:]), int(heldout[1:])
    base = (
        {"ptfs": 2.300, "branch": 2.312, "main": 2.340, "cpt": 2.330, "wsd-s": 2.321}[job]
        - 0.06 * (k - 1)
        + 0.02 * (j % 3)
    )
    forgotten = (k - j) * (0.05 if job == "cpt" else 0.006) if j < k else 0.0
    return base + forgotten + (0.11 if j > k else 0.0)


def publish_checkpoint(layout: PathLayout, step: int, name: str) -> None:
    temporary = begin(layout.checkpoints, step)
    (temporary / "weights").write_bytes(b"1")
    publish(temporary, step, {"weights": fsync_and_hash(temporary / "weights")}, {"path": name, "step": step})


@pytest.fixture
def make(tmp_path: Path) -> MakePlan:
    """A function from changes of the config to a plan whose run directory is in tmp_path and empty."""
    return lambda **changes: make_plan(config(tmp_path, **changes))


@pytest.fixture
def rehearsing(make: MakePlan, tmp_path: Path) -> Plan:
    """A plan with a rehearsal set that branches read from version 2 on, and with replay in branches and CPT."""
    data = config(tmp_path).data.model_dump()
    return make(
        data={**data, "rehearsal": [{"name": "r", "since": "v2", "tokens": 30 * ROW_TOKENS}]},
        paradigms={
            "path-switching": {"mix": {"new": 0.7, "replay": 0.1, "rehearsal": 0.2}},
            "ptfs": {},
            "cpt": {"mix": {"new": 0.9, "replay": 0.1}},
        },
    )


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A finished plan, in which cpt-v3 failed at step 1,400 and resumed from 1,250. Tests must not change it."""
    plan = make_plan(config(tmp_path_factory.mktemp("trained"), hardware=PRICED))
    Run(plan).train(fail_at={"cpt-v3": (1400, 1250)})
    return plan


PRICED = {
    "device": "cpu",
    "price_per_device_hour": {"amount": 2.0, "currency": "EUR", "source": "our contract", "date": "2026-01-31"},
}


@pytest.fixture(scope="session")
def formulas() -> Any:
    """This module: the made-up values (PRICED, training_loss, heldout_loss) and their writer (Run)."""
    return sys.modules[__name__]
