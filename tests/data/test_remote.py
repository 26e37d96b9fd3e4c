from __future__ import annotations

import base64
import importlib.util
import subprocess
import sys
from contextlib import closing
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import pytest

from lrps.base.errors import ConfigError, DataError
from lrps.data import remote, webdataset
from lrps.data.remote import MissingError, TransientError, read_pieces, resolve

CONTENT = bytes(range(256)) * 20_000  # some pieces


def read(url: str) -> bytes:
    return b"".join(read_pieces(url))


@pytest.mark.parametrize(
    ("base", "url", "address"),
    [
        ("/data/v2", "a.tar", "/data/v2/a.tar"),
        ("https://host/v2/", "sub/a-1.tar", "https://host/v2/sub/a-1.tar"),
        ("https://user:word@host/v2?sig=a/b", "a.tar", "https://user:word@host/v2/a.tar?sig=a/b"),
        ("s3://lake/v2", "a.tar", "s3://lake/v2/a.tar"),
        ("hf://datasets/me/set@main/v2", "a.tar", "hf://datasets/me/set@main/v2/a.tar"),
        ("pipe:ssh store cat /v2/{name}", "a.tar", "pipe:ssh store cat /v2/a.tar"),
        ("https://me:word@Host:81/v2?sig=x", "https://host:81/v3/a.tar", "https://host:81/v3/a.tar"),
        ("s3://lake/v2", "s3://lake/old/a.tar", "s3://lake/old/a.tar"),
        ("memory://v2", "memory://v2/a.tar", "memory://v2/a.tar"),
    ],
)
def test_a_shard_lies_below_its_version_unless_it_names_an_address(base, url, address):
    assert resolve(base, url) == address


ELSEWHERE = ("https://169.254.169.254/latest/a", "http://host/a", "https://host:81/a", "s3://host/a", "gs://lake/a")


@pytest.mark.parametrize("base", ["https://host/v2", "s3://lake/v2", "pipe:ssh store cat /v2/{name}", "/data/v2"])
@pytest.mark.parametrize("url", ELSEWHERE)
def test_a_manifest_names_another_host_only_if_the_config_allows_it(base, url):
    origin = "/".join(url.split("/")[:3])
    with pytest.raises(DataError, match=rf"another scheme or host .*data.shard_origins: \[{origin}\]"):
        resolve(base, url, ["https://other", f"{origin}.org"])
    assert resolve(base, url, [origin]) == url


@pytest.mark.parametrize("base", ["/data/v2", "https://host/v2", "pipe:ssh store cat /v2/{name}", "file:///data/v2"])
@pytest.mark.parametrize(
    "url",
    [
        *("pipe:rm -rf x", "PIPE:rm", "file:///etc/passwd", "File:/etc/passwd", "local:///etc/passwd"),
        *("https://host\\@evil/a", "https://host@evil/a", "https://me:word@host/a", "https:///a", "https://host/ a"),
        *("simplecache::file:///etc/passwd", "https::file:///etc/passwd", "s3://a::file:///etc/passwd", "ssh://host/a"),
        *("../v1/a.tar", "a/../../b.tar", "/etc/passwd", "//host/a.tar", "%2e%2e/a.tar", "a/%2e%2e/b.tar", ".", ""),
        *("$(touch x).tar", "a;touch x", "a b.tar", "-", "--option", "a.tar\n", "a\\b.tar", "'a'.tar", "a?b=c"),
    ],
)
def test_a_manifest_cannot_name_commands_local_files_or_places_outside(base, url):
    with pytest.raises(DataError, match="the manifest names"):
        resolve(base, url)


def test_a_command_says_where_the_name_belongs():
    with pytest.raises(ConfigError, match="{name}"):
        resolve("pipe:cat a.tar", "a.tar")


def test_http(web):
    (web.root / "a.bin").write_bytes(CONTENT)
    assert read(f"{web.url}/a.bin?signature=x") == CONTENT
    assert read(str(web.root / "a.bin")) == CONTENT


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        *((404, MissingError), (410, MissingError), (400, DataError), (401, DataError), (403, DataError)),
        *((429, TransientError), (500, TransientError), (503, TransientError), ("cut", TransientError)),
    ],
)
def test_http_errors_are_told_apart(web, step, kind):
    (web.root / "a.bin").write_bytes(CONTENT)
    web.script["/a.bin"].append(step)
    with pytest.raises(DataError) as caught:
        read(f"{web.url}/a.bin")
    assert type(caught.value) is kind
    assert (f"HTTP {step}" if isinstance(step, int) else "cut") in str(caught.value)


def test_a_server_that_falls_silent_is_given_up(web, monkeypatch):
    monkeypatch.setattr(webdataset, "STALL_SECONDS", 0.3)
    (web.root / "a.bin").write_bytes(CONTENT)
    web.script["/a.bin"].append("hold")
    with pytest.raises(TransientError, match="timed out"):
        read(f"{web.url}/a.bin")


def test_nobody_is_there():
    with pytest.raises(TransientError, match="refused"):
        read("http://127.0.0.1:9/a.bin")


