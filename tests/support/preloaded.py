"""Processes that start with torch, transformers, DeepSpeed and lrps imported: forks of one server per pytest process.

Importing them takes 5 to 12 CPU seconds, a fork of the server about a tenth of one. Everything else is as in a new
process: its pid, environment, folder, output and exit code. What a test says of starting itself, such as variables that
are read on import, needs `subprocess`.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from multiprocessing.context import ForkServerContext
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from pathlib import Path
from unittest.mock import patch

_IMPORTED = ("lrps.train.job", "lrps.cli.app", "transformers.models.llama.modeling_llama")


@cache
def fork_server() -> ForkServerContext:
    """Return a context whose processes are forked from one that has imported everything.

    Where there are GPUs it has imported nothing: DeepSpeed chooses between them and the CPU on import, and so must
    each process by its own variables.
    """
    context = multiprocessing.get_context("forkserver")
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        context.set_forkserver_preload(list(_IMPORTED))
    with patch.dict(os.environ, OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false"):
        ensure_running()
    return context


def start_python(
    *words: str | Path,
    stdout: Path,
    stderr: Path | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> BaseProcess:
    """Start `python WORDS`: a script, `-m` and a module, or `-c` and a program, with its arguments.

    stdout and stderr: files that get its output; stderr is by default in the file of stdout. env: its variables, by
    default those of this process.
    """
    output = (str(stdout.absolute()), str((stderr or stdout).absolute()))
    given = (tuple(map(str, words)), output, str(cwd or Path.cwd()), dict(os.environ if env is None else env))
    process = fork_server().Process(target=_become, args=given)
    process.start()
    return process


def run_lrps(
    *arguments: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `lrps ARGUMENTS` to its end, and return its exit code and output."""
    words = ("-m", "lrps.cli", *arguments)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        process = start_python(*words, stdout=out, stderr=err, cwd=cwd, env=env)
        process.join()
        assert process.exitcode is not None
        texts = [file.read_text(encoding="utf-8") for file in (out, err)]
        return subprocess.CompletedProcess(words, process.exitcode, *texts)


def on_the_cpu(_ranks: int) -> dict[str, str]:
    """Return the variables of ranks that train on the CPU, also where there are GPUs."""
    return {"DS_ACCELERATOR": "cpu"}


def run_ranks(
    *words: str | Path,
    logs: Path,
    groups: tuple[int, ...],
    variables: Callable[[int], Mapping[str, str]] = on_the_cpu,
) -> None:
    """Run `python WORDS` in process groups of these sizes, side by side, to their end.

    A rank writes to log-SIZE-RANK.txt below `logs`. The first one that fails ends all. variables: further ones of the
    ranks of a group, by its size.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files, processes = [], []
    for ranks in groups:
        for rank in range(ranks):
            files.append(logs / f"log-{ranks}-{rank}.txt")
            environment = _rank_environment(rank, ranks, port) | variables(ranks)
            processes.append(start_python(*words, stdout=files[-1], env=environment))
    try:
        while any(each.exitcode is None for each in processes) and not any(each.exitcode for each in processes):
            time.sleep(0.05)
        codes = [each.exitcode for each in processes]
    finally:
        for each in processes:
            each.kill()
    assert codes == [0] * sum(groups), "\n".join(file.read_text()[-3000:] for file in files)


def _rank_environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if ranks > 1:  # One rank runs without a launcher's variables.
        numbers = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks)}
        environment.update(numbers, MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    return environment


def _become(words: tuple[str, ...], output: tuple[str, str], folder: str, environment: Mapping[str, str]) -> None:
    """Make this process what `python WORDS` would be."""
    for number, file in enumerate(output, 1):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = list(words)
        sys.path.insert(0, str(Path(words[0]).parent))
        runpy.run_path(words[0], run_name="__main__")
