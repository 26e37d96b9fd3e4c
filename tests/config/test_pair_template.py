"""The one template of pairs: documents, prompts, and reading them again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.config.models import Config
from lrps.config.pair_template import PairTemplate, PairText, fill
from support.values import config_values

WORDS = st.text("abZ é{}\n漢", min_size=1, max_size=20).map(str.strip).filter(bool)
TEMPLATES = st.sampled_from(
    ["{task}\n\nInput: {input}\nOutput: {output}", "Q: {input}\nA: {output}", "{task} <q>{input}<|a|>{output}"]
)


@given(TEMPLATES, WORDS, WORDS, st.one_of(st.just(""), WORDS))
def test_what_a_template_writes_it_reads_again(text: str, given_: str, wanted: str, task: str) -> None:
    template = PairTemplate.parse(text)
    assert template.text == text
    document = template.document(PairText(given_, wanted, task))
    known = PairText(given_, wanted, task if "{task}" in text else "")
    assert template.read(document) == known
    assert document[template.output_start(document) :] == wanted
    assert document.startswith(fill(template.question, known)), "the prompt is the beginning of the document"
    assert template.read(template.demonstration(known)) == known._replace(task="")


def test_texts_are_not_searched_for_places() -> None:
    assert fill("{task} {input}: {output}", PairText("{output}", "o", "{input}")) == "{input} {output}: o"
    assert fill("{task}\n\n{input}", PairText("i", "")) == "i", "an empty task takes its blanks with it"


@pytest.mark.parametrize(
    "document",
    [
        "Input: a",
        "Input: a\nOutput:",
        "Input: a\nOutput: b\nOutput: c",
        "Input: Input: a\nOutput: b",
        "T\nInput: a\nOutput: b",
    ],
)
def test_what_is_no_pair_is_not_read(document: str) -> None:
    template = PairTemplate.parse("Input: {input}\nOutput: {output}")
    assert template.read(document) is None
    assert template.output_start(document) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Input: {input}", "once each"),
        ("{input}{input}: {output}", "once each"),
        ("A: {output}, Q: {input}", "ends with {output}"),
        ("Task: {task} Q: {input} A: {output}", "begins with {task}"),
        ("Q: {input} A: {output}!", "ends with {output}"),
        ("Q: {input} {output}", "need a visible character"),
        ("Q: {input} Q: {output}", "none is in the other"),
        ("> {input} <a> {output}", "none is in the other"),
    ],
)
def test_a_template_that_cannot_be_read_again_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairTemplate.parse(text)


def test_tasks_are_asked_by_the_template_of_the_data() -> None:
    tasks = [{"name": "a", "version": "v1", "pairs": "a.jsonl"}]
    tasks += [{"name": "b", "version": "v1", "pairs": "b.jsonl", "template": "{input}?"}]
    values = config_values(evaluation={"tasks": tasks})
    assert [each.template for each in Config.model_validate(values).evaluation.tasks] == [
        "Input: {input}\nOutput:",
        "{input}?",
    ]
    values["data"]["template"] = "{task}\n\nQ: {input}\nA: {output}"
    config = Config.model_validate(values)
    assert [each.template for each in config.evaluation.tasks] == ["{task}\n\nQ: {input}\nA:", "{input}?"]
    assert Config.model_validate(config.model_dump()) == config


def test_marks_that_differ_from_the_template_are_refused() -> None:
    values = config_values()
    values["data"]["versions"] = [{"name": "v1", "text": ["a.jsonl"]}, {"name": "v2", "text": ["b.jsonl"]}]
    synthesis = {"of": "v1", "kind": "pairs", "input_mark": "Q: ", "output_mark": "\nA: "}
    values["data"] |= {"rehearsal": [{"name": "r", "since": "v2", "tokens": 1, "synthesis": synthesis}]}
    values["data"]["template"] = "Q: {input}\nA: {output}"
    Config.model_validate(values)
    values["data"]["template"] = "Input: {input}\nA: {output}"
    with pytest.raises(ValueError, match="not the marks of data.template"):
        Config.model_validate(values)
