"""How released versions are evaluated: held-out loss while training, tasks with `lrps score` afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from lrps.config.values import Int, Name, Section

INPUT = "{input}"


class PairTask(Section):
    """Instruction pairs that belong to a version: its models' answers are compared with the given ones by ROUGE-L."""

    name: Name
    version: Name
    """The version whose data the task stands for: row i, column j of the forgetting matrix is version i on the pairs of
    version j. Of several tasks of a version the mean counts."""
    pairs: Path
    """A .jsonl file; each line has `input` and `output`, both texts that are not empty."""
    max_new_tokens: Annotated[Int, Field(ge=1)] = 128
    """An answer is cut off here, or at the model's end mark, or at its last position."""
    template: str = "Input: {input}\nOutput:"
    """The prompt, with {input} where the input goes. The answer is what the model writes after it, greedily."""

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if INPUT not in template:
            raise ValueError(f"a template needs {INPUT} where the input goes")
        return template


class LmEval(Section):
    """Tasks of the Language Model EvaluationConfig Harness (the extra `lrps[eval]`). Nothing is downloaded."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks, groups or tags, as `lm-eval ls tasks` shows them, or of `include_path`."""
    include_path: Path | None = None
    """Folder of your own tasks: their YAML files, and their data. It is the working directory while tasks run, so that
    `data_files: {test: quiz.jsonl}` means a file in it. A change of any file in it makes all tasks be run again."""
    limit: Annotated[Int, Field(ge=1)] | None = None
    """Only the first examples of each task; all by default."""
    num_fewshot: Annotated[Int, Field(ge=0)] | None = None
    """Examples in the prompt; by default what each task says."""

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) < len(tasks):
            raise ValueError("name each task once")
        return tasks


class EvaluationConfig(Section):
    """Loss and bits per byte of every version on the held-out sets of all increments so far and of the next one; and
    what `lrps score` measures of the released models."""

    max_rows: Annotated[Int, Field(ge=1)] | None = None
    """Rows of each held-out set, drawn once and for all; all by default."""
    batch_sequences: Annotated[Int, Field(ge=1)] = 16
    """Rows in one forward pass of one process; prompts of a task as well."""
    tasks: tuple[PairTask, ...] = ()
    """Instruction pairs, for `lrps score`."""
    lm_eval: LmEval | None = None
    """Tasks of lm-eval, for `lrps score`."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [task.name for task in self.tasks] + list(self.lm_eval.tasks if self.lm_eval else ())
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names of tasks must differ: {', '.join(doubled)} stands more than once")
        return self
