"""Reading YAML: scalars, positions, overrides, hints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config, parse_yaml
from support.values import config_values


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(config_values(), sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e9", 1e9),
        (".5", 0.5),
        ("-7", -7),
        ("1_000", "1_000"),
        ("0x1f", 31),
        ("-.inf", -math.inf),
        ("on", "on"),
        ("no", "no"),
        ("True", True),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("2026-01-31", "2026-01-31"),
        ("0o17", 15),
        ("1e", "1e"),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed, _ = parse_yaml(f"key: {text}", "x.yaml")
    assert parsed["key"] == value
    assert type(parsed["key"]) is type(value)


def test_a_doubled_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:3:1: 'a' appears twice \(first at x\.yaml:1:1\)"):
        parse_yaml("a: 1\nb: 2\na: 3\n", "x.yaml")


def test_text_that_is_no_yaml_says_where() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml:2:\d+: not valid YAML"):
        parse_yaml("a: 1\n b: : [\n", "x.yaml")


def test_overrides_come_before_validation(file: Path) -> None:
    config = load_config(file, ["schedule.peak_lr=3e-4", "data.versions.1.tokens=2K", "paradigms.ptfs.decay=linear"])
    assert config.schedule.peak_lr == 3e-4
    assert config.data.versions[1].tokens == 2000
    assert config.paradigms["ptfs"].decay == "linear"


def test_an_override_can_append_a_version(file: Path) -> None:
    config = load_config(file, ["data.versions.4={name: v5, tokens: 1600}"])
    assert [version.name for version in config.data.versions] == ["v1", "v2", "v3", "v4", "v5"]


def test_an_override_can_add_a_section(file: Path) -> None:
    assert load_config(file, ["engine.zero_stage=3"]).engine.zero_stage == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("schedule.peek_lr=1", "-s schedule.peek_lr=1: schedule.peek_lr: unknown key; did you mean 'peak_lr'?"),
        (
            "engine.zero_stage=7",
            "-s engine.zero_stage=7: engine.zero_stage: Input should be less than or equal to 3 (got 7)",
        ),
        ("paradigms.ptfs.alhpa=1", "did you mean 'alpha'?"),
        ("paradigms.cpt.mix_per_version={v2: {new: 0.9, reply: 0.1}}", "did you mean 'replay'?"),
        ("nonsense", "an override is written key=value"),
        ("data.versions.9.tokens=3", "data.versions.9 is not in the file"),
        ("paradigms.mine={}", "add 'kind', one of path-switching, ptfs, cpt, wsd-s"),
        ("data.versions.0.tokens=some", "data.versions.0.tokens"),
        ("data.versions.1.mixture={web: {text: a.txt, weight: 1}}", "mixture: at least 2 needed here"),
    ],
)
def test_a_wrong_override_is_explained(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(file, [override])
    assert message in str(caught.value)


def test_all_faults_are_told_with_file_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(
        "name: c\nmodel: {checkpoint: here}\n"
        "data: {root: d, sequence_length: 8, versions: [{name: v1, tokns: 3}]}\n"
        "batch: {}\nschedule:\n  peak_lr: 1e-3\n  warmup_steps: few\nparadigms: {ptfs: {decay: cosin}}\nzzz: 1\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert f"{path}:3:59: data.versions.0.tokns: unknown key; did you mean 'tokens'? (got 3)" in lines
    assert f"{path}:4:1: batch.sequences: this key is needed" in lines
    assert any(line.startswith(f"{path}:7:3: schedule.warmup_steps:") and "got 'few'" in line for line in lines)
    assert any(line.startswith(f"{path}:8:20: paradigms.ptfs.decay:") and "got 'cosin'" in line for line in lines)
    assert any(line.startswith(f"{path}:9:1: zzz: unknown key; known keys: name, runs") for line in lines)
    assert len(lines) == 5


def test_hardware_can_be_a_file(tmp_path: Path, file: Path) -> None:
    (tmp_path / "gpu.yaml").write_text("device: H100\ndevices: 8\n")
    assert load_config(file, ["hardware=gpu.yaml"]).hardware.devices == 8  # type: ignore[union-attr]
    (tmp_path / "gpu.yaml").write_text("device: H100\nmfu: 2\n")
    with pytest.raises(ConfigError, match=r"gpu\.yaml:2:1: hardware\.mfu"):
        load_config(file, ["hardware=gpu.yaml"])


def test_a_missing_file_names_the_nearest(tmp_path: Path, file: Path) -> None:
    with pytest.raises(ConfigError, match=r"smal\.yaml: no such config file; did you mean .*small\.yaml\?"):
        load_config(tmp_path / "smal.yaml")


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="a config is a mapping"):
        load_config(tmp_path / "list.yaml")


def test_an_override_reaches_into_a_hardware_file(tmp_path: Path, file: Path) -> None:
    (tmp_path / "gpu.yaml").write_text("device: H100\ndevices: 8\n")
    file.write_text(file.read_text() + "hardware: gpu.yaml\n")
    hardware = load_config(file, ["hardware.devices=16"]).hardware
    assert hardware is not None
    assert (hardware.device, hardware.devices) == ("H100", 16)


WEBHOOK = "https://hooks.host/services/s3cret"


@pytest.mark.parametrize(
    "track",
    [
        {"notify": WEBHOOK},
        {"notify": {"urll": WEBHOOK}},
        {"notify": {"url": [WEBHOOK]}},
        {"notify": {"url": WEBHOOK.replace("https", "ftp")}},
        {"notify": {"url": "hooks.host/services/s3cret"}},
        {"notify_url": WEBHOOK},
        {"trackers": [WEBHOOK]},
    ],
)
def test_no_message_shows_the_path_of_a_webhook(tmp_path: Path, track: dict[str, Any]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_values(track=track)))
    with pytest.raises(ConfigError, match="track.") as wrong:
        load_config(file)
    assert "s3cret" not in str(wrong.value)


@pytest.mark.parametrize("key", ["track.notify.url", "track.notify", "track"])
def test_the_address_of_a_webhook_is_refused_on_a_command_line(tmp_path: Path, key: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config_values()))
    for value in (WEBHOOK, f"{{url: {WEBHOOK}}}", f"[{WEBHOOK}"):
        with pytest.raises(ConfigError, match="write it into the config file, or into the environment") as wrong:
            load_config(file, [f"{key}={value}"])
        assert "s3cret" not in str(wrong.value)
    assert load_config(file, ["track.notify={}"]).track.notify is not None
