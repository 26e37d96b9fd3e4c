from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar, Literal

import pytest
from jsonschema import Draft202012Validator, ValidationError

from lrps.base.document import INLINE, UNLESS_NONE, key, to_json
from lrps.base.document_schema import json_schema


@dataclass(frozen=True)
class Price:
    """A sum of money."""

    FORMAT: ClassVar[str] = "shop-price/1"
    amount: int | Fraction | None
    """Units of the currency."""
    currency: Literal["EUR", "USD"] = "EUR"


@dataclass(frozen=True)
class Shelf:
    """Books that are sold together."""

    FORMAT: ClassVar[str] = "shop-shelf/1"
    price: Price = field(metadata=INLINE)
    book_count: int = field(metadata=key("books"))
    """Number of books."""
    by_floor: Mapping[int, Sequence[Price]] = field(default_factory=dict)
    currency: str = "GBP"
    """Currency of the shelf, which replaces that of the inlined price."""


SHELF = Shelf(Price(Fraction(5, 2)), 3, {1: (Price(Fraction(4)), Price(None, "USD"))})
WRITTEN = {
    "format": "shop-shelf/1",
    "amount": 2.5,
    "currency": "GBP",
    "books": 3,
    "by_floor": {
        "1": [
            {"format": "shop-price/1", "amount": 4, "currency": "EUR"},
            {"format": "shop-price/1", "amount": None, "currency": "USD"},
        ]
    },
}


def validate(document: object) -> None:
    schema = json_schema(Shelf)
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(document)


def test_a_document_is_written_by_its_fields_with_the_format_first() -> None:
    assert to_json(SHELF) == WRITTEN
    assert next(iter(to_json(SHELF))) == "format"
    assert type(to_json(SHELF)["by_floor"]["1"][0]["amount"]) is int


def test_the_schema_accepts_what_is_written() -> None:
    validate(to_json(SHELF))


@pytest.mark.parametrize(
    "wrong",
    [
        {"format": "shop-shelf/2"},
        {"books": "3"},
        {"books": None},
        {"amount": "much"},
        {"by_floor": {"1": {}}},
        {"by_floor": {"1": [{"format": "shop-price/1", "amount": 1, "currency": "XAU"}]}},
    ],
)
def test_the_schema_refuses_wrong_values(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        validate(WRITTEN | wrong)


@pytest.mark.parametrize("missing", WRITTEN)
def test_the_schema_refuses_a_missing_key(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        validate({name: value for name, value in WRITTEN.items() if name != missing})


def test_the_schema_describes_keys_by_the_docstrings_of_their_fields() -> None:
    properties = json_schema(Shelf)["properties"]
    assert properties["amount"] == {"type": ["integer", "number", "null"], "description": "Units of the currency."}
    assert properties["books"]["description"] == "Number of books."


def test_a_type_without_a_json_form_has_no_schema() -> None:
    @dataclass(frozen=True)
    class Secret:
        value: bytes

    with pytest.raises(TypeError, match="bytes"):
        json_schema(Secret)


def test_a_key_that_was_added_may_be_left_out_where_there_is_nothing_to_write() -> None:
    @dataclass(frozen=True)
    class Grown:
        title: str | None
        """Title."""
        notes: tuple[str, ...] | None = field(default=None, metadata=UNLESS_NONE)
        """Notes."""

    assert to_json(Grown(None)) == {"title": None}
    assert to_json(Grown("a", ())) == {"title": "a", "notes": []}
    assert json_schema(Grown)["required"] == ["title"]
