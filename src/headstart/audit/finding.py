"""Results of checks: what a check returns, and the row and the result that are shown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.i18n import NOTHING, Message, _, join, ngettext, translated, verbatim
from headstart.printable import printable
from headstart.storage.files import JsonData
from headstart.storage.schemas.audit import AuditExample, AuditFile, AuditFix, AuditRow, CheckStatus
from headstart.storage.schemas.split_counts import SplitCounts

SEVERITY = (CheckStatus.FAIL, CheckStatus.WARN, CheckStatus.NOT_CHECKED, CheckStatus.PASS)
MAX_EXAMPLES = 1000  # of a check, in JSON and on the page
_MAX_LINES = 3  # examples of a row in text; unreadable files are all listed
_ALL_LISTED = "unreadable"
_TABLE_STYLE = "table.headstart-check td { text-align: left; }"  # notebooks align cells right


@dataclass(frozen=True)
class Example:
    """An image of the index that a check reports, or a pair.

    Attributes:
        image: Position of the image.
        other: Position of the other image; None without one.
        value: A number, such as a similarity.
        detail: A sentence on the image, with its name, if the sentence of the check does not say what is wrong.
    """

    image: int
    other: int | None = None
    value: float | None = None
    detail: Message = NOTHING


@dataclass(frozen=True)
class AuditOutcome:
    """What a check found.

    Attributes:
        status: Result.
        sentence: What was found.
        hint: What to do, if anything.
        count: Number of images, pairs or groups that it concerns.
        examples: Some of them, the most important ones first.
        error: What ended the check; None if it was made.
    """

    status: CheckStatus
    sentence: Message
    hint: Message = NOTHING
    count: int = 0
    examples: Sequence[Example] = ()
    error: Exception | None = None


@dataclass(frozen=True)
class CheckRow:
    """The result of a check with its code and name; `examples` have the names of the images.

    `error` is what ended a check that is not-checked because of it.
    """

    check: str
    name: Message
    status: CheckStatus
    sentence: Message
    hint: Message
    count: int
    examples: tuple[AuditExample, ...]
    positions: tuple[Example, ...] = ()
    error: Exception | None = None

    def lines(self) -> list[Message]:
        """Return the row as lines of text: the result, the hint, and examples."""
        lines = [_("{status:<12} {name}: {sentence}", status=self.status.value, name=self.name, sentence=self.sentence)]
        if self.hint:
            lines.append(join([_INDENT, self.hint], ""))
        if self.status in (CheckStatus.FAIL, CheckStatus.WARN):
            shown = self.examples if self.check == _ALL_LISTED else self.examples[:_MAX_LINES]
            lines += [join([_INDENT, "  ", example_words(example)], "") for example in shown]
            if more := max(self.count, len(self.examples)) - len(shown) if self.examples else 0:
                lines.append(join([_INDENT, "  ", ngettext("… and {count:,} more", "… and {count:,} more", more)], ""))
        return lines


_INDENT = " " * 13


def example_words(example: AuditExample) -> Message:
    """Return an example in one line: `train/hat/a.jpg and test/hat/b.jpg (hat, cap; 0.93)`."""
    if example.detail:
        return verbatim(example.detail)
    labels = [example.label] + ([example.other_label] if example.other_label not in ("", example.label) else [])
    splits = [example.split] + ([example.other_split] if example.other_split not in ("", example.split) else [])
    words = [*labels, "/".join(filter(None, splits))]
    words += [] if example.value is None else [f"{example.value:.2f}"]
    about = join(words, ", ")
    if example.other:
        return _("{image} and {other} ({about})", image=example.image, other=example.other, about=about)
    return _("{image} ({about})", image=example.image, about=about)


@dataclass(frozen=True)
class FixedManifest:
    """A manifest that `--fix` has written.

    Attributes:
        path: The manifest.
        flags: Flags that `headstart train` and `headstart check` need to read it.
        left_out: Images that it does not have, as paths relative to the folder of the data.
        notes: Sentences on what is in it, on what was left out, and on how to use it.
    """

    path: Path
    flags: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[Message, ...]

    def command(self, name: str) -> Message:
        """Return the command line of a command with the manifest and its flags."""
        flags = "".join(f" {flag}" for flag in self.flags)
        return _("headstart {name} {path:shell}{flags}", name=name, path=self.path, flags=flags)


@dataclass(frozen=True)
class AuditResult:
    """Result of `check`: one row for each check.

    Attributes:
        data: The data, as it was named; "data frame" for one.
        image_count: Number of images.
        classes: Number of images by class.
        declared: Splits that the data declares; "none" without any.
        splits: Number of images by split; None if the images cannot be divided.
        seed: Seed with which splits that are not declared were drawn.
        image_size: Side of the network input in px.
        notes: How the data is read.
        rows: The checks, in the order of the registry.
        fixed: The manifest that was written; None without one.

    Examples:
        >>> [row.check for row in headstart.check("digits:0-1", quiet=True).rows if row.status == "fail"]
        []
    """

    data: str
    image_count: int
    classes: dict[str, int]
    declared: str
    splits: SplitCounts | None
    seed: int
    image_size: int
    notes: tuple[Message, ...]
    rows: tuple[CheckRow, ...]
    fixed: FixedManifest | None = None

    def row(self, check: str) -> CheckRow:
        """Return the row of a check by its code. Raises KeyError for an unknown code."""
        return {row.check: row for row in self.rows}[check]

    @property
    def failed(self) -> tuple[CheckRow, ...]:
        """The rows of the checks that failed."""
        return tuple(row for row in self.rows if row.status is CheckStatus.FAIL)

    def lines(self) -> list[Message]:
        """Return the result in lines of text, the most severe rows first."""
        ordered = sorted(self.rows, key=lambda row: SEVERITY.index(row.status))
        return [line for row in ordered for line in row.lines()] + [self.summary]

    @property
    def summary(self) -> Message:
        """How many checks had each result."""
        counts = [(status, sum(row.status is status for row in self.rows)) for status in SEVERITY]
        return join((f"{count} {status.value}" for status, count in counts if count), ", ")

    def to_json(self) -> dict[str, JsonData]:
        """Return the result as JSON data (`AuditFile`), with its texts in English."""
        fixed = self.fixed
        return AuditFile(
            data=self.data,
            images=self.image_count,
            classes=self.classes,
            declared=self.declared,
            splits=self.splits,
            seed=self.seed,
            image_size=self.image_size,
            notes=list(self.notes),
            rows=[
                AuditRow(
                    check=row.check,
                    name=row.name,
                    status=row.status,
                    sentence=row.sentence,
                    hint=row.hint,
                    count=row.count,
                    examples=list(row.examples),
                )
                for row in self.rows
            ],
            fixed=None
            if fixed is None
            else AuditFix(
                path=str(fixed.path), flags=list(fixed.flags), left_out=list(fixed.left_out), notes=list(fixed.notes)
            ),
        ).to_json()

    def __str__(self) -> str:
        notes = () if self.fixed is None else self.fixed.notes
        return "\n".join(printable(translated(line)) for line in (*self.lines(), *notes))

    def _repr_html_(self) -> str:
        rows = []
        for row in sorted(self.rows, key=lambda row: SEVERITY.index(row.status)):
            texts = (row.status.value, row.name, join([row.sentence, row.hint]))
            cells = [f"<td>{html.escape(printable(translated(text)))}</td>" for text in texts]
            rows.append(f"<tr>{''.join(cells)}</tr>")
        return f'<style>{_TABLE_STYLE}</style><table class="headstart-check"><tbody>{"".join(rows)}</tbody></table>'
