from __future__ import annotations

import pytest

from lrps.base.addresses import conceal, redact, scheme_of
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


def test_schemes():
    assert [scheme_of(address) for address in ("S3://lake", "pipe:cat x", "/data/v:2", "data", "")] == [
        *("s3", "pipe", "", "", "")
    ]


def test_what_is_written_of_a_config_holds_no_secret(tmp_path):
    url = "https://me:pl4nted@host/v1?signature=s3cret"
    values = config_values(runs=str(tmp_path))
    values["data"]["versions"][0]["url"] = url
    config = Config.model_validate(values)
    write_plan_json(make_plan(config))
    written = "".join(path.read_text() for path in tmp_path.rglob("plan.json"))
    assert "https://host/v1?..." in written
    assert not {word for word in ("pl4nted", "s3cret") if word in written}
    assert config.data.versions[0].url == url == config.model_dump()["data"]["versions"][0]["url"]
