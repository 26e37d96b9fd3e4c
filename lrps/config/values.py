"""Value types of a config file: strict numbers, quantities such as `10.5B`, and the base class of its sections."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from lrps.base.plugins.registry import Registry
from lrps.config.extensions import DECAYS

_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_QUANTITY = r"([0-9]*\.?[0-9]+)\s*([KMBGT]?)"
_BYTE_MULTIPLES = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BYTES = r"([0-9]*\.?[0-9]+)\s*([kMGT]?)B"


def parse_quantity(value: Any) -> Any:
    """Return 10500000000 for `10.5B`, exactly; return everything that is no such string unchanged."""
    if isinstance(value, str) and len(value) < 40 and (match := re.fullmatch(_QUANTITY, value.strip(), re.IGNORECASE)):
        number, unit = match.groups()
        scaled = Fraction(number) * _MULTIPLES[unit.upper()]
        return int(scaled) if scaled.denominator == 1 else float(scaled)
    if isinstance(value, bool):
        raise ValueError("a number such as 10.5B is needed here, not true or false")
    return value


def parse_bytes(value: Any) -> Any:
    """Return 500000000000 for `500GB`; return everything that is no such string unchanged."""
    if isinstance(value, str) and len(value) < 40 and (match := re.fullmatch(_BYTES, value.strip())):
        number, unit = match.groups()
        return int(Fraction(number) * _BYTE_MULTIPLES[unit])
    if isinstance(value, bool):
        raise ValueError("a size such as 500GB is needed here, not true or false")
    return value


def _quantity_schema(kind: str) -> WithJsonSchema:
    strings = {"type": "string", "pattern": f"^{_QUANTITY}$".replace("[KMBGT]", "[KMBGTkmbgt]")}
    return WithJsonSchema({"anyOf": [{"type": kind, "exclusiveMinimum": 0}, strings]})


Int = Annotated[int, Field(strict=True)]
Float = Annotated[float, Field(strict=True)]
"""Strict number: without it pydantic would accept `true` for 1 and "4" for 4, which are mistakes in a config."""
Count = Annotated[int, BeforeValidator(parse_quantity), Field(gt=0), _quantity_schema("integer")]
Quantity = Annotated[float, BeforeValidator(parse_quantity), Field(gt=0), _quantity_schema("number")]
Bytes = Annotated[
    int,
    BeforeValidator(parse_bytes),
    Field(gt=0),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string", "pattern": f"^{_BYTES}$"}]}
    ),
]
Epochs = Annotated[Float, Field(gt=0, le=2**20)]
"""Number of passes over data; more than a million are a mistake."""
Share = Annotated[Float, Field(ge=0, le=1)]


def choice_of(registry: Registry) -> tuple[Any, ...]:
    """Return the annotations of a text that names a choice of a registry. Editors complete the built-in ones."""
    names: list[dict[str, Any]] = [{"enum": list(registry.builtin)}] if registry.builtin else []
    schema = {"anyOf": [*names, {"type": "string"}]}
    return AfterValidator(registry.check), WithJsonSchema(schema)


DecayShape = Annotated[str, *choice_of(DECAYS)]
OptimizerStart = Literal["carry", "reset"]
Private = Annotated[str, PlainSerializer(lambda text: "..." if text else "", when_used="json")]
"""Text in which people write keys and passwords; it is left out wherever a config is written."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]


class Section(BaseModel):
    """A mapping in the config file. Unknown keys are refused, and values cannot change."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=(), allow_inf_nan=False
    )
