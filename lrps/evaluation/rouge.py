"""ROUGE-L of texts, by the package rouge-score of Google Research, which lm-eval uses too.

The score is F1 of the longest common subsequence of stemmed words, as in the evaluation of Super-NaturalInstructions,
which the paper uses. The package's own tokenizer keeps only ASCII letters and digits, so every Chinese answer would
score 0. The one here keeps letters of all scripts, and in scripts without spaces every character is a word; ASCII text
gets the same words as in the package.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any
from unicodedata import normalize

from lrps.base.errors import ConfigError

POINTS = 100.0

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Characters of scripts without spaces: Thai, Lao, Burmese, Khmer, kana and Han."""
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """Return the ROUGE-L F1 of each answer, in points from 0 to 100. An answer without words has 0.

    Raises ConfigError if the package is not installed.
    """
    scorer = _scorer()
    return [
        POINTS * scorer.score(reference, answer)["rougeL"].fmeasure
        for answer, reference in zip(answers, references, strict=True)
    ]


@cache
def _scorer() -> Any:
    try:
        from nltk.stem.porter import PorterStemmer
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError as error:
        raise ConfigError(f"evaluation.tasks needs rouge-score ({error}); run `pip install 'lrps[eval]'`") from None
    return RougeScorer(["rougeL"], tokenizer=_Words(PorterStemmer()))


class _Words:
    """A tokenizer for rouge-score."""

    def __init__(self, stemmer: Any) -> None:
        self._stemmer = stemmer

    def tokenize(self, text: str) -> list[str]:
        return [
            self._stemmer.stem(word) if len(word) > 3 and word.isascii() else word
            for word in _WORDS.findall(normalize("NFC", text.lower()))
        ]
