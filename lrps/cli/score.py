"""`lrps score`: the verb that scores released models on tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lrps.cli.options import AsJson, ConfigFile, Overrides, print_json

if TYPE_CHECKING:
    from lrps.plan.plan import Plan


def score(
    config_file: ConfigFile,
    overrides: Overrides = None,
    paradigm: Annotated[
        list[str] | None,
        typer.Option("--paradigm", metavar="NAME", help="Only this paradigm of the config. May be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score every released model on the tasks of `evaluation`: instruction pairs by ROUGE-L, and lm-eval's tasks.

    Only what is missing is done: a result belongs to a model and a task, and a task that was changed is another one.
    It runs on a GPU if there is one; Ctrl-C and the same command goes on. Models are exported as `lrps export` does;
    `lrps report` shows the results. Needs `pip install 'lrps[eval]'`; nothing is downloaded.
    """
    from lrps.base.errors import ConfigError
    from lrps.config.loader import load_config
    from lrps.evaluation.harness import stay_offline
    from lrps.evaluation.score import released_states, score_models, scoring_jobs, task_digests
    from lrps.plan.plan import make_plan
    from lrps.plan.status import check_run_dir

    plan = make_plan(load_config(config_file, overrides or ()))
    for name in paradigm or ():
        if name not in plan.config.paradigms:
            raise ConfigError(f"--paradigm {name}: the config has {', '.join(plan.config.paradigms)}")
    digests = task_digests(plan.config.evaluation)
    if not digests:
        raise ConfigError(
            f"{config_file}: names no task; add evaluation.tasks or evaluation.lm_eval (docs/evaluation.md)"
        )
    states, untrained = released_states(plan, paradigm or ())
    check_run_dir(plan, [state.path for state in states])
    todo = scoring_jobs(plan, states, digests)
    missing = sum(len(job.missing) for job in todo)
    typer.echo(f"{len(states)} models, {len(digests)} tasks: {missing} results to do", err=True)
    if todo:
        stay_offline()
        score_models(plan, todo, digests, lambda line: typer.echo(line, err=True))
    if untrained:
        typer.echo(f"not trained yet, and not scored: {', '.join(dict.fromkeys(untrained))}", err=True)
    _show(plan, as_json)


def _show(plan: Plan, as_json: bool) -> None:
    """Print the scores that the run has by now, of all paradigms."""
    from lrps.costs.comparison import make_comparison
    from lrps.report.task_table import scored, task_table
    from lrps.report.terminal import print_table

    comparison = make_comparison(plan)
    print_json(scored(comparison)) if as_json else print_table(task_table(comparison))
