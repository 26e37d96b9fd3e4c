"""The script of a job: what users read and edit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrps.base.errors import ConfigError
from lrps.launch.jobs import plan_jobs
from lrps.launch.slurm.script import script_text
from lrps.plan.plan import Plan, make_plan

Make = Callable[..., Plan]


@pytest.fixture
def make(make_config: Callable[..., Any], tmp_path: Path) -> Make:
    def plan(runs: Path = tmp_path, **launch: Any) -> Plan:
        return make_plan(make_config(runs=str(runs), batch={"sequences": 8}, launch={"launcher": "slurm", **launch}))

    return plan


def text(plan: Plan, name: str = "main") -> str:
    (job,) = plan_jobs(plan, [name], Path("my config.yaml"), ["seed=3"])
    return script_text(plan, job)


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]


def test_it_asks_for_what_the_kind_of_path_needs(make: Make) -> None:
    slurm = {"partition": "gpus", "account": "nlp", "qos": "long", "time_limit": "12:00:00", "gres": "gpu:h100"}
    branch = {"nodes": 2, "processes": 4, "time_limit": "02:00:00", "partition": "short"}
    config = {"processes": 8, "slurm": {**slurm, "directives": ["--mem=0"]}, "resources": {"branch": branch}}
    plan = make(**config)
    main, leaf = directives(text(plan)), directives(text(plan, "branch-v1"))
    assert {"--nodes=1", "--ntasks-per-node=8", "--partition=gpus", "--time=12:00:00", "--gres=gpu:h100:8"} <= {*main}
    assert {"--nodes=2", "--ntasks-per-node=4", "--partition=short", "--time=02:00:00"} <= {*leaf}
    assert {"--account=nlp", "--qos=long", "--mem=0", "--gres=gpu:h100:4"} <= {*leaf}
    assert {"--requeue", "--open-mode=append", "--signal=B:USR1@120"} <= {*main}


def test_what_is_not_configured_is_left_to_the_cluster(make: Make) -> None:
    options = {line.partition("=")[0] for line in directives(text(make(slurm={"gres": None})))}
    assert not options & {"--partition", "--account", "--qos", "--time", "--gres"}


def test_the_processes_run_what_every_launcher_runs(make: Make) -> None:
    script = text(make(slurm={"setup": "module load cuda\nexport NCCL_SOCKET_IFNAME=ib0"}))
    assert "-m lrps.cli train 'my config.yaml' --set seed=3 main &" in script
    assert script.index("module load cuda\nexport NCCL_SOCKET_IFNAME=ib0") < script.index("srun --")
    assert not {"{{", "{%"} & {script[i : i + 2] for i in range(len(script))}


@pytest.mark.parametrize("folder", ["plain", "with space", "it's 100%", "dollar$HOME"])
def test_it_is_a_script_whatever_the_run_directory_is_called(make: Make, tmp_path: Path, folder: str) -> None:
    script = text(make(tmp_path / folder))
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("folder", ['quo"te', "back\\slash", "tab\ttab", "line\n#SBATCH --uid=0"])
def test_a_directory_that_no_directive_can_name(make: Make, tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigError, match="may contain; choose another name or directory"):
        text(make(tmp_path / folder))


@pytest.mark.parametrize("directive", ["--comment=mine", "--array=1-4", "-a 1-4", "--wait", "--mem=0\nrm -rf x"])
def test_a_directive_that_cannot_stand(make: Make, directive: str) -> None:
    with pytest.raises(ConfigError, match="launch.slurm.directives: .* is not allowed"):
        text(make(slurm={"directives": [directive]}))
    text(make(slurm={"directives": ["--wait-all-nodes=1", "--mem=0"]}))


@pytest.mark.parametrize(("limit", "enough"), [("00:03:00", False), ("00:03:01", True), ("1-00:00:00", True)])
def test_a_time_limit_within_the_signals_reach(make: Make, limit: str, enough: bool) -> None:
    plan = make(slurm={"time_limit": limit})
    if enough:
        assert f"--time={limit}" in text(plan)
    else:
        with pytest.raises(ConfigError, match="main: time_limit 00:03:00 leaves no time to train"):
            text(plan)


def test_the_template_is_the_one_that_users_find(repository: Path, make: Make, tmp_path: Path) -> None:
    shown = repository / "launch" / "slurm" / "path.sbatch"
    assert shown.read_bytes() == (repository / "lrps" / "launch" / "slurm" / "path.sbatch").read_bytes()
    mine = tmp_path / "mine.sbatch"
    mine.write_text("#!/bin/bash\n#SBATCH --nodes={{ nodes }}\nexec srun {{ command }}\n")
    script = text(make(slurm={"template": str(mine)}))
    assert script.startswith("#!/bin/bash\n#SBATCH --nodes=1\nexec srun ")


BROKEN_TEMPLATES = ("{{ nodse }}", "{% for", "{{ 1 / 0 }}", "{{ nodes + 'a' }}", "{{ range(10**9) }}", "{{ nodes }")
READ_OTHER_FILES = ("{% include '/etc/passwd' %}", "{% extends '/etc/passwd' %}", "{% import '/etc/passwd' as x %}")
RUN_PYTHON = (
    "{{ ''.__class__.__mro__ }}",
    "{{ ''['__class__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ cycler.__init__.__globals__.os.popen('touch here').read() }}",
    "{% set init = cycler.__init__ %}{{ init['__globals__'] }}",
    "{{ lipsum.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ directives|map('attr', '__class__')|join }}",
    "{{ directives|map(attribute='__class__')|join }}",
    "{{ '{0.__class__.__mro__}'.format(nodes) }}",
    "{{ ('{0.__class__}'|attr('format'))(nodes) }}",
    "{{ '{x.__class__}'.format_map({'x': nodes}) }}",
    "{{ directives.append('--uid=0') }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{{ m.__func__.__globals__ }}",
)


@pytest.mark.parametrize("template", [*BROKEN_TEMPLATES, *READ_OTHER_FILES, *RUN_PYTHON, None])
def test_a_template_that_cannot_be_filled_in(make: Make, tmp_path: Path, template: str | None) -> None:
    mine = tmp_path / "mine.sbatch"
    if template is not None:
        mine.write_text(template)
    with pytest.raises(ConfigError, match=r"launch.slurm.template: .*mine.sbatch.* start from a copy of launch/slurm"):
        text(make(slurm={"template": str(mine)}))
