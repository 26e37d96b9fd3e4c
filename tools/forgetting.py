"""Measures what forgetting costs a real model, and what replay and self-synthesized rehearsal do about it.

    python tools/forgetting.py --model DIR --seeds 1-3             # restartable; --plan prints the work and stops
    python tools/forgetting.py --model DIR --seeds 1-3 --show      # the table of what is there
    python tools/forgetting.py --model DIR --paradigms cpt,cpt-replay --pairs 60 --test-pairs 20   # a small part

Three generated tasks of short pairs come one after the other (tools/forgetting_tasks.py). Every seed is a run directory
with shards of its own: it is trained and rehearsed by `lrps run` and `lrps rehearse`, and scored by `lrps score`. Steps
and expected minutes are printed first. Written to RUNS/NAME-results: forgetting.md and forgetting.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evidence import names, numbers
from evidence_page import MISSING, table
from evidence_runs import Cell, Experiment, cells_of, workload
from evidence_statistics import CONFIDENCE, Paired
from forgetting_tasks import TASKS, write_tasks

from lrps.base.errors import LrpsError
from lrps.base.files import atomic_write_text
from lrps.costs.comparison import make_comparison
from lrps.data.build.build import build_data
from lrps.evaluation.score import released_states, scoring_jobs, task_digests
from lrps.ledger.reader import read_ledger
from lrps.plan.plan import Plan

POINTS = 5.0
"""Difference in points of ROUGE-L that the test pairs have to show."""
LARGEST_SPREAD = 50.0
"""Largest possible standard deviation of the score of a pair, which is between 0 and 100 points."""
MEASURES = ("rouge_l", "loss")


def pairs_needed(points: float, seeds: int) -> int:
    """Return the number of test pairs of a task with which a difference of BWT of `points` is visible.

    BWT after three tasks is the mean of two differences of two means of n pairs: its variance is at most s^2 / n, that
    of the difference of two methods 2 s^2 / n, and that of its mean over seeds 2 s^2 / (n seeds), s = LARGEST_SPREAD.
    A 95 % interval of the normal distribution has to be narrower than `points` on each side.
    """
    z = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    return math.ceil(2 / seeds * (z * LARGEST_SPREAD / points) ** 2)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("config", type=Path, nargs="?", default=Path("configs/rehearsal.yaml"))
    made.add_argument("--model", type=Path, required=True, help="a Hugging Face directory, with its tokenizer.json")
    made.add_argument("--seeds", type=numbers, default=(1, 2, 3), help="1,2 or 1-3 (default: 1-3)")
    made.add_argument("--paradigms", type=names, default=(), help="names to train; by default all of the config")
    made.add_argument("--versions", type=names, default=(), help="tasks to end at; by default the last one")
    made.add_argument("--pairs", type=int, default=300, help="training pairs of a task (default: %(default)s)")
    made.add_argument(
        "--test-pairs", type=int, help=f"test pairs of a task; by default those that show {POINTS:g} points"
    )
    made.add_argument("--data", type=Path, default=Path("data/rehearsal"), help="where pairs and shards go")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="where the run directories are")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; may be repeated")
    made.add_argument("--plan", action="store_true", help="print the steps and minutes, and stop")
    made.add_argument("--show", action="store_true", help="train nothing")
    return made


def experiment_of(arguments: argparse.Namespace) -> Experiment:
    """Return the experiment of the arguments, after its pairs are written and the shards of every seed are built."""
    text, tests = arguments.data / "text", arguments.test_pairs or pairs_needed(POINTS, len(arguments.seeds))
    write_tasks(text, arguments.pairs, tests)
    model = arguments.model.resolve()
    more = [f"model={{checkpoint: '{model}'}}", f"data.tokenizer={model / 'tokenizer.json'}"]
    for number, task in enumerate(TASKS):
        more += [f"data.versions.{number}.text={text / task.name}.jsonl", f"data.versions.{number}.tokens=null"]
        more.append(f"evaluation.tasks.{number}.pairs={text / task.name}-test.jsonl")
    more += arguments.set
    made = Experiment(
        config_file=arguments.config,
        runs=arguments.runs,
        paradigms=arguments.paradigms,
        versions=arguments.versions,
        more=tuple(more),
        data=arguments.data,
    )
    for cell in cells_of(arguments.seeds, (made.peak_lr,)):
        build_data(made.config(cell))
    return made


def unscored(plan: Plan, paradigms: Sequence[str]) -> int:
    """Return the number of answers that `lrps score` would still make of the models that are trained."""
    digests = task_digests(plan.config.evaluation)
    jobs = scoring_jobs(plan, released_states(plan, paradigms)[0], digests)
    return sum(len(job.missing) for job in jobs)


def seconds_of(plan: Plan, kind: str) -> float:
    """Return the device-seconds that the run's own ledger has booked for one kind of work."""
    facts = (record.facts for record in read_ledger(plan.layout.ledger) if record.kind == kind)
    return sum(each.get("device_seconds", 0.0) for each in facts)


