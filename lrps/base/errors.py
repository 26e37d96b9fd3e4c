"""Errors of lrps, whose messages say what is wrong and how to fix it.

`exit_code` is the contract of the command line: 2 the user's mistake (one message, no traceback),
1 a fault of lrps or of the machine, 75 interrupted but resumable, 76 stopped until a person decides.
"""

from __future__ import annotations

OUR_FAULT = 1
USER_MISTAKE = 2
INTERRUPTED = 75
NEEDS_DECISION = 76


class LrpsError(Exception):
    """Base of every error that a user can act on. Its message ends with how to fix it."""

    exit_code = USER_MISTAKE


class ConfigError(LrpsError):
    """A wrong key, type or combination in the YAML file or an override."""


class DataError(LrpsError):
    """Shards, manifests or tokenizers that are missing, damaged or different from the expected ones."""


class CheckpointError(LrpsError):
    """A checkpoint that is missing, incomplete, damaged or of another model."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint whose manifest or a size is wrong, or with a file whose SHA-256 is not the manifest's."""


class UnreadableCheckpointError(CheckpointError):
    """A checkpoint that one host cannot read: an error of its file system, which says nothing about the bytes."""


class TransferError(LrpsError):
    """A run that cannot be copied: the store is unreachable, or permission or space is missing."""


class LineageError(LrpsError):
    """A run directory that does not belong to the plan, or a fork that cannot be made."""


class LedgerError(LrpsError):
    """A ledger file that was changed after it was written."""


class TrackerError(LrpsError):
    """A tracker whose server refuses or cannot be reached, or whose package is not installed."""


class SchedulerError(LrpsError):
    """A Slurm that is not installed, does not answer, or refuses a job."""


class TrainingError(LrpsError):
    """An event after which training cannot continue: a non-finite loss, or a worker that died."""

    exit_code = OUR_FAULT


class NonFiniteLoss(TrainingError):  # noqa: N818
    """A loss or gradients that are not finite, raised on all ranks at the next metrics sync; nothing is saved.

    A step with non-finite gradients changes no weight. A step with a non-finite loss and finite gradients may have
    changed weights, so the engine can only be closed.
    """

    def __init__(self, message: str, *, at: int | None = None, cause: str = "non-finite") -> None:
        """at: lineage step of the state that the step was taken from. cause: what was wrong, for the ledger."""
        super().__init__(message)
        self.at, self.cause = at, cause


class SpikeError(TrainingError):
    """A spike of the loss or the gradient norm at which `guard.action: stop` ends training; a person has to decide."""

    exit_code = NEEDS_DECISION

    def __init__(self, message: str, *, at: int | None = None) -> None:
        """at: lineage step of the state that the step was taken from."""
        super().__init__(message)
        self.at = at


class CallbackError(LrpsError):
    """A callback of a plug-in that raised an exception, with its name, the method, file and line."""


class CallbackStopError(LrpsError):
    """A path that a callback has stopped, after it was saved; a person has to decide whether it is trained on."""

    exit_code = NEEDS_DECISION


class GenerationError(LrpsError):
    """A generation of text that failed, or gave too little usable text.

    Causes: a prompt that is too long for the model, too little memory, an endpoint that fails.
    """


class EvaluationError(LrpsError):
    """A task on which models cannot be scored."""


class StoppedError(LrpsError):
    """A stop by a signal after saving; the same command resumes."""

    exit_code = INTERRUPTED


class RepeatedFailureError(LrpsError):
    """A step that failed again when it was trained again; a person has to choose what changes."""

    exit_code = NEEDS_DECISION


class BudgetError(LrpsError):
    """A budget that is spent, or less than what is left would take; a person has to raise it, or to plan less."""

    exit_code = NEEDS_DECISION
