"""Cores, memory and GPUs against what the config starts, and the age of the price."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import psutil
import pytest

from lrps.config.models import Config
from lrps.doctor import devices
from lrps.doctor.examination import Subject, cores
from lrps.plan.plan import make_plan
from support.values import config_values

MakeConfig = Callable[..., Config]


@pytest.mark.parametrize(
    ("threads", "processes", "state"),
    [(None, 8, "ok"), ("1", 1, "ok"), ("many", 1, "warn"), (str(cores() + 1), 1, "warn"), (str(cores()), 2, "warn")],
)
def test_threads_of_all_processes_share_the_cores(
    make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch, threads: str | None, processes: int, state: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if threads is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
    subject = Subject(make_plan(make_config(launch={"processes": processes}, batch={"sequences": 8})))
    found = {finding.name: finding for finding in devices.check_cpu(subject)}
    assert found["OMP_NUM_THREADS"].state == state
    assert found["cores"].what.startswith(str(cores()))


@pytest.mark.parametrize(("asynchronous", "state"), [(True, "fail"), (False, "ok")])
def test_copies_for_asynchronous_saves_must_fit(make_config: MakeConfig, asynchronous: bool, state: str) -> None:
    model = {**config_values()["model"], "parameters": psutil.virtual_memory().total}
    model["architecture"] = {"model_type": "mamba", "vocab_size": 9}
    plan = make_plan(make_config(model=model, checkpoint={"asynchronous": asynchronous}))
    (found,) = devices.check_memory(Subject(plan))
    assert found.state == state
    assert next(iter(devices.check_memory(Subject()))).state == "ok"


@pytest.mark.parametrize(("width", "state"), [(16, "ok"), (2**22, "fail")])
def test_the_memory_of_the_host_has_to_fit_what_is_offloaded(make_config: MakeConfig, width: int, state: str) -> None:
    model = {"architecture": {**config_values()["model"]["architecture"], "hidden_size": width}}
    engine = {"zero_stage": 2, "deepspeed": {"zero_optimization": {"offload_optimizer": {"device": "cpu"}}}}
    plan = make_plan(make_config(model=model, engine=engine, checkpoint={"asynchronous": False}))
    (found,) = devices.check_memory(Subject(plan))
    assert found.state == state
    assert "; offloaded states take " in found.what


@pytest.mark.parametrize(
    ("gpus", "changes", "state"),
    [
        (0, {}, "ok"),
        (0, {"engine": {"precision": "bf16"}}, "warn"),
        (1, {"launch": {"processes": 2}}, "fail"),
        (2, {"launch": {"processes": 2}}, "ok"),
    ],
)
def test_every_process_needs_a_gpu_of_its_own(
    make_config: MakeConfig, gpus: int, changes: dict[str, object], state: str
) -> None:
    assert devices._number(make_config(**changes), gpus).state == state


@pytest.mark.gpu
def test_gpus_are_described() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    found = {finding.name: finding for finding in devices.check_gpus(Subject())}
    assert torch.cuda.get_device_name(0) in found["GPU 0"].what


def price_states(make_config: MakeConfig, hardware: dict[str, Any] | None) -> dict[str, str]:
    plan = make_plan(make_config(hardware=hardware))
    return {finding.name: finding.state for finding in devices.check_price(Subject(plan))}


def test_a_missing_price_is_reported(make_config: MakeConfig) -> None:
    assert list(devices.check_price(Subject())) == []
    assert price_states(make_config, None) == {"hardware": "warn"}
    assert price_states(make_config, {"device": "cpu"}) == {"hardware": "warn", "price": "warn"}


@pytest.mark.parametrize(("days", "state"), [(0, "ok"), (364, "ok"), (366, "warn"), (-2, "warn")])
def test_an_old_price_is_reported(make_config: MakeConfig, days: int, state: str) -> None:
    price = {"amount": 2.5, "source": "a contract", "date": str(date.today() - timedelta(days))}
    assert price_states(make_config, {"device": "H100", "price_per_device_hour": price}) == {"price": state}
