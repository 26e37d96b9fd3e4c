"""The verbs of the command line in groups and in the order of use, as `lrps --help` lists them."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperGroup

GROUPS: dict[str, tuple[str, ...]] = {
    "Plan, train, compare": ("demo", "init", "config", "plan", "run", "status", "report"),
    "Data": ("data", "rehearse"),
    "Released models": ("export", "publish", "score", "convert"),
    "Costs before and beside training": ("compare", "sweep", "forecast"),
    "Care of a run": ("doctor", "rewind", "ledger", "prune", "repair", "push", "pull", "cancel", "wandb"),
    "Started by launchers": ("train", "evaluate"),
    "Versions": ("version",),
}
"""Title of a group -> its verbs. A verb that no group names is hidden from the list."""


class GroupedVerbs(TyperGroup):
    """A command group whose help lists the verbs by GROUPS, each with the whole first sentence of its help.

    Contexts, formatters and commands are click's, which newer versions of typer bring along under another name.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of all verbs, those of GROUPS first and in their order."""
        ordered = [verb for verbs in GROUPS.values() for verb in verbs]
        return [*ordered, *(name for name in super().list_commands(ctx) if name not in ordered)]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write one section per group. Long lines are wrapped, never cut."""
        width = max(len(verb) for verbs in GROUPS.values() for verb in verbs)
        for title, verbs in GROUPS.items():
            lines = [(verb.ljust(width), _summary(self.get_command(ctx, verb))) for verb in verbs]
            with formatter.section(title):
                formatter.write_dl(lines)


def _summary(command: Any) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    text = " ".join((command.help or "").split("\n\n")[0].split()) if command is not None else ""
    return re.split(r"(?<=[.])\s+(?=[A-Z])", text)[0].removesuffix(".")
