"""`lrps data build` with datatrove as the engine, for those who schedule their data work with it.

    pip install 'lrps[datatrove]'
    python tools/datatrove_tokenize.py configs/my.yaml --tasks 64 --workers 8

Every task makes its share of the parts of every version, the same parts as `lrps data tokenize` makes; then the parts
are packed here. Manifests and shards are byte for byte those of any other engine. datatrove marks each task that is
complete in LOGS/completions, so the same command goes on after an interruption.

On Slurm or Ray run the pipeline of `pipeline(...)` in their executors, and pack when they are done:

    from datatrove_tokenize import pipeline      # PYTHONPATH=tools
    from datatrove.executor import SlurmPipelineExecutor
    SlurmPipelineExecutor(pipeline("configs/my.yaml"), tasks=64, time="04:00:00", partition="cpu",
                          logging_dir="logs/tokenize", venv_path=".venv/bin/activate").run()
    from datatrove.executor import RayPipelineExecutor           # pip install ray; on a node of the cluster
    RayPipelineExecutor(pipeline("configs/my.yaml"), tasks=64, logging_dir="logs/tokenize").run()

    lrps data finalize configs/my.yaml

Both need lrps, the config, its text and data.root at the same paths on all nodes. Slurm wants `sbatch` on the machine
that calls it, one CPU a task and about 2 GB; Ray wants a running cluster. Train the tokenizer before (this script does
it first of all; `lrps data build` of a small version does it too). lrps needs no datatrove for job arrays:
see launch/tokenize.sbatch.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from lrps.base.errors import LrpsError
from lrps.config.loader import load_config
from lrps.data.build.build import finalize_data, tokenize_data, version_texts
from lrps.data.build.tokenize import Share


class TokenizeParts(PipelineStep):
    """Makes the parts rank + 1 of world_size shares of every version. Reads no documents and yields none."""

    name = "lrps parts"
    type = "TOKENIZER"

    def __init__(self, config_file: str, overrides: Sequence[str] = ()) -> None:
        super().__init__()
        self.config_file = config_file
        self.overrides = tuple(overrides)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Any:  # noqa: ARG002  (there is no step before)
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the tasks are the parallelism
        with self.track_time():
            tokenize_data(load_config(Path(self.config_file), self.overrides), (), Share(rank + 1, world_size), 1)


def pipeline(config_file: str, overrides: Sequence[str] = ()) -> list[PipelineStep]:
    """The pipeline for any executor of datatrove, with any number of tasks."""
    return [TokenizeParts(str(Path(config_file).absolute()), overrides)]


def tokenize_here(config_file: str, overrides: Sequence[str], tasks: int, workers: int, logs: Path | None) -> None:
    """Tokenize with the local executor, then pack."""
    config = load_config(Path(config_file), overrides)
    version_texts(config)  # trains the tokenizer once and not in every task
    logs = logs or config.data.root / ".datatrove" / f"{tasks}-tasks"
    LocalPipelineExecutor(pipeline(config_file, overrides), tasks, workers, str(logs)).run()
    try:
        finalize_data(config)
    except LrpsError:
        # A part is missing or damaged, or the config was changed: the marks vouch for nothing any more.
        shutil.rmtree(logs / "completions", ignore_errors=True)
        raise
    shutil.rmtree(logs / "completions", ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    cores = len(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--set", "-s", metavar="KEY=VALUE", action="append", default=[], dest="overrides")
    parser.add_argument("--tasks", type=int, default=cores, help="shares of the work (default: the number of cores)")
    parser.add_argument("--workers", type=int, default=cores, help="tasks at a time (default: the number of cores)")
    parser.add_argument("--logs", type=Path, help="datatrove's logs and marks (default: below data.root)")
    options = parser.parse_args(arguments)
    try:
        tokenize_here(options.config, options.overrides, options.tasks, options.workers, options.logs)
    except LrpsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
