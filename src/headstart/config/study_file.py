"""What a study declares: its protocol and the plan that all its runs share, as values and as `study.toml`, checked."""

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
from headstart.config.study_config import OF_AN_OPTIMIZER, ArmVariant, StudyConfig, cells
from headstart.config.toml import read_toml
from headstart.errors import DataError, UsageError
from headstart.storage.files import SCHEMA, write_atomic
from headstart.text import nearest

SEARCH_SEEDS_FROM = 1_000_000_000  # seeds of the search; a study never uses them for anything else


@dataclass(frozen=True)
class StudySpec:
    """What `study.toml` says: the protocol, and the plan that every run of the study shares."""

    protocol: StudyConfig
    plan: RunConfig

    def to_toml(self) -> str:
        protocol = self.protocol.model_dump(mode="json", exclude_none=True)
        plan = self.plan.model_dump(mode="json", exclude={"facts", "arm"})
        return tomli_w.dumps({"schema": SCHEMA, "hash": _seal(protocol, plan), "protocol": protocol, "plan": plan})

    @property
    def hash(self) -> str:
        """sha256 (hex) of what study.toml says; of a time budget what came of it counts, not what was asked."""
        protocol = self.protocol.model_dump(mode="json", exclude={"time_budget"})
        value = {"protocol": protocol, "plan": self.plan.model_dump(mode="json")}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    @property
    def cells(self) -> tuple[ArmVariant, ...]:
        return cells(self.protocol)

    @property
    def budgets(self) -> tuple[Duration, ...]:
        return self.protocol.budgets or (self.plan.recipe.epochs,)

    @property
    def source_epochs(self) -> Duration:
        """How long a `source:` start is trained."""
        return self.protocol.source_epochs or self.budgets[-1]

    @property
    def share(self) -> float:
        """The share of the training photos that the verdict rests on, and that rates are searched with."""
        return self.protocol.fractions[-1]

    @property
    def searched(self) -> bool:
        """Whether learning rates are searched: not where they are what is compared."""
        return self.protocol.search != "off" and "lr" not in self.protocol.vary

    @property
    def seeds(self) -> range:
        return range(self.plan.seeding.seed, self.plan.seeding.seed + self.protocol.seeds)

    @property
    def search_seeds(self) -> range:
        first = SEARCH_SEEDS_FROM + self.plan.seeding.seed
        return range(first, first + self.protocol.search_seeds)


def write_study(folder: Path, declared: StudySpec) -> None:
    write_atomic(folder / "study.toml", declared.to_toml())


def read_study(path: Path) -> StudySpec:
    """The declaration in a study's folder, or in a TOML file. Raises UsageError or DataError for what is not one."""
    begun = path.is_dir()
    path = path / "study.toml" if begun else path
    content = read_toml(path, "study", DataError)
    parts = ("schema", "hash", "protocol", "plan")
    if unknown := sorted(set(content) - set(parts)):
        near = nearest(unknown[0], parts)
        raise UsageError(f"{path} has a part {unknown[0]!r}, which a study does not{near or '.'}",
                         "A study has the parts protocol and plan.")  # fmt: skip
    protocol, plan = content.get("protocol", {}), content.get("plan", {})
    if "lr" in plan.get("recipe", {}):  # as with --lr; what was written by a study says its search anyway
        protocol = {"search": "off", **protocol}
    if not content.get("hash"):
        if protocol.get("time_budget"):
            raise UsageError(f"{path} has a time_budget, and a study.toml says its own seeds and epochs.",
                             "Leave it out, or give --time-budget with flags instead of the file.")  # fmt: skip
        protocol = {"held": [name for name in OF_AN_OPTIMIZER if name in plan.get("recipe", {})], **protocol}
    if begun and content.get("hash", "") not in ("", _seal(protocol, plan)):
        raise UsageError(
            f"{path} is not what was declared when the study began.",
            f"Undo the change, or begin a study of its own with `headstart compare --study {path}`.",
        )
    return declare(protocol, plan)


def _seal(protocol: dict[str, Any], plan: dict[str, Any]) -> str:
    """sha256 (hex) of a declaration as it is written: a study that has begun keeps to it."""
    return hashlib.sha256(json.dumps([protocol, plan], sort_keys=True).encode()).hexdigest()


def declare(protocol: dict[str, Any], plan: dict[str, Any] | RunConfig) -> StudySpec:
    """Put a study together and check it. Raises UsageError with every fault at once."""
    faults, made = [], []
    plan_names = [*SECTIONS, *fields()]
    for model, value, known in ((StudyConfig, protocol, [*StudyConfig.model_fields]), (RunConfig, plan, plan_names)):
        try:
            made.append(model.model_validate(value))
        except ValidationError as error:
            faults += [_fault(e, known) for e in error.errors()]
    if faults:
        told = "; ".join(dict.fromkeys(faults)).rstrip(".")
        raise UsageError(told if told.endswith("?") else f"{told}.", "See `headstart compare --help`.")
    rules, shared = made
    assert isinstance(rules, StudyConfig) and isinstance(shared, RunConfig)  # noqa: S101
    if shared.seeding.seed + max(rules.seeds, rules.search_seeds) > SEARCH_SEEDS_FROM:
        what = f"seed = {shared.seeding.seed}: the seeds from {SEARCH_SEEDS_FROM:,} on are those of searches."
        raise UsageError(what, "Choose a smaller --seed.")
    found = StudySpec(rules, with_absolute_paths(shared.changed("recipe", select=rules.metric)))
    for cell in found.cells:
        try:
            cell.plan(found.plan)
        except ValidationError as error:
            told = "; ".join(_fault(e, plan_names) for e in error.errors())
            raise UsageError(f"{cell.name}: {told}.", "See `headstart train --help`.") from None
    return found


def _fault(error: Any, known: list[str]) -> str:
    """A fault in a declaration: the field, what stands there, and what should."""
    named = [str(part) for part in error["loc"] if not isinstance(part, int)]
    message = str(error["msg"]).removeprefix("Value error, ")
    if not named:
        return message[0].upper() + message[1:]
    name = named[-1]
    if error["type"] == "extra_forbidden":
        return f"{name!r} is not a field of a study{nearest(name, known)}"
    if error["type"] == "missing":
        return f"the study says no {name}"
    near = nearest(str(error["input"]), re.findall(r"'([^']+)'", message)) if error["type"] == "literal_error" else ""
    return f"{name.replace('_', '-')} = {_written(error['input'])}: {message[0].lower()}{message[1:]}{near}"


def _written(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
