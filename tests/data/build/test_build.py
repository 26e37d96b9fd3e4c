"""From a config to shards."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fsspec.implementations.memory import MemoryFileSystem

from lrps.base.errors import USER_MISTAKE, ConfigError, DataError
from lrps.config.models import Config
from lrps.data.build.build import build_data, finalize_data, tokenize_data
from lrps.data.build.tokenize import Share
from lrps.data.manifest import load_manifest, manifest_path
from lrps.data.verify import tokenizer_fault, verify_data
from support.mixed_versions import mixed_values
from support.tokenizers import family_file
from support.values import tiny_values


def config(root: Path, count: int, **data: Any) -> Config:
    for k in range(1, count + 1):
        file = root / f"v{k}.jsonl"
        if not file.exists():
            file.write_text("".join(json.dumps({"text": f"text {i} of v{k} " * 9}) + "\n" for i in range(30)))
    values = tiny_values(root, count)
    return Config.model_validate({**values, "data": {**values["data"], **data}})


def files(root: Path) -> dict[str, bytes]:
    """Everything below the folder of the shards."""
    return {str(p.relative_to(root)): p.read_bytes() for p in (root / "shards").rglob("*") if p.is_file()}


def config_file(root: Path, inputs: int, documents: int) -> Path:
    """One version of several files, for the command line."""
    root.mkdir()
    for n in range(inputs):
        lines = (json.dumps({"text": f"document {i} of file {n} " * (i % 90)}) + "\n" for i in range(documents))
        (root / f"part{n}.jsonl").write_text("".join(lines))
    values = tiny_values(root, 1)
    values["data"]["versions"][0]["text"] = [str(root / f"part{n}.jsonl") for n in range(inputs)]
    (root / "config.yaml").write_text(yaml.safe_dump(values))
    return root / "config.yaml"


WITH_SMALL_PARTS = """
from lrps.data.build import documents
documents.PART_BYTES = 100_000
from lrps.cli import main
main()
"""


def lrps_data(*arguments: Any, limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lrps.cli", "data", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limit)


def test_a_version_more_leaves_the_others_alone(tmp_path: Path) -> None:
    build_data(config(tmp_path, 1))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "shards").rglob("*") if path.is_file()}
    build_data(config(tmp_path, 2))
    assert {path: path.stat().st_mtime_ns for path in files} == files
    first, second = (load_manifest(manifest_path(tmp_path / "shards", v, "train")) for v in ("v1", "v2"))
    assert first.tokenizer == second.tokenizer
    assert first.documents + load_manifest(manifest_path(tmp_path / "shards", "v1", "heldout")).documents == 30


def test_rehearsal_sets_are_versions_too(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "what to rehearse " * 99}) + "\n")
    rehearsal = [{"name": "notes", "text": [str(tmp_path / "notes.jsonl")], "since": "v1"}]
    build_data(config(tmp_path, 1, rehearsal=rehearsal))
    splits = [load_manifest(manifest_path(tmp_path / "shards", "notes", split)) for split in ("train", "heldout")]
    assert sum(manifest.documents for manifest in splits) == 1


def test_shares_and_packing_make_what_one_build_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "shared"):
        (tmp_path / name).mkdir()
    build_data(config(tmp_path / "one", 3))
    made = config(tmp_path / "shared", 3)
    with pytest.raises(DataError, match=r"v1: 1 of 1 parts are not tokenized: .*v1\.jsonl\. Run `lrps data tokenize"):
        finalize_data(made)
    tokenize_data(made, share=Share(2, 2))
    tokenize_data(made, ["v3"], share=Share(1, 1))
    assert "v3: 0 of 1 parts tokenized, 1 existed" in capsys.readouterr().out
    tokenize_data(made, share=Share(1, 2))
    finalize_data(made, ["v2"])
    assert not manifest_path(made.data.root, "v1", "train").exists()
    finalize_data(made)
    assert files(tmp_path / "one") == files(tmp_path / "shared")
    tokenize_data(made)
    assert "v2: already built" in capsys.readouterr().out
    assert files(tmp_path / "one") == files(tmp_path / "shared")
    with pytest.raises(ConfigError, match="no version v4 with `text:`; these have it: v1, v2, v3"):
        tokenize_data(made, ["v2", "v4"])


def test_empty_documents_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "v1.jsonl").write_text('{"body": " "}\n{"body": "full"}\n{"body": ""}\n')
    build_data(config(tmp_path, 1, text_key="body", heldout_share=0.0))
    assert "v1: 2 empty documents left out" in capsys.readouterr().out


@pytest.mark.parametrize(("documents", "words", "found"), [(1, 99, "0 of 1"), (40, 1, "[1-9] of 40")])
def test_an_empty_heldout_set_is_refused_with_a_share_that_does(
    documents: int, words: int, found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.dumps({"text": f"text {n} " * words}) + "\n" for n in range(documents)]
    (tmp_path / "v1.jsonl").write_text("".join(lines))
    made = config(tmp_path, 1, heldout_share=0.05, sequence_length=64)
    with pytest.raises(DataError, match=rf"v1: {found} documents are held out.* no whole sequence of 64") as refused:
        build_data(made)
    assert not manifest_path(made.data.root, "v1", "heldout").exists()
    advice = re.search(r"set data\.heldout_share: (\S+) \(data\.heldout_share is 0\.05\)", str(refused.value))
    assert (advice is None) == (documents == 1)
    if advice:
        (tmp_path / "other").mkdir()
        shutil.copy(tmp_path / "v1.jsonl", tmp_path / "other")
        other = config(tmp_path / "other", 1, heldout_share=float(advice[1]), sequence_length=64)
        build_data(other)
        assert load_manifest(manifest_path(other.data.root, "v1", "heldout")).rows(64) >= 1
    capsys.readouterr()
    accepted = config(tmp_path, 1, heldout_share=0.05, sequence_length=64, allow_empty_heldout=True)
    for _ in range(2):
        build_data(accepted)
        assert "warning: v1 holds out no whole sequence, so all losses on it are n/a" in capsys.readouterr().out
    build_data(made)  # It is built: no setting makes it fail any more.


def test_nothing_is_held_out_of_rehearsal_sets_that_need_none(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_text(json.dumps({"text": "one text"}) + "\n")
    rehearsal = [{"name": "notes", "text": str(tmp_path / "notes.jsonl"), "since": "v1"}]
    made = config(tmp_path, 1, heldout_share=1e-9, rehearsal=rehearsal)
    build_data(made, ["notes"])
    assert load_manifest(manifest_path(made.data.root, "notes", "heldout")).documents == 0
    with pytest.raises(DataError, match="v1: 0 of 30 documents are held out"):
        build_data(made)


def test_a_version_that_is_built_needs_its_text_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_data(config(tmp_path, 2))
    before = files(tmp_path)
    capsys.readouterr()
    (tmp_path / "v1.jsonl").rename(tmp_path / "archive")
    three = config(tmp_path, 3)
    (tmp_path / "v1.jsonl").unlink()  # `config` has written another one.
    build_data(three, ["v3"])
    assert {line.split(":")[0] for line in capsys.readouterr().out.splitlines()} == {"v3", "v3 heldout"}
    build_data(three)
    first, second, third = capsys.readouterr().out.splitlines()
    assert first.startswith(f"v1: built; its text is not here and was not compared ({tmp_path}/v1.jsonl), kept: ")
    assert second.startswith("v2: built, and unchanged: ")
    assert third.startswith("v3: built, and unchanged: ")
    tokenize_data(three)
    finalize_data(three)
    assert {path: data for path, data in files(tmp_path).items() if not path.startswith("shards/v3")} == before
    with pytest.raises(
        ConfigError, match=r"data\.heldout_share is 0\.3, but shards were built with another one \(v1 with"
    ):
        build_data(config(tmp_path, 1, heldout_share=0.3), ["v1"])
    (tmp_path / "v2.jsonl").write_text('{"text": "another"}\n')
    with pytest.raises(DataError, match=r"v2-train.* other inputs \(v2\.jsonl is new or changed"):
        build_data(three)
    shutil.rmtree(tmp_path / "shards" / "v1")
    (tmp_path / "v1.jsonl").unlink()
    with pytest.raises(DataError, match=r"v1: there is no text at .*v1\.jsonl"):
        build_data(three, ["v1"])


def test_a_file_that_one_version_names_twice_is_refused(tmp_path: Path) -> None:
    def doubled(other: str) -> Config:
        return config(tmp_path, 1, versions=[{"name": "v1", "text": [str(tmp_path / "v1.jsonl"), str(other)]}])

    with pytest.raises(ConfigError, match=r"the text of v1 names .*v1\.jsonl twice: remove one"):
        build_data(doubled(tmp_path / "v1.jsonl"))
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "v1.jsonl")
    with pytest.raises(ConfigError, match=r"names .*v1\.jsonl and .*link\.jsonl, which are the same file"):
        build_data(doubled(tmp_path / "link.jsonl"))
    assert not files(tmp_path)


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    whole, killed = (config_file(tmp_path / name, 8, 800) for name in ("whole", "killed"))
    assert lrps_data("build", whole, "--processes", 1).returncode == 0
    command = [sys.executable, "-c", WITH_SMALL_PARTS, "data", "build", killed, "--processes", "2"]
    build = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    folder = killed.parent / "shards" / "v1"
    while len(list(folder.glob(".parts-*/*.npz"))) < 2:
        assert build.poll() is None
        time.sleep(0.01)
    os.kill(build.pid, signal.SIGKILL)
    build.wait()
    made = len(list(folder.glob(".parts-*/*.npz")))
    assert made >= 2
    assert not list(folder.glob("v1-*"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    now, there = map(int, re.search(r"(\d+) of \d+ parts tokenized, (\d+) existed: ", done.stdout).groups())
    assert (now > 0, there) == (True, made)
    assert files(killed.parent) == files(whole.parent)


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["tokenize", "finalize"])
def test_a_full_disk_is_told_and_leaves_nothing_half_made(verb: str, tmp_path: Path) -> None:
    file = config_file(tmp_path / "full", 1, 500)
    if verb == "finalize":
        assert lrps_data("tokenize", file).returncode == 0
    before = files(tmp_path / "full")
    # No file may grow beyond 100 kB: to a writer the same as a disk without room.
    done = lrps_data(verb, file, limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5)))
    assert done.returncode == USER_MISTAKE
    assert "cannot write" in done.stderr
    assert "Free disk space and run the same command again" in done.stderr
    assert "Exception ignored" not in done.stderr
    whole = {"shards/tokenizer.json", "shards/tokenizer.provenance.json"}  # Finished before the first part is.
    assert files(tmp_path / "full").keys() - whole == before.keys() - whole
    done = lrps_data("build", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--share", "5/4"), "is not a share: write I/N"),
        (("v9",), "no version v9 with `text:`"),
    ],
)
def test_what_the_command_line_refuses(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = lrps_data("tokenize", config_file(tmp_path / "one", 1, 3), *arguments)
    assert done.returncode == USER_MISTAKE
    assert message in done.stderr


def test_every_byte_is_verified(tmp_path: Path) -> None:
    made = config(tmp_path, 2)
    with pytest.raises(DataError, match="run `lrps data build CONFIG`"):
        verify_data(made, quiet=True)
    build_data(made)
    assert [result["ok"] for result in verify_data(made, quiet=True)] == [True] * 4
    shard = next((tmp_path / "shards" / "v2").glob("v2-train-*.tar"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    faults = [result for result in verify_data(made, quiet=True) if not result["ok"]]
    assert len(faults) == 1
    assert shard.name in faults[0]["faults"][0]


@pytest.mark.parametrize("names", [(), ("v2",)], ids=["all", "by name"])
def test_a_new_version_with_another_tokenizer_or_share_than_the_built_ones_is_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    build_data(made := config(tmp_path, 1))
    other = family_file(tmp_path / "other.json", "byte BPE", "</s>")
    before = files(tmp_path)
    with pytest.raises(
        DataError, match=r"other\.json did not make the shards of v1, and all versions need one tokenizer"
    ):
        build_data(config(tmp_path, 2, tokenizer=other, train_vocabulary=None), names)
    for build in (build_data, tokenize_data, finalize_data):
        with pytest.raises(ConfigError, match=r"data\.heldout_share is 0\.3.*\(v1 with 0\.2\).*set it to 0\.2"):
            build(config(tmp_path, 2, heldout_share=0.3), names)
    assert files(tmp_path) == before
    assert made.data.heldout_share == 0.2


@pytest.mark.parametrize("names", [(), ("v2",)], ids=["all", "a later version"])
def test_other_text_of_a_mixture_than_the_tokenizer_was_trained_on_is_refused(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    made = Config.model_validate(mixed_values(tmp_path))
    build_data(made)
    for version in ("v1.web", "v1.code", "v2"):
        shutil.rmtree(made.data.root / version)
    code = tmp_path / "code.jsonl"
    code.write_text(code.read_text().replace("x =", "y ="))  # of the same size
    with pytest.raises(DataError, match=r"trained with other text of the first version.*Move it away"):
        build_data(made, names)


def test_a_pointer_of_git_lfs_is_no_text_and_no_tokenizer(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    (tmp_path / "p.txt").write_text(pointer)
    with pytest.raises(ConfigError, match=r"the text of v1: .*p\.txt is a Git LFS pointer"):
        build_data(config(tmp_path, 1, versions=[{"name": "v1", "text": str(tmp_path / "p.txt")}]))
    (tmp_path / "t.json").write_text(pointer)
    with pytest.raises(ConfigError, match=r"data\.tokenizer: .*t\.json is a Git LFS pointer"):
        build_data(config(tmp_path, 1, tokenizer=tmp_path / "t.json", train_vocabulary=None))


def test_the_file_of_the_tokenizer_is_verified(tmp_path: Path) -> None:
    build_data(made := config(tmp_path, 2))
    assert tokenizer_fault(made) is None
    tokenizer = made.data.tokenizer_path
    tokenizer.write_text(tokenizer.read_text() + " ")
    assert "is not the file that made the shards of v1, v2" in str(tokenizer_fault(made))
    tokenizer.unlink()
    assert "cannot be read" in str(tokenizer_fault(made))


def test_a_glob_a_directory_and_an_address_build_what_a_list_of_files_builds(tmp_path: Path) -> None:
    system = MemoryFileSystem()
    for name in ("list", "glob", "folder", "address"):
        (tmp_path / name / "corpus").mkdir(parents=True)
    names = ("b.jsonl", "a.jsonl")
    for name in names:
        lines = "".join(json.dumps({"text": f"{name} has a document {n} " * 9}) + "\n" for n in range(30))
        (tmp_path / "list" / name).write_text(lines)
        (tmp_path / "glob/corpus" / name).write_text(lines)
        (tmp_path / "folder/corpus" / name).write_text(lines)
        system.pipe(f"/build/{name}", lines.encode())
    texts = {
        "list": [str(tmp_path / "list" / name) for name in sorted(names)],
        "glob": str(tmp_path / "glob" / "c*" / "*.jsonl"),
        "folder": [str(tmp_path / "folder/corpus")],
        "address": "memory://build/*.jsonl",
    }
    made = {}
    for name, text in texts.items():
        build_data(config(tmp_path / name, 1, versions=[{"name": "v1", "text": text}]), processes=1)
        made[name] = {path: data for path, data in files(tmp_path / name).items() if "cache/" not in path}
    assert made["list"] == made["glob"] == made["folder"] == made["address"]
    system.rm("/build", recursive=True)
    at_address = config(tmp_path / "address", 1, versions=[{"name": "v1", "text": texts["address"]}])
    build_data(at_address)
    shutil.rmtree(tmp_path / "address/shards/cache")
    build_data(at_address)
    (tmp_path / "glob/corpus/c.jsonl").write_text('{"text": "later"}\n')
    with pytest.raises(DataError, match=r"other inputs \(c\.jsonl is new or changed\)"):
        build_data(config(tmp_path / "glob", 1, versions=[{"name": "v1", "text": texts["glob"]}]))


@pytest.mark.parametrize("name", ["gpt2", "HuggingFaceTB/SmolLM2-135M"])
def test_the_name_of_a_hub_repository_gets_the_command_that_downloads_it(name: str, tmp_path: Path) -> None:
    folder = name.rpartition("/")[2]
    command = f"`hf download {name} tokenizer.json --local-dir {folder}`"
    with pytest.raises(DataError, match=rf"{command} and set data\.tokenizer: {folder}/tokenizer\.json"):
        build_data(config(tmp_path, 1, tokenizer=name))
    assert not Path(name).exists()


def test_missing_text_or_tokenizer_is_told(tmp_path: Path) -> None:
    made = config(tmp_path, 1)
    (tmp_path / "v1.jsonl").unlink()
    with pytest.raises(DataError, match=rf"v1: there is no text at {tmp_path}/v1\.jsonl; correct"):
        build_data(made)
    with pytest.raises(
        DataError, match="no tokenizer at .*; set data.tokenizer to a tokenizer.json, or data.train_vocabulary"
    ):
        build_data(config(tmp_path, 1, train_vocabulary=None))
    with pytest.raises(ConfigError, match="no version has `text:`"):
        build_data(config(tmp_path, 1, versions=[{"name": "v1", "tokens": 9}]))


def test_a_failed_build_leaves_no_tokenizer(tmp_path: Path) -> None:
    """The first text is empty, is corrected, and gets the vocabulary that was asked for."""
    (tmp_path / "v1.jsonl").write_text("")
    with pytest.raises(DataError, match="v1: no document to train a tokenizer on"):
        build_data(config(tmp_path, 1, train_vocabulary=280))
    assert files(tmp_path) == {}
    (tmp_path / "v1.jsonl").unlink()
    build_data(made := config(tmp_path, 1, train_vocabulary=280))
    found = load_manifest(manifest_path(made.data.root, "v1", "train"))
    assert found.tokenizer.vocabulary == 280


def test_a_tokenizer_of_other_text_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    (tmp_path / "v2.jsonl").write_text('{"text": "cut')
    with pytest.raises(DataError, match=r"v2\.jsonl, line 1"):
        build_data(config(tmp_path, 2))
    shutil.rmtree(tmp_path / "shards" / "v1")
    (tmp_path / "v2.jsonl").unlink()
    text = (tmp_path / "v1.jsonl").read_text()
    (tmp_path / "v1.jsonl").write_text(text[::-1].replace("9", "8")[::-1])  # of the same size
    for build in (build_data, finalize_data):
        with pytest.raises(DataError, match="trained with other text of the first version.*Move it away"):
            build(config(tmp_path, 2))
    (tmp_path / "v1.jsonl").write_text(text)
    build_data(config(tmp_path, 2))


def with_tokenizer(root: Path, mark: str = "</s>", **data: Any) -> Config:
    path = family_file(root / "given.json", "byte BPE", mark)
    return config(root, 1, tokenizer=path, train_vocabulary=None, **data)


def test_a_link_to_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    made = with_tokenizer(tmp_path)
    (tmp_path / "v1.jsonl").unlink()
    (tmp_path / "v1.jsonl").symlink_to("gone.jsonl")
    version = made.data.versions[0].model_copy(update={"text": (f"{tmp_path}/v*.jsonl",)})
    data = made.data.model_copy(update={"versions": (version,)})
    with pytest.raises(DataError, match=r"v1\.jsonl: cannot read this input \(No such file"):
        build_data(made.model_copy(update={"data": data}), processes=1)


def test_the_eos_token_of_the_shards_is_that_of_the_config(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Set data\.end_token .*candidates: <unk>, <s>, <END>"):
        build_data(with_tokenizer(tmp_path, "<END>"))
    assert files(tmp_path) == {}
    build_data(made := with_tokenizer(tmp_path, "<END>", end_token="<END>"))
    built = load_manifest(manifest_path(made.data.root, "v1", "train"))
    build_data(with_tokenizer(tmp_path, "<END>"))  # The manifest names it now.
    assert load_manifest(manifest_path(made.data.root, "v1", "train")) == built


def test_another_eos_token_than_the_checkpoint_has_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"eos_token_id": 3}')
    values = with_tokenizer(tmp_path).model_dump(mode="json", exclude_unset=True)
    model = {"model": {"checkpoint": str(tmp_path)}}
    with_checkpoint = Config.model_validate({**values, **model, "data": {**values["data"], "end_token": "</s>"}})
    with pytest.raises(DataError, match=r"documents end with </s> .*, but the EOS token of .* is .*\(id 3\): set data"):
        build_data(with_checkpoint)
    assert files(tmp_path) == {}
    build_data(Config.model_validate(values))
    capsys.readouterr()
    build_data(with_checkpoint)
    assert "warning: documents end with </s>" in capsys.readouterr().out


def test_a_bos_token_that_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"add_bos_token": true, "bos_token": "<s>"}')
    build_data(with_tokenizer(tmp_path))
    assert "warning: this tokenizer puts <s> before a text by itself" in capsys.readouterr().out


def test_a_tokenizer_that_loses_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('{"version": "1.0", "model": {"type": "BPE", "vocab": {"</s>": 0}, "merges": []}}')
    with pytest.raises(DataError, match=r"t\.json: the tokenizer cannot encode all text"):
        build_data(config(tmp_path, 1, tokenizer=tmp_path / "t.json", train_vocabulary=None))
    assert files(tmp_path) == {}


def test_unk_tokens_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = family_file(tmp_path / "given.json", "WordLevel")
    build_data(config(tmp_path, 1, tokenizer=path, train_vocabulary=None, unknown_share=1.0))
    assert re.search(r"warning: v1: [\d,]+ tokens \(\d+\.\d\d%\) are the unk token", capsys.readouterr().out)
    with pytest.raises(DataError, match=r"v2\.jsonl, document 1: .*data\.unknown_share"):
        build_data(config(tmp_path, 2, tokenizer=path, train_vocabulary=None))


def test_the_name_of_a_version_means_all_parts_of_its_mixture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Config.model_validate(mixed_values(tmp_path))
    tokenize_data(made, ["v1"], processes=1)
    shown = capsys.readouterr().out
    assert "tokenizer.json on v1: 257 tokens" in shown
    assert [f"{name}: 1 of 1 parts tokenized" in shown for name in ("v1.code", "v1.web", "v2")] == [True, True, False]
    finalize_data(made, ["v1.web"])
    assert manifest_path(made.data.root, "v1.web", "train").exists()
    assert not manifest_path(made.data.root, "v1.code", "train").exists()
