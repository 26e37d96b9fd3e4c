from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from lrps.base.document_schema import json_schema
from support.values import load_tool

write_schemas = load_tool("write_schemas")
SCHEMAS = write_schemas.schemas()


@pytest.mark.parametrize("file", SCHEMAS, ids=str)
def test_the_committed_schemas_are_those_of_the_code(repository: Path, file: Path) -> None:
    """Regenerate with `make schema`."""
    assert (repository / file).read_text(encoding="utf-8") == SCHEMAS[file]


def test_no_schema_is_left_behind(repository: Path) -> None:
    committed = {file.relative_to(repository) for file in (repository / "docs" / "schemas").iterdir()}
    assert committed | {Path("configs/schema.json")} == SCHEMAS.keys()


def objects(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield schema
    yield from schema["$defs"].values()


@pytest.mark.parametrize("document", write_schemas.DOCUMENTS.values(), ids=lambda cls: cls.__name__)
def test_every_key_of_a_document_is_described(document: type) -> None:
    schema = json_schema(document)
    Draft202012Validator.check_schema(schema)
    for each in objects(schema):
        silent = [name for name, value in each["properties"].items() if not value.keys() & {"description", "const"}]
        assert each["description"]
        assert silent == [], each["title"]
