"""The record of an attempt that fails before it begins: while its model is built, or while its state is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from lrps.engine.machine import device_name
from lrps.engine.ranks import rank
from lrps.paths.graph import TrainingPath
from lrps.paths.path_digest import path_digest
from lrps.plan.plan import Plan
from lrps.train.path_start import PathStart
from lrps.train.recorder import Recorder, attempt_facts


@contextmanager
def recording_failed_start(
    plan: Plan, path: TrainingPath, start: PathStart, open_recorder: Callable[[], Recorder]
) -> Iterator[None]:
    """Let rank 0 record an error inside the context as an attempt of its own, with the device time that it took.

    start: proposed start of the attempt. The error is raised again, also if it cannot be recorded. Not collective.
    """
    try:
        yield
    except Exception as error:
        if rank() == 0:
            with suppress(Exception), open_recorder() as recorder:
                digest = path_digest(path, start.origin.step, start.parent_digest)
                facts = attempt_facts(plan, path, start.origin, digest, device_name())
                recorder.start(start.origin, facts, start.stop)
                raise error
        raise
