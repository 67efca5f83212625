"""Read and write plan.json: the plan of a run with its hash, its environment, and its role in a study."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pydantic import Field

from headstart.config.plugins import VARIABLE
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import start_problem
from headstart.errors import DataError
from headstart.i18n import _
from headstart.path_names import name_fault
from headstart.storage import contained, repair
from headstart.storage.files import JsonData, write_json
from headstart.storage.run_files import STUDY_FILE, VERDICT_FILE
from headstart.storage.schemas.schema import VersionedSchema
from headstart.storage.schemas.study import RunRole, Stage
from headstart.storage.schemas.verdict import Verdict
from headstart.text import end_sentence

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
    of_others: bool = Field(
        False, description="whether it is a pooled copy of a run that is not in the index of the user who pooled it"
    )

    @property
    def sealed(self) -> dict[str, JsonData]:
        """What a seal covers: all but the plan, whose hash covers it except for the place of the images.

        Nothing of it changes after the run has ended. Values that are missing mean the same as their defaults.
        """
        return self.model_dump(mode="json", exclude={"plan"}, exclude_defaults=True)


def write_plan_file(folder: Path, content: PlanFile) -> None:
    """Write plan.json into a run folder."""
    write_json(folder / PLAN_FILE, content.to_json())


def read_plan_file(folder: Path, *, require_hash: bool = True) -> PlanFile:
    """Read plan.json in a run folder.

    Args:
        folder: The folder of the run.
        require_hash: Compute the hash of the plan, and compare it with that in the file.

    Raises:
        DataError: It is missing, damaged or of another schema version, needs a component that is not registered, or
            does not have its hash, which is computed again; or the name of the folder is not UTF-8.
    """
    if of_name := name_fault(folder):  # it could not be written to verdicts and pages
        raise DataError(*of_name)
    hint = _(
        "Restore {plan_file} from a copy, or name the plugin that it needs in {variable}.",
        plan_file=PLAN_FILE,
        variable=VARIABLE,
    )
    path = folder / PLAN_FILE
    content = PlanFile.read(path, hint)
    if fault := start_problem(content.plan.arm.start):  # its row decides what the hash of the plan covers
        raise DataError(end_sentence(_("The plan in {path} is not valid: {fault}", path=path, fault=fault)), hint)
    if require_hash and (content.plan.unresolved_fields or content.plan.hash != content.hash):
        raise DataError(
            _("{path} was edited or damaged: the hash in it is that of another plan.", path=path),
            repair.plan_hint(folder),
        )
    return content


def differences(old: Mapping[str, JsonData], new: Mapping[str, JsonData], prefix: str = "") -> list[str]:
    """Return lines `section.field: old -> new` for two plans as JSON data."""
    lines = []
    for key in sorted({*old, *new}):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f"{prefix}{key}.")
        elif before != after:
            lines.append(f"{prefix}{key}: {before} -> {after}")
    return lines


def study_folder(folder: Path) -> Path | None:
    """Return the folder of a run's study or ablation; None if it belongs to none.

    Raises:
        DataError: plan.json is missing or damaged.
    """
    return study_of_role(folder, read_plan_file(folder).study)


def study_of_role(run: Path, role: RunRole | None) -> Path | None:
    """Return the folder of the study or ablation of a run with this role; None if it belongs to none."""
    folder = run.absolute()
    if role is None:
        return None
    return folder.parent if role.stage in (Stage.MAIN, Stage.ABLATION) else folder.parent.parent


def withholds_test(run: Path, role: RunRole | None) -> bool:
    """Return whether results of a run on test must not be shown: its study is open, and has no verdict about it.

    A damaged verdict counts as none. A run that was copied out of its study has the results that the copy has.

    Args:
        run: The folder of the run.
        role: Its role in a study.
    """
    study = study_of_role(run, role)
    if role is None or study is None or not contained.is_file(study, STUDY_FILE):
        return False
    named = _named_runs(study)
    return named is None or (role.stage is Stage.MAIN and run.name not in named)


def awaits_verdict(study: Path) -> bool:
    """Return whether a folder is a study without a verdict, whose results on test must not be shown yet."""
    return contained.is_file(study, STUDY_FILE) and _named_runs(study) is None


def _named_runs(study: Path) -> frozenset[str] | None:
    """Return the folder names of the runs that the verdict of a study is about; None without a verdict."""
    try:
        with contained.open_file(study, VERDICT_FILE) as file:
            status = os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    return _read_names(study / VERDICT_FILE, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=16)
def _read_names(path: Path, _content_key: tuple[int, ...]) -> frozenset[str] | None:
    """Return the runs of a verdict, which is read once for all its runs; None for a damaged one."""
    try:
        verdict = Verdict.read(path)
    except DataError:
        return None
    return frozenset(run.run for condition in verdict.all_conditions for arm in condition.arms for run in arm.seeds)
