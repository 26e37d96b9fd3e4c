"""Checks of trackers: whether they are installed and wandb is logged in. Shows no secrets and sends nothing."""

from __future__ import annotations

import netrc
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from lrps.base.errors import ConfigError
from lrps.config.tracking import TrackConfig
from lrps.doctor.examination import Subject
from lrps.doctor.finding import Finding
from lrps.track.trackers import check_trackers

AREA = "tracking"


def check_tracking(subject: Subject) -> Iterator[Finding]:
    """Check the trackers of the config; without a config, only the login of wandb."""
    track = TrackConfig(trackers=("wandb",)) if subject.config is None else subject.config.track
    if not track.trackers:
        yield Finding(AREA, "trackers", "ok", "none; metrics.jsonl is always written")
    for name in track.trackers:
        try:
            check_trackers(TrackConfig(trackers=(name,)))
        except ConfigError as error:
            what, _, fix = str(error).partition("; ")
            yield Finding(AREA, name, "fail", what, fix)
        else:
            yield login(track) if name == "wandb" else Finding(AREA, name, "ok", "installed")


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
