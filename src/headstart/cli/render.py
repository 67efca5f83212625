"""Format results as text for people, or as CSV and JSON for programs, and print them. Imports no torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.analysis.wording import arm_words, splits
from headstart.cli.output import print_json, print_lines, print_traceback, print_wrapped
from headstart.i18n import Message, _, translated, verbatim
from headstart.printable import printable, printable_cell
from headstart.text import align_columns

if TYPE_CHECKING:
    from headstart.audit.finding import AuditResult
    from headstart.experiment.ablation_summary import AblationSummary
    from headstart.experiment.planning import Forecast
    from headstart.inference.predictor import Prediction
    from headstart.storage.schemas.verdict import TimeToTarget, Verdict


def as_table(predictions: Sequence[Prediction]) -> list[str]:
    """Return predictions in columns, one line per image: image, confidence and label, or image and error."""
    names = [printable(p.image) for p in predictions]
    width = max(map(len, names), default=0)
    rows = []
    for name, p in zip(names, predictions, strict=True):
        result = translated(p.error) if p.error else f"{100 * p.confidence:5.1f} %  {p.label}"
        rows.append(f"{name:<{width}}  {printable(result)}")
    return rows


def as_csv(predictions: Sequence[Prediction], classes: Sequence[str]) -> str:
    """Format predictions as CSV with the header image, label, confidence, error, and `p(CLASS)` for each class.

    If only the most probable classes are kept, their names and probabilities are in the columns `top N`, `p(top N)`.
    Control characters in names are escaped. Nothing else is changed, also not names that begin with `=`: they are
    compared with the names of files and classes, and the table can be a manifest. See `text.formula_notes`.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    kept = max((len(p.top) for p in predictions), default=0)
    columns = [part for n in range(1, kept + 1) for part in (f"top {n}", f"p(top {n})")]
    columns = columns or [printable_cell(f"p({name})") for name in classes]
    writer.writerow(["image", "label", "confidence", "error", *columns])
    for p in predictions:
        values = [part for pair in p.top for part in pair] or p.probabilities or [""] * len(columns)
        row = [p.image, p.label, "" if p.error else p.confidence, p.error, *values]
        writer.writerow([printable_cell(value) if isinstance(value, str) else value for value in row])
    return buffer.getvalue()


def study_table(verdict: Verdict) -> list[str]:
    """Format the arms of a verdict in columns: mean accuracies on the selection and evaluation split, rates, epochs."""
    selection, evaluation = splits(verdict)
    scores = [_("{split} %", split=split) for split in (selection, evaluation)]
    headings = [_("arm"), _("seeds"), *scores, _("±sd"), _("lr")]
    headings += [_("epochs to {target:.3g} %", target=100 * verdict.target)] if verdict.target else []
    rows = [list(map(translated, headings))]
    for arm in verdict.arms:
        rates = sorted({run.lr for run in arm.seeds})
        epochs = translated(_epochs_to_target(arm.to_target.epochs)) if arm.to_target else ""
        deviation = "" if arm.test_sd is None else f"{100 * arm.test_sd:.1f}"
        name = translated(arm_words(arm.spec)) + (" *" if arm.name == verdict.selected else "")
        numbers = [f"{100 * arm.val:.1f}", f"{100 * arm.test:.1f}", deviation]
        row = [printable(name), str(verdict.n), *numbers, ", ".join(f"{r:g}" for r in rates), epochs]
        rows.append(row[: len(headings)])
    note = _("* its model is exported")
    return [*align_columns(rows, left=1), note]


def _epochs_to_target(time: TimeToTarget) -> Message:
    """Return the median epochs to the target, or how many runs reached it if fewer than half did."""
    if time.median is not None:
        return verbatim(f"{time.median:g}")
    return _("{reached} of {total}", reached=time.reached, total=time.n)


def print_study(folder: Path, verdict: Verdict, as_json: bool) -> None:
    """Print the verdict of a study with its table, or as JSON."""
    if as_json:
        print_json({"folder": str(folder), **verdict.to_json()})
        return
    from headstart.analysis.sentences import verdict_messages

    messages = verdict_messages(verdict)
    print_lines(study_table(verdict), end="\n\n")
    print_wrapped([messages.paragraph], end="\n\n")
    if remarks := [*messages.others, *messages.notes]:
        print_wrapped(remarks, end="\n\n")
    print_lines([
        _("Study: {path}", path=folder),
        _("Model: {path}", path=folder / "model"),
        _("Report: {path}", path=folder / "report.html"),
    ])  # fmt: skip


def print_run(folder: Path, as_json: bool) -> None:
    """Print the result of a run, or as JSON."""
    from headstart.analysis.run_records import read_run
    from headstart.results.summary import result_sentences

    run = read_run(folder)
    result = run.result
    assert result is not None  # noqa: S101 - the run has ended
    if as_json:
        print_json({"folder": str(folder), **result.to_json()})
    else:
        sentences = result_sentences(result, withholds_test=run.withholds_test)
        print_lines([*sentences, _("Model: {path}", path=folder / "model")])


def print_forecast(forecast: Forecast, as_json: bool) -> None:
    """Print what a study will take in sentences, or as JSON."""
    if as_json:
        print_json(forecast.to_json())
    else:
        print_lines(forecast.sentences)


def print_ablation(summary: AblationSummary, as_json: bool) -> None:
    """Print the result of an ablation in sentences, or as JSON."""
    if as_json:
        print_json(summary.to_json())
    else:
        print_lines(summary.sentences)


def print_audit(result: AuditResult, notes: Sequence[Message], as_json: bool, *, tracebacks: bool) -> None:
    """Print the result of an audit and sentences on the files that it wrote, or only the result as JSON.

    With `tracebacks`, those of errors in checks are printed on stderr.
    """
    if as_json:
        print_json(result.to_json())
    else:
        print_lines([*result.notes, *result.lines(), *notes])
    for row in result.rows if tracebacks else ():
        if row.error is not None:
            print_traceback(row.error)
