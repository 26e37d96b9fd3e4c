"""The verbs `export`, `score` and `convert`: released models and states for other programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from lrps.base.errors import ConfigError
from lrps.cli.completion import complete_paradigm, complete_path, complete_version
from lrps.cli.options import (
    AsJson,
    ConfigFile,
    Overrides,
    Run,
    check_paradigms,
    load_config,
    load_plan,
    plan_of,
    print_json,
)
from lrps.config.optimizing import DEFAULT_KIND
from lrps.config.values import parse_bytes

if TYPE_CHECKING:
    from lrps.export.release import ExportFormat
    from lrps.export.states import PathState
    from lrps.plan.plan import Plan

DTYPES = ("fp32", "bf16")
Merge = Annotated[
    bool, typer.Option("--merge", help="The mean of saved states of a main path, up to --step or the newest one.")
]
Ema = Annotated[
    bool,
    typer.Option("--ema", help="The moving average of a main path's weights, at --step or in its newest saved state."),
]
Window = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Window of --merge, a share of the steps so far; by default 0.1.")
]
Count = Annotated[
    int | None, typer.Option(metavar="N", help="Number of states of --merge, evenly spread; by default 10.")
]
Out = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Directory to write to; by default <run>/<path>/model, or model-step-N beside it."
    ),
]
DtypeOption = Annotated[
    str | None,
    typer.Option("--dtype", metavar="fp32|bf16", help="Precision of the weights; by default engine.precision."),
]
MaxShardSize = Annotated[
    str, typer.Option("--max-shard-size", metavar="SIZE", help="Largest size of one file of weights.")
]
Step = Annotated[
    int | None,
    typer.Option(metavar="N", help="A saved step instead of the released one: an undecayed branch point of main."),
]
Answers = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the answers to the pairs, beside the expected ones, as JSON lines; - shows them."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace an export of another state or format.")]


def export(
    run: Run,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATH]...", help="Names of paths, as `lrps plan` shows them.", autocompletion=complete_path
        ),
    ] = None,
    overrides: Overrides = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only the states of this version; without PATH, of every path.",
            autocompletion=complete_version,
        ),
    ] = None,
    step: Step = None,
    ema: Ema = False,
    merge: Merge = False,
    window: Window = None,
    count: Count = None,
    out: Out = None,
    dtype: DtypeOption = None,
    max_shard_size: MaxShardSize = "5GB",
    force: Force = False,
) -> None:
    """Write released models as Hugging Face directories: weights, tokenizer, generation config, model card.

    `AutoModelForCausalLM.from_pretrained(DIR)` loads them. Needs no GPU and no process group, and memory for about
    one file of weights. An existing export is not written again. --ema and --merge are previews without a decay:
    docs/method.md, section 1.8, has what was measured.
    """
    from lrps.base.numbers import size

    plan = plan_of(run, overrides)
    states = _states(plan, paths or (), version, step, ema, _merge_options(merge, window, count))
    if out is not None and len(states) > 1:
        raise ConfigError(f"--out takes one model, but {len(states)} states are selected; name one path")
    form = export_form(plan, dtype, max_shard_size)
    from lrps.export.release import export_state

    for state in states:
        directory = out or state.directory(plan.layout.path(state.path.name))
        exported = export_state(plan, state, directory, form, force=force)
        details = f"{size(exported.bytes)}, {form.dtype}" if exported.made else "was there already"
        what = f", {state.form_in_words}" if state.form_in_words else ""
        typer.echo(f"{state.path.name} at step {state.step}{what}: {exported.directory} ({details})")


class _MergeOptions(NamedTuple):
    window: float
    states: int


def _merge_options(merge: bool, window: float | None, count: int | None) -> _MergeOptions | None:
    """Return the options of `--merge`; None without it."""
    from lrps.paths.merge_window import COUNT, WINDOW

    if not merge and (window, count) != (None, None):
        raise ConfigError("--window and --count are options of --merge; add --merge, or leave them out")
    return _MergeOptions(WINDOW if window is None else window, COUNT if count is None else count) if merge else None


def _states(
    plan: Plan, paths: Sequence[str], version: str | None, step: int | None, ema: bool, merge: _MergeOptions | None
) -> tuple[PathState, ...]:
    """Return the states to export: averages or merges of the named paths, or what they release or have saved."""
    from lrps.export.states import average_of, chosen_states, merge_of

    if ema and merge is not None:
        raise ConfigError("--ema and --merge are two forms of a model; give one of them")
    if not ema and merge is None:
        return chosen_states(plan, paths, version, step)
    if version is not None or not paths:
        option = "--ema" if ema else "--merge"
        raise ConfigError(f"{option} takes the name of a main path, as `lrps plan` shows it, and no --version")
    if merge is None:
        return tuple(average_of(plan, name, step) for name in paths)
    return tuple(merge_of(plan, name, merge.window, merge.states, step) for name in paths)


def export_form(plan: Plan, dtype: str | None, max_shard_size: str) -> ExportFormat:
    """Return the form of exports by the options of a verb. Raises ConfigError for a wrong one."""
    kind, shard_bytes = _dtype(dtype or plan.config.engine.precision), _shard_bytes(max_shard_size)

    # Importing torch takes seconds: every mistake that can be found without it has been reported by now.
    from lrps.export.release import ExportFormat

    return ExportFormat(kind, shard_bytes)


def _dtype(name: str) -> str:
    if name not in DTYPES:
        raise ConfigError(f"--dtype {name}: take {' or '.join(DTYPES)}")
    return name


def _shard_bytes(size: str) -> int:
    found = parse_bytes(size)
    if not isinstance(found, int) or found < 1:
        raise ConfigError(f"--max-shard-size {size}: give a size such as 5GB or 500MB")
    return found


def score(
    config_file: ConfigFile,
    overrides: Overrides = None,
    paradigm: Annotated[
        list[str] | None,
        typer.Option(
            "--paradigm",
            metavar="NAME",
            help="Only this paradigm of the config, and no probes. May be repeated.",
            autocompletion=complete_paradigm,
        ),
    ] = None,
    answers: Answers = None,
    as_json: AsJson = False,
) -> None:
    """Score released models and probes on the tasks of `evaluation`: instruction pairs by ROUGE-L, and lm-eval's tasks.

    Only missing results are computed: a result belongs to a model and a task, and a changed task is another task.
    Runs on a GPU if there is one. After Ctrl-C the same command continues. Models are exported as `lrps export` does;
    `lrps report` shows the results. The answers to pairs are kept in <run>/answers. Needs `pip install 'lrps[eval]'`;
    nothing is downloaded.
    """
    from lrps.base.errors import ConfigError
    from lrps.evaluation.harness import stay_offline
    from lrps.evaluation.score import kept_answers, score_models, scored_states, scoring_jobs, task_digests
    from lrps.plan.status import check_run_dir

    plan = load_plan(config_file, overrides)
    check_paradigms(plan, paradigm)
    digests = task_digests(plan.config.evaluation)
    if not digests:
        raise ConfigError(
            f"{config_file}: names no task; add evaluation.tasks or evaluation.lm_eval (docs/evaluation.md)"
        )
    states, untrained = scored_states(plan, paradigm or ())
    check_run_dir(plan, [state.path for state in states])
    todo = scoring_jobs(plan, states, digests, answers=answers is not None)
    missing = sum(len(job.missing) for job in todo)
    typer.echo(f"{len(states)} models, {len(digests)} tasks: {missing} results to do", err=True)
    if todo:
        stay_offline()
        score_models(plan, todo, digests, lambda line: typer.echo(line, err=True))
    if untrained:
        typer.echo(f"not trained yet, and not scored: {', '.join(dict.fromkeys(untrained))}", err=True)
    if answers is not None:
        _write_answers(list(kept_answers(plan, states, digests)), answers)
    if answers is None or str(answers) != "-":
        _show(plan, as_json)


def _write_answers(found: Sequence[dict[str, Any]], file: Path) -> None:
    """Write answers as JSON lines to a file, or as text to the terminal if it is `-`."""
    from lrps.base.files import atomic_write_bytes

    if str(file) != "-":
        atomic_write_bytes(file, "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in found).encode())
        typer.echo(f"{file}: {len(found)} answers", err=True)
        return
    for (path, step, task), of_one in groupby(found, key=lambda each: (each["path"], each["step"], each["task"])):
        typer.echo(f"{path} at step {step} on {task}")
        for each in of_one:
            typer.echo(f"  {each['rouge_l']:5.1f}  {each['input']!r}: {each['answer']!r}, expected {each['output']!r}")


def _show(plan: Plan, as_json: bool) -> None:
    """Print the scores that the run has by now, of all paradigms and probes."""
    from lrps.costs.comparison import make_comparison
    from lrps.report.tables.probe_table import probe_table
    from lrps.report.tables.task_table import scored, task_table
    from lrps.report.terminal import print_table

    comparison = make_comparison(plan)
    if as_json:
        print_json(scored(comparison))
        return
    print_table(task_table(comparison))
    if comparison.probe_results:
        print_table(probe_table(comparison))


convert_app = typer.Typer(
    help="Convert a state to DeepSpeed's universal format, for a script of your own, or from it.", no_args_is_help=True
)


@convert_app.command("to-universal")
def to_universal(
    config_file: ConfigFile,
    path: Annotated[
        str,
        typer.Argument(metavar="PATH", help="Name of a path, as `lrps plan` shows them.", autocompletion=complete_path),
    ],
    out: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to write to; it may hold several steps.")],
    overrides: Overrides = None,
    step: Annotated[
        int | None, typer.Option("--step", metavar="N", help="The state after N steps; by default the newest.")
    ] = None,
) -> None:
    """Write a checkpoint in DeepSpeed's universal format: weights, Adam moments and step, to continue elsewhere.

    A script of your own reads it under ZeRO 1, 2 or 3, with any number of processes, fp32 or bf16:

    \b
      deepspeed.initialize(..., config={..., "checkpoint": {"load_universal": True}})
      engine.load_checkpoint(DIR, load_lr_scheduler_states=False)

    The state is exact; an average of the weights is left out. Learning rate, betas, eps and weight decay stay those of
    the script. The parameters need the same names, so build the model with transformers. Under ZeRO 3 DeepSpeed 0.19
    gives all parameter groups one step counter, which torch's Adam then increments once per group; separate them after
    loading:

    \b
      for state in engine.optimizer.optimizer.state.values():
          state["step"] = state["step"].clone()
    """
    from lrps.engine.universal import write_universal
    from lrps.plan.status import intact_checkpoint
    from lrps.store.identity import AVERAGE_KEY

    plan = load_plan(config_file, overrides)
    checkpoint = intact_checkpoint(plan, path, step)
    samples = checkpoint.step * plan.config.batch.sequences
    if AVERAGE_KEY in checkpoint.identity:
        typer.echo("left out: the average of the weights, for which the format has no place", err=True)
    typer.echo(str(write_universal(checkpoint.directory, out, checkpoint.step, samples, {"lrps": checkpoint.identity})))


@convert_app.command("from-universal")
def from_universal(
    config_file: ConfigFile,
    universal: Annotated[
        Path,
        typer.Argument(
            metavar="UNIVERSAL", help="The directory of a tag, or the one in which latest_universal names it."
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Directory to write step-N to; it may hold several steps.")
    ],
    overrides: Overrides = None,
) -> None:
    """Read a state in DeepSpeed's universal format: weights, Adam moments and step, to start a plan from.

    DeepSpeed converts what a script of your own saved (ZeRO 1, 2 or 3, torch's Adam) to that format:

    \b
      python -m deepspeed.checkpoint.ds_to_universal --inject_missing_state
          --input_folder RUN/global_step480 --output_folder RUN/global_step480_universal

    The directory that is printed at the end is the one to start from, as a key of the config:

    \b
      model: {architecture: {...}, initial_state: OUT/step-00000480}

    The state is exact, and nothing in the files is run. The parameters must be those of the config's model, by name
    and shape; ZeRO 3 keeps no shapes, so there it is their number of elements. Schedules, seeds and positions in the
    data are not read: the plan starts at step 0 with its own.
    """
    from lrps.engine.universal_import import import_universal

    config = load_config(config_file, overrides)
    if config.optimizer.kind != DEFAULT_KIND:
        raise ConfigError(
            f"optimizer.kind {config.optimizer.kind}: the universal format has the states of AdamW, which no other "
            "optimizer can continue with; import with `-s optimizer.kind=adamw` and name the result as "
            "model.initial_state: then a plan takes its weights, and begins with fresh states of its optimizer"
        )
    imported = import_universal(config.model, universal, out)
    if imported.left_out:
        typer.echo(f"left out, because it is not trained: {', '.join(imported.left_out)}", err=True)
    typer.echo(str(imported.checkpoint.directory))
