"""An optimizer from a plug-in file: its keys, its states in the forecast, and its class in an engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lrps.base.errors import ConfigError
from lrps.config.loader import load_config
from lrps.engine.optimizers import kinds
from lrps.plan.plan import make_plan
from support.plugins import forgotten_plugins

PLUGIN = """
from lrps.config.extensions import register_optimizer
from lrps.config.optimizing import PluginOptimizerConfig
from lrps.paths.optimizer_states import OptimizerState


class HeavyBallConfig(PluginOptimizerConfig):
    momentum: float = 0.9


@register_optimizer("NAME", section=HeavyBallConfig, states=lambda precision: (OptimizerState("momentum_buffer"),))
def heavy_ball():
    import torch
    from lrps.engine.optimizers.engine_optimizer import EngineOptimizer

    class HeavyBall(EngineOptimizer):
        torch_class = torch.optim.SGD

        @staticmethod
        def make(model, settings):
            return torch.optim.SGD(model.parameters(), lr=0.0, momentum=settings.momentum)

        def own_states(self):
            return (OptimizerState("momentum_buffer"),)

        def make_state(self, flat):
            return {"momentum_buffer": torch.zeros_like(flat.data)}

        @property
        def step(self):
            return 0.0

        @step.setter
        def step(self, step):
            pass

    return HeavyBall
"""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kinds, "_LOADED", dict(kinds._LOADED))
    with forgotten_plugins():
        yield


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "heavy_ball.py"
    file.write_text(PLUGIN.replace("NAME", "heavy-ball"))
    return file


def test_an_optimizer_of_a_plugin_is_planned_and_trained(tiny_config: Path, plugin: Path) -> None:
    import torch

    from lrps.engine.optimizers.kinds import optimizer_kind

    settings = [f"plugins=[{plugin}]", "optimizer={kind: heavy-ball, momentum: 0.5}"]
    config = load_config(tiny_config, settings)
    assert config.optimizer.model_dump()["momentum"] == 0.5
    plan, usual = make_plan(config), make_plan(load_config(tiny_config))
    assert plan.costs.checkpoint_bytes is not None
    assert usual.costs.checkpoint_bytes is not None
    assert plan.costs.checkpoint_bytes * 12 == usual.costs.checkpoint_bytes * 8
    identity = plan.identity(plan.graph.paths[0])
    assert identity["training"]["optimizer"]["kind"] == "heavy-ball"
    assert identity["plugins"]["optimizers"]["heavy-ball"]["sha256"]
    made = optimizer_kind("heavy-ball").make(torch.nn.Linear(2, 2), config.optimizer)
    assert made.defaults["momentum"] == 0.5
    with pytest.raises(ConfigError, match="optimizer.momentun: unknown key; did you mean 'momentum'"):
        load_config(tiny_config, [settings[0], "optimizer={kind: heavy-ball, momentun: 0.5}"])
    with pytest.raises(ConfigError, match="must be one of adamw, muon, lion, .*did you mean 'heavy-ball'"):
        load_config(tiny_config, [settings[0], "optimizer={kind: heavy-bal}"])
