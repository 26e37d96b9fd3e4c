from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.values import load_tool

TOOL = Path(__file__).parents[2] / "tools" / "python_corpus.py"
corpus = load_tool("python_corpus")

PACKAGES = {"numpy": "2.0", "torch": "2.6", "other": "1.0"}


def python(path: Path, name: str, size: int = 600) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((f"# {name}: é\n" + "x = 1\n" * size)[:size])


@pytest.fixture
def roots(tmp_path) -> object:
    stdlib, packages = tmp_path / "lib", tmp_path / "lib" / "site-packages"
    for n in range(60):
        python(stdlib / f"m{n}.py", f"stdlib {n}")
        python(stdlib / "json" / "tests" / f"t{n}.py", f"test {n}")
        python(packages / "numpy" / f"n{n}.py", f"numpy {n}")
        python(packages / "torch" / "nn" / f"t{n}.py", f"torch {n}")
        python(packages / "transformers" / f"f{n}.py", f"transformers {n}")
        python(packages / "other" / f"o{n}.py", f"other {n}")
    python(packages / "single.py", "single")
    return corpus.Roots(stdlib, (packages,))


def build(roots, out: Path, split: str = "drift", versions: int = 4, size: int = 10**6) -> list[str]:
    return corpus.build_corpus(split, versions, size, out, roots, PACKAGES)


def sources(path: Path) -> list[str]:
    return [json.loads(line)["source"] for line in path.read_text().splitlines()]


def test_drift_gives_each_version_its_domain(roots, tmp_path):
    build(roots, tmp_path / "out", versions=5)
    domains = [{source.split("/")[0] for source in sources(tmp_path / "out" / f"v{n}.jsonl")} for n in range(1, 6)]
    assert domains == [{"stdlib"}, {"numpy"}, {"torch"}, {"transformers"}, {"other", "single.py"}]
    assert len(sources(tmp_path / "out" / "v1.jsonl")) == 120


def test_iid_deals_every_domain_to_every_version_and_no_document_twice(roots, tmp_path):
    build(roots, tmp_path / "out", "iid", versions=8)
    hands = [sources(tmp_path / "out" / f"v{n}.jsonl") for n in range(1, 9)]
    assert sum(map(len, hands)) == len(set().union(*hands)) == 361
    for hand in hands:
        assert {"stdlib", "numpy", "torch", "transformers", "other"} <= {source.split("/")[0] for source in hand}


@pytest.mark.parametrize("split", ["iid", "drift"])
def test_a_version_more_leaves_the_others_byte_for_byte(split, roots, tmp_path):
    build(roots, tmp_path / "grown", split, versions=2)
    before = [(tmp_path / "grown" / f"v{n}.jsonl").read_bytes() for n in (1, 2)]
    lines = build(roots, tmp_path / "grown", split, versions=4)
    assert ["already built" in line for line in lines] == [True, True, False, False]
    build(roots, tmp_path / "at-once", split, versions=4)
    for n in range(1, 5):
        grown, at_once = (tmp_path / name / f"v{n}.jsonl" for name in ("grown", "at-once"))
        assert grown.read_bytes() == at_once.read_bytes()
    assert [(tmp_path / "grown" / f"v{n}.jsonl").read_bytes() for n in (1, 2)] == before


@pytest.mark.parametrize("split", ["iid", "drift"])
def test_a_smaller_budget_takes_the_first_documents(split, roots, tmp_path):
    build(roots, tmp_path / "all", split, versions=1)
    lines = build(roots, tmp_path / "some", split, versions=1, size=5000)
    everything, some = (sources(tmp_path / name / "v1.jsonl") for name in ("all", "some"))
    assert some == everything[: len(some)]
    assert len(some) == 8  # documents of 601 bytes
    assert lines == ["v1: 8 documents, 0.0 MB"]


def test_the_order_is_not_the_order_of_names(roots, tmp_path):
    build(roots, tmp_path / "out", versions=1)
    found = sources(tmp_path / "out" / "v1.jsonl")
    assert found != sorted(found)


def test_what_nobody_wants_to_learn_is_left_out(tmp_path):
    lib = tmp_path / "lib"
    python(lib / "good.py", "good")
    python(lib / "zz_copy.py", "good")
    python(lib / "tiny.py", "tiny", 100)
    python(lib / "large.py", "large", 200_001)
    python(lib / "generated.py", "This file was automatically generated")
    python(lib / "notes.txt", "no python")
    python(lib / "__pycache__" / "cached.py", "cached")
    python(lib / "site-packages" / "package.py", "package")
    (lib / "latin.py").write_bytes(b"# caf\xe9\n" * 100)
    (lib / "link.py").symlink_to(lib / "good.py")
    build(corpus.Roots(lib, (lib / "site-packages",)), tmp_path / "out", versions=1)
    assert sources(tmp_path / "out" / "v1.jsonl") == ["stdlib/good.py"]


