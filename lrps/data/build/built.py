"""Comparison of a version that is built with the text and the settings of a config.

Must not import torch, webdataset or tokenizers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.data.build.kinds import find_kind
from lrps.data.data_tokenizer import BEGIN_TOKEN
from lrps.data.manifest import Manifest

MAKER = "lrps.data.tokenize/1"
"""Name of the tokenization of text in manifests. It needs a new number if the same text would give other tokens; what
settings of the tokenizer's file changed is recorded under IGNORED_SETTINGS."""
IGNORED_SETTINGS = "ignored_tokenizer_settings"
"""Key in provenance of the settings of the tokenizer's file that were switched off; absent if it has none."""
_READING = {"text_key": "text", "documents": "file"}
"""Settings that determine how text is read."""
TEMPLATE = "template"
"""Key in provenance of the template of instruction pairs; absent without one."""
DEFAULTS: Mapping[str, Any] = {**_READING, TEMPLATE: None, BEGIN_TOKEN: None, IGNORED_SETTINGS: []}
"""Values of entries that manifests leave out."""

_Content = tuple[Any, Any, Any]


def check_built(path: Path, manifest: Manifest, wanted: Mapping[str, Any], tokenizer_sha256: str, whole: bool) -> None:
    """Raise DataError that names what differs if the manifest at `path` was made from other text or settings.

    wanted: the provenance by the config, with the inputs that are here; whole: whether these are all. How text is read
    is compared only if they are.
    """
    made, asked = {**DEFAULTS, **manifest.provenance}, {**DEFAULTS, **wanted}
    if settings := " and ".join(each for each in asked[IGNORED_SETTINGS] if each not in made[IGNORED_SETTINGS]):
        raise DataError(
            f"{path} was built while {settings} of its tokenizer cut, padded or changed its tokens; they are off now, "
            "and a version never changes: build the text as another version, or under another data.root"
        )
    keys = asked.keys() - {"inputs", *(() if whole else _READING)}
    differences = [
        f"{key} ({_shown(made.get(key))}, the config says {_shown(asked[key])})"
        for key in sorted(keys)
        if made.get(key) != asked[key]
    ]
    if inputs := input_difference(manifest.provenance.get("inputs", ()), wanted["inputs"], whole):
        differences.append(f"inputs ({inputs})")
    if manifest.tokenizer.sha256 != tokenizer_sha256:
        differences.append("tokenizer")
    if differences:
        raise DataError(
            f"{path} was made with other {', '.join(differences)}, and a version never changes: set the config back, "
            "or build the new data as another version, or under another data.root"
        )


def changed_by_settings(ignored: Sequence[str], manifests: Iterable[Manifest]) -> list[str]:
    """Return the names of shards of text that were built while these settings of the tokenizer changed their tokens.

    ignored: settings of the tokenizer's file that are switched off now.
    """
    return [
        manifest.version
        for manifest in manifests
        if manifest.provenance.get("maker") == MAKER
        and not {*ignored} <= {*manifest.provenance.get(IGNORED_SETTINGS, ())}
    ]


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def input_difference(
    recorded: Sequence[Mapping[str, Any]], present: Sequence[Mapping[str, Any]], whole: bool
) -> str | None:
    """Return how the inputs that are here differ from those of a manifest; None if they do not.

    Content counts, not names, so a renamed or moved file is the same one. Without `whole` those that are here may be
    some of the recorded ones, in their order.
    """
    made_of, here = [_content(each) for each in recorded], [_content(each) for each in present]
    if here == made_of or (not whole and _is_part(here, made_of)):
        return None
    new = [str(each["name"]) for each in present if _content(each) not in made_of]
    gone = [str(each["name"]) for each in recorded if _content(each) not in here] if whole else []
    parts = [f"{_first(new)} {_are(new)} new or changed"] if new else []
    parts += [f"{_first(gone)} {_are(gone)} no longer in its text"] if gone else []
    return "; ".join(parts) or "their order or number"


def _content(entry: Mapping[str, Any]) -> _Content:
    kind = find_kind(str(entry.get("name")))
    return kind and kind.format, entry.get("bytes"), entry.get("sha256")


def _is_part(some: Sequence[_Content], everything: Sequence[_Content]) -> bool:
    remaining = iter(everything)
    return all(each in remaining for each in some)


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3:,} more" if len(names) > 3 else "")


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
