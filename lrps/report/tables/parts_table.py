"""Table of the parts of mixed versions: what each has, and how much of it one pass over the mixture reads."""

from __future__ import annotations

from lrps.base.numbers import amount, count, ratio, short
from lrps.costs.planned.plan_document import CandidatePlan, PlanDocument, RehearsalPlan, VersionPlan
from lrps.report.table import Column, Table, text_column

_NOTE = (
    "Sequences, tokens and epochs are those of one pass over the mixture. At every step each part is within 1.5 "
    "sequences of its share. Sequences beyond the first epoch of a part count as replayed."
)


def parts_table(plan: PlanDocument) -> Table:
    """Return the parts of all mixed versions and sets; without rows if there are none."""
    columns = (
        *(text_column("version"), text_column("part")),
        *(Column("share", ratio), Column("sequences", count), Column("tokens", short)),
        *(Column("of", count), Column("epochs", amount)),
    )
    sources: tuple[VersionPlan | RehearsalPlan | CandidatePlan, ...]
    sources = (*plan.versions, *plan.rehearsal, *(plan.candidates or ()))
    rows = tuple(
        (
            *(source.name, part.name.removeprefix(f"{source.name}.")),
            *(part.weight, part.rows, part.tokens, part.epoch_rows, part.epochs),
        )
        for source in sources
        for part in source.parts
    )
    return Table("parts of the mixtures", columns, rows, (_NOTE,))
