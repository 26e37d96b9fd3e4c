"""The lineage of paths as artifacts of Weights & Biases, which `lrps wandb link` adds to runs on the server.

A checkpoint becomes an artifact that refers to its directory; only the hash of its manifest is uploaded.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lrps.base.errors import CheckpointError, TrackerError
from lrps.paths.graph import TrainingPath
from lrps.plan.plan import Plan
from lrps.store.checkpoints import MANIFEST, Checkpoint, find
from lrps.store.marks import read_mark, with_mark
from lrps.track.wandb.run import run_id, unless_in_environment

ARTIFACT_TYPE = "checkpoint"


@dataclass(frozen=True)
class WandbProject:
    """The project on the server with the runs of a plan."""

    entity: str
    project: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}"


def wandb_project_of(plan: Plan, api: Any, entity: str | None, project: str | None) -> WandbProject:
    """Return the project: from the arguments, else the environment, the config, and the account of the API key."""
    settings = plan.config.track.wandb
    owner = entity or os.environ.get("WANDB_ENTITY") or settings.entity or api.default_entity
    return WandbProject(owner, project or os.environ.get("WANDB_PROJECT") or settings.project)


def link_run(plan: Plan, entity: str | None, project: str | None, say: Callable[[str], None]) -> None:
    """Make artifacts of every path's branch points and last checkpoint; its run logs them, and branches use them.

    Existing artifacts are kept, so a second call changes nothing. A separate run, <plan>-link-<mark>, creates them,
    so that the state of the paths' runs does not change. Raises TrackerError if the server refuses or is unreachable.
    """
    import wandb

    try:
        api = wandb.Api()
        target = wandb_project_of(plan, api, entity, project)
        runs: dict[str, Any] = {}
        for path in plan.graph.paths:
            if not plan.layout.path(path.name).path_json.exists():
                say(f"{path.name}: is not trained yet")
            elif (run := _run(api, target, plan, path)) is not None:
                runs[path.name] = run
            else:
                say(f"{path.name}: {target} has no run {_run_id(plan, path)}; `wandb sync` it first")
        linked = [path for path in plan.graph.paths if path.name in runs]
        with _LinkRun(plan, target) as creator:
            artifacts = {
                (path.name, checkpoint.step): creator.artifact(api, path, checkpoint)
                for path in linked
                for checkpoint in kept_checkpoints(plan, path)
            }
        for path in linked:
            say(_link_path(runs[path.name], path, artifacts))
    except (wandb.Error, OSError, ValueError) as error:
        raise TrackerError(f"wandb: {error}; see that the server and the API key are right (`wandb login`)") from error


def kept_checkpoints(plan: Plan, path: TrainingPath) -> Iterator[Checkpoint]:
    """Yield the existing checkpoints of a path's branch points and of its last step, by step."""
    for step in sorted({*plan.graph.branch_points(path.name), path.stop}):
        try:
            yield find(plan.layout.path(path.name), step)
        except CheckpointError:
            continue  # It is not trained yet.


def _run_id(plan: Plan, path: TrainingPath) -> str:
    return run_id(plan.config.name, path.name, read_mark(plan.layout.path(path.name).path_json))


def _run(api: Any, project: WandbProject, plan: Plan, path: TrainingPath) -> Any:
    """Return the path's run; None if there is none."""
    import wandb
    from wandb.apis.public.runs import RunNotFoundError

    try:
        return api.run(f"{project}/{_run_id(plan, path)}")
    except wandb.errors.CommError as error:
        if isinstance(error.exc, RunNotFoundError):
            return None
        raise


class _LinkRun:
    """The run that creates artifacts; it starts with the first missing one."""

    def __init__(self, plan: Plan, project: WandbProject) -> None:
        self._plan, self._project = plan, project
        self._run: Any = None

    def __enter__(self) -> _LinkRun:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)

    def artifact(self, api: Any, path: TrainingPath, checkpoint: Checkpoint) -> Any:
        """Return the artifact of a checkpoint on the server, which is created if it is missing."""
        import wandb

        layout, alias = self._plan.layout.path(path.name), checkpoint.directory.name
        name = with_mark(f"{self._plan.config.name}-{path.name}", read_mark(layout.path_json))
        digest = checkpoint.manifest["digest"]
        full = f"{self._project}/{name}:{alias}"
        if api.artifact_exists(full, ARTIFACT_TYPE):
            there = api.artifact(full, ARTIFACT_TYPE)
            if there.metadata.get("sha256") == digest:
                return there
        tokens = checkpoint.step * self._plan.config.tokens_per_step
        facts = {"path": path.name, "step": checkpoint.step, "tokens": tokens, "sha256": digest}
        artifact = wandb.Artifact(name, ARTIFACT_TYPE, metadata={**facts, "bytes": checkpoint.bytes})
        directory = checkpoint.directory.absolute().as_uri()
        # The manifest contains the SHA-256 of all files, so its own hash identifies the state.
        artifact.add_reference(f"{directory}/{MANIFEST}", name=MANIFEST)
        for file in checkpoint.manifest["files"]:
            artifact.add_reference(f"{directory}/{file}", name=file, checksum=False)
        return self._start().log_artifact(artifact, aliases=[alias]).wait()

    def _start(self) -> Any:
        import wandb

        if self._run is None:
            plan, mark = self._plan.config.name, read_mark(self._plan.layout.run_json)
            settings = wandb.Settings(**unless_in_environment(console="off", silent=True))
            self._run = wandb.init(
                entity=self._project.entity,
                project=self._project.project,
                id=run_id(plan, "link", mark),
                name="link",
                group=with_mark(plan, mark),
                job_type="link",
                resume="allow",
                mode="online",
                dir=str(self._plan.layout.run_dir),
                settings=settings,
            )
        return self._run


def _link_path(run: Any, path: TrainingPath, artifacts: Mapping[tuple[str, int], Any]) -> str:
    """Link a run to the artifacts that it logged and the one that it started from; return a line about them."""
    logged = {artifact.digest for artifact in run.logged_artifacts()}
    mine = {step: artifact for (name, step), artifact in artifacts.items() if name == path.name}
    for artifact in mine.values():
        if artifact.digest not in logged:
            run.log_artifact(artifact)
    line = f"{path.name}: linked step {', '.join(map(str, mine))}" if mine else f"{path.name}: has no checkpoint yet"
    if path.parent is None:
        return line
    fork = f"{path.parent.path} at step {path.parent.step}"
    origin = artifacts.get((path.parent.path, path.parent.step))
    if origin is None:
        return f"{line}; forks from {fork}, which is not on the server"
    if origin.digest not in {artifact.digest for artifact in run.used_artifacts()}:
        run.use_artifact(origin)
    return f"{line}; forks from {fork}"
