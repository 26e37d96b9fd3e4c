from __future__ import annotations

import re

import pytest

from lrps.base.addresses import basic_login, conceal, conceal_key, conceal_paths, host_of, is_http, redact, scheme_of
from lrps.config.models import Config
from lrps.costs.planned.plan_document import write_plan_json
from lrps.plan.plan import make_plan
from support.values import config_values


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/v2/a.tar", "https://host/v2/a.tar"),
        ("https://me:se/cr@et@host/v2/a.tar?sig=secret#secret", "https://host/v2/a.tar?..."),
        ("s3://key:secret@lake/a.tar", "s3://lake/a.tar"),
        ("hf://datasets/me/set@main/a.tar", "hf://datasets/me/set@main/a.tar"),
        ("pipe:TOKEN=secret curl https://host/a.tar", "pipe:..."),
        ("/data/v#2/a?.tar", "/data/v#2/a?.tar"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url, shown):
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("url: unknown key (got 'https://me:s3cret@host/v1')", "url: unknown key (got 'https://host/v1')"),
        ("a: ['s3://lake/v1?s3cret', 'gs://me:s3 c/ret@lake']\nb: fine?", "a: ['s3://lake']\nb: fine?"),
        ("got 'pipe:TOKEN=s3cret curl'\nb", "got 'pipe:...\nb"),
        ("did you mean 'url'?", "did you mean 'url'?"),
    ],
)
def test_an_address_in_a_message_is_shown_without_its_secrets(text, shown):
    assert "s3cret" not in conceal(text)
    assert conceal(text) == shown


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://hooks.host/services/s3cret", "https://hooks.host"),
        ("HTTP://me:s3/cr@et@host:8080/s3cret?s3cret#s3cret", "HTTP://host:8080"),
        ("https://host?s3cret", "https://host"),
        *((wrong, "...") for wrong in ("https:///s3cret", "https://h:s3cret/", "ftp://s3cret", "https://[s3cret", "")),
    ],
)
def test_of_the_address_of_a_webhook_only_the_host_is_shown(url, host):
    assert host_of(url) == host
    assert is_http(url) == (host != "...")


def test_paths_in_a_message_are_shown_without_secrets():
    said = "got {'url': 'https://hooks.host/services/s3cret'}, \"http://me:s3/cret@host/s3cret\" or s3://lake/v1"
    assert conceal_paths("a b: https://host:80/s3cret-1, http://host") == "a b: https://host:80/... http://host"
    assert "s3cret" not in conceal_paths(said)


def test_a_login_goes_into_a_header():
    assert basic_login("https://me:se%2Fcret@host:80/a?b") == ("https://host:80/a?b", "Basic bWU6c2UvY3JldA==")
    assert basic_login("https://host/a") == ("https://host/a", None)


def test_schemes():
    assert [scheme_of(address) for address in ("S3://lake", "pipe:cat x", "/data/v:2", "data", "")] == [
        *("s3", "pipe", "", "", "")
    ]


def test_what_is_written_of_a_config_holds_no_secret(tmp_path):
    url = "https://me:pl4nted@host/v1?signature=s3cret"
    values = config_values(runs=str(tmp_path))
    values["data"]["versions"][0]["url"] = url
    values["track"] = {"notify": {"url": "https://hooks.host/pl4nted/s3cret"}}
    config = Config.model_validate(values)
    write_plan_json(make_plan(config))
    written = "".join(path.read_text() for path in tmp_path.rglob("plan.json"))
    assert "https://host/v1?..." in written
    assert "https://hooks.host/..." in written
    assert not {word for word in ("pl4nted", "s3cret") if word in written}
    assert config.data.versions[0].url == url == config.model_dump()["data"]["versions"][0]["url"]


@pytest.mark.parametrize(
    "form", ["k/e y&1", "K/E Y&1", "k%2Fe%20y%261", "k/e y&amp;1", "ay9lIHkmMQ==", "Bearer k/e y&1"]
)
def test_a_key_that_a_server_repeats_is_concealed(form: str) -> None:
    shown = conceal_key(f"refused: {form} is not known", "k/e y&1")
    assert re.fullmatch(r"refused: (Bearer )?\.\.\.=* is not known", shown)
    assert conceal_key(form, None) == form
