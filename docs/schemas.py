"""Write what is generated from the schemas: the field tables of docs/formats.md, and verdict.schema.json.

In docs/formats.md the tables of a file stand between two comments, `<!-- fields: plan.json -->` and
`<!-- end of fields -->`. They describe the schema of the file, and every schema that it contains and that no earlier
file has.

    python -m docs.schemas    # or: make docs
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from headstart.config.plan_file import PlanFile
from headstart.config.study_config import StudyConfig
from headstart.experiment.ablation_grid import AblationFile
from headstart.storage.files import write_atomic
from headstart.storage.run_index import IndexLine
from headstart.storage.schemas.ablation import AblationResult
from headstart.storage.schemas.audit import AuditFile
from headstart.storage.schemas.checkpoint import Manifest
from headstart.storage.schemas.forecast import ForecastResult
from headstart.storage.schemas.gallery import GalleryIndex
from headstart.storage.schemas.inspection import NetworkInspection
from headstart.storage.schemas.ledger import LedgerLine
from headstart.storage.schemas.metrics import LINE
from headstart.storage.schemas.result import RunResult
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import VariantsFile
from headstart.storage.schemas.trackers import TrackersFile
from headstart.storage.schemas.verdict import Verdict
from headstart.storage.schemas.verification import VerificationResult
from headstart.training.checkpoint import CheckpointState

ROOT = Path(__file__).parents[1]
FORMATS = ROOT / "docs" / "formats.md"
VERDICT_SCHEMA = ROOT / "src" / "headstart" / "storage" / "schemas" / "verdict.schema.json"

# In the order of docs/formats.md: a schema is described with the first file that contains it.
FILES: dict[str, TypeAdapter[Any]] = {
    "plan.json": TypeAdapter(PlanFile),
    "metrics.jsonl": LINE,
    "state.json": TypeAdapter(CheckpointState),
    "MANIFEST.json": TypeAdapter(Manifest),
    "gallery.zip": TypeAdapter(GalleryIndex),
    "result.json": TypeAdapter(RunResult),
    "trackers.json": TypeAdapter(TrackersFile),
    "study.toml": TypeAdapter(StudyConfig),
    "variants.json": TypeAdapter(VariantsFile),
    "search.json": TypeAdapter(SearchResults),
    "verdict.json": TypeAdapter(Verdict),
    "verification": TypeAdapter(VerificationResult),  # not a file: the output of `verify --json`
    "ablation.json": TypeAdapter(AblationFile),
    "ablation": TypeAdapter(AblationResult),  # not a file: the output of `ablate --json`
    "forecast": TypeAdapter(ForecastResult),  # not a file: the output of `compare --dry-run --json`
    "audit": TypeAdapter(AuditFile),  # not a file: the output of `check --json`
    "inspection": TypeAdapter(NetworkInspection),  # not a file: the output of `inspect --json`
    "runs.jsonl": TypeAdapter(IndexLine),
    "test-sets.jsonl": TypeAdapter(LedgerLine),
}

JsonSchema = dict[str, Any]  # JSON Schema is defined elsewhere, and has no schema here
_BLOCK = re.compile(r"(<!-- fields: (\S+) -->\n).*?(<!-- end of fields -->\n)", re.DOTALL)


def with_tables(text: str) -> str:
    """Return the text of docs/formats.md with current tables.

    Raises:
        ValueError: The text does not have the comments of every file, in the order of `FILES`.
    """
    if [match[2] for match in _BLOCK.finditer(text)] != list(FILES):
        raise ValueError(f"docs/formats.md needs the fields of {', '.join(FILES)}, in this order")
    described: set[str] = set()
    return _BLOCK.sub(lambda match: f"{match[1]}\n{_tables(FILES[match[2]], described)}\n{match[3]}", text)


def verdict_schema() -> str:
    """Return the JSON Schema of verdict.json."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **json_schema(FILES["verdict.json"])}
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def json_schema(file: TypeAdapter[Any]) -> JsonSchema:
    """Return the JSON Schema of a file as it is written."""
    return file.json_schema(mode="serialization")


def _tables(file: TypeAdapter[Any], described: set[str]) -> str:
    """Return the tables of a file, and add the names of the schemas that it contains to `described`."""
    schema = json_schema(file)
    definitions = schema.get("$defs", {})
    parts = [_table(schema, definitions)] if "properties" in schema else []
    pending = list(_references(schema))
    while pending:
        name = pending.pop(0)
        if name not in described and "properties" in definitions[name]:
            described.add(name)
            parts.append(f"#### {name}\n\n{_summary(definitions[name])}\n\n{_table(definitions[name], definitions)}")
            pending = [*_references(definitions[name]), *pending]
    return "\n".join(parts)


def _references(node: Any) -> Iterator[str]:
    """Yield the names of the definitions that a schema refers to, in the order of its fields."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield str(value).rpartition("/")[2]
            elif key not in ("$defs", "discriminator"):
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _summary(schema: JsonSchema) -> str:
    """Return the description of a schema in one paragraph; of a line of the record also its kind."""
    kind = schema["properties"].get("kind", {}).get("const")
    text = " ".join(str(schema["description"]).split())
    return f"`kind` is `{kind}`. {text}" if kind else text


def _table(schema: JsonSchema, definitions: JsonSchema) -> str:
    """Return the fields of a schema as a table."""
    rows = ["| field | type | content |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        if name != "kind" or "const" not in field:  # the summary has that of a line of the record
            content = field["description"].replace("|", "\\|")
            rows.append(f"| `{name}` | {_type(field, definitions)} | {content} |")
    return "\n".join(rows) + "\n"


def _type(node: JsonSchema, definitions: JsonSchema) -> str:
    """Return the type of a value in words; a schema is a link to its table."""

    def type_of(part: JsonSchema) -> str:
        return _type(part, definitions)

    match node:
        case {"$ref": reference}:
            name = str(reference).rpartition("/")[2]
            definition = definitions[name]
            return f"[{name}](#{name.lower()})" if "properties" in definition else type_of(definition)
        case {"const": value}:
            return f"`{json.dumps(value)}`"
        case {"enum": values}:
            return ", ".join(f"`{json.dumps(value)}`" for value in values)
        case {"anyOf": choices}:
            return " or ".join(map(type_of, choices))
        case {"prefixItems": items}:
            return f"[{', '.join(map(type_of, items))}]"
        case {"type": "array", "items": items}:
            return f"array of {type_of(items)}"
        case {"type": "object", "additionalProperties": dict(values)}:
            return f"object of {type_of(values)}"
    return str(node["type"])


def main() -> None:
    """Rewrite both files."""
    write_atomic(FORMATS, with_tables(FORMATS.read_text(encoding="utf-8")))
    write_atomic(VERDICT_SCHEMA, verdict_schema())


if __name__ == "__main__":
    main()
