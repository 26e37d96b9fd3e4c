"""Makes text from the Python sources that are installed here, for docs/drift.md: versioned, drifting, and no download.

A stand-alone script that writes what `lrps data build` reads. Must not import lrps, nor the packages it reads.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("iid", "drift")
HANDS = 8
"""Into how many hands `iid` deals the documents, used or not: fixed, so a new version takes a new hand."""

DOMAINS = (("stdlib",), ("numpy", "networkx", "mpmath", "sympy"), ("torch",), ("transformers",), ("rest",))
"""What `drift` puts into v1, v2, ...; stdlib and rest (all other installed packages) are folders of many packages."""

SMALLEST_BYTES, LARGEST_BYTES = 200, 200_000
DOCUMENT_BYTES = 2000
"""Files are cut into documents of at most so much, at blank lines where it can be: a small corpus then holds many
files' styles, and a held-out share of it is a fair one."""
GENERATED = b"This file was automatically generated"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}

DESCRIPTION = """\
Make DIR/v1.jsonl, v2.jsonl, ... of {"text", "source"} lines from the Python sources installed on this machine.

  iid    every version is a fair sample of all sources: the data grows, its kind does not change
  drift  a domain a version: v1 the standard library, v2 numpy, networkx, mpmath and sympy (as installed),
         v3 torch, v4 transformers, v5 all other packages

Files are cut into documents of at most 2 kB, at blank lines where it can be. Asking for more versions later adds files
and leaves the old ones as they are. Generated, tiny (< 200 B), large (> 200 kB) and repeated texts are left out. The
text depends on the versions of the installed packages, which DIR/corpus.json records."""

EXAMPLE = "example: python tools/python_corpus.py --split drift --versions 4 --bytes-per-version 8MB --out data/text"


class CorpusError(Exception):
    """What is wrong, and the way out."""


@dataclass(frozen=True)
class Document:
    """A part of a file that is fit to be learned from. digest: of its bytes, which decides its place."""

    digest: bytes
    path: Path
    source: str
    start: int
    bytes: int

    def text(self) -> str:
        with open(self.path, "rb") as file:
            file.seek(self.start)
            return file.read(self.bytes).decode()


@dataclass(frozen=True)
class Roots:
    """Where sources lie: the standard library, and the folders of installed packages."""

    stdlib: Path
    packages: tuple[Path, ...]

    @classmethod
    def of_this_python(cls) -> Roots:
        paths = sysconfig.get_paths()
        packages = dict.fromkeys(Path(paths[name]) for name in ("purelib", "platlib"))
        return cls(Path(paths["stdlib"]), tuple(packages))

    def folders(self, domain: str) -> Iterator[tuple[Path, str]]:
        """(file or folder, its name in `source`) of one domain, in a fixed order."""
        if domain == "stdlib":
            yield self.stdlib, "stdlib"
            return
        named = {name for names in DOMAINS for name in names}
        for root in self.packages:
            for name in sorted(os.listdir(root)):
                if name == domain or (domain == "rest" and name not in named):
                    yield root / name, name


def build_corpus(
    split: str, versions: int, bytes_per_version: int, out: Path, roots: Roots, packages: dict[str, str]
) -> list[str]:
    """Write what is missing of the corpus in `out`; a line of summary a version.

    packages: name -> version of everything installed, recorded beside the versions that are made now. CorpusError if
    `out` holds a corpus made with other arguments.
    """
    most = HANDS if split == "iid" else len(DOMAINS)
    if not 1 <= versions <= most:
        raise CorpusError(f"--split {split} has 1 to {most} versions, not {versions}")
    arguments = {"split": split, "bytes_per_version": bytes_per_version}
    built = _built(out, arguments)
    if len(built) >= versions:
        return [f"already built: {_summary(entry)}" for entry in built[:versions]]
    dealt = _deal_iid(roots, versions) if split == "iid" else _deal_drift(roots, versions)
    out.mkdir(parents=True, exist_ok=True)
    lines = [f"already built: {_summary(entry)}" for entry in built]
    for number, documents in enumerate(dealt, 1):
        if number <= len(built):
            continue
        entry = _write_version(f"v{number}", documents, bytes_per_version, out)
        built.append(entry | {"made_from": _relevant(packages, "rest" if split == "iid" else DOMAINS[number - 1][0])})
        lines.append(_summary(built[-1]))
    record = {"arguments": arguments, "versions": built}
    _write(out / "corpus.json", [json.dumps(record, indent=1, sort_keys=True) + "\n"])
    return lines


def _deal_iid(roots: Roots, versions: int) -> Iterator[list[Document]]:
    hands: list[list[Document]] = [[] for _ in range(HANDS)]
    for document in _documents(roots, [name for names in DOMAINS for name in names], set()):
        hands[document.digest[0] % HANDS].append(document)
    return iter(hands[:versions])


def _deal_drift(roots: Roots, versions: int) -> Iterator[list[Document]]:
    seen: set[bytes] = set()  # over all versions: no text is in two of them
    for number, names in enumerate(DOMAINS[:versions], 1):
        documents = list(_documents(roots, names, seen))
        if not documents:
            raise CorpusError(
                f"v{number} of --split drift needs {' or '.join(names)}, which is not installed here: install it, or "
                f"ask for --versions {number - 1} or --split iid"
            )
        yield documents


