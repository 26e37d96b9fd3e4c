"""The `probes` section of a config file: short decays from the main path that show what data is worth."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from lrps.config.values import DecayShape, Float, Int, Name, Section


def _may_be_a_version(schema: dict[str, Any]) -> None:
    """Describe the short form for editors: `at: v3`."""
    properties = schema.pop("properties")
    del schema["type"]
    schema["anyOf"] = [
        {"type": "string"},
        {"type": "object", "properties": properties, "additionalProperties": schema.pop("additionalProperties")},
    ]


class ProbePoint(Section):
    """Step of the main path that a probe forks from: `v3`, where the branch of v3 forks, or `{step: 1200}`."""

    model_config = ConfigDict(json_schema_extra=_may_be_a_version)

    version: Name | None = None
    """Name of a version: the step at which its branch forks, or the main path is released as it."""
    step: Annotated[Int, Field(ge=1)] | None = None
    """Step of the main path, which is saved there or has not reached it yet."""

    @model_validator(mode="before")
    @classmethod
    def _from_a_name(cls, value: Any) -> Any:
        return {"version": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.version is None) == (self.step is None):
            raise ValueError("name a version (`at: v3`) or a step (`at: {step: 1200}`)")
        return self


class ProbeConfig(Section):
    """Short decay from a point of the main path, on data of your choice. It releases nothing, and no paradigm pays for
    it. A control, which reads the rows that the main path would read next, is trained beside it."""

    at: ProbePoint
    """Point of the main path of the first path-switching paradigm: `v3`, where the branch of v3 forks, or
    `{step: 1200}`."""
    steps: Annotated[Int, Field(ge=1)]
    """Number of steps, all of them in the decay."""
    decay: DecayShape = "linear"
    """Shape of the decay, from the main path's learning rate to schedule.final_lr."""
    data: Annotated[dict[Name, Annotated[Float, Field(gt=0, le=1)]], Field(min_length=1)]
    """Shares of the sequences by version, rehearsal set or set of data.candidates, which add up to 1. A set that the
    main path has read is read on from there, as in a mix."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if abs((total := sum(self.data.values())) - 1) > 1e-9:
            raise ValueError(f"the shares of data must add up to 1, not {total:g}")
        return self


def check_probes(probes: Mapping[str, ProbeConfig], versions: Collection[str], sets: Collection[str]) -> None:
    """Raise ValueError for a probe that names what is not there. sets: everything that a path can read."""
    for name, probe in probes.items():
        if probe.at.version is not None and probe.at.version not in versions:
            raise ValueError(f"probes.{name}.at: {_unknown(probe.at.version, versions)}")
        for unknown in probe.data.keys() - set(sets):
            raise ValueError(f"probes.{name}.data.{unknown}: {_unknown(unknown, sets)}")


def _unknown(name: str, known: Collection[str]) -> str:
    if name.endswith("heldout"):
        return f"{name} is no data to train on: a probe on held-out text would measure nothing"
    near = get_close_matches(name, known, 1)
    return f"there is no {name}; " + (f"did you mean {near[0]}?" if near else f"the config has {', '.join(known)}")
