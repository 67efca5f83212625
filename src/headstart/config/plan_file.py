"""Read and write plan.json: the plan of a run with its hash, its environment, and its role in a study."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from headstart.config.one_of import UNKNOWN_NAME
from headstart.config.plugins import VARIABLE
from headstart.config.run_config import RunConfig
from headstart.errors import DataError
from headstart.storage.files import SCHEMA_VERSION, read_json, write_json
from headstart.storage.schemas.base import Schema, first_fault
from headstart.storage.schemas.study import RunRole

PLAN_FILE = "plan.json"


class _Version(BaseModel):
    """Version of a file whose other fields may be those of another version."""

    schema_version: int


class PlanFile(Schema):
    """Content of plan.json."""

    schema_version: int = SCHEMA_VERSION
    hash: str = Field(description="hash of the plan")
    plan: RunConfig
    environment: dict[str, str | int] = Field(description="versions and machine, by name")
    study: RunRole | None = Field(None, description="role of the run in its study; null outside a study")
    reused_from: str | None = Field(None, description="folder of the run that it was copied from")


def write_plan_file(folder: Path, content: PlanFile) -> None:
    """Write plan.json into a run folder."""
    write_json(folder / PLAN_FILE, content.to_json())


def read_plan_file(folder: Path) -> PlanFile:
    """Read plan.json in a run folder. Raises DataError if it is missing, damaged, or of another schema version."""
    content = read_json(folder / PLAN_FILE)
    try:
        version = _Version.model_validate(content).schema_version
        plan_file = PlanFile.model_validate(content) if version == SCHEMA_VERSION else None
    except ValidationError as error:
        hint = "Restore plan.json from a copy."
        if any(fault["type"] == UNKNOWN_NAME for fault in error.errors()):
            hint = f"Name the plugin that adds it in {VARIABLE}, or restore plan.json from a copy."
        raise DataError(f"The plan in {folder} is invalid ({first_fault(error)}).", hint) from None
    if plan_file is None:
        raise DataError(
            f"The run {folder} has schema {version}, but this version reads {SCHEMA_VERSION}.", "Update headstart."
        )
    return plan_file
