"""ROUGE-L against a second implementation, and against the package's own words on ASCII text."""

from __future__ import annotations

import string
import sys
from functools import cache
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError
from lrps.evaluation import rouge

pytest.importorskip("rouge_score", reason="rouge-score is not installed: pip install 'lrps[eval]'")

WORDS = st.lists(st.sampled_from(["a", "b", "c", "dd", "straße", "дом", "中", "国", "x9"]), max_size=8)


def second(answer: list[str], reference: list[str]) -> float:
    """By the recursion of the longest common subsequence."""

    @cache
    def longest(i: int, j: int) -> int:
        if i == len(answer) or j == len(reference):
            return 0
        if answer[i] == reference[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    common = longest(0, 0)
    return 200 * common / (len(answer) + len(reference)) if common else 0.0


@given(WORDS, WORDS, st.sampled_from([" ", ", ", " - ", "\n"]))
def test_it_is_the_f_of_the_longest_common_subsequence(answer: list[str], reference: list[str], between: str) -> None:
    (points,) = rouge.rouge_l([between.join(answer)], [between.join(reference).upper()])
    upper = ["strasse" if word == "straße" else word for word in reference]
    assert points == pytest.approx(second(answer, upper))


@given(st.text(string.printable), st.text(string.printable))
def test_ascii_text_scores_as_the_package_does(answer: str, reference: str) -> None:
    from rouge_score.rouge_scorer import RougeScorer

    theirs = RougeScorer(["rougeL"], use_stemmer=True).score(reference, answer)["rougeL"].fmeasure
    assert rouge.rouge_l([answer], [reference]) == [100 * theirs]


@pytest.mark.parametrize("text", ["北京是中国的首都", "กรุงเทพ", "Ärger über Öl", "дом", "서울은 수도"])
def test_letters_of_all_scripts_count(text: str) -> None:
    assert rouge.rouge_l([text, "none", ""], [text] * 3) == [100.0, 0.0, 0.0]


def test_words_that_are_the_same() -> None:
    assert rouge.rouge_l(["paths switching"], ["path switched"]) == [100.0], "stemmed"
    assert rouge.rouge_l([normalize("NFD", "größe")], ["größe"]) == [100.0], "in another form of the same letters"
    assert rouge.rouge_l(["größen"], ["größe"]) == [0.0], "the stemmer is for English"
    assert rouge.rouge_l(["gas"], ["ga"]) == [0.0], "short words are not stemmed"


def test_without_the_package_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rouge_score.rouge_scorer", None)
    rouge._scorer.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'lrps\[eval\]'"):
        rouge.rouge_l(["a"], ["a"])
    rouge._scorer.cache_clear()
