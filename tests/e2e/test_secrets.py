"""Secrets of the environment and of addresses: a whole run, a failed one and every verb, searched byte by byte."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from support.pretend_hub import TOKEN, pretend_hub

pytestmark = pytest.mark.slow

ENVIRONMENT = {
    "HF_TOKEN": "hf_Pl4ntedHuggingFaceToken",
    "WANDB_API_KEY": "c0ffee" * 6 + "beef",
    "AWS_ACCESS_KEY_ID": "AKIAPL4NTED0000",
    "AWS_SECRET_ACCESS_KEY": "Pl4nted/Aws+Secret",
}
PASSWORD, SIGNATURE, REMOTE = "Pl4nted:pass/word", "Pl4ntedSignature%2Bof+folder", "ghp_Pl4ntedInTheRemote"
LOGIN = f"robot:{quote(PASSWORD, safe='')}"
WEBHOOK = "T0/B0/Pl4ntedInTheWebhook"
ENDPOINT_KEY, HOSTS_KEY = "Pl4ntedKeyOfAnEndpoint", "Pl4ntedForOtherHosts"
IN_JOBS = {"setup": "export KEY=Pl4ntedInTheSetup", "directives": ["--export=KEY=Pl4ntedInADirective"]}
SECRETS = [
    *ENVIRONMENT.values(),
    *(PASSWORD, SIGNATURE, REMOTE, LOGIN),
    *("Pl4ntedInTheSetup", "Pl4ntedInADirective", WEBHOOK),
    *(ENDPOINT_KEY, HOSTS_KEY, TOKEN),
]

Lrps = Callable[..., subprocess.CompletedProcess[str]]


def found(content: bytes) -> list[str]:
    """The planted secrets that stand in some bytes: plain, as in an address, or as a header of HTTP has them."""
    forms = {secret: (secret, quote(secret, safe=""), *_base64(secret)) for secret in SECRETS}
    return [secret for secret, written in forms.items() if any(form.encode() in content for form in written)]


def _base64(secret: str) -> tuple[str, ...]:
    return (base64.b64encode(secret.encode()).decode(), base64.b64encode(f"robot:{secret}".encode()).decode())


def leaks(directory: Path) -> dict[str, list[str]]:
    """file -> the secrets in its name or its bytes."""
    files = (path for path in sorted(directory.rglob("*")) if path.is_file())
    held = {str(path.relative_to(directory)): found(bytes(path) + path.read_bytes()) for path in files}
    return {name: secrets for name, secrets in held.items() if secrets}


class Telltale(BaseHTTPRequestHandler):
    """Refuses everything, and says aloud what it was sent."""

    def do_GET(self) -> None:
        self.send_error(403, f"{self.path} {self.headers['Authorization']}")

    def do_POST(self) -> None:
        code = 401 if self.path.endswith("/completions") else 500
        self.send_error(code, f"{self.path} {self.headers['Authorization']}")

    do_HEAD = do_PUT = do_GET

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """An address with a password and a signature, of a server that lets nobody in."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Telltale) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{LOGIN}@127.0.0.1:{server.server_port}/data?X-Amz-Signature={SIGNATURE}"
        server.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything runs: a git repository whose remote holds a token, as those of build machines do."""
    place = tmp_path_factory.mktemp("secrets")
    for words in (["init", "-q"], ["remote", "add", "origin", f"https://robot:{REMOTE}@host.invalid/a.git"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


@pytest.fixture(scope="module")
def lrps(place: Path) -> Lrps:
    """Runs a verb with all secrets planted; nothing that it says may hold one."""
    tracker = {f"WANDB_{name}_DIR": str(place / "runs" / "wandb" / name) for name in ("CACHE", "CONFIG", "DATA")}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    environment |= ENVIRONMENT | tracker

    def call(*arguments: str | Path, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lrps.cli", *map(str, arguments)]
        done = subprocess.run(command, cwd=place, env=environment | more, capture_output=True, text=True)
        said = done.stdout + done.stderr
        assert found(said.encode()) == [], said
        assert done.returncode == code, said
        return done

    return call


@pytest.fixture(scope="module")
def config(tiny_config: Path, place: Path, url: str) -> Callable[..., Path]:
    """Writes the config of a version whose shards lie here, and behind the address too."""

    def write(file: str, **changes: Any) -> Path:
        values = yaml.safe_load(tiny_config.read_text())
        values |= {"runs": str(place / "runs"), "paradigms": {"ptfs": {}}}
        values["track"]["trackers"] = ["wandb", "tensorboard", "trackio"]
        values["track"]["notify"] = {"url": url.replace("/data?", f"/{WEBHOOK}?")}
        values["data"]["versions"] = [{"name": "v1", "tokens": 1280, "url": url}]
        values["data"] |= changes.pop("data", {})
        values["launch"] = {**values.get("launch", {}), "slurm": IN_JOBS}
        (place / file).write_text(yaml.safe_dump({**values, **changes}, sort_keys=False))
        return place / file

    return write


@pytest.fixture(scope="module")
def finished(lrps: Lrps, config: Callable[..., Path]) -> Path:
    """The config of a plan that was run to its end, exported and reported in every format."""
    file = config("config.yaml")
    assert "track.notify: http://127.0.0.1:" in lrps("run", file).stdout, "the server refuses all messages"
    lrps("export", file, "--version", "v1")
    lrps("report", file, "--format", "html,md,csv,tex,json")
    return file


def test_a_run_holds_no_secret_in_any_byte(finished: Path, place: Path) -> None:
    names = {path.name for path in (place / "runs").rglob("*") if path.is_file()}
    assert names >= {"plan.json", "path.json", "manifest.json", "metrics.jsonl", "index.html", "README.md", "debug.log"}
    assert any(path.parent.name == "ledger" for path in (place / "runs").rglob("*.jsonl"))
    assert any(name.endswith(".wandb") for name in names)
    assert leaks(place / "runs") == {}


def test_the_address_is_there_without_its_secrets(finished: Path, place: Path) -> None:
    (plan,) = (place / "runs").rglob("plan.json")
    assert "@" not in plan.read_text()
    assert "/data?..." in plan.read_text()


def test_a_planted_secret_would_be_found(finished: Path, place: Path, tmp_path: Path) -> None:
    files = [path for path in sorted((place / "runs").rglob("*")) if path.is_file()]
    copy = tmp_path / "runs"
    shutil.copytree(place / "runs", copy, symlinks=True)
    for file, secret in zip((path for path in files if not path.is_symlink()), SECRETS, strict=False):
        target = copy / file.relative_to(place / "runs")
        target.chmod(0o644)
        target.write_bytes(target.read_bytes() + secret.encode() + b"\0")
    assert {secret for secrets in leaks(copy).values() for secret in secrets} == set(SECRETS)
    assert found(b"Basic " + base64.b64encode(f"robot:{PASSWORD}".encode())) == [PASSWORD]


def test_no_verb_says_a_secret(finished: Path, lrps: Lrps) -> None:
    for verb in ("plan", "status", "report"):
        lrps(verb, finished, "--json")
    assert "lrps.cli train" in lrps("run", finished, "--dry-run", "-s", "name=other").stdout
    assert "made by another plan" in lrps("run", finished, "-s", "seed=8", code=2).stderr


def test_data_that_cannot_be_fetched_is_told_without_secrets(config: Callable[..., Path], lrps: Lrps) -> None:
    refused = lrps("data", "fetch", config("remote.yaml", data={"root": "elsewhere"}), code=2)
    assert "HTTP 403" in refused.stderr


def test_mistakes_in_a_config_are_told_without_secrets(config: Callable[..., Path], lrps: Lrps, url: str) -> None:
    for wrong in ({"urll": url}, {"url": [url]}, {"url": url, "tokens": url}, {"name": url}):
        file = config("wrong.yaml", data={"versions": [{"name": "v1", "tokens": 1280, **wrong}]})
        assert "wrong.yaml:" in lrps("plan", file, code=2).stderr
    assert "wrong.yaml:" in lrps("plan", config("wrong.yaml", track={"notify": url}), code=2).stderr
    refused = lrps("plan", config("config.yaml"), "-s", f"data.versions.0.url={url}", code=2)
    assert "belongs in the config file" in refused.stderr


def test_training_that_fails_at_the_address_tells_no_secret(
    tiny_config: Path, place: Path, config: Callable[..., Path], lrps: Lrps
) -> None:
    root, shards = place / "manifests", tiny_config.parent / "shards"
    shutil.copytree(shards, root, ignore=shutil.ignore_patterns("*.tar"))
    file = config("failing.yaml", name="failing", data={"root": str(root)})
    done = lrps("train", file, "ptfs-v1", code=2)
    assert "HTTP 403" in done.stderr
    assert (place / "runs" / "failing" / "ptfs-v1").is_dir()
    assert leaks(place / "runs") == {}


def test_a_dry_run_shows_commands_without_secrets(finished: Path, lrps: Lrps, place: Path) -> None:
    script = lrps("run", finished, "--dry-run", "--launcher", "slurm", "-s", "name=other").stdout
    assert "export KEY=...\n" in script
    assert "#SBATCH --export=KEY=...\n" in script
    assert "a value of launch.slurm.setup or directives that may be a secret" in script
    (place / ".deepspeed_env").write_text(f"KEY={HOSTS_KEY}\n")
    (place / "hosts").write_text("host-1 slots=2\n")
    hosts = ("-s", "launch.launcher=deepspeed", "-s", f"launch.hostfile={place / 'hosts'}", "-s", "name=other")
    assert "KEY=...\n" in lrps("run", finished, "--dry-run", *hosts).stdout


def test_a_pushed_run_has_no_secret(finished: Path, lrps: Lrps, place: Path) -> None:
    assert "were transferred" in lrps("push", finished, place / "pushed").stdout
    assert leaks(place / "pushed") == {}
    server = f"http://127.0.0.1:{_port(finished)}"
    lrps("push", finished, "s3://bucket/run", code=2, AWS_ENDPOINT_URL=server, AWS_MAX_ATTEMPTS="1")


def test_a_published_version_has_no_secret(finished: Path, lrps: Lrps, place: Path) -> None:
    publish = ("publish", finished, "v1", "--repo", "team/tiny")
    with pretend_hub() as hub:
        lrps(*publish, HF_ENDPOINT=hub.url, HF_TOKEN=TOKEN, HF_HUB_DISABLE_XET="1")
        files = hub.repositories["team/tiny"].files("v1")
    assert "README.md" in files
    assert {name: held for name, content in files.items() if (held := found(content))} == {}
    lrps(*publish, code=2, HF_ENDPOINT=f"http://127.0.0.1:{_port(finished)}")
    assert leaks(place / "runs") == {}


def test_an_endpoint_that_refuses_the_key_does_not_make_it_known(
    tiny_config: Path, config: Callable[..., Path], lrps: Lrps, finished: Path, place: Path
) -> None:
    generator = {"url": f"http://127.0.0.1:{_port(finished)}/v1", "model": "base", "key_variable": "PLANTED_KEY"}
    synthesis = {"of": "v1", "generator": generator, "refine": False, "selection": "random"}
    data = {
        "root": str(tiny_config.parent / "shards"),
        "versions": [{"name": name, "tokens": 1280} for name in ("v1", "v2")],
        "rehearsal": [{"name": "r", "since": "v2", "tokens": 320, "synthesis": synthesis}],
    }
    file = config("rehearsing.yaml", name="rehearsing", data=data)
    assert "HTTP 401" in lrps("rehearse", file, "r", code=2, PLANTED_KEY=ENDPOINT_KEY).stderr
    assert leaks(place / "runs") == {}


def _port(config: Path) -> int:
    """Return the port of the server that refuses everything."""
    url: str = yaml.safe_load(config.read_text())["data"]["versions"][0]["url"]
    return int(url.partition("@127.0.0.1:")[2].partition("/")[0])
