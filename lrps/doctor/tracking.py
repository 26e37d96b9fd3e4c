"""Checks of trackers and of the webhook: installed, logged in, addressed. Shows no secrets and sends nothing."""

from __future__ import annotations

import netrc
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from lrps.base.addresses import host_of
from lrps.base.errors import ConfigError
from lrps.config.tracking import TrackConfig
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.track.trackers import check_trackers
from lrps.track.webhook import check_webhook

AREA = "tracking"


def check_tracking(subject: Subject) -> Iterator[Finding]:
    """Check the trackers and the webhook of the config; without a config, only the login of wandb."""
    track = TrackConfig(trackers=("wandb",)) if subject.config is None else subject.config.track
    if not track.trackers:
        yield Finding(AREA, "trackers", "ok", "none; metrics.jsonl is always written")
    for name in track.trackers:
        if (fault := _fault(name, partial(check_trackers, TrackConfig(trackers=(name,))))) is not None:
            yield fault
        else:
            yield login(track) if name == "wandb" else Finding(AREA, name, "ok", "installed")
    if track.notify is not None:
        sent = Finding(AREA, "notify", "ok", f"messages go to {host_of(track.notify_address or '')}")
        yield _fault("notify", partial(check_webhook, track)) or sent


def _fault(name: str, check: Callable[[], None]) -> Finding | None:
    """Return the fault that a check raises; None if it raises none."""
    try:
        check()
    except ConfigError as error:
        what, _, fix = str(error).partition("; ")
        return Finding(AREA, name, "fail", what, fix)
    return None


def login(track: TrackConfig) -> Finding:
    """Return whether wandb will send anything, and to which host."""
    mode = os.environ.get("WANDB_MODE", track.wandb.mode)
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or "api.wandb.ai"
    key = _location_of_key(host)
    if mode in ("disabled", "dryrun"):
        return Finding(AREA, "wandb", "warn", f"WANDB_MODE={mode} stores nothing", "unset WANDB_MODE, or set offline")
    if mode == "offline":
        later = "logged in" if key else "`wandb login` before `wandb sync`"
        return Finding(AREA, "wandb", "ok", f"offline: runs stay in the run directory; {later}")
    if key is None:
        fix = "run `wandb login`, or set WANDB_API_KEY on every host; otherwise set track.wandb.mode: offline"
        return Finding(AREA, "wandb", "warn", f"online, but no key for {host}: it will fall back to offline", fix)
    return Finding(AREA, "wandb", "ok", f"online at {host}, logged in by {key}")


def _location_of_key(host: str) -> str | None:
    if os.environ.get("WANDB_API_KEY"):
        return "WANDB_API_KEY"
    names = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in (Path(name).expanduser() for name in names):
        try:
            if netrc.netrc(str(file)).authenticators(host) is not None:
                return str(file)
        except (OSError, netrc.NetrcParseError):
            continue
    return None
