"""The names of all files and folders of a run directory. Nothing here reads a file or writes one."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

RELEASE_FACTS = "lrps.json"
"""Last file of a released model, with its facts and with size and SHA-256 of every other file."""

HELDOUT = "heldout"
"""Name of the folder of a path with the losses of held-out sequences."""


@dataclass(frozen=True)
class PathLayout:
    """The layout of the directory of one training path."""

    directory: Path

    @property
    def path_json(self) -> Path:
        """File with the identity of the path: parent, schedule, data, hashes."""
        return self.directory / "path.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of periodic checkpoints, which `prune` may remove."""
        return self.directory / "checkpoints"

    @property
    def branch_points(self) -> Path:
        """Folder of pinned checkpoints, which nothing removes."""
        return self.directory / "branch_points"

    @property
    def merged(self) -> Path:
        """Folder of released merges: means of the weights of several states, which nothing is trained from."""
        return self.directory / "merged"

    @property
    def ledger(self) -> Path:
        """Folder with one append-only file per attempt."""
        return self.directory / "ledger"

    @property
    def metrics(self) -> Path:
        """File with the metrics of logged steps, one JSON object per line."""
        return self.directory / "metrics.jsonl"

    def row_losses(self, step: int, heldout: str, form: str | None = None) -> Path:
        """Return the file with the loss of every sequence of a held-out set, of the state after a step.

        form: form of the weights if they are not raw, such as `ema`.
        """
        return self.directory / HELDOUT / f"step-{step:08d}{'' if form is None else f'.{form}'}-{heldout}.f32"

    @property
    def profile(self) -> Path:
        """Folder of the traces of the profiler, which nothing reads, copies or removes."""
        return self.directory / "profile"

    @property
    def model(self) -> Path:
        """Folder of the released model in the format of Hugging Face."""
        return self.directory / "model"

    def abandoned(self, amendment: int) -> PathLayout:
        """Return the layout of the states that an amendment of this number abandoned; its folder has nothing else."""
        return PathLayout(self.directory / "abandoned" / str(amendment))

    def model_of(self, step: int, form: str | None = None) -> Path:
        """Return the folder of the exported model of a step, such as an undecayed branch point.

        form: form of the weights if they are not raw, such as `merge`.
        """
        return self.directory / f"model{'' if form is None else f'-{form}'}-step-{step:08d}"


@dataclass(frozen=True)
class RunLayout:
    """The layout of the directory of one run: runs/<plan>."""

    run_dir: Path

    @property
    def plan_json(self) -> Path:
        """File with the plan as it was last run."""
        return self.run_dir / "plan.json"

    @property
    def run_json(self) -> Path:
        """File with the mark of the run, made with its first path."""
        return self.run_dir / "run.json"

    @property
    def ledger(self) -> Path:
        """Folder of the run's own ledger, for work other than training, such as exports."""
        return self.run_dir / "ledger"

    @property
    def examination(self) -> Path:
        """File with the verdict on the model, so that it is examined once."""
        return self.run_dir / "examination.json"

    @property
    def report_dir(self) -> Path:
        """Folder of the report."""
        return self.run_dir / "report"

    @property
    def launch(self) -> Path:
        """Folder of the output of concurrent jobs, and of the environment of workers on other hosts."""
        return self.run_dir / "launch"

    @property
    def answers(self) -> Path:
        """Folder of the answers that released models gave on instruction pairs, by `lrps score`."""
        return self.run_dir / "answers"

    def rehearsal(self, name: str) -> Path:
        """Return the folder of the stages of a synthetic rehearsal set; the set itself is stored with the data."""
        return self.run_dir / "rehearsal" / name

    def path_names(self) -> frozenset[str]:
        """Return the names of the directories of paths that exist, in this plan or another; one look for them all."""
        with suppress(FileNotFoundError), os.scandir(self.run_dir) as entries:
            return frozenset(entry.name for entry in entries if entry.is_dir())
        return frozenset()

    def path(self, name: str) -> PathLayout:
        """Return the layout of path `name`. Raises ValueError for a name that leads out of the run directory."""
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise ValueError(f"{name!r} is not a valid name of a path")
        return PathLayout(self.run_dir / name)
