"""Mixes: shares of the sequences that a path reads, by kind or by the name of a set, and steps that are added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lrps.config.values import Float, Section, Share

NamedShares = dict[str, Annotated[Float, Field(gt=0, lt=1)]]
_KINDS = ("new", "replay", "rehearsal")


def _names_are_keys(schema: dict[str, Any]) -> None:
    """Accept names of sets and versions as keys in the schema for editors."""
    schema["additionalProperties"] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}


class Mix(Section):
    """Shares of the sequences of a path, which add up to 1: by kind, and by the name of a rehearsal set or an older
    version, as in `{new: 0.8, r1: 0.1, r2: 0.1}`."""

    model_config = ConfigDict(json_schema_extra=_names_are_keys)

    new: Share = 1.0
    """Share of sequences of the version's own increment."""
    replay: Share = 0.0
    """Share of sequences of older increments, each from its own next position on, in proportion to their sizes."""
    rehearsal: Share = 0.0
    """Share of sequences of the sets of data.rehearsal that the version may read, in the same way."""
    sets: NamedShares = Field(default_factory=dict)
    """Shares of single sets and older versions, by name. They may be given beside `new`, without this key."""
    extra: NamedShares = Field(default_factory=dict)
    """Shares of the steps of a branch or a CPT path (`{r1: 0.1, r2: 0.1}`) that are added to them, by the name of a set
    or an older version. The path ends that much later and its decay is that much longer, while new sequences, the fork
    and the main path stay as they are. The added sequences are mixed evenly with the others."""

    @model_validator(mode="before")
    @classmethod
    def _names_are_sets(cls, value: Any) -> Any:
        """Move the shares of names to `sets`."""
        if not isinstance(value, Mapping):
            return value
        named = {key: share for key, share in value.items() if key not in cls.model_fields}
        known = {key: share for key, share in value.items() if key in cls.model_fields}
        if named:
            known["sets"] = {**known.get("sets", {}), **named}
        return known

    @model_serializer(mode="wrap")
    def _without_empty(self, values: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out shares of names if there are none, as configs without this key are recorded."""
        return {key: value for key, value in values(self).items() if value != {}}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        others = self.replay + self.rehearsal + sum(self.sets.values())
        if abs((total := self.new + others) - 1) > 1e-9:
            words = "new + replay + rehearsal" + "".join(f" + {name}" for name in self.sets)
            raise ValueError(f"{words} must be 1 (new is 1 unless it is given), not {total:g}")
        if self.new == 0:
            raise ValueError("new must be above 0: a version is trained on its own increment")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Names of sets and versions that it gives a share to, each once."""
        return tuple(dict.fromkeys((*self.sets, *self.extra)))


def check_mix_names(
    where: str, mix: Mix, versions: Sequence[str], since: Mapping[str, str], of: str | None = None
) -> None:
    """Raise ValueError for a share of something that is no set and no version, or that a version cannot read.

    where: key of the mix. since: set -> first version that reads it. of: version of the mix, if it is that of one.
    """
    for name in mix.names:
        if name not in versions and name not in since:
            near = get_close_matches(name, (*_KINDS, *since, *versions), 1, 0.5)
            hint = f"did you mean '{near[0]}'?" if near else "the sets are " + (", ".join(since) or "none")
            raise ValueError(f"{where}.{name} is no kind of sequences, rehearsal set or version; {hint}")
        first = versions.index(since[name]) if name in since else versions.index(name) + 1
        if of is not None and versions.index(of) < first:
            raise ValueError(f"{where}.{name}: {of} cannot read it, only later versions; leave it out")
