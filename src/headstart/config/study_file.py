"""Read, write and validate study.toml: the protocol of a study, and the plan that its runs share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import cast

import tomli_w
from pydantic import ValidationError

from headstart.config.arm_spec import is_unknown_start
from headstart.config.duration import Duration
from headstart.config.presets import Setting
from headstart.config.run_config import PLACE_FIELDS, SECTIONS, RunConfig, with_absolute_paths
from headstart.config.start_spec import start_forms
from headstart.config.study_config import OPTIMIZER_FIELDS, ArmVariant, StudyConfig, arm_variants
from headstart.config.toml import TomlTable, TomlValue, read_toml
from headstart.config.validation_errors import describe_error
from headstart.errors import DataError, UsageError
from headstart.i18n import Message, _, join
from headstart.storage.files import SCHEMA_VERSION, write_atomic
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.schema import UPDATE_HINT, unsupported_version
from headstart.text import end_sentence, suggestion

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
        return tomli_w.dumps(
            {"schema_version": SCHEMA_VERSION, "hash": _digest(protocol, plan), "protocol": protocol, "plan": plan}
        )

    @property
    def hash(self) -> str:
        """Sha256 (hex) of protocol and plan.

        Of a time budget only its effect on seeds and epochs counts. The place of the images does not count: they may be
        moved. How they are read counts: it decides which images and classes the study is about.
        """
        protocol = self.protocol.model_dump(mode="json", exclude={"time_budget"})
        value = {"protocol": protocol, "plan": self.plan.model_dump(mode="json", exclude={"data": {*PLACE_FIELDS}})}
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

    @property
    def declared_hash(self) -> str:
        """Hash of the study as it was declared: it stays the same when seeds are added."""
        return StudySpec(self.protocol.model_copy(update={"further": ()}), self.plan).hash

    @property
    def variants(self) -> tuple[ArmVariant, ...]:
        """Variants of the arms, in order."""
        return arm_variants(self.protocol)

    def arm(self, name: str) -> ArmSpec:
        """Return the arm of a variant. Raises KeyError for an unknown name."""
        return {variant.name: variant.arm for variant in self.variants}[name]

    @property
    def budgets(self) -> tuple[Duration, ...]:
        """Training lengths at which the study reports."""
        return self.protocol.budgets or (self.plan.recipe.epochs,)

    @property
    def source_epochs(self) -> Duration:
        """Training length of `source:` starts."""
        return self.protocol.source_epochs or self.budgets[-1]

    @property
    def largest_fraction(self) -> float:
        """Share of the training images (0 to 1) that the verdict and the learning-rate search use."""
        return self.protocol.fractions[-1]

    @property
    def searches_lr(self) -> bool:
        """True when learning rates are searched, which excludes a study that varies them."""
        return self.protocol.search != "off" and "lr" not in self.protocol.vary

    @property
    def searches_each_seed(self) -> bool:
        """True when each paired seed has its own search."""
        return self.searches_lr and self.protocol.search == "per-seed"

    @property
    def seed_range(self) -> Sequence[int]:
        """Paired seeds of the comparison."""
        return self.protocol.pooled_seeds or range(
            self.plan.seeding.seed, self.plan.seeding.seed + self.protocol.all_seeds
        )

    @property
    def search_seed_range(self) -> range:
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
        DataError: the file cannot be read, or has another schema version.
        UsageError: its content is invalid, or a study.toml was changed after its study began.
    """
    has_begun = path.is_dir()
    path = path / "study.toml" if has_begun else path
    root, hint = (path.parent, _("Restore it from a copy of the study.")) if has_begun else (None, None)
    file = _parse(path, read_toml(path, _("study"), DataError, root=root, hint=hint))
    if file.schema_version != SCHEMA_VERSION and (has_begun or file.schema_version is not None):
        raise DataError(unsupported_version(path, str(file.schema_version)), UPDATE_HINT)
    protocol, plan = file.protocol, file.plan
    if has_begun and file.hash != _digest(protocol, plan):
        if not file.hash:
            raise UsageError(
                _("{path} has no hash, so changes cannot be detected.", path=path),
                _("Start a new study with `headstart compare --study {path:shell}`.", path=path),
            )
        raise UsageError(
            _("{path} was changed after the study began.", path=path),
            _("Undo the change, or start a new study with `headstart compare --study {path:shell}`.", path=path),
        )
    recipe = plan.get("recipe", {})
    if "lr" in recipe:  # as with --lr; a file written by a study contains its search
        protocol = {"search": "off", **protocol}
    if not file.hash:
        if protocol.get("time_budget"):
            raise UsageError(
                _("{path} has a time_budget, but a study.toml has to contain seeds and epochs.", path=path),
                _("Remove it, or use --time-budget with flags instead of the file."),
            )
        protocol = {"fixed_fields": [name for name in OPTIMIZER_FIELDS if name in recipe], **protocol}
    return validate_study(protocol, plan)


