"""The verb `doctor`: faults of this machine, of a config and of its nodes, with how to fix them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lrps.base.errors import USER_MISTAKE, ConfigError, LrpsError
from lrps.cli.options import AsJson, ConfigFile, Overrides, load_config, load_plan, print_json

if TYPE_CHECKING:
    pass

MaybeConfig = Annotated[
    Path | None, typer.Argument(metavar="CONFIG", help="The YAML file; without it only the machine is examined.")
]


def doctor(
    config_file: MaybeConfig = None,
    overrides: Overrides = None,
    nodes: Annotated[
        bool,
        typer.Option(
            "--nodes", help="Instead start a rank wherever the launcher would train, and test the communication."
        ),
    ] = False,
    run_commands: Annotated[
        bool, typer.Option("--run-commands", help="Also try the `url: pipe:..` commands of the config.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine versions, devices, file system, data, network, trackers and price; report faults and how to fix them.

    Changes nothing, and runs no command of the config unless asked. Exit code 2 if a check fails; a problem that
    training survives is a warning. --nodes tries the launcher of the config instead: every rank reports its host,
    whether it sees the run directory, and the speed of an all-reduce.
    """
    from lrps.report.doctor_text import FindingPrinter, print_nodes

    if nodes:
        if config_file is None:
            raise ConfigError("--nodes needs a config for its launcher: name it, as in `lrps doctor CONFIG --nodes`")
        document, ok = _nodes(config_file, overrides or ())
        print_json(document) if as_json else print_nodes(document)
    else:
        with FindingPrinter(quiet=as_json) as printer:
            document, ok = _machine(config_file, overrides or (), printer, run_commands)
        if as_json:
            print_json(document)
    if not ok:
        raise typer.Exit(USER_MISTAKE)


def doctor_worker(config_file: ConfigFile, overrides: Overrides = None) -> None:
    """Run one rank of `lrps doctor --nodes`; started by the launcher."""
    from lrps.doctor.worker import run_worker
    from lrps.launch.rendezvous import rendezvous

    os.environ.update(rendezvous(os.environ))  # Set nothing unless `srun` started this.
    run_worker(load_config(config_file, overrides))


def _machine(
    config_file: Path | None, overrides: Sequence[str], printer: Any, run_commands: bool
) -> tuple[dict[str, Any], bool]:
    from lrps.doctor.catalogue import CHECKS
    from lrps.doctor.examination import Subject, examine
    from lrps.doctor.finding import Finding, findings_document

    findings: list[Finding] = []
    plan = None
    if config_file is not None:
        try:
            plan = load_plan(config_file, overrides)
            findings.append(Finding("config", "config", "ok", f"{config_file}: plan {plan.config.name}"))
        except LrpsError as error:
            what = f"{error}. Only this machine is checked"
            findings.append(Finding("config", "config", "fail", what, "fix the config, then run it again"))
        printer.show(findings[0])
    for finding in examine(CHECKS, Subject(plan, run_commands), printer.working):
        findings.append(finding)
        printer.show(finding)
    document = findings_document(findings)
    return document, document["ok"]


def _nodes(config_file: Path, overrides: Sequence[str]) -> tuple[dict[str, Any], bool]:
    from lrps.doctor.finding import findings_document
    from lrps.doctor.nodes import nodes_document
    from lrps.doctor.rollcall import call_roll

    found = call_roll(load_plan(config_file, overrides), config_file, overrides)
    document = findings_document(found.findings) | nodes_document(found)
    return document, document["ok"]
