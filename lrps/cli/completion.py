"""Completion of the names in a config: paths, versions and paradigms, read from the config that the line names.

`lrps --install-completion` sets a shell up. A line whose config cannot be read completes to nothing.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from lrps.base.errors import LrpsError

if TYPE_CHECKING:
    from lrps.plan.plan import Plan

_LINES = ("_TYPER_COMPLETE_ARGS", "COMP_WORDS")
"""Variables in which shells give the line: zsh and fish, bash."""


def complete_path(incomplete: str) -> list[str]:
    """Return the paths of the plan whose names begin so."""
    plan = _plan()
    return _beginning(incomplete, plan.graph.by_name if plan else ())


def complete_version(incomplete: str) -> list[str]:
    """Return the versions of the config whose names begin so."""
    plan = _plan()
    return _beginning(incomplete, (version.name for version in plan.config.data.versions) if plan else ())


def complete_paradigm(incomplete: str) -> list[str]:
    """Return the paradigms of the config whose names begin so."""
    plan = _plan()
    return _beginning(incomplete, plan.config.paradigms if plan else ())


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _plan() -> Plan | None:
    """Return the plan of the config or run directory that the line names, with its overrides; None without one.

    The line itself is read, because an option without its value ends click's parsing before the arguments.
    """
    from lrps.cli.options import plan_of

    line = next((os.environ[name] for name in _LINES if name in os.environ), "")
    try:
        words = shlex.split(line)
        named = [word for word in words if word.endswith((".yaml", ".yml")) or Path(word, "plan.json").is_file()]
        overrides = [value for option, value in pairwise(words) if option in ("-s", "--set")]
        return plan_of(Path(named[0]), overrides) if named else None
    except (LrpsError, ValueError):  # ValueError: a quotation mark that is still open.
        return None
