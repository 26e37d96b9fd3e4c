from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import webdataset
from hypothesis import given
from hypothesis import strategies as st

from lrps.base.errors import DataError
from lrps.data.build.writer import TokenWriter
from lrps.data.manifest import TokenizerIdentity, load_manifest, manifest_path


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_tokens_give_the_same_bytes(tmp_path, build_version):
    build_version(tmp_path / "a")
    build_version(tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert sorted(files(tmp_path / "a")) == [
        "v1/v1-train-000000.tar",
        "v1/v1-train-000001.tar",
        "v1/v1-train-000002.tar",
        "v1/v1-train-000003.tar",
        "v1/v1-train-000004.tar",
        "v1/v1-train.manifest.json",
    ]


@pytest.mark.parametrize("version", ["v1", "v1.web"])
def test_a_plain_webdataset_reads_the_shards(version, tmp_path, build_version):
    manifest = build_version(tmp_path, version)
    urls = [str(tmp_path / version / shard.name) for shard in manifest.shards]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [s["__key__"] for s in samples] == [block.key for block in manifest.blocks]
    assert np.array_equal(np.concatenate([s["tokens.npy"] for s in samples]), np.arange(5000))
    assert samples[0]["docs.npy"].dtype == np.uint32


@pytest.mark.parametrize("streaming", [True, False])
def test_datasets_reads_the_shards(streaming, tmp_path, build_version, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from datasets import load_dataset

    manifest = build_version(tmp_path)
    files = {"train": [str(tmp_path / "v1" / shard.name) for shard in manifest.shards]}
    samples = list(
        load_dataset(
            "webdataset", data_files=files, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
    )
    assert [s["__key__"] for s in samples] == [block.key for block in manifest.blocks]
    assert [token for s in samples for token in s["tokens.npy"]] == list(range(5000))


def test_documents_start_where_the_blocks_say(tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity, block_tokens=8) as writer:
        for length in (3, 5, 4, 10, 1):
            writer.add_document(np.arange(length), length)
        manifest = writer.close({})
    starts = {}
    with tarfile.open(tmp_path / "v1" / manifest.shards[0].name) as tar:
        for name in tar.getnames():
            if name.endswith(".docs.npy"):
                starts[name.split(".")[0]] = np.load(io.BytesIO(tar.extractfile(name).read())).tolist()
    assert list(starts.values()) == [[0, 3], [0, 4], [6]]
    assert (manifest.tokens, manifest.documents, manifest.text_bytes) == (23, 5, 23)


def test_members_lie_aligned_where_the_manifest_says(tmp_path, build_version):
    manifest = build_version(tmp_path)
    found = []
    for shard in manifest.shards:
        data = (tmp_path / "v1" / shard.name).read_bytes()
        assert len(data) == shard.bytes
        for member in map(manifest.blocks.__getitem__, shard.blocks):
            assert member.offset % 64 == 0
            found.append(np.frombuffer(data, np.uint16, member.tokens, member.offset))
    assert np.array_equal(np.concatenate(found), np.arange(5000))


@pytest.mark.parametrize(("vocabulary", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_the_dtype_holds_the_vocabulary(vocabulary, dtype, tmp_path):
    with TokenWriter(tmp_path, "v1", "train", TokenizerIdentity("t", "0" * 64, vocabulary, 0)) as writer:
        writer.add_document(np.array([vocabulary - 1]), 1)
        manifest = writer.close({})
    assert manifest.dtype == dtype
    member = manifest.blocks[0]
    data = (tmp_path / "v1" / manifest.shards[0].name).read_bytes()
    assert np.frombuffer(data, dtype, 1, member.offset) == [vocabulary - 1]


@pytest.mark.parametrize("token", [-1, 2**16])
def test_a_token_outside_the_vocabulary_is_refused_instead_of_wrapped(token, tmp_path, identity):
    with (
        TokenWriter(tmp_path, "v1", "train", identity) as writer,
        pytest.raises(DataError, match="outside the vocabulary"),
    ):
        writer.add_document(np.array([0, token]), 1)


def test_a_document_has_tokens(tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity) as writer, pytest.raises(ValueError, match="one or more"):
        writer.add_document(np.array([], np.int64), 0)


@given(st.lists(st.integers(1, 30), max_size=40), st.integers(1, 20), st.integers(1, 5), st.data())
def test_documents_at_once_are_the_same_as_one_by_one(lengths, block_tokens, batches, data):
    tokens, identity = np.arange(sum(lengths), dtype=np.uint16), TokenizerIdentity("t", "0" * 64, 2**16, 0)
    sizes = {"block_tokens": block_tokens, "blocks_per_shard": 3}
    cuts = sorted(data.draw(st.lists(st.integers(0, len(lengths)), min_size=batches, max_size=batches)))
    ends = np.cumsum([0, *lengths])
    with tempfile.TemporaryDirectory() as folder:
        with TokenWriter(Path(folder) / "one", "v1", "train", identity, **sizes) as writer:
            for start, stop in pairwise(ends):
                writer.add_document(tokens[start:stop], 3)
            writer.close({})
        with TokenWriter(Path(folder) / "many", "v1", "train", identity, **sizes) as writer:
            for first, last in pairwise([0, *cuts, len(lengths)]):
                some = np.array(lengths[first:last], np.int64)
                writer.add_documents(tokens[ends[first] : ends[last]], some, 3 * len(some))
            writer.close({})
        assert files(Path(folder) / "one") == files(Path(folder) / "many")


@pytest.mark.parametrize("lengths", [[1, 0, 2], [1, 1], [4], [4, -1]])
def test_lengths_must_cut_the_tokens_into_documents(lengths, tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity) as writer, pytest.raises(ValueError, match="one or more"):
        writer.add_documents(np.arange(3), np.array(lengths), 0)


def test_the_document_with_the_wrong_token_is_named(tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity) as writer:
        writer.add_document(np.arange(3), 3)
        with pytest.raises(DataError, match="document 2 of v1 has a token outside the vocabulary of 65536"):
            writer.add_documents(np.array([1, 2, 3, 2**16, 1]), np.array([3, 2]), 5)


def test_an_interrupted_build_leaves_nothing(tmp_path, identity):
    def interrupted() -> None:
        with TokenWriter(tmp_path, "v1", "train", identity, block_tokens=8, blocks_per_shard=2) as writer:
            writer.add_document(np.arange(100), 100)
            assert any("000005.tar" in name for name in files(tmp_path))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((tmp_path / "v1").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "last_line"),
    [
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))", "OSError: [Errno 27] File too large"),
    ],
)
def test_an_interrupted_build_says_nothing_but_why(trouble, last_line, tmp_path):
    script = f"""
        import resource
        from pathlib import Path
        import numpy as np
        from lrps.data.manifest import TokenizerIdentity
        from lrps.data.build.writer import TokenWriter

        identity = TokenizerIdentity("t", "0" * 64, 2**16, 0)
        with TokenWriter(Path({str(tmp_path)!r}), "v1", "train", identity, block_tokens=999) as writer:
            writer.add_document(np.arange(9999), 1)
            {trouble}
            writer.add_document(np.arange(9999), 1)
            writer.close({{}})
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == last_line
    assert "Exception ignored" not in done.stderr
    assert list((tmp_path / "v1").iterdir()) == []


def test_leaving_without_close_makes_no_version(tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity) as writer:
        writer.add_document(np.arange(100), 100)
    assert list((tmp_path / "v1").iterdir()) == []


def test_the_manifest_is_written_last(tmp_path, build_version, monkeypatch):
    def crash(manifest, path):
        assert all((path.parent / shard.name).exists() for shard in manifest.shards)
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr("lrps.data.build.writer.save_manifest", crash)
        with pytest.raises(OSError, match="power cut"):
            build_version(tmp_path)
    assert not manifest_path(tmp_path, "v1", "train").exists()
    manifest = build_version(tmp_path)  # and nothing of the half-made version is in the way
    assert load_manifest(manifest_path(tmp_path, "v1", "train")) == manifest


def test_left_overs_of_a_killed_build_are_swept(tmp_path, build_version):
    building = tmp_path / "v1" / ".building-train"
    building.mkdir(parents=True)
    (building / "v1-train-000000.tar").write_bytes(b"half")
    build_version(tmp_path)
    assert not building.exists()


def test_a_version_never_changes(tmp_path, build_version):
    build_version(tmp_path)
    before = files(tmp_path)
    with pytest.raises(DataError, match="a version never changes"):
        build_version(tmp_path, tokens=100)
    assert files(tmp_path) == before


def test_two_builders_of_one_version_do_not_meet(tmp_path, identity):
    with TokenWriter(tmp_path, "v1", "train", identity) as writer:
        with pytest.raises(DataError, match="another process is building"):
            TokenWriter(tmp_path, "v1", "train", identity)
        with TokenWriter(tmp_path, "v1", "heldout", identity) as other:
            other.close({})
        writer.add_document(np.arange(3), 3)
        assert writer.close({}).tokens == 3
