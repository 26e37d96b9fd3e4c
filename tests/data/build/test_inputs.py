"""Paths, globs, directories and addresses become the same files in the same order everywhere."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import ConfigError, DataError
from lrps.data.build.inputs import Inputs, distinct_names, expand


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f'{{"text": "{name}"}}\n')


def files(root: Path, *texts: str) -> list[str]:
    return [file.relative_to(root).as_posix() for file in found(root, *texts).files]


def found(root: Path, *texts: str) -> Inputs:
    return expand("v1", texts, root / "cache")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    write(
        tmp_path, "c/b.jsonl", "c/a.jsonl.zst", "c/2021/a.txt", "c/2020/x/a.json", "c/A.JSONL", "d.jsonl", "c/q[1].txt"
    )
    return tmp_path


def test_globs_and_directories_are_sorted(corpus: Path) -> None:
    everything = ["c/2020/x/a.json", "c/2021/a.txt", "c/A.JSONL", "c/a.jsonl.zst", "c/b.jsonl", "c/q[1].txt"]
    assert (
        files(corpus, f"{corpus}/c") == files(corpus, f"{corpus}/c/**") == files(corpus, f"{corpus}/c/") == everything
    )
    assert files(corpus, f"{corpus}/c/*.jsonl*") == ["c/a.jsonl.zst", "c/b.jsonl"]
    assert files(corpus, f"{corpus}/c/20*") == everything[:2], "a directory that a glob matches"
    assert files(corpus, f"{corpus}/d.jsonl", f"{corpus}/c/b.jsonl") == ["d.jsonl", "c/b.jsonl"], (
        "texts keep their order"
    )
    assert files(corpus, f"{corpus}/c/q[1].txt") == ["c/q[1].txt"], "a name that exists is no glob"
    assert files(corpus, f"file://{corpus}/d.jsonl") == ["d.jsonl"]
    assert files(corpus, f"file://{corpus}/c/*.txt") == ["c/q[1].txt"]


def test_what_a_directory_has_beside_text_is_named(corpus: Path) -> None:
    write(corpus, "c/README.md", "c/.git/x.jsonl", "c/2021/.hidden.jsonl", "c/_SUCCESS")
    inputs = found(corpus, f"{corpus}/c")
    assert len(inputs.files) == 6
    (note,) = inputs.notes
    assert note.startswith(
        f"left out of {corpus}/c: .git, 2021/.hidden.jsonl, README.md and 1 more, hidden or not .txt"
    )
    assert note.endswith("; Markdown beside other text needs a glob of its own")
    with pytest.raises(DataError, match=r"_SUCCESS: cannot read a file without a suffix"):
        found(corpus, f"{corpus}/c/*")
    (corpus / "c/2020/loop").symlink_to(corpus / "c")
    with pytest.raises(DataError, match=r"loop: a link to a directory that it is in"):
        found(corpus, f"{corpus}/c")


def test_markdown_is_the_text_of_a_directory_without_other_text(corpus: Path) -> None:
    write(corpus, "wiki/README.md", "wiki/a/b.markdown.gz", "wiki/picture.png")
    assert files(corpus, f"{corpus}/wiki") == ["wiki/README.md", "wiki/a/b.markdown.gz"]
    assert files(corpus, f"{corpus}/wiki/**/*.md") == ["wiki/README.md"]
    write(corpus, "wiki/c.txt")
    assert files(corpus, f"{corpus}/wiki") == ["wiki/c.txt"], "as before .md could be read"
    assert files(corpus, f"{corpus}/wiki/README.md") == ["wiki/README.md"]


def test_text_that_is_not_there_is_named_with_its_absolute_place(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (corpus / "empty").mkdir()
    write(corpus, "others/a.docx")
    monkeypatch.chdir(corpus)
    assert expand("v1", ["d.jsonl"], corpus).files == (Path("d.jsonl"),)
    missing = expand("v1", ["none.jsonl", "c/*.parquet", "empty", "others", "../none", "d.jsonl"], corpus).missing
    assert [each.partition(" (no file")[0] for each in missing] == [
        *(f"{corpus}/{name}" for name in ("none.jsonl", "c/*.parquet", "empty", "others")),
        f"{corpus.parent}/none",
    ]


def test_a_file_twice_is_refused(corpus: Path) -> None:
    with pytest.raises(ConfigError, match=r"the text of v1 names .*b\.jsonl twice"):
        found(corpus, f"{corpus}/c", f"{corpus}/c/b.jsonl")
    with pytest.raises(ConfigError, match="a command has no kind of file"):
        found(corpus, "pipe:cat a.jsonl")


def test_a_link_to_itself_is_a_file_that_cannot_be_read_and_a_pipe_is_refused(corpus: Path) -> None:
    link, pipe = corpus / "c/self.jsonl", corpus / "c/pipe.jsonl"
    link.symlink_to(link.name)
    assert link in found(corpus, f"{corpus}/c").files
    os.mkfifo(pipe)
    for text in (str(pipe), f"{corpus}/c", f"{corpus}/c/p*"):
        with pytest.raises(DataError, match=r"pipe\.jsonl: a pipe or a device, no regular file"):
            found(corpus, text)


def test_files_of_the_same_name_are_told_apart_by_as_much_as_that_takes() -> None:
    paths = [Path(f"/data/{name}") for name in ("2020/x/a.txt", "2021/x/a.txt", "b.txt", "2020/x/c.txt", "y/c.txt")]
    assert distinct_names(paths) == ["2020/x/a.txt", "2021/x/a.txt", "b.txt", "x/c.txt", "y/c.txt"]


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), unique=True, max_size=12))
def test_names_differ_and_are_the_ends_of_their_paths(paths):
    names = distinct_names([Path("/", path) for path in paths])
    assert len(set(names)) == len(names)
    last = [path.rpartition("/")[2] for path in paths]
    for path, name in zip(paths, names, strict=True):
        assert f"/{path}".endswith(name.removeprefix("/"))
        if last.count(path.rpartition("/")[2]) == 1:
            assert "/" not in name


@pytest.fixture
def memory() -> MemoryFileSystem:
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    return MemoryFileSystem()


def test_addresses_are_copied_once(memory: MemoryFileSystem, tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "sub/a.jsonl", "README.md", ".x/a.jsonl"):
        memory.pipe(f"/corpus/{name}", f'{{"text": "{name}"}}\n'.encode())
    everything = found(tmp_path, "memory://corpus")
    assert [file.read_text() for file in everything.files] == [
        f'{{"text": "{name}"}}\n' for name in ("a.jsonl", "b.jsonl", "sub/a.jsonl")
    ]
    assert distinct_names(everything.files) == ["corpus/a.jsonl", "b.jsonl", "sub/a.jsonl"]
    assert everything.notes[0].startswith("left out of memory://corpus: .x/a.jsonl, README.md, hidden or not")
    assert [file.name for file in found(tmp_path, "memory://corpus/*.jsonl").files] == ["a.jsonl", "b.jsonl"]
    assert [file.name for file in found(tmp_path, "memory://corpus/b.jsonl").files] == ["b.jsonl"]
    memory.rm("/corpus", recursive=True)
    assert found(tmp_path, "memory://corpus") == everything, "no network is needed any more"
    with pytest.raises(DataError, match=r"memory://corpus/\*\.jsonl\.gz: no file of \.txt, .* there"):
        found(tmp_path, "memory://corpus/*.jsonl.gz")
    with pytest.raises(DataError, match=r"corpus/c\.jsonl: no such file"):
        found(tmp_path, "memory://corpus/c.jsonl")
    assert expand("v1", ["memory://corpus/c.jsonl"], tmp_path / "cache", fetch=False).missing == (
        "memory://corpus/c.jsonl",
    )
    everything.files[0].write_text("cut")
    assert expand("v1", ["memory://corpus"], tmp_path / "cache", fetch=False).missing == ("memory://corpus",)
    memory.pipe("/corpus/a.jsonl", b"again")
    (copy,) = found(tmp_path, "memory://corpus").files
    assert copy.read_bytes() == b"again"


@pytest.mark.usefixtures("quick_retries")
def test_text_of_a_web_server_is_copied_whole_or_not_at_all(web, tmp_path: Path) -> None:
    write(web.root, "data/a.jsonl")
    web.script["/data/a.jsonl"] += ["cut", 503]
    (file,) = found(tmp_path, f"{web.url}/data/a.jsonl?signature=secret").files
    assert file.read_bytes() == (web.root / "data/a.jsonl").read_bytes()
    assert len(web.requests) == 3
    assert found(tmp_path, f"{web.url}/data/a.jsonl?signature=secret").files == (file,)
    assert len(web.requests) == 3
    assert "secret" not in str(file)
    with pytest.raises(DataError, match=r"a\.parquet: HTTP 404"):
        found(tmp_path, f"{web.url}/data/a.parquet")
    assert not list(tmp_path.glob("cache/text/*/data/*a.parquet*"))
    with pytest.raises(DataError, match=r"cannot read a file without a suffix"):
        found(tmp_path, f"{web.url}/")
    write(web.root, "x.jsonl")
    with pytest.raises(DataError, match=r"lists .*\.\./x\.jsonl', which is no plain path") as refused:
        found(tmp_path, f"{web.url}/../x.jsonl?secret")
    assert "secret" not in str(refused.value)
    assert re.fullmatch("[0-9a-f]{16}", next((tmp_path / "cache/text").iterdir()).name)
