"""Trackers and wandb's login; no secret is shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lrps.config.models import Config
from lrps.config.tracking import TrackConfig
from lrps.doctor import tracking
from lrps.doctor.examination import Subject
from lrps.plan.plan import make_plan
from lrps.track import trackers

KEY = "0123456789abcdef0123456789abcdef01234567"
ONLINE = TrackConfig.model_validate({"trackers": ["wandb"], "wandb": {"mode": "online"}})


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def test_online_without_a_key_is_a_warning() -> None:
    found = tracking.login(ONLINE)
    assert (found.state, "wandb login" in found.way_out) == ("warn", True)


def test_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    found = tracking.login(ONLINE)
    assert (found.state, KEY in str(found)) == ("ok", False)


def test_a_key_in_netrc_is_of_one_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text(f"machine wandb.example.org login user password {KEY}\n")
    assert tracking.login(ONLINE).state == "warn"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org:8080")
    found = tracking.login(ONLINE)
    assert (found.state, KEY in str(found), "wandb.example.org" in found.what) == ("ok", False, True)


@pytest.mark.parametrize(("mode", "state"), [("disabled", "warn"), ("offline", "ok"), ("online", "warn")])
def test_the_environment_goes_first(monkeypatch: pytest.MonkeyPatch, mode: str, state: str) -> None:
    monkeypatch.setenv("WANDB_MODE", mode)
    assert tracking.login(ONLINE).state == state


def test_trackers_of_the_config(make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*names: str) -> dict[str, str]:
        subject = Subject(make_plan(make_config(track={"trackers": list(names)})))
        return {finding.name: finding.state for finding in tracking.check_tracking(subject)}

    assert found() == {"trackers": "ok"}
    assert found("wandb", "tensorboard") == {"wandb": "ok", "tensorboard": "ok"}
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    assert found("wandb", "tensorboard") == {"wandb": "fail", "tensorboard": "fail"}


def test_the_webhook_of_the_config(make_config: Callable[..., Config], monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**notify: str) -> tuple[str, str]:
        subject = Subject(make_plan(make_config(track={"notify": notify})))
        (finding,) = (each for each in tracking.check_tracking(subject) if each.name == "notify")
        assert KEY not in str(finding)
        return finding.state, finding.what

    monkeypatch.delenv("LRPS_NOTIFY_URL", raising=False)
    assert found(url=f"https://hooks.example.org/{KEY}") == ("ok", "messages go to https://hooks.example.org")
    assert found() == ("fail", "track.notify: the environment variable LRPS_NOTIFY_URL is not set")
