"""Tables of averages of the main path's weights beside the branches of the same versions."""

from __future__ import annotations

from lrps.base.numbers import count, loss
from lrps.costs.comparison import Comparison
from lrps.costs.curves.average_beside_branch import AverageBesideBranch
from lrps.report.table import Column, Table, text_column

_TITLE = "averages beside branches"
_NOTE = (
    "Averages of the main path's weights beside the branch of the same version, which costs steps of its own. Loss of "
    "the average minus loss of the branch in nats per token, on the same sequences, with its standard error over them: "
    "below 0 the average is better. At the fork: average of the state from which the branch forked, not released."
)


def average_table(comparison: Comparison) -> Table:
    """Return the averages for people; without rows where no version has both."""
    columns = (
        *(text_column("version"), text_column("average"), text_column("held-out set")),
        *(Column("loss", loss), text_column("branch", priority=2), Column("branch's loss", loss)),
        *(Column("difference", "{:+.4f}".format), Column("standard error", "{:.4f}".format)),
        Column("sequences", count, priority=1),
    )
    rows = (
        (
            *(each.version, _average(each), each.heldout, each.loss),
            *(f"{each.branch} @ {each.branch_step:,}", each.branch_loss),
            *(each.difference, each.standard_error, each.rows),
        )
        for each in comparison.averages_beside_branches
    )
    return Table(_TITLE, columns, tuple(rows), (_NOTE,))


def _average(each: AverageBesideBranch) -> str:
    return f"{each.form} of {each.path} @ {each.step:,}{'' if each.released else ', at the fork'}"


def average_records(comparison: Comparison) -> Table:
    """Return the averages in raw values."""
    keys = (
        *("version", "form", "path", "step", "released", "branch", "branch_step", "heldout_set", "sequences"),
        *("loss", "branch_loss", "difference", "standard_error"),
    )
    rows = (
        (
            *(each.version, each.form, each.path, each.step, each.released, each.branch, each.branch_step),
            *(each.heldout, each.rows, each.loss, each.branch_loss, each.difference, each.standard_error),
        )
        for each in comparison.averages_beside_branches
    )
    return Table(_TITLE, tuple(map(Column, keys)), tuple(rows))
