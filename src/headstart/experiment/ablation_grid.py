"""The networks of an ablation, shortcut x norm x depth, as the varied fields of a study. This module needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

from pydantic import Field

from headstart.config.presets import Setting
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import FACTORIAL_FIELDS, Norm, RunConfig, Switch
from headstart.config.start_spec import random_starts
from headstart.config.study_file import StudySpec, validate_study
from headstart.errors import UsageError
from headstart.i18n import _
from headstart.storage.files import write_json
from headstart.storage.schemas.schema import VersionedSchema

DEPTHS = {"resnet18": 18, "resnet34": 34, "resnet50": 50}  # by network
NORMS: tuple[str, ...] = get_args(Norm)
SHORTCUTS: tuple[str, ...] = get_args(Switch)
DEFAULT_EPOCHS = "3ep"
ABLATION_FILE = "ablation.json"


@dataclass(frozen=True)
class AblationSpec:
    """The networks of an ablation and what their runs share.

    Attributes:
        study: One random start, varied in depth, norm and shortcut, at one learning rate; it has no target.
    """

    study: StudySpec


def ablation_spec(source: str, settings: Mapping[str, Setting], seeds: int = 1) -> AblationSpec:
    """Return the ablation of these settings.

    Args:
        source: The images.
        settings: Settings of the runs by name. `start` must be random.
        seeds: Seeds of each network.

    Raises:
        UsageError: A setting is invalid or one of `FACTORIAL_FIELDS`, or the start is not random.
    """
    _check_settings(settings, seeds)
    return _ablation_of(resolve_settings({"source": source, "epochs": DEFAULT_EPOCHS, **settings}).plan, seeds)


class AblationFile(VersionedSchema):
    """Content of ablation.json: what an ablation is resumed from."""

    seeds: int = Field(description="number of seeds of each network")
    plan: RunConfig = Field(description="draft of the plan, without what the ablation varies")


def write_ablation(folder: Path, spec: AblationSpec) -> None:
    """Write ablation.json into the folder of an ablation."""
    content = AblationFile(seeds=spec.study.protocol.seeds, plan=spec.study.plan)
    write_json(folder / ABLATION_FILE, content.to_json())


def read_ablation(folder: Path) -> AblationSpec:
    """Read the ablation in a folder.

    Raises:
        DataError: ablation.json is missing, damaged, or of another schema version.
        UsageError: Its start is not random.
    """
    content = AblationFile.read(folder / ABLATION_FILE, _("Run the command of the ablation again."))
    return _ablation_of(content.plan, content.seeds)


def _ablation_of(plan: RunConfig, seeds: int) -> AblationSpec:
    """Return the ablation with a plan. Raises UsageError if the start is not random."""
    if plan.arm.start not in random_starts():
        raise UsageError(
            _(
                "An ablation starts from random weights, not from {start}: pretrained weights fit only one network.",
                start=plan.arm.start,
            ),
            _("Use --start with one of {starts}, or leave it out.", starts=", ".join(random_starts())),
        )
    rules: dict[str, Setting] = {
        "arms": (plan.arm.start,),
        "vary": {"network": [*DEPTHS], "norm": [*NORMS], "shortcut": [*SHORTCUTS]},
        "seeds": seeds,
        "fractions": (plan.data.fraction,),
        "search": "off",
        "target": 0.0,
    }
    study = validate_study(rules, plan)  # selects epochs by its metric, but --select has more metrics
    return AblationSpec(replace(study, plan=study.plan.changed(select=plan.recipe.select)))


def _check_settings(settings: Mapping[str, Setting], seeds: int) -> None:
    """Raise UsageError for settings that an ablation cannot have."""
    if seeds < 1:
        raise UsageError(_("--seeds must be at least 1 (now {seeds}).", seeds=seeds), _("Use --seeds 1 or more."))
    if fixed := [name for name in settings if name in FACTORIAL_FIELDS]:
        raise UsageError(
            _("{flag} is set by the ablation for each of its networks.", flag=f"--{fixed[0]}"), _("Leave it out.")
        )
