"""Errors of lrps: each says what is wrong and names the way out.

`exit_code` is the contract of the command line: 2 the user's mistake (one message, no traceback),
1 our fault, 75 interrupted but resumable.
"""

from __future__ import annotations

OUR_FAULT = 1
USER_MISTAKE = 2
INTERRUPTED = 75


class LrpsError(Exception):
    """Base of every error that a user can act on. The message ends with the way out."""

    exit_code = USER_MISTAKE


class ConfigError(LrpsError):
    """A wrong key, type or combination in the YAML file or an override."""


class DataError(LrpsError):
    """Shards, manifests or tokenizers that are missing, damaged or of another identity."""


class CheckpointError(LrpsError):
    """A checkpoint that is missing, incomplete, damaged or of another model."""


class TransferError(LrpsError):
    """A run that cannot be copied to or from its address: a store out of reach, no right, no room."""


class LineageError(LrpsError):
    """A run directory that does not belong to the plan, or a fork that cannot be made."""


class LedgerError(LrpsError):
    """A ledger file that was changed after it was written."""


class TrackerError(LrpsError):
    """A tracker's server that refuses or cannot be reached, or a package of it that is not installed."""


class SchedulerError(LrpsError):
    """A Slurm that is not here, does not answer, or refuses a job."""


class TrainingError(LrpsError):
    """Training cannot go on: a non-finite loss, or a worker that died."""

    exit_code = OUR_FAULT


class NonFiniteLoss(TrainingError):  # noqa: N818
    """A step's loss or gradients are not finite, on all ranks; it is told at the next reading, and nothing is saved.

    Gradients that are not finite change no weight. A loss that is not, over gradients that are, may have: so the
    engine can close only.
    """


class GenerationError(LrpsError):
    """Text cannot be generated: a prompt beyond the model, too little memory, an endpoint that fails; or too little of
    it can be used."""


class EvaluationError(LrpsError):
    """A task that models cannot be scored on."""


class StoppedError(LrpsError):
    """Stopped by a signal after saving; the same command goes on."""

    exit_code = INTERRUPTED
