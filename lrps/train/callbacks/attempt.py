"""An attempt at a path with its callbacks, from the first one that is called to the record of how it ended."""

from __future__ import annotations

from lrps.base.errors import CallbackStopError
from lrps.ledger.reader import CALLBACK
from lrps.train.trainer import Trainer


def run_attempt(trainer: Trainer) -> bool:
    """Train as `Trainer.run` does, and record how that ended; False if asked to stop before the end.

    Raises CallbackStopError on all ranks if a callback stopped the path, after the state was saved.
    """
    callbacks, recorder, start = trainer.callbacks, trainer.recorder, trainer.start
    with callbacks.ending_failed():
        callbacks.begun(trainer.path, trainer.layout, start.origin.step, trainer.engine)
        finished = trainer.run()
        stop = None if finished else callbacks.agreed_stop()
    callbacks.ended("complete" if finished else "interrupted" if stop is None else "stopped")
    if recorder is not None:
        facts = {} if stop is None else {CALLBACK: stop.name, "reason": stop.reason}
        recorder.stop("complete" if finished and start.stop >= trainer.path.stop else "interrupted", **facts)
    if stop is not None:
        raise CallbackStopError(
            f"{trainer.path.name}: the callback {stop.name} stopped it at step {trainer.step}: {stop.reason}. The "
            f"state is saved. To train on, take {stop.name} out of `callbacks` or change its options, and run the same "
            "command; to end here, take the paradigm of the path out of the config"
        )
    return finished
