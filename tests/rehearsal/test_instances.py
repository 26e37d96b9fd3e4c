"""Instances: from text and back, and what is dropped on the way."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from lrps.config.data import DataConfig
from lrps.config.pair_template import PairTemplate
from lrps.config.rehearsing import Synthesis
from lrps.config.versions import Version
from lrps.data.tokenizer import train_tokenizer
from lrps.rehearsal.instances import (
    DocumentFormat,
    Instance,
    InstanceFormat,
    PairFormat,
    ParsedInstances,
    instance_format,
    parsed,
    remove_duplicates,
)
from support.tokenizers import load_tokenizer

WORDS = st.text("abZ é\n漢", min_size=1, max_size=20).map(str.strip).filter(bool)
PAIRS = st.lists(st.builds(Instance, WORDS, WORDS), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_tokenizer(["a"], 257, file)
    return load_tokenizer(file)[0]


@pytest.fixture(scope="module")
def pairs(tokenizer: Tokenizer) -> PairFormat:
    return PairFormat(PairTemplate("Input: ", "\nOutput: "), "Repeat.", tokenizer, longest_tokens=200)


def read(form: InstanceFormat, completion: str, ended: bool, separator: str) -> ParsedInstances:
    return parsed(form.pieces(completion, ended, separator))


def test_the_prompt_is_the_papers(pairs: PairFormat) -> None:
    demonstrations = [pairs.text(Instance("a", "b")), pairs.text(Instance("c", "d"))]
    assert pairs.prompt(demonstrations, "\n\n") == ("Repeat.\n\nInput: a\nOutput: b\n\nInput: c\nOutput: d\n\nInput:")
    assert pairs.question(Instance("a", "?")) == "Input: a\nOutput:"


@settings(deadline=None)
@given(PAIRS)
def test_what_is_written_in_the_form_is_read_again(pairs: PairFormat, written: list[Instance]) -> None:
    """A model that goes on in the form of the prompt, which ended in the input mark."""
    text = "\n\n".join(map(pairs.text, written)).removeprefix("Input:")
    assert read(pairs, text, True, "") == ParsedInstances(tuple(written), Counter())
    assert read(pairs, text, False, "") == ParsedInstances(tuple(written[:-1]), Counter({"cut off": 1}))


@settings(deadline=None)
@given(st.text("ab \nIOnput:�", max_size=80), st.booleans())
def test_a_piece_is_a_pair_or_is_counted(pairs: PairFormat, text: str, ended: bool) -> None:
    found = read(pairs, text, ended, "")
    assert len(found.instances) + found.dropped.total() == text.count("Input:") + 1
    for instance in found.instances:
        assert instance.input == instance.input.strip() != ""
        assert instance.output == instance.output.strip() != ""
        assert read(pairs, pairs.text(instance).removeprefix("Input:"), True, "").instances == (instance,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" a", "no pair"),
        (" \nOutput: b", "no pair"),
        (" a\nOutput: ", "no pair"),
        (" a\nOutput: b\nOutput: c", "no pair"),
        (" a\nOutput: b\ufffd", "broken"),
        (" a\nOutput: " + "b" * 200, "long"),
    ],
)
def test_what_is_no_pair_is_dropped(pairs: PairFormat, text: str, reason: str) -> None:
    assert read(pairs, text, True, "") == ParsedInstances((), Counter({reason: 1}))


@pytest.mark.parametrize(
    ("completion", "ended", "expected"),
    [
        (" new", True, "new"),
        (" new\n\nInput: the next", False, "new"),
        (" new", False, "cut off"),
        ("  ", True, "empty"),
        ("\n\nInput: x", False, "empty"),
        (" a\nOutput: b", True, "no pair"),
        (" a\ufffd", True, "broken"),
        ("b" * 200, True, "long"),
    ],
)
def test_an_answer_replaces_the_output(pairs: PairFormat, completion: str, ended: bool, expected: str) -> None:
    found = pairs.answered(Instance("in", "old"), completion, ended)
    if expected == "new":
        assert found == ParsedInstances((Instance("in", "new"),), Counter())
    else:
        assert found == ParsedInstances((), Counter({expected: 1}))


@settings(deadline=None)
@given(WORDS, WORDS)
def test_a_pair_in_the_data_is_a_demonstration(pairs: PairFormat, question: str, answer: str) -> None:
    text = pairs.text(Instance(question, answer))
    tokens = len(text.encode())
    assert pairs.demonstration(text, tokens) == text
    assert pairs.demonstration(text, tokens - 1) is None, "half a pair is none"
    assert pairs.demonstration("Before. " + text, 1000) is None
    assert pairs.demonstration(question, 1000) is None


@settings(deadline=None)
@given(st.text("ab é漢\n", max_size=60), st.integers(1, 12), st.booleans())
def test_a_document_is_its_first_tokens_and_the_rest(
    tokenizer: Tokenizer, text: str, prefix_tokens: int, ended: bool
) -> None:
    form = DocumentFormat(tokenizer, prefix_tokens)
    found = read(form, text, ended, "")
    assert len(found.instances) + found.dropped.total() == 1
    for instance in found.instances:
        assert form.text(instance) == text
        # A token of plain bytes may be a part of a character: the whole character is in the input.
        size = len(instance.input.encode())
        assert prefix_tokens <= size < prefix_tokens + 3
        assert instance.output.strip()


@settings(deadline=None)
@given(st.text("ab é漢", min_size=1, max_size=40).filter(str.strip), st.integers(1, 50))
def test_a_demonstration_is_the_beginning_of_its_document(tokenizer: Tokenizer, text: str, longest: int) -> None:
    shown = DocumentFormat(tokenizer, 1).demonstration(text, longest)
    assert shown is not None
    assert text.startswith(shown)
    assert len(shown.encode()) < longest + 3
    assert shown == text or len(shown.encode()) >= longest


@pytest.mark.parametrize(
    ("text", "ended", "reason"),
    [("", True, "empty"), (" \n", False, "empty"), ("ab", True, "short"), ("a\ufffdbcdef", True, "broken")],
)
def test_what_is_no_document_is_dropped(tokenizer: Tokenizer, text: str, ended: bool, reason: str) -> None:
    assert read(DocumentFormat(tokenizer, 3), text, ended, "") == ParsedInstances((), Counter({reason: 1}))


def test_a_character_that_was_cut_off_is_left_out(tokenizer: Tokenizer) -> None:
    form = DocumentFormat(tokenizer, 2)
    assert read(form, "abcd\ufffd", False, "").instances == (Instance("ab", "cd"),)
    assert form.answered(Instance("ab", "old"), "new\ufffd", False).instances == (Instance("ab", "new"),)
    assert form.answered(Instance("ab", "old"), "new\ufffd", True).dropped == Counter({"broken": 1})


@settings(deadline=None)
@given(st.lists(st.text("ab", min_size=3, max_size=9), min_size=1, max_size=4), st.booleans())
def test_a_model_that_goes_on_with_documents_is_read_document_by_document(
    tokenizer: Tokenizer, written: list[str], ended: bool
) -> None:
    form = DocumentFormat(tokenizer, 2)
    expected = ParsedInstances(tuple(Instance(text[:2], text[2:]) for text in written), Counter())
    assert read(form, "\n\n\n".join(written), ended, "\n\n\n") == expected
    assert read(form, "\n\n\n".join(written) + "\n\n\n", ended, "\n\n\n") == expected, "nothing follows the last one"


def test_a_broken_character_is_excused_at_the_very_end_only(tokenizer: Tokenizer) -> None:
    found = read(DocumentFormat(tokenizer, 2), "abc\ufffd|abc\ufffd", False, "|")
    assert found == ParsedInstances((Instance("ab", "c"),), Counter({"broken": 1}))


def test_a_separator_is_no_part_of_an_output(pairs: PairFormat) -> None:
    found = read(pairs, " a\nOutput: b\n###\nInput: c\nOutput: d\n###\nInput: e\nOutput: f", True, "\n###\n")
    assert found == ParsedInstances((Instance("a", "b"), Instance("c", "d"), Instance("e", "f")), Counter())


def test_documents_follow_each_other_in_a_prompt(tokenizer: Tokenizer) -> None:
    assert DocumentFormat(tokenizer, 2).prompt(["one", "two"], "<|end|>") == "one<|end|>two<|end|>"


@settings(deadline=None)
@given(st.lists(st.builds(Instance, st.sampled_from("ab"), st.sampled_from("ab"))))
def test_duplicates_are_dropped_and_counted(instances: list[Instance]) -> None:
    kept, doubled = remove_duplicates(instances)
    assert set(kept) == set(instances)
    assert len(kept) == len(set(kept)) == len(instances) - doubled
    assert [instances.index(one) for one in kept] == sorted(instances.index(one) for one in kept)


def test_the_form_is_that_of_the_config(tokenizer: Tokenizer) -> None:
    data = DataConfig(root=Path("data"), sequence_length=16, versions=(Version(name="v1"),))
    assert instance_format(Synthesis(of="v1", prefix_tokens=7), tokenizer, data) == DocumentFormat(tokenizer, 7)
    pairs = Synthesis(of="v1", kind="pairs", output_mark=" => ")
    made = instance_format(pairs, tokenizer, data)
    assert made == PairFormat(PairTemplate("Input: ", " => "), "", tokenizer, 16)
    other = data.model_copy(update={"template": "{task}\n\nQ: {input}\nA: {output}"})
    made = instance_format(pairs, tokenizer, other)
    assert made == PairFormat(PairTemplate("Q: ", "\nA: ", "\n\n"), "", tokenizer, 16)


def test_a_task_in_the_text_is_once_in_a_prompt_and_in_every_document(tokenizer: Tokenizer) -> None:
    form = PairFormat(PairTemplate("Q: ", "\nA: ", "\n\n"), "Double it.", tokenizer, 200)
    document = form.text(Instance("a", "aa"))
    assert document == "Double it.\n\nQ: a\nA: aa"
    shown = form.demonstration(document, 200)
    assert shown == "Q: a\nA: aa"
    assert form.prompt([shown, "Q: b\nA: bb"], "\n\n") == "Double it.\n\nQ: a\nA: aa\n\nQ: b\nA: bb\n\nQ:"
    assert form.question(Instance("c", "?")) == "Double it.\n\nQ: c\nA:"
    assert form.demonstration("Halve it.\n\nQ: aa\nA: a", 200) is None, "a pair of another task"


@pytest.mark.parametrize(
    ("completion", "separator", "closed"),
    [
        (" a\nOutput: b\n\n", "\n\n", True),
        (" a\nOutput: b\n\nIn", "\n\n", True),
        (" a\nOutput: b\n\nInput: c\nOutput: d\n\nInp", "\n\n", True),
        (" a\nOutput: b\n\nc", "\n\n", False),
        (" a\nOutput: b\n", "\n\n", False),
        (" a\nOutput: b\n###\nand so on", "\n###\n", True),
        (" a\nOutput: b", "", False),
    ],
)
def test_a_last_pair_that_the_separator_closes_is_kept(
    pairs: PairFormat, completion: str, separator: str, closed: bool
) -> None:
    whole = completion.count("Output:")
    found = read(pairs, completion, False, separator)
    assert len(found.instances) == (whole if closed else whole - 1)
    assert found.dropped == (Counter() if closed else Counter({"cut off": 1}))
    assert not closed or found.instances[-1].output in ("b", "d")