def test_a_text_in_two_domains_is_in_the_first_only(roots, tmp_path):
    shared = roots.stdlib / "m0.py"
    (roots.packages[0] / "numpy" / "copied.py").write_bytes(shared.read_bytes())
    build(roots, tmp_path / "out")
    assert "stdlib/m0.py" in sources(tmp_path / "out" / "v1.jsonl")
    assert "numpy/copied.py" not in sources(tmp_path / "out" / "v2.jsonl")


def test_the_record_names_what_each_version_was_made_from(roots, tmp_path):
    build(roots, tmp_path / "out", versions=5)
    record = json.loads((tmp_path / "out" / "corpus.json").read_text())
    made_from = [entry["made_from"] for entry in record["versions"]]
    assert [set(names) - {"python"} for names in made_from] == [set(), {"numpy"}, {"torch"}, set(), set(PACKAGES)]
    assert record["arguments"] == {"split": "drift", "bytes_per_version": 10**6}


def test_other_arguments_need_another_folder(roots, tmp_path):
    build(roots, tmp_path / "out")
    with pytest.raises(corpus.CorpusError, match="choose another --out"):
        build(roots, tmp_path / "out", size=10**7)
    (tmp_path / "out" / "v2.jsonl").unlink()
    with pytest.raises(corpus.CorpusError, match="has lost files"):
        build(roots, tmp_path / "out")


def test_a_missing_domain_is_named(roots, tmp_path):
    (roots.packages[0] / "torch").rename(tmp_path / "torch")
    with pytest.raises(corpus.CorpusError, match=r"v3 of --split drift needs torch.*--versions 2"):
        build(roots, tmp_path / "out")


def test_a_budget_below_one_document_is_refused(roots, tmp_path):
    with pytest.raises(corpus.CorpusError, match="raise --bytes-per-version"):
        build(roots, tmp_path / "out", size=100)


@pytest.mark.parametrize(
    ("text", "size"), [("500kB", 500_000), ("8MB", 8 * 10**6), ("1.5M", 1_500_000), ("2MiB", 2**21), ("77", 77)]
)
def test_sizes(text, size):
    assert corpus._size(text) == size


def test_the_command_line(tmp_path, capsys):
    arguments = ["--split", "drift", "--versions", "1", "--bytes-per-version", "300kB", "--out", str(tmp_path / "out")]
    assert corpus.main(arguments) == 0
    assert capsys.readouterr().out.startswith("v1: ")
    assert corpus.main(arguments) == 0
    assert capsys.readouterr().out.startswith("already built: v1: ")
    texts = [json.loads(line)["text"] for line in (tmp_path / "out" / "v1.jsonl").read_text().splitlines()]
    assert 150_000 < sum(len(text.encode()) for text in texts) <= 300_000
    assert corpus.main([*arguments[:3], "6", *arguments[4:]]) == 2
    assert "has 1 to 5 versions, not 6" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        corpus.main(["--help"])
    assert exit_.value.code == 0
    assert "example: python tools/python_corpus.py" in capsys.readouterr().out


def test_a_file_is_cut_into_whole_lines_and_nothing_is_lost():
    lines = [b"x" * 99 + b"\n" if number % 7 else b"\n" for number in range(100)]
    data = b"".join(lines)
    pieces = [data[start:stop] for start, stop in corpus.cut(data)]
    whole = b"".join(pieces)
    assert data.startswith(whole)
    assert len(data) - len(whole) < corpus.SMALLEST_BYTES, "at most a tiny rest is left out"
    assert all(len(piece) <= corpus.DOCUMENT_BYTES and piece.endswith(b"\n") for piece in pieces)
    assert all(piece.startswith(b"\n") for piece in pieces[1:]), "cut at blank lines"


def test_a_long_line_is_a_document_of_its_own_and_a_tiny_rest_is_left_out():
    long = b"y" * 5000 + b"\n"
    data = b"a\n" * 150 + long + b"rest\n"
    assert [data[start:stop] for start, stop in corpus.cut(data)] == [b"a\n" * 150, long]