def test_a_password_goes_to_its_host_only(web):
    (web.root / "a.bin").write_bytes(b"x")
    web.script["/first.bin"].append(f"http://localhost:{web.host.partition(':')[2]}/a.bin")
    assert read(f"http://me:p%40ss@{web.host}/first.bin") == b"x"
    assert [headers.get("Authorization") for headers in web.headers] == ["Basic bWU6cEBzcw==", None]


def test_commands(tmp_path):
    file = tmp_path / "a.bin"
    file.write_bytes(CONTENT)
    assert read(resolve(f"pipe:cat {tmp_path}/{{name}} | cat", "a.bin")) == CONTENT


@pytest.mark.parametrize("verbose", ["0", "1"])  # webdataset forgives every status if it is verbose
@pytest.mark.parametrize("status", [1, 23, 141])
def test_a_command_that_fails_is_an_error(status, verbose, monkeypatch):
    monkeypatch.setenv("GOPEN_VERBOSE", verbose)
    with pytest.raises(TransientError, match=f"status {status}"):
        read(f"pipe:echo x; exit {status}")


def test_a_command_that_falls_silent_is_ended(monkeypatch):
    monkeypatch.setattr(webdataset, "PIPE_STALL_SECONDS", 0.3)
    with pytest.raises(TransientError, match="gave nothing"):
        read("pipe:echo x; exec sleep 3600")


def test_stopping_early_ends_the_command(tmp_path):
    with closing(read_pieces(f"pipe:echo $$ > {tmp_path}/pid; exec yes")) as pieces:
        assert next(pieces).startswith(b"y\n")
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_fsspec_opens_everything_else():
    import fsspec

    with fsspec.open("memory://v2/a.bin", "wb") as file:
        file.write(CONTENT)
    assert read("memory://v2/a.bin") == CONTENT
    with pytest.raises(MissingError, match=r"memory://v2/b\.bin: no such file"):
        read("memory://v2/b.bin")
    with pytest.raises(DataError, match="nonsense"):
        read("nonsense://v2/b.bin")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_a_missing_package_is_named():
    with pytest.raises(DataError, match=r"pip install 'lrps\[gs\]'"):
        read("gs://lake/a.bin")


def test_s3(s3):
    s3("v2/a.bin", CONTENT)
    assert read("s3://lake/v2/a.bin") == CONTENT
    with pytest.raises(MissingError, match=r"s3://lake/v2/b\.bin"):
        read("s3://lake/v2/b.bin")


def test_a_plain_webdataset_reads_our_shards_from_s3(s3, build_version, tmp_path):
    manifest = build_version(tmp_path)
    for shard in manifest.shards:
        s3(f"v1/{shard.name}", (tmp_path / "v1" / shard.name).read_bytes())
    script = (
        "import webdataset; from lrps.data.webdataset import register_openers; register_openers()\n"
        f"urls = {[f's3://lake/v1/{shard.name}' for shard in manifest.shards]!r}\n"
        "samples = webdataset.WebDataset(urls, shardshuffle=False).decode()\n"
        "print(sum(len(sample['tokens.npy']) for sample in samples))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) == manifest.tokens


SECRET = "pl4nted+secret"


@pytest.mark.parametrize(
    "url",
    [
        f"http://me:{SECRET}@HOST/403.bin",
        "http://me:pl4nted%2Bsecret@HOST/403.bin",
        f"http://HOST/404.bin?signature={SECRET}",
        f"http://HOST/500.bin?a=b&signature={SECRET}",
        f"http://HOST/a b.bin?signature={SECRET}",
        f"http://HO[ST/a.bin?signature={SECRET}",
        f"http://me:{SECRET}@127.0.0.1:9/a.bin",
        f"http://me:{SECRET}@127.0.0.1:port/a.bin",
        f"pipe:echo {SECRET} >/dev/null; exit 3",
        f"pipe:: {SECRET}; sleep 60",
        "s3://nowhere/a.bin",
        f"nonsense://me:{SECRET}@host/a.bin?{SECRET}",
        f"gs://lake/a.bin?{SECRET}",
    ],
)
def test_a_secret_is_never_shown(url, web, s3, monkeypatch, caplog, capfd):
    monkeypatch.setattr(webdataset, "PIPE_STALL_SECONDS", 0.1)
    monkeypatch.setattr(remote, "RETRY_SECONDS", (0.01,))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for status in (403, 404, 500):
        web.script[f"/{status}.bin"].extend([status, status])
    with pytest.raises(DataError) as caught:
        remote.with_retries(lambda: read(url.replace("HOST", web.host)))
    assert caught.value.__suppress_context__
    shown = f"{caught.value} {caught.value.__cause__} {caplog.text} {''.join(capfd.readouterr())}"
    assert len(str(caught.value)) > 10
    assert "pl4nted" not in shown, shown


def test_a_header_that_a_server_repeats_is_scrubbed():
    header = base64.b64encode(f"me:{SECRET}".encode()).decode()
    error = HTTPError("http://host/a.tar", 403, f"not for Basic {header}", Message(), None)
    assert "not for Basic ***" in str(remote.transfer_fault(error, "http://me:pl4nted%2Bsecret@host/a.tar"))


def test_what_a_library_says_of_the_environment_is_scrubbed(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    error = remote.transfer_fault(RuntimeError(f"this is false: {SECRET}"), "hf://datasets/me/set/a.tar")
    assert str(error) == "hf://datasets/me/set/a.tar: this is false: ***"
