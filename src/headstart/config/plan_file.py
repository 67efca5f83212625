"""Read and write plan.json: the plan of a run with its hash, its environment, and its role in a study."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from headstart.config.plugins import VARIABLE
from headstart.config.run_config import RunConfig
from headstart.storage.files import write_json
from headstart.storage.schemas.schema import VersionedSchema
from headstart.storage.schemas.study import RunRole

PLAN_FILE = "plan.json"


class PlanFile(VersionedSchema):
    """Content of plan.json."""

    hash: str = Field(description="sha256 of the plan, with content in place of paths")
    plan: RunConfig = Field(description="the plan")
    environment: dict[str, str | int] = Field(description="versions and machine, by name")
    study: RunRole | None = Field(None, description="role of the run in its study; null outside a study")
    reused_from: str | None = Field(
        None, description="folder of the run that it was copied from; null if it was trained"
    )


def write_plan_file(folder: Path, content: PlanFile) -> None:
    """Write plan.json into a run folder."""
    write_json(folder / PLAN_FILE, content.to_json())


def read_plan_file(folder: Path) -> PlanFile:
    """Read plan.json in a run folder. Raises DataError if it is missing, damaged, or of another schema version."""
    hint = f"Restore {PLAN_FILE} from a copy, or name the plugin that it needs in {VARIABLE}."
    return PlanFile.read(folder / PLAN_FILE, hint)
