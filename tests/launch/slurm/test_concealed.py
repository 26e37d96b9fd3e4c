"""What a dry run shows of shell text: the commands, and none of the values that may be secrets."""

from __future__ import annotations

import re

import pytest

from lrps.config.launching import SlurmConfig
from lrps.launch.slurm.concealed import concealed, shown_options


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("export KEY=planted", "export KEY=..."),
        ('A=planted B=\'x planted\' C="a \\" planted" run it', "A=... B=... C=... run it"),
        ("export A=$(cat /planted | head -1) B=`planted x`; module load cuda", "export A=... B=...; module load cuda"),
        ("PATH=/opt/planted:$PATH", "PATH=..."),
        ("wandb login planted && next", "wandb login ... && next"),
        ("hf auth login --token planted --add", "hf auth login --token ... --add"),
        ("docker login -p planted", "docker login -p ..."),
        ("curl -u me:planted -H 'Authorization: Bearer planted too' x", "curl -u ... -H 'Authorization: ...' x"),
        ("curl https://me:planted@host/a?sig=planted", "curl https://host/a?..."),
        ("cat >~/.netrc <<'EOF'\npassword planted\nEOF\nnext", "cat >~/.netrc <<'EOF'\n...\nEOF\nnext"),
        ("echo planted | docker login", "echo ... | docker login"),
        ('read x <<< "planted y"', "read x <<< ..."),
        ("tool hf_planted", "tool ..."),
        ("tool " + "c0ffee" * 5, "tool ..."),
        ("--export=ALL,KEY=planted,OTHER=planted", "--export=ALL,KEY=..."),
        ("--api-key=planted", "--api-key=..."),
    ],
)
def test_a_value_that_may_be_a_secret_is_concealed(text: str, shown: str) -> None:
    assert "planted" in text or "c0ffee" in text
    assert concealed(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "module load cuda/12.1\nset -euo pipefail  # As many write it.\nulimit -l unlimited",
        "source /opt/venvs/torch2.4-cuda12.1/bin/activate",
        '[ -z "$SLURM_CPUS_PER_TASK" ] || cd /work/team42/project',
        *("--mem=0", "--gres=gpu:h100:8", "--exclude=node[001-016],gpu[1-4]", "--constraint=a100&ib", "--exclusive"),
    ],
)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert concealed(text) == text


def test_setup_and_directives_are_concealed_and_all_else_is_kept() -> None:
    slurm = SlurmConfig(partition="gpus", setup="export K=planted", directives=("--export=K=planted", "--mem=0"))
    shown = shown_options(slurm)
    assert (shown.setup, shown.directives) == ("export K=...", ("--export=K=...", "--mem=0"))
    assert shown.partition == "gpus"
    assert not re.search("planted", repr(shown))
