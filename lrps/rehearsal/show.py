"""Contents of a rehearsal set that was made: some of its documents, and counts of what was dropped.

Must not import torch.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.files import regular_file
from lrps.base.foreign_json import bounded_lines, parse_json
from lrps.base.numbers import count
from lrps.base.printable import printable
from lrps.costs.rehearsal_cost import dropped_counts
from lrps.data.cache import open_files
from lrps.data.data_tokenizer import config_tokenizer
from lrps.plan.plan import Plan
from lrps.rehearsal.outline import find_set
from lrps.rehearsal.shard_documents import ShardDocuments


@dataclass(frozen=True)
class ShownDocument:
    """One document of a set."""

    text: str
    """Text that versions are trained on."""
    base_output: str | None
    """Output that the base model wrote for its input, before the latest model wrote it again; null if unknown."""


@dataclass(frozen=True)
class ShownSet:
    """Some documents of a set, and the counts of its stages."""

    name: str
    """Name of the set."""
    documents: int
    """Number of all its documents."""
    generated: int
    """Number of generations."""
    counts: Mapping[str, Any]
    """Counts of every stage, as in the provenance of the manifest."""
    shown: tuple[ShownDocument, ...]
    """Documents at equal distances in the set."""


def show_set(plan: Plan, name: str, number: int) -> ShownSet:
    """Return `number` documents of a set at equal distances. Raises DataError before it is made."""
    find_set(plan, name)
    if (manifest := plan.manifests.get(name)) is None:
        raise DataError(f"{name} is not made yet; run `lrps rehearse CONFIG {name}`, or --preview to see some first")
    data_tokenizer = config_tokenizer(plan.config, plan.manifests.values())
    tokenizer = data_tokenizer.file.library()
    source = ShardDocuments(manifest, open_files(plan.config.data, name), data_tokenizer.begin_id)
    some = min(number, len(source))
    texts = [
        tokenizer.decode(source.read(k * len(source) // some).tolist(), skip_special_tokens=False) for k in range(some)
    ]
    stages = manifest.provenance.get("stages", {})
    written = _base_outputs(plan.layout.rehearsal(name), stages)
    counts = manifest.provenance.get("counts", {})
    shown = tuple(ShownDocument(text, _before(text, written)) for text in texts)
    return ShownSet(name, len(source), counts.get("generated", 0), counts, shown)


def _base_outputs(directory: Path, stages: Mapping[str, str]) -> dict[str, str]:
    """Return the base model's outputs by input, from the file of the stage; nothing if it is not on this machine."""
    path = directory / f"instances-{stages.get('instances', '')[:16]}.jsonl"
    if "refinement" not in stages or not path.is_file():
        return {}
    with open(path, "rb", opener=regular_file) as lines:
        pairs = islice(bounded_lines(lines, str(path)), 2, None)
        return dict(parse_json(line, str(path), expected=list) for line in pairs)


def _before(text: str, outputs: Mapping[str, str]) -> str | None:
    """Return the base model's output of the longest input that a document has."""
    found = max((one for one in outputs if one in text), key=len, default=None)
    return None if found is None else outputs[found]


def print_shown(found: ShownSet) -> None:
    """Print some documents of a set, then its counts."""
    for number, one in enumerate(found.shown, 1):
        print(f"--- {number} of {len(found.shown)} shown, {count(found.documents)} in the set")
        print(indented(one.text))
        if one.base_output is not None:
            print(f"    (the base model's output: {shortened(one.base_output)})")
    print(f"{found.name}: {count(found.generated)} generations, {count(found.documents)} documents selected")
    refined = found.counts.get("refined", {})
    if "agreed" in refined:
        instances = found.counts["parsed"]["instances"]
        print(f"{found.name}: both models wrote the same output for {count(refined['agreed'])} of {count(instances)}")
    for reason, number in dropped_counts(found.counts).items():
        print(f"{found.name}: dropped: {count(number)} {reason}")


def indented(text: str) -> str:
    """Return a text of a model for a terminal, without control characters, four columns to the right."""
    lines = [printable(line) for line in text.splitlines()]
    return textwrap.indent("\n".join(lines), "    ", lambda _: True)


def shortened(text: str, most: int = 200) -> str:
    """Return a text of a model on one line, cut to `most` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."
