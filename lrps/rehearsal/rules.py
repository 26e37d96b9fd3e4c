"""Rules of a rehearsal set: what settings mean where releases differ, so that a set continues as it was begun.

Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrps.base.files import located
from lrps.config.rehearsing import PAPER_PENALTY, Synthesis
from lrps.rehearsal.stage_file import stage_settings

FORMER = 1
"""Rules of sets without a `rules` entry: the repetition penalty is on the prompt too, demonstrations have no smallest
number and clusters no largest, instances are not screened, a last pair that is not ended is dropped although the
separator closes it, and more generations begin a new refinement."""
CURRENT = 2
"""Rules of new sets."""
ADDED = frozenset({"agree", "near_duplicates", "copies", "shape", "min_demonstrations", "chat"})
"""Settings that came with the current rules."""
RULES = "rules"
"""Key of the rules in a stage's header and in the settings of a manifest."""


def begun_rules(directory: Path, synthesis: Synthesis) -> int:
    """Return the rules of a set: the former ones if its directory has generations that they made with these settings.

    Changed settings of the synthesis, settings that the former rules do not have, or the removal of those generations
    let the current rules make the set again.
    """
    if any(getattr(synthesis, key) != Synthesis.model_fields[key].default for key in ADDED):
        return CURRENT
    headers = (stage_settings(path) for path in sorted(directory.glob("synthesis-*.jsonl")))
    former = any(RULES not in made_by and _matches(made_by, synthesis) for made_by in headers if made_by)
    return FORMER if former else CURRENT


def former_penalty(synthesis: Synthesis) -> float:
    """Return the repetition penalty under the former rules, by which servers had the same default."""
    return PAPER_PENALTY if synthesis.repetition_penalty is None else synthesis.repetition_penalty


def rules_note(rules: int, directory: Path) -> str | None:
    """Return a sentence about a set that continues under the former rules; None under the current ones."""
    if rules == CURRENT:
        return None
    return (
        "was begun by an older release and continues by its rules: the repetition penalty is on the prompt too, and "
        "instances are not screened; to make it by the current ones, move the files synthesis-* out of "
        f"{located(directory)}"
    )


def _matches(made_by: Mapping[str, Any], synthesis: Synthesis) -> bool:
    wanted = {
        "task": synthesis.task,
        "input_mark": synthesis.input_mark,
        "output_mark": synthesis.output_mark,
        "samples": synthesis.samples,
        "sampling": {
            "max_new_tokens": synthesis.max_tokens,
            "temperature": synthesis.temperature,
            "top_p": synthesis.top_p,
            "repetition_penalty": former_penalty(synthesis),
        },
    }
    return {key: made_by.get(key) for key in wanted} == wanted
