"""Where everything lies in a run directory. Names only: nothing here reads, writes or imports more than pathlib."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class PathLayout:
    """The directory of one learning-rate path."""

    directory: Path

    @property
    def path_json(self) -> Path:
        """Identity: parent, schedule, data stage, hashes."""
        return self.directory / "path.json"

    @property
    def checkpoints(self) -> Path:
        """Periodic checkpoints, which `prune` may remove."""
        return self.directory / "checkpoints"

    @property
    def branch_points(self) -> Path:
        """Pinned checkpoints, which nothing removes."""
        return self.directory / "branch_points"

    @property
    def ledger(self) -> Path:
        """One append-only file an attempt, evaluations among its records."""
        return self.directory / "ledger"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def model(self) -> Path:
        """The released model as a Hugging Face directory."""
        return self.directory / "model"

    def model_of(self, step: int) -> Path:
        """The same of a step that is no release: an undecayed branch point, say."""
        return self.directory / f"model-step-{step:08d}"


@dataclass(frozen=True)
class RunLayout:
    """The directory of one plan: runs/<plan>."""

    run_dir: Path

    @property
    def plan_json(self) -> Path:
        return self.run_dir / "plan.json"

    @property
    def ledger(self) -> Path:
        """Of the run itself: what is done beside training, such as exports."""
        return self.run_dir / "ledger"

    @property
    def report_dir(self) -> Path:
        return self.run_dir / "report"

    @property
    def launch(self) -> Path:
        """What the processes of concurrent jobs print, and the environment of workers on other hosts."""
        return self.run_dir / "launch"

    def rehearsal(self, name: str) -> Path:
        """Where the stages of a synthetic rehearsal set are kept; the set itself lies with the data."""
        return self.run_dir / "rehearsal" / name

    def path(self, name: str) -> PathLayout:
        """The layout of path `name`. ValueError if the name would lead elsewhere."""
        if not name or name.startswith(".") or "/" in name or "\\" in name:
            raise ValueError(f"{name!r} is no name of a path")
        return PathLayout(self.run_dir / name)
