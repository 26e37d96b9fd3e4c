"""The wheel and the sdist in a clean environment: no checkout, no extras; from text to a report.

`make test-wheel` runs it: it installs every package that lrps needs, which takes minutes. WHEEL_PYTHONS names the
interpreters, by default this one; torch comes from pip's own configuration, pinned by constraints.txt.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

PYTHONS = os.environ.get("WHEEL_PYTHONS", sys.executable).split()


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of the committed and changed files, and the wheel that is built from the sdist."""
    root = tmp_path_factory.mktemp("built")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    files = subprocess.run(listed, cwd=repository, capture_output=True, text=True, check=True).stdout.split("\0")
    for name in filter(None, files):
        if (repository / name).is_file():
            (root / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, root / "source" / name)
    sdist = "from setuptools.build_meta import build_sdist; build_sdist('../dist')"
    subprocess.run([sys.executable, "-c", sdist], cwd=root / "source", check=True, capture_output=True)
    (archive,) = (root / "dist").iterdir()
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if (stream := tar.extractfile(member)) is not None:
                (root / "unpacked" / member.name).parent.mkdir(parents=True, exist_ok=True)
                (root / "unpacked" / member.name).write_bytes(stream.read())
    (unpacked,) = (root / "unpacked").iterdir()
    wheel = "from setuptools.build_meta import build_wheel; build_wheel('../../dist')"
    subprocess.run([sys.executable, "-c", wheel], cwd=unpacked, check=True, capture_output=True)
    return root / "dist"


def test_the_wheel_has_all_files_of_the_package_and_the_configs(built: Path, repository: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    listed = subprocess.run(["git", "ls-files", "lrps", "configs"], cwd=repository, capture_output=True, text=True)
    wanted = {name.replace("configs/", "lrps/configs/", 1) for name in listed.stdout.split() if "lrps/" not in name}
    wanted |= {name for name in listed.stdout.split() if name.startswith("lrps/")}
    assert wanted <= names
    assert {"lrps/configs/schema.json", "lrps/configs/hardware/h100-8.yaml", "lrps/configs/demo.yaml"} <= names


@pytest.fixture(scope="module", params=PYTHONS)
def installed(request: pytest.FixtureRequest, built: Path, repository: Path, tmp_path_factory) -> Iterator[Path]:
    """The folder of the commands of a fresh environment with the wheel."""
    environment = tmp_path_factory.mktemp("fresh")
    (wheel,) = built.glob("*.whl")
    subprocess.run([request.param, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "-c", str(repository / "constraints.txt")]
    subprocess.run([*pip, str(wheel)], check=True)
    yield environment / "bin"
    shutil.rmtree(environment)


@pytest.mark.long
def test_text_becomes_a_report_without_a_checkout(installed: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    words = "a branch forks from the main path and decays while new text arrives".split()  # noqa: SIM905
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for number in range(30):
            (tmp_path / name / f"{number}.md").write_text(" ".join(rng.choices(words, k=120)))
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    clean["PATH"] = f"{installed}:{clean['PATH']}"

    def lrps(*arguments: str) -> str:
        done = subprocess.run(["lrps", *arguments], cwd=tmp_path, env=clean, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lrps("init", "mine", "--text", "old", "new")
    lrps("data", "build", "mine.yaml")
    lrps("plan", "mine.yaml", "-s", "hardware=hardware/h100-8.yaml")
    assert "Everything is trained and evaluated" in lrps("run", "mine.yaml")
    assert "path-switching" in lrps("report", "mine.yaml")
    assert "<svg" in (tmp_path / "runs/mine/report/index.html").read_text()
