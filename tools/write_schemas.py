"""Write the JSON schemas of config files and of the documents that lrps prints and stores: `make schema`.

python tools/write_schemas.py
"""

from __future__ import annotations

import json
from pathlib import Path

from lrps.base.document_schema import json_schema
from lrps.config.models import Config
from lrps.costs.compare import CompareDocument
from lrps.costs.comparison import Comparison
from lrps.costs.forecasts.spend import SpendChoice
from lrps.costs.forecasts.version_forecast import VersionForecast
from lrps.costs.plan_forecast import PlanForecast
from lrps.costs.planned.plan_document import PlanFile
from lrps.costs.readers_document import ReadersDocument
from lrps.costs.status_document import StatusDocument
from lrps.costs.sweep import Sweep

ROOT = Path(__file__).parent.parent
DOCUMENTS: dict[str, type] = {
    "compare": CompareDocument,
    "comparison": Comparison,
    "forecast": VersionForecast,
    "forecast-spend": SpendChoice,
    "plan": PlanForecast,
    "plan-file": PlanFile,
    "readers": ReadersDocument,
    "status": StatusDocument,
    "sweep": Sweep,
}
"""Name of a schema in docs/schemas -> class of the document."""


def schemas() -> dict[Path, str]:
    """Return file, relative to the root of the repository -> text of a schema."""
    found = {Path("configs/schema.json"): Config.model_json_schema()}
    found |= {Path(f"docs/schemas/{name}.schema.json"): json_schema(cls) for name, cls in DOCUMENTS.items()}
    return {file: json.dumps(schema, indent=1) + "\n" for file, schema in found.items()}


def main() -> None:
    for file, text in schemas().items():
        (ROOT / file).parent.mkdir(exist_ok=True)
        (ROOT / file).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