def work(experiment: Experiment, cells: Sequence[Cell]) -> str:
    """Return the steps, sets and scores that are left, with the minutes that are known."""
    left = workload(experiment, cells)
    sets, scores, done = 0, 0, 0.0
    for cell in cells:
        plan = experiment.plan(cell)
        read = {
            source
            for p in plan.graph.paradigms
            if p.name in (experiment.paradigms or [p.name])
            for path in p.paths
            for source in path.sources
        }
        sets += sum(each.name in read and each.name not in plan.manifests for each in plan.config.data.rehearsal)
        scores += unscored(plan, experiment.paradigms)
        done += seconds_of(plan, "rehearsal") + seconds_of(plan, "score")
    return (
        f"{left}; {sets} sets to write, {scores} scores of trained models to make "
        f"({done / 60:.0f} device minutes of both are booked so far)"
    )


@dataclass(frozen=True)
class Outcome:
    """What was measured of one paradigm in one run: the means after the last task, and BWT, by measure."""

    average: Mapping[str, float]
    backward: Mapping[str, float]


def outcomes(plan: Plan) -> dict[str, Outcome]:
    """Return what is measured of every paradigm of a run up to the last task, if nothing of it is missing."""
    comparison = make_comparison(plan)
    last = comparison.plan.versions[-1].name
    found = {}
    for name, paradigm in comparison.paradigms.items():
        matrices = {measure: paradigm.matrices[measure] for measure in MEASURES if measure in paradigm.matrices}
        done = {
            measure: each
            for measure, each in matrices.items()
            if each.after == last and each.backward_transfer is not None
        }
        if done.keys() == set(MEASURES):
            found[name] = Outcome(
                {measure: each.average for measure, each in done.items() if each.average is not None},
                {
                    measure: each.backward_transfer
                    for measure, each in done.items()
                    if each.backward_transfer is not None
                },
            )
    return found


def page(found: Mapping[int, Mapping[str, Outcome]], paradigms: Sequence[str], steps: Mapping[str, int]) -> str:
    """Return the table of all paradigms and what their differences show. found: seed -> outcomes by paradigm."""
    head = ("steps", "ROUGE-L", "BWT", "loss", "BWT of the loss", "seeds")
    lines = []
    for name in paradigms:
        own = [each[name] for each in found.values() if name in each]
        values = [[one.average["rouge_l"] for one in own], [one.backward["rouge_l"] for one in own]]
        values += [[one.average["loss"] for one in own], [one.backward["loss"] for one in own]]
        texts = [spread(each, digits) for each, digits in zip(values, (1, 1, 3, 3), strict=True)]
        lines.append([name, f"{steps[name]:,}", *texts, f"{len(own)} of {len(found)}"])
    return table(("paradigm", *head), lines) + "\n" + "".join(f"- {claim}\n" for claim in claims(found, paradigms))


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean of values with their standard deviation; `missing` without one."""
    if not values:
        return MISSING
    more = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{more}"


def claims(found: Mapping[int, Mapping[str, Outcome]], paradigms: Sequence[str]) -> list[str]:
    """Return what the differences of BWT in ROUGE-L show, in fixed words, for each paradigm against plain and replay.

    The difference counts downwards, as in a loss: a lower BWT is worse.
    """
    made = []
    for plain, replay in (("cpt", "cpt-replay"), ("path-switching", "switching-replay")):
        family = [name for name in paradigms if name.split("-")[0] == replay.split("-")[0] and name != plain]
        for name in family:
            for other in dict.fromkeys((plain, replay)):
                both = [each for each in found.values() if name in each and other in each]
                values = tuple(each[other].backward["rouge_l"] - each[name].backward["rouge_l"] for each in both)
                if name != other:
                    said = Paired(values).claim(POINTS, POINTS / 100) if values else MISSING
                    made.append(f"BWT of {name} against {other}: {said}")
    return made


def write(experiment: Experiment, cells: Sequence[Cell]) -> str:
    """Write the results; return the table and where it is."""
    plans = {cell.seed: experiment.plan(cell) for cell in cells}
    found = {seed: outcomes(plan) for seed, plan in plans.items()}
    graph = next(iter(plans.values())).graph
    chosen = [each for each in graph.paradigms if each.name in (experiment.paradigms or [each.name])]
    text = page(found, [each.name for each in chosen], {each.name: each.total_steps for each in chosen})
    out = experiment.runs / f"{experiment.name}-results"
    out.mkdir(parents=True, exist_ok=True)
    atomic_write_text(out / "forgetting.md", text)
    records = [
        {"seed": seed, "paradigm": name, **vars(one)} for seed, each in found.items() for name, one in each.items()
    ]
    atomic_write_text(out / "forgetting.json", json.dumps(records, indent=1) + "\n")
    return f"{text}\n{out}"


def main(given: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(given)
    try:
        experiment = experiment_of(arguments)
        cells = cells_of(arguments.seeds, (experiment.peak_lr,))
        if not arguments.show:
            print(f"{experiment.name}: {work(experiment, cells)}", flush=True)
            if arguments.plan:
                return 0
            for cell in cells:
                experiment.train(cell)
                experiment.score(cell)
        print(write(experiment, cells))
    except LrpsError as error:
        print(f"forgetting: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
