"""Scoring of a model on instruction pairs: its greedy answers are compared with the references by ROUGE-L."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import fmean, stdev
from typing import TYPE_CHECKING

from lrps.config.evaluating import PairTask
from lrps.config.pair_template import fill
from lrps.evaluation.rouge import rouge_l
from lrps.plan.scores import ROUGE_L, Result
from lrps.plan.tasks import read_pairs

if TYPE_CHECKING:
    from lrps.rehearsal.generator import Generator

_AT_ONCE = 256
"""Number of prompts per call of the generator, which sorts them into batches by length."""
_REPORT_SECONDS = 30.0


def score_answers(generator: Generator, task: PairTask, report: Callable[[str], None]) -> tuple[dict[str, Result], int]:
    """Return the mean ROUGE-L of the model's answers, and their number.

    report: called with a line of progress every _REPORT_SECONDS. Raises DataError as `read_pairs`, GenerationError as
    the generator, ConfigError without rouge-score.
    """
    from lrps.rehearsal.generator import Sampling

    pairs, greedy = read_pairs(task.pairs), Sampling(task.max_new_tokens)
    points: list[float] = []
    reported = time.monotonic()
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        prompts = [fill(task.template, pair) for pair in some]
        answers = [completion.text for completion in generator.generate(prompts, greedy, [0] * len(prompts))]
        points += rouge_l(answers, [pair.output for pair in some])
        if time.monotonic() - reported > _REPORT_SECONDS:
            report(f"{len(points)} of {len(pairs)} answers")
            reported = time.monotonic()
    stderr = stdev(points) / math.sqrt(len(points)) if len(points) > 1 else None
    return {ROUGE_L: Result(fmean(points), stderr, True)}, len(points)
