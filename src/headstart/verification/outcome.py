"""What was recomputed of a verdict, part by part, and what differs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headstart.errors import DifferentVerdictError
from headstart.i18n import Message, _, ngettext
from headstart.printable import printable
from headstart.storage.schemas.verification import DifferentValue, VerificationResult, VerifiedPart
from headstart.text import align_columns
from headstart.verification.tree import Leaf, text

NOT_RECOMPUTED = {
    "study": _("a hash of what was declared, which `resume` compares"),
    "source": _("the name of the data, which may be moved"),
    "network": _("a name"),
    "seal": _("hashes, which are compared with the files"),
    "studies_on_test_set": _("from the ledger of test sets, which is no part of the study"),
}
SCOPE = _(
    "This shows that the verdict follows from the records of the runs, not that the records are genuine: whoever makes "
    "a folder on purpose can make records."
)
PARTS = (  # name of a part, and the fields that belong to it; the first that fits
    (_("evaluations of the runs"), r"runs\b"),
    (_("sentences"), r"sentences\b"),
    (_("sample sizes"), r"(contrasts\[\d+\]|without_copies\.contrast)\.sample_sizes"),
    (_("contrasts"), r"(contrasts|varied)\b"),
    (_("images without copies"), r"without_copies\b"),
    (_("interim analyses"), r"interim\b"),
    (_("arms and runs"), r"arms\b"),
    (_("decisions"), r"(primary|question|not_worse|selected|exported|winner|grid_rows)\b"),
    (_("label equivalence"), r"labels\b"),
    (_("learning rates"), r"search\b"),
    (_("known images, overlaps"), r"(exposure|overlaps)\b"),
    (_("cost"), r"cost\b"),
    (_("study"), r""),
)
_MAX_SHOWN = 20  # differences in the text; JSON has all


@dataclass
class Part:
    """The values of one part of a verdict: how many, and how far the recomputed ones are away."""

    name: Message
    numbers: int = 0
    others: int = 0
    differ: int = 0
    largest: float = 0.0

    def add(self, leaf: Leaf) -> None:
        """Count a value."""
        self.numbers += leaf.is_number
        self.others += not leaf.is_number
        self.differ += leaf.differs
        self.largest = max(self.largest, leaf.distance)


@dataclass(frozen=True)
class Verification:
    """What was recomputed of a verdict, what differs, and what else is wrong with it.

    Attributes:
        study: Folder of the study.
        values: Each value of the verdict with the recomputed one.
        parts: Number of values of each part.
        faults: What else is wrong, as sentences.

    Examples:
        >>> verification = headstart.verify(study)
        >>> verification.is_confirmed, len(verification.differences), verification.numbers > 100
        (True, 0, True)
    """

    study: Path
    values: Sequence[Leaf]
    parts: Sequence[Part]
    faults: Sequence[Message] = field(default_factory=list)

    @classmethod
    def of(cls, study: Path, values: Sequence[Leaf], faults: Sequence[Message]) -> Verification:
        """Return the outcome of these values of a verdict."""
        parts = [Part(name) for name, _fields in PARTS]
        for leaf in values:
            parts[_part_of(leaf.where)].add(leaf)
        kept = [part for part in parts if part.numbers or part.others]
        return cls(study, values, kept, faults)

    @property
    def differences(self) -> list[Leaf]:
        """Values that differ."""
        return [leaf for leaf in self.values if leaf.differs]

    @property
    def numbers(self) -> int:
        """Number of recomputed numbers."""
        return sum(part.numbers for part in self.parts)

    @property
    def others(self) -> int:
        """Number of recomputed names, decisions and other values."""
        return sum(part.others for part in self.parts)

    @property
    def is_confirmed(self) -> bool:
        """True if everything follows from the records."""
        return not self.differences and not self.faults

    def __str__(self) -> str:
        return "\n".join(map(printable, self.lines()))

    def lines(self) -> list[str]:
        """Return the outcome as lines of text: a table with one line for each part, what differs, and the totals."""
        header = [_("part"), _("numbers"), _("other values"), _("differ"), _("largest difference")]
        rows = [
            [part.name, f"{part.numbers:,}", f"{part.others:,}", f"{part.differ:,}", f"{part.largest:.2g}"]
            for part in self.parts
        ]
        shown = [
            _("{field} is {stated}; recomputed: {recomputed}", field=d.where, stated=a, recomputed=b)
            for d in self.differences[:_MAX_SHOWN]
            for a, b in [(text(d.stated), text(d.recomputed))]
        ]
        more = len(self.differences) - len(shown)
        left = [_("not recomputed: {field} ({reason})", field=name, reason=why) for name, why in NOT_RECOMPUTED.items()]
        return [
            *align_columns([header, *rows], left=1),
            *left,
            *shown,
            *([ngettext("{count:,} more value differs", "{count:,} more values differ", more)] if more else []),
            *self.faults,
            SCOPE,
            self.total,
        ]

    @property
    def total(self) -> Message:
        """How many numbers were recomputed, and how many values differ."""
        return _(
            "{numbers} and {others} recomputed, {differ:,} differ",
            numbers=ngettext("{count:,} number", "{count:,} numbers", self.numbers),
            others=ngettext("{count:,} other value", "{count:,} other values", self.others),
            differ=len(self.differences),
        )

    def result(self) -> VerificationResult:
        """Return the outcome as it is printed for programs."""
        return VerificationResult(
            study=str(self.study),
            confirmed=self.is_confirmed,
            numbers=self.numbers,
            others=self.others,
            differ=len(self.differences),
            parts=[
                VerifiedPart(
                    part=part.name,
                    numbers=part.numbers,
                    others=part.others,
                    differ=part.differ,
                    largest_difference=part.largest,
                )
                for part in self.parts
            ],
            differences=[
                DifferentValue(field=leaf.where, stated=text(leaf.stated), recomputed=text(leaf.recomputed))
                for leaf in self.differences
            ],
            faults=list(self.faults),
            not_recomputed=dict(NOT_RECOMPUTED),
            scope=SCOPE,
        )

    def require_confirmed(self) -> None:
        """Raise DifferentVerdictError unless everything follows from the records."""
        if not self.is_confirmed:
            raise DifferentVerdictError(
                _("The verdict of {study} does not follow from its records.", study=self.study),
                _(
                    "If you trust the runs, remove {verdict}, then run `headstart resume {study:shell}`.",
                    verdict="verdict.json",
                    study=self.study,
                ),
            )


def _part_of(where: str) -> int:
    """Return the place of the part to which a field belongs; those of further conditions belong to the same parts."""
    inner = re.sub(r"^conditions\[\d+\]\.?", "", where)
    return next(place for place, (_name, fields) in enumerate(PARTS) if re.match(fields, inner))