def _documents(roots: Roots, domains: Iterable[str], seen: set[bytes]) -> Iterator[Document]:
    """Every document of these domains whose text is not in `seen` yet."""
    for domain in domains:
        for folder, name in roots.folders(domain):
            for path, source in _python_files(folder, name):
                data = path.read_bytes()
                if not _is_fit(data):
                    continue
                for start, stop in cut(data):
                    digest = hashlib.blake2b(data[start:stop], digest_size=16).digest()
                    if digest not in seen:
                        seen.add(digest)
                        yield Document(digest, path, source, start, stop - start)


def cut(data: bytes) -> Iterator[tuple[int, int]]:
    """[start, stop) of the documents of a file: whole lines, ended by a blank line once half full. A line that is
    longer than a document, and what is left at the end, may be a document of another size; tiny ones are left out."""
    start = stop = 0
    for line in data.splitlines(keepends=True):
        full = stop - start + len(line) > DOCUMENT_BYTES
        if full or (stop - start > DOCUMENT_BYTES // 2 and not line.strip()):
            if stop - start >= SMALLEST_BYTES:
                yield start, stop
            start = stop
        stop += len(line)
    if stop - start >= SMALLEST_BYTES:
        yield start, stop


def _python_files(folder: Path, name: str) -> Iterator[tuple[Path, str]]:
    """(path, source) of the files of a fit size under `folder`, in a fixed order; links are not followed."""
    if folder.is_file():
        if _is_source(name, folder.stat().st_size):
            yield folder, name
        return
    with os.scandir(folder) as scan:
        entries = sorted(scan, key=lambda entry: entry.name)
    for entry in entries:
        source = f"{name}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in ("__pycache__", "site-packages"):
                yield from _python_files(Path(entry.path), source)
        elif entry.is_file(follow_symlinks=False) and _is_source(entry.name, entry.stat().st_size):
            yield Path(entry.path), source


def _is_source(name: str, size: int) -> bool:
    return name.endswith(".py") and SMALLEST_BYTES <= size <= LARGEST_BYTES


def _is_fit(data: bytes) -> bool:
    if GENERATED in data[:2000]:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _write_version(name: str, documents: Sequence[Document], budget: int, out: Path) -> dict[str, Any]:
    """Write the documents in the order of their hashes up to `budget` bytes; the version's entry in corpus.json."""
    chosen, size = [], 0
    for document in sorted(documents, key=lambda document: document.digest):
        if size + document.bytes > budget:
            break
        chosen.append(document)
        size += document.bytes
    if not chosen:
        raise CorpusError(f"{name}: not one document fits into {budget} bytes: raise --bytes-per-version")
    sha256 = _write(
        out / f"{name}.jsonl",
        (json.dumps({"text": document.text(), "source": document.source}) + "\n" for document in chosen),
    )
    entry = {"name": name, "documents": len(chosen), "bytes": size, "sha256": sha256}
    return entry | {"exhausted": len(chosen) == len(documents)}


def _write(path: Path, lines: Iterable[str]) -> str:
    """Write a whole file or none; the sha256 of what it holds."""
    partial = path.with_name(path.name + ".partial")
    digest = hashlib.sha256()
    with open(partial, "wb") as file:
        for line in lines:
            digest.update(line.encode())
            file.write(line.encode())
    os.replace(partial, path)
    return digest.hexdigest()


def _built(out: Path, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    """The versions that `out` already holds by these arguments."""
    if not (out / "corpus.json").exists():
        return []
    record = json.loads((out / "corpus.json").read_text())
    if record["arguments"] != arguments:
        raise CorpusError(f"{out} holds a corpus made with {record['arguments']}: choose another --out, or delete it")
    versions: list[dict[str, Any]] = record["versions"]
    if any(not (out / f"{entry['name']}.jsonl").exists() for entry in versions):
        raise CorpusError(f"{out} has lost files that its corpus.json lists: restore them, or delete the folder")
    return versions


def _relevant(packages: dict[str, str], domain: str) -> dict[str, str]:
    """The versions that a version's text depends on: those of its domain, or of everything."""
    python = {"python": sys.version.split()[0]}
    names = next(names for names in DOMAINS if domain in names)
    return python | (packages if domain == "rest" else {name: packages[name] for name in names if name in packages})


def _summary(entry: dict[str, Any]) -> str:
    note = " (all there is)" if entry["exhausted"] else ""
    return f"{entry['name']}: {entry['documents']} documents, {entry['bytes'] / 1e6:.1f} MB{note}"


def _installed_packages() -> dict[str, str]:
    found = {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}
    return dict(sorted(found.items()))


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", text.strip().lower())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 500kB, 8MB or 64MiB")
    return int(float(match[1]) * UNITS[match[2]])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=DESCRIPTION, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=SPLITS, required=True, help="how versions differ (see above)")
    parser.add_argument("--versions", type=int, required=True, metavar="N", help=f"iid: 1-{HANDS}, drift: 1-5")
    parser.add_argument(
        "--bytes-per-version", type=_size, required=True, metavar="SIZE", help="at most so much text: 500kB, 8MB, 64MiB"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where vK.jsonl and corpus.json go")
    options = parser.parse_args(arguments)
    try:
        lines = build_corpus(**vars(options), roots=Roots.of_this_python(), packages=_installed_packages())
    except CorpusError as error:
        print(f"corpus: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
