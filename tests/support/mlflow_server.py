"""A local server of MLflow, which has an environment of its own: its packages exclude some of ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

from support.two_hosts import free_port


@contextmanager
def running_mlflow(folder: Path) -> Iterator[str]:
    """Within the context, let a server run that keeps everything in a folder; yield its address.

    It has the version of the client that is installed here. Its packages are installed first, which takes a minute.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python, port = str(folder / "venv" / "bin" / "python"), free_port()
    package = f"mlflow=={version('mlflow-skinny')}"
    subprocess.run([python, "-m", "pip", "install", "--quiet", package], check=True)
    command = [python, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", str(folder / "files")]
    clean = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=clean, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once an address answers; fail with the log of the server if that ends or takes two minutes."""
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        time.sleep(0.5)
    raise AssertionError(f"the server does not answer:\n{log.read_text()}")
