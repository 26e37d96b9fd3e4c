"""ROUGE-L of texts: the one door to the package rouge-score, which Google's research and lm-eval use.

F of the longest common subsequence of words, stemmed, as the evaluation of Super-NaturalInstructions takes it, and so
the paper's. The package's own words are ASCII letters and digits: a Chinese answer would have none, and score 0
whatever it says. Here letters of all scripts count, and in scripts without blanks every character is a word; ASCII text
gets the very words that the package gives it.
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
"""Thai, Lao, Burmese, Khmer, kana and Han."""
_WORDS = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


def rouge_l(answers: Sequence[str], references: Sequence[str]) -> list[float]:
    """ROUGE-L F in points, 0 to 100, of each answer. An answer without a word has 0.

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
    """What the package calls a tokenizer."""

    def __init__(self, stemmer: Any) -> None:
        self._stemmer = stemmer

    def tokenize(self, text: str) -> list[str]:
        return [
            self._stemmer.stem(word) if len(word) > 3 and word.isascii() else word
            for word in _WORDS.findall(normalize("NFC", text.lower()))
        ]
