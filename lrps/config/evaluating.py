"""The `evaluation` section of a config file: held-out loss while training, tasks with `lrps score` afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from lrps.config.pair_template import INPUT, OUTPUT
from lrps.config.values import Float, Int, Name, Section


class PairTask(Section):
    """Instruction pairs of a version, on which the answers of models are compared with the given ones by ROUGE-L."""

    name: Name
    """Name of the task in results and reports."""
    version: Name
    """Version whose data the task represents: row i, column j of the forgetting matrix is the score of version i on the
    pairs of version j. Several tasks of one version are averaged."""
    pairs: Path
    """Path of a .jsonl file; each line has `input` and `output`, both non-empty texts, and perhaps `task`."""
    max_new_tokens: Annotated[Int, Field(ge=1)] = 128
    """Largest number of tokens of an answer, which also ends at the model's EOS token or last position."""
    template: str = "Input: {input}\nOutput:"
    """Prompt, with {input} in place of the input and {task} in place of the task. By default data.template up to its
    output, if that is given. The answer is the model's greedy continuation."""

    @field_validator("template")
    @classmethod
    def _has_a_place(cls, template: str) -> str:
        if INPUT not in template:
            raise ValueError(f"a template needs {INPUT} where the input goes")
        if OUTPUT in template:
            raise ValueError(f"a template of prompts ends before the output: leave out {OUTPUT} and what follows")
        return template


class LmEval(Section):
    """Tasks of the Language Model Evaluation Harness (the extra `lrps[eval]`). Nothing is downloaded."""

    tasks: Annotated[tuple[str, ...], Field(min_length=1)]
    """Names of tasks, groups or tags, as `lm-eval ls tasks` shows them, or of `include_path`."""
    include_path: Path | None = None
    """Folder of your own tasks: their YAML files and their data. It is the working directory while tasks run, so
    `data_files: {test: quiz.jsonl}` names a file in it. A change of any file in it runs all tasks again."""
    limit: Annotated[Int, Field(ge=1)] | None = None
    """Number of examples of each task, from the first; by default all."""
    num_fewshot: Annotated[Int, Field(ge=0)] | None = None
    """Number of examples in the prompt; by default that of each task."""

    @field_validator("tasks")
    @classmethod
    def _each_once(cls, tasks: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(tasks)) < len(tasks):
            raise ValueError("name each task once")
        return tasks


def _steps_or_share(value: Any) -> Any:
    """Raise one ValueError for what is neither steps nor a share, in place of one for each kind of value."""
    steps = type(value) is int and value >= 1
    share = type(value) is float and 0 < value < 1
    if not (steps or share or value is None or value == "auto"):
        raise ValueError("a number of steps, a share of an increment between 0 and 1, auto or null is needed here")
    return value


class EvaluationConfig(Section):
    """Evaluation of every version: loss and bits per byte on the held-out sets of all increments so far and of the next
    one, and the tasks of `lrps score`."""

    max_rows: Annotated[Int, Field(ge=1)] | None = None
    """Number of sequences of each held-out set, drawn once for all evaluations; by default all."""
    main_every_steps: Annotated[
        Literal["auto"] | Annotated[Int, Field(ge=1)] | Annotated[Float, Field(gt=0, lt=1)] | None,
        BeforeValidator(_steps_or_share),
    ] = "auto"
    """Steps of the main path after which its state is evaluated while it is trained, on the held-out sets of its next
    version: a number of steps, or a share below 1 of every increment, and at every fork in addition. `auto`: every
    fork, and up to ten evenly spaced steps of every increment, as many as cost at most 1 % of its steps together with
    the forks. Null: never. A step that was passed without this evaluation does not have to be evaluated later."""
    main_max_rows: Annotated[Int, Field(ge=1)] | None = None
    """Number of sequences of each held-out set on which the main path is evaluated: the first of those that versions
    are evaluated on. Versions are compared with the main path on the same sequences. By default all."""
    batch_sequences: Annotated[Int, Field(ge=1)] = 16
    """Number of sequences, or prompts of a task, in one forward pass of one process."""
    tasks: tuple[PairTask, ...] = ()
    """Instruction pairs, for `lrps score`."""
    lm_eval: LmEval | None = None
    """Tasks of lm-eval, for `lrps score`."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [task.name for task in self.tasks] + list(self.lm_eval.tasks if self.lm_eval else ())
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"names of tasks must differ: {', '.join(doubled)} appears more than once")
        return self
