"""Scoring of a model on instruction pairs: its greedy answers are compared with the references by ROUGE-L."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from statistics import fmean, stdev
from typing import TYPE_CHECKING, NamedTuple

from lrps.config.evaluating import PairTask
from lrps.config.pair_template import fill
from lrps.evaluation.rouge import rouge_l
from lrps.plan.scores import ROUGE_L, MetricResult
from lrps.plan.tasks import read_pairs

if TYPE_CHECKING:
    from lrps.rehearsal.generator import Generator

_AT_ONCE = 256
"""Number of prompts per call of the generator, which sorts them into batches by length."""
_REPORT_SECONDS = 30.0


class Answer(NamedTuple):
    """A model's answer to the input of one pair, beside the expected one."""

    input: str
    output: str
    """Expected answer."""
    answer: str
    """Answer of the model."""
    rouge_l: float
    """ROUGE-L of the answer, in points from 0 to 100."""


def score_answers(
    generator: Generator, task: PairTask, report: Callable[[str], None]
) -> tuple[dict[str, MetricResult], list[Answer]]:
    """Return the mean ROUGE-L of the model's answers, and the answers in the order of the pairs.

    report: called with a line of progress every _REPORT_SECONDS. Raises DataError as `read_pairs`, GenerationError as
    the generator, ConfigError without rouge-score.
    """
    from lrps.rehearsal.generator import Sampling

    pairs, greedy = read_pairs(task.pairs), Sampling(task.max_new_tokens)
    found: list[Answer] = []
    reported = time.monotonic()
    for first in range(0, len(pairs), _AT_ONCE):
        some = pairs[first : first + _AT_ONCE]
        prompts = [fill(task.template, pair) for pair in some]
        answers = [completion.text for completion in generator.generate(prompts, greedy, [0] * len(prompts))]
        points = rouge_l(answers, [pair.output for pair in some])
        found += [Answer(p.input, p.output, a, x) for p, a, x in zip(some, answers, points, strict=True)]
        if time.monotonic() - reported > _REPORT_SECONDS:
            report(f"{len(found)} of {len(pairs)} answers")
            reported = time.monotonic()
    every = [each.rouge_l for each in found]
    stderr = stdev(every) / math.sqrt(len(every)) if len(every) > 1 else None
    return {ROUGE_L: MetricResult(fmean(every), stderr, True)}, found
