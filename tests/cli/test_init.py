"""`lrps init`: a config for text that is at hand, and the translation of a DeepSpeed config."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from lrps.base.errors import ConfigError, DataError
from lrps.cli.app import app
from lrps.config.loader import load_config
from lrps.config.models import Config
from lrps.data.build.build import build_data
from support.tokenizers import family_file

WORDS = "the main path keeps its rate while a branch decays and every version reads".split()  # noqa: SIM905


def paragraphs(number: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=60)) for _ in range(number)]


def as_lines(texts: Iterable[str], key: str = "text") -> str:
    return "".join(json.dumps({"id": "1", key: text}) + "\n" for text in texts)


def many_files(folder: Path) -> str:
    folder.mkdir()
    for number, text in enumerate(paragraphs(30)):
        (folder / f"{number}.txt").write_text(f"{text}\n\n{text[::-1]}")
    return "corpus"


def one_book(folder: Path) -> str:
    (folder.parent / "book.txt").write_text("\n\n".join(paragraphs(300)))
    return "book.txt"


def lines_of_text(folder: Path) -> str:
    (folder.parent / "lines.txt").write_text("\n".join(paragraphs(300)))
    return "lines.txt"


def wiki(folder: Path) -> str:
    (folder / "deep").mkdir(parents=True)
    for number, text in enumerate(paragraphs(30)):
        (folder / "deep" / f"{number}.md").write_text(f"# {number}\n\n{text * 2}")
    return "corpus/**/*.md"


def other_key(folder: Path) -> str:
    (folder.parent / "a.jsonl.gz").write_bytes(gzip.compress(as_lines(paragraphs(200), "content").encode()))
    return "a.jsonl.gz"


def array(folder: Path) -> str:
    (folder.parent / "a.json").write_text(json.dumps([{"text": text} for text in paragraphs(200)]))
    return "a.json"


TEXTS: tuple[Callable[[Path], str], ...] = (many_files, one_book, lines_of_text, wiki, other_key, array)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments])


def written(*arguments: str) -> Config:
    """Return the config that `lrps init mine` writes, after a plan and a build of its data."""
    found = init("mine", *arguments)
    assert found.exit_code == 0, found.exception
    planned = CliRunner().invoke(app, ["plan", "mine.yaml", "--json"])
    assert planned.exit_code == 0, planned.exception
    config = load_config(Path("mine.yaml"))
    build_data(config, processes=1)
    after = CliRunner().invoke(app, ["plan", "mine.yaml", "--json"])
    assert after.exit_code == 0, after.exception
    steps = [version["steps"] for version in json.loads(after.stdout)["versions"]]
    assert steps == [version["steps"] for version in json.loads(planned.stdout)["versions"]], "the text is as planned"
    assert min(steps) >= 40
    assert config.schedule.warmup_steps * 4 < steps[0]
    return config


@pytest.mark.parametrize("text", TEXTS, ids=lambda each: each.__name__)
def test_text_that_newcomers_have_becomes_a_plan_and_shards(text: Callable[[Path], str], here: Path) -> None:
    named = text(here / "corpus")
    assert written("--text", named).data.versions[0].text == (named,)


def test_what_was_found_decides_how_text_is_read(here: Path) -> None:
    config = written("--text", one_book(here / "corpus"), other_key(here / "corpus"))
    assert (config.data.documents, config.data.text_key) == ("blank-line", "content")
    assert [version.name for version in config.data.versions] == ["v1", "v2"]


@pytest.mark.parametrize("model", ["llama", "qwen3", "gpt2"])
def test_every_family_is_planned(model: str, here: Path) -> None:
    config = written("--text", one_book(here / "corpus"), "--model", model)
    assert config.model.architecture is not None
    assert config.model.architecture["model_type"] == model


def test_the_options_that_an_unquoted_glob_becomes_are_versions(here: Path) -> None:
    for number in (1, 2, 3):
        (here / f"{number}.jsonl").write_text(as_lines(paragraphs(60, number)))
    assert init("a", "--text", "1.jsonl", "2.jsonl", "--model", "gpt2", "--text", "3.jsonl").exit_code == 0
    assert [v.text for v in load_config(Path("a.yaml")).data.versions] == [(f"{k}.jsonl",) for k in (1, 2, 3)]
    found = init("b", "--text", *["1.jsonl"] * 30)
    assert "30 texts" in str(found.exception)
    assert "quote the glob" in str(found.exception)


def test_it_says_what_it_assumed_and_what_to_run_next(here: Path) -> None:
    said = init("mine", "--text", one_book(here / "corpus")).stdout
    assert "v1 is book.txt: 1 file, 300 documents" in said
    assert "a document ends at a blank line" in said
    assert [line.split()[1:3] for line in said.splitlines() if line.startswith("  lrps ")] == [
        ["plan", "mine.yaml"], ["data", "build"], ["run", "mine.yaml"],
    ]  # fmt: skip


@pytest.mark.parametrize("taken", ["mine.yaml", "runs/mine", "data/mine"])
def test_nothing_is_overwritten(taken: str, here: Path) -> None:
    (here / taken).parent.mkdir(exist_ok=True)
    (here / taken).write_text("kept")
    found = init("mine", "--text", one_book(here / "corpus"))
    assert isinstance(found.exception, ConfigError)
    assert f"{taken} exists" in str(found.exception)
    assert (here / taken).read_text() == "kept"
    assert not list(here.glob("*.yaml")) or taken == "mine.yaml"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("\n".join(paragraphs(5)), r"too little text for v1: 1\..* kB in 5 documents. A version needs at least 20"),
        ("\n".join("few words" for _ in range(30)), r"too little text for v1: 270 B in 30 documents.*about 12.8 kB"),
        (" ".join(paragraphs(300)), "in one document .`fold -s -w 1000 FILE"),
        ("", "too little text for v1: 0 B in 0 documents"),
        ("\n".join(paragraphs(60)).encode("utf-16"), "a.txt, line 1: its first bytes are those of UTF-16.*iconv"),
        ("\n".join(paragraphs(60)).encode("utf-16-le"), "a.txt: a document has NUL characters.*iconv"),
        ("\n".join(f"é {text}" for text in paragraphs(60)).encode("latin-1"), "a.txt, line 1: not UTF-8 at byte 0"),
    ],
)
def test_text_that_cannot_be_trained_on_is_refused(content: str | bytes, words: str, here: Path) -> None:
    (here / "a.txt").write_bytes(content.encode() if isinstance(content, str) else content)
    found = init("mine", "--text", "a.txt")
    assert isinstance(found.exception, DataError)
    with pytest.raises(DataError, match=f"(?s){words}"):
        raise found.exception
    assert not (here / "mine.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--text is missing"),
        (["mine"], "--text is missing"),
        (["mine", "--text", "none/*.txt"], "there is no such text"),
        (["mine", "--text", "s3://bucket/text"], "is not on this machine"),
        (["mine", "--text", "book.txt", "--model", "bert"], "neither a family"),
        (["-mine/../x y", "--text", "book.txt"], None),
        (["x y", "--text", "book.txt"], "a name has letters"),
        (["no/mine", "--text", "book.txt"], "no such directory"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], words: str | None, here: Path) -> None:
    one_book(here / "corpus")
    found = init(*arguments)
    assert found.exit_code != 0
    assert words is None or words in str(found.exception)
    assert [file.name for file in here.iterdir()] == ["book.txt"]


def test_a_model_that_was_trained_before_keeps_its_tokenizer(here: Path) -> None:
    from support.model_directories import model_directory

    family_file(model_directory(here / "model", vocab_size=512) / "tokenizer.json", "byte BPE")
    config = written("--text", one_book(here / "corpus"), "--model", "model")
    assert config.model.checkpoint == Path("model")
    assert config.data.tokenizer == Path("model/tokenizer.json")
    assert config.data.train_vocabulary is None


def ds_config(here: Path, **values: Any) -> str:
    (here / "ds.json").write_text(json.dumps(values))
    return "ds.json"


def test_settings_of_deepspeed_take_precedence(here: Path) -> None:
    file = ds_config(here, train_batch_size=6, zero_optimization={"stage": 2}, optimizer={"params": {"lr": 1e-4}})
    config = written("--text", one_book(here / "corpus"), "--from", file)
    assert (config.batch.sequences, config.engine.zero_stage, config.schedule.peak_lr) == (6, 2, 1e-4)
    assert "# train_batch_size: became batch.sequences: 6" in (here / "mine.yaml").read_text()
    too_large = ds_config(here, train_batch_size=4096)
    assert "40 steps of 4096 sequences" in str(init("b", "--text", "book.txt", "--from", too_large).exception)


def test_without_text_the_translation_is_yaml_with_a_comment_for_every_line(here: Path) -> None:
    file = ds_config(here, zero_optimization={"stage": 2, "legacy_stage1": True}, bf16={})
    found = init("--from", file)
    assert found.exit_code == 0
    assert yaml.safe_load(found.output) == {"engine": {"zero_stage": 2}}
    assert found.output.splitlines()[:2] == [
        "# zero_optimization.stage: became engine.zero_stage: 2",
        "# zero_optimization.legacy_stage1: refused: is broken in DeepSpeed 0.19.8, which has no such stage any more",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{\n 'a': 1}", "ds.json: not JSON (Expecting property name enclosed in double quotes: line 2 column 2"),
        ("[]", "holds a list at its top; give the path of a DeepSpeed config"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "ds.json"
    file.write_text(text)
    found = init("--from", str(file))
    assert isinstance(found.exception, ConfigError)
    assert words in str(found.exception)
    missing = init("--from", str(tmp_path / "absent.json"))
    assert "cannot be read" in str(missing.exception)
