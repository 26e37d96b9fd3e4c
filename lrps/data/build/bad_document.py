"""Documents that cannot be read: their kinds, and what becomes of them.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lrps.base.errors import DataError
from lrps.config.text import BadDocuments
from lrps.data.build.tally import FIRST_BAD, Tally

SEARCHED_DOCUMENTS = 100_000
"""Number of documents after the first bad one that are searched for further ones, so that one message names several."""
SURELY_WRONG = 1000
"""Number of bad documents of a part from which a share above one half shows a wrong file, not damaged documents."""


class BadDocument(NamedTuple):
    """A document that cannot be read.

    kind: name in manifests. where: file and line. problem: what is wrong, and how to fix it.
    """

    kind: str
    where: str
    problem: str

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"


def readable_documents(documents: Iterable[str | BadDocument], rule: BadDocuments, tally: Tally) -> Iterator[str]:
    """Yield the texts, and count the bad documents in `tally`.

    Raises DataError that names the first ten if the rule refuses bad documents, or if most documents are bad, as in a
    file of another kind; `check_bad` applies the limit of the rule when a version is complete.
    """
    found = iter(documents)
    seen = 0
    for document in found:
        seen += 1
        if isinstance(document, str):
            yield document
            continue
        tally.add_bad(document.kind, str(document))
        if rule.action == "refuse":
            _search(found, tally)
            raise DataError(refusal(tally))
        bad = tally.bad.total()
        if bad >= SURELY_WRONG and bad > max(rule.limit, 0.5) * seen:
            raise DataError(f"{bad:,} of the first {seen:,} documents of a part are bad; {refusal(tally)}")


def _search(documents: Iterator[str | BadDocument], tally: Tally) -> None:
    """Count further bad documents, up to those that a message names."""
    try:
        for _, document in zip(range(SEARCHED_DOCUMENTS), documents, strict=False):
            if isinstance(document, BadDocument):
                tally.add_bad(document.kind, str(document))
            if len(tally.first_bad) == FIRST_BAD:
                return
    except DataError:
        return  # The file is damaged further on; what was found comes first.


def check_bad(tally: Tally, rule: BadDocuments, version: str) -> None:
    """Raise DataError if a version has more bad documents than the rule allows."""
    bad, documents = tally.bad.total(), tally.seen
    if bad and (rule.action == "refuse" or bad > rule.limit * documents):
        raise DataError(
            f"{version}: {bad:,} of {documents:,} documents cannot be read "
            f"({', '.join(f'{count:,} {kind}' for kind, count in sorted(tally.bad.items()))}); "
            + (f"data.bad_documents.limit is {rule.limit:g}; " if rule.action == "skip" else "")
            + refusal(tally)
        )


def refusal(tally: Tally) -> str:
    """Return the first bad documents, and how to continue."""
    skip = "To leave such documents out, set data.bad_documents: {action: skip, limit: 0.001}, with a limit that fits."
    if len(tally.first_bad) == 1:
        return f"{tally.first_bad[0]} {skip}"
    lines = "".join(f"\n  {each}" for each in tally.first_bad)
    return f"the first {len(tally.first_bad)} documents that cannot be read:{lines}\n{skip}"
