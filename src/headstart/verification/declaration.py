"""Read what a study declares: study.toml, and the variants of variants.json in the declared order."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from headstart.errors import DataError
from headstart.i18n import _
from headstart.storage import contained
from headstart.storage.run_files import STUDY_FILE, VARIANTS_FILE
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.schema import Count, Fraction, Positive, Schema, Share
from headstart.storage.schemas.study import VariantInputs, VariantsFile
from headstart.verification.stopping import Stages

_MAX_BYTES, _MAX_DOTS = 500_000, 1_000  # of study.toml, and of one of its lines: a key of many parts takes minutes
_MAX_VARIANTS = 1_000
_MAX_ANALYSES = 200  # of one study; their boundaries take seconds


class _Part(Schema):
    """A part of a file of which only some fields are read."""

    model_config = ConfigDict(extra="ignore")


class DeclaredRules(_Part):
    """The rules of a study that decide its verdict."""

    arms: list[str] = Field(min_length=1, max_length=_MAX_VARIANTS)
    vary: dict[str, list[str]] = Field(default_factory=dict)
    budgets: list[str] = Field(default_factory=list)
    fractions: list[Fraction] = Field(min_length=1)
    seeds: Count
    interim: list[Count] = Field(default_factory=list, max_length=_MAX_ANALYSES)
    max_seeds: Count = 0
    first_share: Share = 0.8
    further: list[Count] = Field(default_factory=list, max_length=_MAX_ANALYSES)
    metric: Literal["accuracy", "balanced"]
    target: Share
    margin: Annotated[str, Field(pattern=r"^\d{1,2}(\.\d{1,17})?(e-\d{1,2})?pt$")]
    primary: str = ""
    primary_share: Share = 0.5
    search: Literal["shared", "per-seed", "off"] = "per-seed"
    grid: list[Positive] = Field(min_length=1)
    survivors: int = Field(ge=1, le=100)
    pooled_seeds: list[Count] = Field(default_factory=list)
    pooled_left_out: Count = 0

    @property
    def stages(self) -> Stages:
        """Its analyses, and the error that each may spend."""
        return Stages(tuple(self.interim), self.seeds, tuple(self.further), self.max_seeds, self.first_share)

    @property
    def margin_width(self) -> float:
        """Equivalence margin as a difference of accuracies."""
        return float(self.margin.removesuffix("pt")) / 100


class _Recipe(_Part):
    epochs: str


class _Plan(_Part):
    recipe: _Recipe


class _StudyFile(_Part):
    protocol: DeclaredRules
    plan: _Plan


@dataclass(frozen=True)
class Declaration:
    """What a study declares.

    Attributes:
        protocol: Its rules.
        length: Training length of its runs, if it declares no budgets.
        variants: What each variant reads, by its name, in the declared order.
    """

    protocol: DeclaredRules
    length: str
    variants: dict[str, VariantInputs]

    @property
    def budgets(self) -> list[str]:
        """Training lengths at which the study reports."""
        return self.protocol.budgets or [self.length]

    @property
    def conditions(self) -> list[tuple[str, float]]:
        """Budgets and fractions; the last one is that of the verdict."""
        return [(budget, fraction) for budget in self.budgets for fraction in sorted(self.protocol.fractions)]

    @property
    def names(self) -> list[str]:
        """Names of the variants."""
        return list(self.variants)

    @property
    def primary(self) -> tuple[str, str]:
        """Names of the primary contrast: as declared, or the first arm that starts from other weights vs scratch."""
        if self.protocol.primary:
            first, second = (part.strip() for part in self.protocol.primary.split(" vs "))
            return first, second
        scratch = [name for name in self.names if self._starts_from_scratch(name)]
        reference = (scratch or self.names)[0]
        others = [name for name in self.names if name != reference]
        return next((name for name in others if name not in scratch), others[0]), reference

    def arm(self, name: str) -> ArmSpec:
        """Return the arm of a variant."""
        return self.variants[name].arm

    def _starts_from_scratch(self, name: str) -> bool:
        return self.arm(name).start.partition(":")[0] == "scratch"


def read_declaration(study: Path) -> Declaration:
    """Read what the study in a folder declares.

    Raises:
        DataError: A file is missing, damaged or too large, or the two files are not of one study.
    """
    path = study / STUDY_FILE
    file = _StudyFile.parse(_as_json(study), str(path))
    variants = VariantsFile.read(study / VARIANTS_FILE, root=study).variants
    protocol = file.protocol
    count = len(protocol.arms) * math.prod(map(len, protocol.vary.values()))
    fits = 2 <= count == len(variants) <= _MAX_VARIANTS
    crossed = itertools.product(protocol.arms, *protocol.vary.values()) if fits else []
    for (arm, *values), (name, inputs) in zip(crossed, variants.items(), strict=fits):
        varied = dict(zip(protocol.vary, values, strict=True))
        fits = fits and inputs.arm.name == name and inputs.arm.varied == varied and arm.startswith(inputs.arm.start)
    declared = Declaration(protocol, file.plan.recipe.epochs, variants)
    fits = fits and protocol.interim == sorted({n for n in protocol.interim if n > 0})
    analyses = [protocol.seeds, *protocol.further]
    fits = fits and analyses == sorted(set(analyses)) and (not protocol.further or analyses[-1] <= protocol.max_seeds)
    fits = fits and (not protocol.max_seeds or protocol.max_seeds > protocol.seeds > 0)
    fits = fits and (not protocol.primary or protocol.primary.count(" vs ") == 1)
    if not fits or not set(declared.primary) <= set(variants) or len(set(declared.primary)) != 2:
        raise DataError(
            _("{path} and {variants} do not name the same arms.", path=path, variants=VARIANTS_FILE),
            _("Restore both files from a copy."),
        )
    return declared


def _as_json(study: Path) -> bytes:
    """Return the content of study.toml as JSON. Raises DataError if it does not have its hash."""
    path = study / STUDY_FILE
    try:
        content = contained.read_text(study, STUDY_FILE, _MAX_BYTES)
        if max(line.count(".") for line in content.split("\n")) <= _MAX_DOTS:
            file = tomllib.loads(content)
            declared = json.dumps([file["protocol"], file["plan"]], sort_keys=True).encode()
            if file["hash"] == hashlib.sha256(declared).hexdigest():
                return json.dumps(file).encode()
    except (OSError, ValueError, TypeError, KeyError, RecursionError):  # of another encoding, no TOML, or with dates
        pass
    raise DataError(
        _("{path} is damaged, or was changed since the study began.", path=path), _("Restore it from a copy.")
    )