@dataclass(frozen=True)
class _StudyFile:
    """Content of study.toml before its values are checked; a file written by hand has no version and no hash."""

    schema_version: TomlValue | None
    hash: TomlValue | None
    protocol: TomlTable
    plan: dict[str, TomlTable]


def _parse(path: Path, content: TomlTable) -> _StudyFile:
    """Return the sections of study.toml. Raises UsageError for one that is unknown, or that is no table."""
    sections = [section.name for section in fields(_StudyFile)]
    if unknown := sorted(set(content) - set(sections)):
        fault = _(
            "{path} has an unknown section {name!r}{suggestion}",
            path=path,
            name=unknown[0],
            suggestion=suggestion(unknown[0], sections),
        )
        raise UsageError(end_sentence(fault), _("Use the sections protocol and plan."))
    protocol, plan = content.get("protocol", {}), content.get("plan", {})
    tables = {"protocol": protocol, "plan": plan}
    tables |= {f"plan.{name}": plan.get(name, {}) for name in SECTIONS} if isinstance(plan, dict) else {}
    for name, value in tables.items():
        if not isinstance(value, dict):
            raise UsageError(
                _("{path}: {name} must be a table.", path=path, name=name), _("Write it as [{name}].", name=name)
            )
    version, digest = content.get("schema_version"), content.get("hash")
    return _StudyFile(version, digest, cast(TomlTable, protocol), cast(dict[str, TomlTable], plan))


def _digest(protocol: Mapping[str, TomlValue], plan: Mapping[str, TomlValue]) -> str:
    """Return the sha256 (hex) of the written protocol and plan, which detects later changes."""
    return hashlib.sha256(json.dumps([protocol, plan], sort_keys=True, default=str).encode()).hexdigest()


def _fault_hint(protocol: Mapping[str, Setting]) -> Message:
    """Return where valid values are listed: of starts all, since the help of a flag has no list of its own."""
    arms = protocol.get("arms")
    names = [str(arm) for arm in arms] if isinstance(arms, (list, tuple)) else []
    if any(is_unknown_start(name) for name in names):
        return _("A start is one of {forms}.", forms=", ".join(start_forms()))
    return _("See `headstart compare --help-all`.")


def validate_study(protocol: Mapping[str, Setting], plan: Mapping[str, Setting] | RunConfig) -> StudySpec:
    """Build and check the specification of a study.

    Raises:
        UsageError: protocol or plan are invalid; the message lists all faults.
    """
    faults: list[Message] = []
    models = []
    for model, value in ((StudyConfig, protocol), (RunConfig, plan)):
        try:
            models.append(model.model_validate(value))
        except ValidationError as error:
            faults += [describe_error(e, model) for e in error.errors()]
    if faults:
        raise UsageError(end_sentence(join(dict.fromkeys(faults), "; ")), _fault_hint(protocol))
    rules, shared = models
    assert isinstance(rules, StudyConfig) and isinstance(shared, RunConfig)  # noqa: S101
    if shared.seeding.seed + max(rules.seeds, rules.max_seeds, rules.search_seeds) > FIRST_SEARCH_SEED:
        message = _(
            "seed = {seed}: seeds from {first_reserved:,} on are reserved for searches.",
            seed=shared.seeding.seed,
            first_reserved=FIRST_SEARCH_SEED,
        )
        raise UsageError(message, _("Choose a smaller --seed."))
    spec = StudySpec(rules, with_absolute_paths(shared.changed(select=rules.metric)))
    for variant in spec.variants:
        try:
            variant.plan(spec.plan)
        except ValidationError as error:
            fault = join((describe_error(e, RunConfig) for e in error.errors()), "; ")
            message = end_sentence(_("{variant}: {fault}", variant=variant.name, fault=fault))
            raise UsageError(message, _("See `headstart train --help-all`.")) from None
    return spec
