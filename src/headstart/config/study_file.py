"""Read, write and validate study.toml: the protocol of a study, and the plan that its runs share."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from headstart.config.duration import Duration
from headstart.config.run_config import SECTIONS, RunConfig, fields, with_absolute_paths
from headstart.config.study_config import OPTIMIZER_FIELDS, ArmVariant, StudyConfig, arm_variants
from headstart.config.toml import read_toml
from headstart.errors import DataError, UsageError
from headstart.storage.files import SCHEMA, write_atomic
from headstart.text import suggestion

FIRST_SEARCH_SEED = 1_000_000_000  # seeds from here on are used by learning-rate searches only


@dataclass(frozen=True)
class StudySpec:
    """Content of study.toml: the protocol, and the plan that all runs share."""

    protocol: StudyConfig
    plan: RunConfig

    def to_toml(self) -> str:
        """Return the content of study.toml."""
        protocol = self.protocol.model_dump(mode="json", exclude_none=True)
        plan = self.plan.model_dump(mode="json", exclude={"facts", "arm"})
        return tomli_w.dumps({"schema": SCHEMA, "hash": _digest(protocol, plan), "protocol": protocol, "plan": plan})

    @property
    def hash(self) -> str:
        """Sha256 (hex) of protocol and plan; of a time budget only its effect on seeds and epochs counts."""
        protocol = self.protocol.model_dump(mode="json", exclude={"time_budget"})
        value = {"protocol": protocol, "plan": self.plan.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    @property
    def variants(self) -> tuple[ArmVariant, ...]:
        """Variants of the arms, in order."""
        return arm_variants(self.protocol)

    @property
    def budgets(self) -> tuple[Duration, ...]:
        """Training lengths at which the study reports."""
        return self.protocol.budgets or (self.plan.recipe.epochs,)

    @property
    def source_epochs(self) -> Duration:
        """Training length of `source:` starts."""
        return self.protocol.source_epochs or self.budgets[-1]

    @property
    def share(self) -> float:
        """Share of the training photos (0 to 1) that the verdict and the learning-rate search use."""
        return self.protocol.fractions[-1]

    @property
    def searched(self) -> bool:
        """True when learning rates are searched, which excludes a study that varies them."""
        return self.protocol.search != "off" and "lr" not in self.protocol.vary

    @property
    def seeds(self) -> range:
        """Paired seeds of the comparison."""
        return range(self.plan.seeding.seed, self.plan.seeding.seed + self.protocol.seeds)

    @property
    def search_seeds(self) -> range:
        """Seeds of the learning-rate search."""
        first = FIRST_SEARCH_SEED + self.plan.seeding.seed
        return range(first, first + self.protocol.search_seeds)


def write_study(folder: Path, spec: StudySpec) -> None:
    """Write study.toml into the folder of a study."""
    write_atomic(folder / "study.toml", spec.to_toml())


def read_study(path: Path) -> StudySpec:
    """Read the specification of a study.

    Args:
        path: folder of a study, or a TOML file.

    Raises:
        DataError: the file cannot be read.
        UsageError: its content is invalid, or a study.toml was changed after its study began.
    """
    has_begun = path.is_dir()
    path = path / "study.toml" if has_begun else path
    content = read_toml(path, "study", DataError)
    sections = ("schema", "hash", "protocol", "plan")
    if unknown := sorted(set(content) - set(sections)):
        hint = suggestion(unknown[0], sections)
        raise UsageError(
            f"{path} has an unknown section {unknown[0]!r}{hint or '.'}", "Use the sections protocol and plan."
        )
    protocol, plan = content.get("protocol", {}), content.get("plan", {})
    if "lr" in plan.get("recipe", {}):  # as with --lr; a file written by a study contains its search
        protocol = {"search": "off", **protocol}
    if not content.get("hash"):
        if protocol.get("time_budget"):
            raise UsageError(
                f"{path} has a time_budget, but a study.toml has to contain seeds and epochs.",
                "Remove it, or use --time-budget with flags instead of the file.",
            )
        protocol = {"fixed_fields": [name for name in OPTIMIZER_FIELDS if name in plan.get("recipe", {})], **protocol}
    if has_begun and content.get("hash", "") not in ("", _digest(protocol, plan)):
        raise UsageError(
            f"{path} was changed after the study began.",
            f"Undo the change, or start a new study with `headstart compare --study {path}`.",
        )
    return validate_study(protocol, plan)


def _digest(protocol: dict[str, Any], plan: dict[str, Any]) -> str:
    """Return the sha256 (hex) of the written protocol and plan, which detects later changes."""
    return hashlib.sha256(json.dumps([protocol, plan], sort_keys=True).encode()).hexdigest()


def validate_study(protocol: dict[str, Any], plan: dict[str, Any] | RunConfig) -> StudySpec:
    """Build and check the specification of a study.

    Raises:
        UsageError: protocol or plan are invalid; the message lists all faults.
    """
    faults, models = [], []
    plan_names = [*SECTIONS, *fields()]
    for model, value, names in ((StudyConfig, protocol, [*StudyConfig.model_fields]), (RunConfig, plan, plan_names)):
        try:
            models.append(model.model_validate(value))
        except ValidationError as error:
            faults += [_fault(e, names) for e in error.errors()]
    if faults:
        message = "; ".join(dict.fromkeys(faults)).rstrip(".")
        raise UsageError(message if message.endswith("?") else f"{message}.", "See `headstart compare --help`.")
    rules, shared = models
    assert isinstance(rules, StudyConfig) and isinstance(shared, RunConfig)  # noqa: S101
    if shared.seeding.seed + max(rules.seeds, rules.search_seeds) > FIRST_SEARCH_SEED:
        message = f"seed = {shared.seeding.seed}: seeds from {FIRST_SEARCH_SEED:,} on are reserved for searches."
        raise UsageError(message, "Choose a smaller --seed.")
    spec = StudySpec(rules, with_absolute_paths(shared.changed("recipe", select=rules.metric)))
    for variant in spec.variants:
        try:
            variant.plan(spec.plan)
        except ValidationError as error:
            message = "; ".join(_fault(e, plan_names) for e in error.errors())
            raise UsageError(f"{variant.name}: {message}.", "See `headstart train --help`.") from None
    return spec


def _fault(error: Any, names: list[str]) -> str:
    """Return what is wrong with a field, from an error of pydantic; `names` are the valid fields."""
    location = [str(part) for part in error["loc"] if not isinstance(part, int)]
    message = str(error["msg"]).removeprefix("Value error, ")
    if not location:
        return message[0].upper() + message[1:]
    name = location[-1]
    if error["type"] == "extra_forbidden":
        return f"{name!r} is not a field of a study{suggestion(name, names)}"
    if error["type"] == "missing":
        return f"the study has no {name}"
    choices = re.findall(r"'([^']+)'", message)
    hint = suggestion(str(error["input"]), choices) if error["type"] == "literal_error" else ""
    return f"{name.replace('_', '-')} = {_input_text(error['input'])}: {message[0].lower()}{message[1:]}{hint}"


def _input_text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
