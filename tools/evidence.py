"""Compares paradigms over many seeds: what each paired difference to the fair control shows, and what it does not.

    python tools/corpus.py --split iid --versions 4 --bytes-per-version 600kB --out data/evidence/text
    lrps data build configs/evidence.yaml
    python tools/evidence.py --seeds 17-28 --paradigms path-switching,ptfs-wsd       # restartable
    python tools/evidence.py --seeds 17-28 --show                                    # the table of what is there

Every seed, peak rate and order of the data is a run directory of its own. The steps that are left and the expected
minutes are printed first. Written to RUNS/NAME-results: evidence.md, evidence.json and two pictures.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from evidence_page import Page
from evidence_results import Results, cell_result, check_comparable, costs_of
from evidence_runs import Cell, Experiment, cells_of, workload

from lrps.base.errors import ConfigError, LrpsError
from lrps.base.files import atomic_write_text
from lrps.config.loader import load_config
from lrps.costs.comparison import make_comparison


def names(text: str) -> tuple[str, ...]:
    """Return the names of a list: a,b,c."""
    return tuple(filter(None, text.split(",")))


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of a list with ranges: 1,4-6 is 1, 4, 5, 6."""

    def all_of() -> Iterator[int]:
        for part in names(text):
            first, dash, last = part.partition("-")
            yield from range(int(first), int(last if dash else first) + 1)

    try:
        found = tuple(dict.fromkeys(all_of()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 17,18 or 17-28") from None
    return found


def rates(text: str) -> tuple[float, ...]:
    """Return the learning rates of a list: 3e-3,6e-3."""
    return tuple(map(float, names(text)))


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("config", type=Path, nargs="?", default=Path("configs/evidence.yaml"))
    made.add_argument("--seeds", type=numbers, default=(17, 18, 19, 20, 21), help="17,18 or 17-28 (default: 17-21)")
    made.add_argument("--paradigms", type=names, default=(), help="names to train; by default all of the config")
    made.add_argument("--versions", type=names, default=(), help="versions to compare; by default the last one")
    made.add_argument("--reference", default="ptfs-wsd", help="what is subtracted (default: %(default)s)")
    made.add_argument("--peaks", type=rates, default=(), help="peak rates; by default that of the config")
    made.add_argument("--order-seeds", type=numbers, default=(), help="further orders of the data for the first seed")
    made.add_argument("--margin", type=float, default=0.01, help="share that counts as equal (default: %(default)s)")
    made.add_argument("--reversed", action="store_true", help="the versions in reverse order")
    made.add_argument("--runs", type=Path, default=Path("runs"), help="where the run directories are")
    made.add_argument("--page", type=Path, help="a Markdown page to put the tables into, with the pictures beside it")
    made.add_argument("--out", type=Path, help="where the results go; by default RUNS/NAME-results")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; may be repeated")
    made.add_argument("--plan", action="store_true", help="print the steps and minutes, and stop")
    made.add_argument("--show", action="store_true", help="train nothing")
    return made


def experiment_of(arguments: argparse.Namespace) -> Experiment:
    """Return the experiment that the arguments describe. Raises ConfigError for a name that the config lacks."""
    made = Experiment(
        config_file=arguments.config,
        runs=arguments.runs,
        paradigms=arguments.paradigms,
        versions=arguments.versions,
        is_reversed=arguments.reversed,
        more=tuple(arguments.set),
    )
    known = load_config(made.config_file, made.more).paradigms
    if not arguments.seeds:
        raise ConfigError("--seeds names no seed; a range is written 17-28")
    if not 0 < arguments.margin < 1:
        raise ConfigError(f"--margin {arguments.margin:g} is no share of the loss; 1 % is written 0.01")
    for given, names_of, option in (
        ((*made.paradigms, arguments.reference), known, "paradigm"),
        (made.versions, made.ordered, "version"),
    ):
        if unknown := [name for name in given if name not in names_of]:
            raise ConfigError(f"{', '.join(unknown)} is no {option} of {made.config_file}: {', '.join(names_of)}")
    return made


def read_results(experiment: Experiment, cells: Sequence[Cell]) -> Results:
    """Return the results of these cells. Raises ConfigError if they cannot be compared."""
    found = {cell: cell_result(make_comparison(experiment.plan(cell))) for cell in cells}
    check_comparable({experiment.run_name(cell): result for cell, result in found.items()})
    plan = experiment.plan(cells[0])
    kinds = {paradigm.name: paradigm.kind for paradigm in plan.graph.paradigms}
    return Results(found, costs_of(plan), {name: kinds[name] for name in experiment.paradigms or kinds})


def write(experiment: Experiment, results: Results, arguments: argparse.Namespace) -> str:
    """Write the tables, the numbers and the pictures of the last version; return the tables and where they are."""
    out: Path = arguments.out or arguments.runs / f"{experiment.name}-results"
    out.mkdir(parents=True, exist_ok=True)
    pages = [Page(results, version, arguments.reference, arguments.margin) for version in experiment.compared]
    made = sorted({f"torch {each}" for cell in results.cells.values() for each in cell.torch})
    made += sorted({each for cell in results.cells.values() for each in cell.processors})
    text = "\n".join([*(page.markdown() for page in pages), f"Measured with {'; '.join(made) or 'nothing yet'}.\n"])
    atomic_write_text(out / "evidence.md", text)
    losses = [
        {"run": experiment.run_name(cell), "paradigm": paradigm, "version": version, **vars(loss)}
        for cell, result in results.cells.items()
        for (paradigm, version), loss in result.losses.items()
    ]
    atomic_write_text(out / "evidence.json", json.dumps(losses, indent=1) + "\n")
    pictures = {f"{name}.svg": drawing.standalone() for name, drawing in pages[-1].pictures().items()}
    for name, picture in pictures.items():
        atomic_write_text(out / name, picture)
    if arguments.page is not None:
        atomic_write_text(arguments.page, page_with(arguments.page.read_text(), experiment.name, text))
        for name, picture in pictures.items():
            atomic_write_text(arguments.page.parent / f"{experiment.name}-{name}", picture)
    return f"{text}\n{out}"


def page_with(page: str, name: str, tables: str) -> str:
    """Return a page with these tables between its marks for an experiment. Raises ConfigError if it has no marks."""
    begin, end = (f"<!-- {name}: {word} (made by tools/evidence.py) -->\n" for word in ("begin", "end"))
    before, first, rest = page.partition(begin)
    _, last, after = rest.partition(end)
    if not (first and last):
        raise ConfigError(f"the page has no place for the tables of {name}: add the lines\n{begin}{end}")
    return f"{before}{begin}\n{tables}\n{end}{after}"


def main(given: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(given)
    try:
        experiment = experiment_of(arguments)
        peaks = arguments.peaks or (experiment.peak_lr,)
        cells = cells_of(arguments.seeds, peaks, arguments.order_seeds)
        if not arguments.show:
            left = workload(experiment, cells)
            print(f"{experiment.name}: {left}", flush=True)
            if arguments.plan:
                return 0
            for cell in left.cells:
                experiment.train(cell)
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            print(f"{(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes were used")
        print(write(experiment, read_results(experiment, cells), arguments))
    except LrpsError as error:
        print(f"evidence: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
