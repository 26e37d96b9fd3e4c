"""The section `checkpoint` of a config file: when states are saved, in which files, and how long they are kept."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lrps.config.values import Float, Int, Section


class CheckpointConfig(Section):
    """Schedule and retention of checkpoints. Branch points, releases and the end of a path are always saved and
    kept."""

    every_steps: Annotated[Int, Field(ge=1)] | None = None
    """Number of steps between two checkpoints; null: only at the end and at branch points."""
    every_minutes: Annotated[Float, Field(gt=0)] | None = None
    """Minutes after the last save at which another one is made, by the clock of the first process."""
    keep_last: Annotated[Int, Field(ge=1)] = 2
    """Number of periodic checkpoints that are kept, newest first."""
    keep_every_steps: Annotated[Int, Field(ge=1)] | None = None
    """Interval in steps at which periodic checkpoints are also kept; a multiple of every_steps."""
    keep_hours: Annotated[Float, Field(gt=0)] | None = None
    """Age in hours up to which checkpoints are also kept, counted from the writing of their manifest. Older ones are
    removed at the next save, or by `lrps prune`; after a pull the age counts from the pull."""
    keep_for_rewind: bool | None = None
    """Whether a path also keeps one confirmed state of every age from 2^i to 2^(i + 1) saves, to rewind to
    (docs/steering.md): a checkpoint (12 bytes a parameter with AdamW) for each doubling of the number of saves. By
    default main paths do and others do not."""
    asynchronous: bool = True
    """Whether training continues while a copy of the state is written. Steps stop only for the copy and the
    publication, about a tenth of the time of an awaited save. The copy occupies host memory for as long as a path is
    trained, as many bytes for each parameter that a process owns as a checkpoint has: 12 with AdamW (fp32 weights and
    two moments), 4 more for an average; pinned on a GPU machine.
    Writing and hashing use one core of each process; if training uses all cores, steps are slower meanwhile. Saves
    are awaited at the end of a path, before an evaluation and after a request to stop, and while the save before is
    still written."""
    ranks_per_file: Literal["host"] | Annotated[Int, Field(ge=1)] = "host"
    """Number of processes of one host that write their parts of a checkpoint into one file; host: all of them. A
    smaller number makes more and smaller files. Any number of processes loads them (docs/checkpoints.md)."""

    def keeps_for_rewind(self, kind: str) -> bool:
        """Return whether paths of a kind keep older states to rewind to."""
        return kind == "main" if self.keep_for_rewind is None else self.keep_for_rewind

    @model_validator(mode="after")
    def _kept_are_saved(self) -> Self:
        kept, saved = self.keep_every_steps, self.every_steps
        if kept is not None and (saved is None or kept % saved):
            raise ValueError(
                f"keep_every_steps {kept} keeps what every_steps saves, which is {saved}; make it a multiple of that"
            )
        return self
