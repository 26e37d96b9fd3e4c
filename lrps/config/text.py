"""Keys of a config file about text: where it is, how it is divided into documents, and what becomes of bad ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, WithJsonSchema, model_validator
from pydantic_core import CoreSchema

from lrps.base.addresses import Address
from lrps.config.values import Section, Share


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Texts = Annotated[
    tuple[Annotated[Address, Field(min_length=1)], ...],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 1}}]}),
]
"""Paths, globs, directories and addresses of text, one or several."""

Documents = Literal["file", "blank-line", "line"]
"""End of a document in a .txt file: the end of the file, a blank line, or the end of a line."""


class BadDocuments(Section):
    """Treatment of documents that cannot be read; a mapping, or the action alone: `bad_documents: skip`."""

    action: Literal["refuse", "skip"] = "refuse"
    """`refuse`: the build stops and names the first ten. `skip`: they are left out, and counted by kind in the
    manifest."""
    limit: Share = 0.001
    """Largest share of the documents of a version that may be skipped; the build refuses more."""

    @model_validator(mode="before")
    @classmethod
    def _action_alone(cls, value: Any) -> Any:
        return {"action": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe for editors that the action may be given alone."""
        mapping = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [mapping, {"enum": ["refuse", "skip"]}], "description": mapping.get("description", "")}
