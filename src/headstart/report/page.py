"""The report of a study or of runs as one self-contained page, laid out by `page.html`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from headstart.analysis.confusion import shown_classes
from headstart.analysis.headline import headline_contrast
from headstart.analysis.run_records import runs_at
from headstart.analysis.status import read_verdict
from headstart.analysis.wording import DETAIL_KEYS, arm_words, length_words, splits
from headstart.report.cost import cost_section, time_span
from headstart.report.curves import learning_section, standalone_section, target_section
from headstart.report.health import distance_section, health_section, rates_section
from headstart.report.heatmaps import compared_rates_section, searched_rates_section, standalone_rates_section
from headstart.report.histograms import MAX_HISTOGRAM_BYTES, HistogramPanel, fit_histograms
from headstart.report.photos import Gallery, fit_gallery, load_gallery
from headstart.report.provenance import declared_protocol, environment_rows, run_tables, train_command
from headstart.report.sections import (
    Section,
    arm_colors,
    arms_section,
    condition_sections,
    difference_figure,
    group_by_arm,
)
from headstart.report.series import PlottedRun, load_run, with_unique_names
from headstart.report.svg import charts
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.files import write_atomic
from headstart.text import capitalize, format_points, pluralize

PAGE_NAME = "report.html"
MAX_BYTES = 5_000_000  # size of a page
RESERVED_BYTES = 100_000  # part of it that stays free, since sizes are estimated


def write_page(folder: Path) -> Path:
    """Write `report.html` of a study, of a run, or of several runs into their folder.

    The page of a study without a verdict shows its runs.

    Args:
        folder: Folder of a study, of a run, or of several runs.

    Returns:
        Path of the page.

    Raises:
        DataError: The folder has no runs.
    """
    records = runs_at(folder)
    main = [run for run in records if run.role.get("stage", "main") == "main"]
    records = main if main and (folder / "study.toml").exists() else records
    runs = with_unique_names([load_run(run) for run in records])
    verdict = read_verdict(folder) if (folder / "verdict.json").exists() else None
    content = _study_content(folder, verdict, runs) if verdict else _standalone_content(folder, runs)
    content |= {
        "style": charts.style(),
        "declared": declared_protocol(folder),
        "tables": run_tables(runs, folder),
        "environment": environment_rows(runs),
    }
    evaluated = folder / verdict["exported"]["run"] if verdict else records[0].folder
    gallery = load_gallery(evaluated) if verdict or len(records) == 1 else None
    page = _render_within_limit(content, gallery, evaluated.name, runs, _preferred_runs(verdict))
    write_atomic(folder / PAGE_NAME, page)
    return folder / PAGE_NAME


def _render_within_limit(
    content: Mapping[str, Any], gallery: Gallery | None, run: str, runs: Sequence[PlottedRun], first: Sequence[str]
) -> str:
    """Render the page with as many images, and then histograms, as `MAX_BYTES` allows."""
    page = _render(content, None, run, HistogramPanel([]))
    if gallery:
        gallery = fit_gallery(gallery, MAX_BYTES - RESERVED_BYTES - len(page.encode()))
        page = _render(content, gallery, run, HistogramPanel([]))
    max_bytes = min(MAX_HISTOGRAM_BYTES, MAX_BYTES - RESERVED_BYTES - len(page.encode()))
    return _render(content, gallery, run, fit_histograms(runs, first, max_bytes))


def _render(content: Mapping[str, Any], gallery: Gallery | None, run: str, histograms: HistogramPanel) -> str:
    in_cells = {number for numbers in gallery.cells.values() for number in numbers} if gallery else ()
    photos = {number: gallery.tile(number) for number in sorted(in_cells)} if gallery else {}
    return _template().render(
        **content,
        gallery=_gallery_content(gallery, run) if gallery else None,
        cells={
            "cells": gallery.cells if gallery else {},
            "more": gallery.paths if gallery else {},
            "photos": {
                number: {name: tile[name] for name in ("src", "text", "key")} for number, tile in photos.items()
            },
        },
        histograms=histograms,
    )


def _preferred_runs(verdict: Mapping[str, Any] | None) -> list[str]:
    """Return the folders of the runs that represent their arm: that of the exported model, then the verdict's."""
    if verdict is None:
        return []
    return [verdict["exported"]["run"], *(run["run"] for arm in verdict["arms"] for run in arm["seeds"])]


def _study_content(folder: Path, verdict: Mapping[str, Any], runs: Sequence[PlottedRun]) -> dict[str, Any]:
    """Return the content of the page of a study with a verdict."""
    sentences = verdict["sentences"]
    color = arm_colors([arm["name"] for arm in verdict["arms"]], verdict["selected"])
    sections = [
        arms_section(verdict, color),
        learning_section(runs, verdict, color),
        target_section(runs, verdict, color),
        *condition_sections(verdict, color),
        compared_rates_section(verdict),
        searched_rates_section(verdict),
        cost_section(runs, verdict, color),
        rates_section(runs, color),
    ]
    verdict_runs = list(chain(*group_by_arm(runs, verdict).values()))
    seeds = f"{verdict['n']} paired seeds" if verdict["n"] > 1 else "one seed"
    return {
        "title": f"{sentences['headline']} | headstart report",
        "kind": "Study of",
        "how": "How was the study done?",
        "subject": Path(verdict["source"]).name,
        "headline": sentences["headline"],
        "lead": sentences["evidence"],
        "difference": difference_figure(verdict, color),
        "next_steps": [sentences[key] for key in DETAIL_KEYS if key in sentences],
        "key_figures": _key_figures(verdict),
        "sections": _drop_missing(sections),
        "training": _drop_missing([health_section(runs), distance_section(verdict_runs, color)]),
        "protocol": f"{len(verdict['arms'])} arms, {seeds}, {length_words(verdict['budget'])}",
        "notes": sentences["notes"],
        "command_title": "Repeat the study",
        "command": f"headstart compare --study {shlex.quote(str(folder / 'study.toml'))}",
        "limits": [sentences["limits"]],
    }


def _standalone_content(folder: Path, runs: Sequence[PlottedRun]) -> dict[str, Any]:
    """Return the content of the page of runs without a verdict."""
    color = arm_colors(list(dict.fromkeys(run.arm for run in runs)), "")
    headline, lead = f"{len(runs)} runs outside a study, without a verdict", ""
    if unfinished := (folder / "study.toml").exists():
        headline = f"{pluralize(len(runs), 'run')} of a study without a verdict yet"
        lead = "The verdict follows when all runs have ended. The command below continues the study."
    elif len(runs) == 1:
        headline, lead = _outcome_words(runs[0]), "One run."
    if studies := len(list(folder.glob("*/study.toml"))):
        lead += f" Not on this page: {studies} {'study' if studies == 1 else 'studies'} in the same folder."
    command_title, command = "Repeat this page", f"headstart report {shlex.quote(str(folder))}"
    if unfinished:
        command_title, command = "Continue the study", f"headstart resume {shlex.quote(str(folder))}"
    elif len(runs) == 1 and (train := train_command(runs[0].run.folder)):
        command_title, command = "Repeat the run", train
    sections = [standalone_section(runs, color), standalone_rates_section(runs), rates_section(runs, color)]
    return {
        "title": f"{folder.name} | headstart report",
        "kind": "Runs in",
        "how": "How was the study done?" if unfinished else "How were these runs made?",
        "subject": folder.name,
        "headline": f"{headline}.",
        "lead": lead,
        "difference": None,
        "next_steps": [],
        "key_figures": [],
        "sections": _drop_missing(sections),
        "training": _drop_missing([health_section(runs), distance_section(runs, color)]),
        "protocol": "As declared in study.toml" if unfinished else "The settings are in plan.json of each run",
        "notes": [],
        "command_title": command_title,
        "command": command,
        "limits": [],
    }


def _outcome_words(run: PlottedRun) -> str:
    """Return how one run ended, with its accuracy on test, else on val."""
    name, result = capitalize(run.name), run.run.result
    split = next((split for split in ("test", "val") if split in result), "")
    if run.run.state == "diverged":
        return f"{name} diverged"
    if not split:
        return f"{name} is not finished"
    return f"{name}: {100 * result[split]['accuracy']:.1f} % on {result[split]['n']} {split} images"


def _drop_missing(sections: Sequence[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None]


def _gallery_content(gallery: Gallery, run: str) -> dict[str, Any]:
    """Return the confusion matrix as a table of buttons, the most confused classes, and the lists of photos."""
    finding = f"All {gallery.total} {gallery.split} images are correct"
    if gallery.pairs:
        finding = f"{gallery.wrong} of {gallery.total} are wrong; most often {_pair_words(gallery.pairs[0])}"
    lists = [
        ("Worst mistakes", "The images with the lowest probability of the true class. Below each: the regions that "
         "support the prediction (Grad-CAM).",
         gallery.mistakes, gallery.wrong - len(gallery.mistakes), gallery.mistake_paths),
        ("Least confident", f"Of all {gallery.total} images those with the smallest difference between the two most "
         "probable classes, whether correct or wrong.",
         gallery.least_confident, 0, []),
    ]  # fmt: skip
    caption = f"The model of {run}, on {gallery.total} {gallery.split} images."
    if gallery.photo_count < len(gallery.photos):
        shown = f"{gallery.photo_count} of the {len(gallery.photos)} images"
        caption += f" The page shows {shown} in artifacts/gallery.zip of the run."
    shown_indices = shown_classes(gallery.counts)
    return {
        "finding": finding,
        "caption": caption,
        "classes": [gallery.classes[index] for index in shown_indices],
        "left_out": len(gallery.classes) - len(shown_indices),
        "table": _confusion_rows(gallery, shown_indices),
        "pairs": [_pair_words(pair) for pair in gallery.pairs[:6]],
        "lists": [(title, description, [gallery.tile(number) for number in numbers], more, paths)
                  for title, description, numbers, more, paths in lists if numbers],
        "filters": gallery.filters,
    }  # fmt: skip


def _confusion_rows(gallery: Gallery, classes: Sequence[int]) -> list[dict[str, Any]]:
    """Return the rows of the confusion matrix over these classes, with the cells of each row."""
    rows = []
    for true in classes:
        counts, name = gallery.counts[true], isolate_bidi(gallery.classes[true])
        total = max(sum(counts), 1)
        cells = [
            {
                "id": f"{true}-{predicted}",
                "count": counts[predicted],
                "more": counts[predicted] - len(gallery.cells.get(f"{true}-{predicted}", ())),
                "share": round(counts[predicted] / total, 3),
                "right": true == predicted,
                "label": f"{name}, predicted as {isolate_bidi(gallery.classes[predicted])}: "
                f"{counts[predicted]} of {total}",
            }
            for predicted in classes
        ]
        rows.append({"name": gallery.classes[true], "cells": cells})
    return rows


def _pair_words(pair: tuple[str, str, int, int]) -> str:
    true, predicted, count, total = pair
    return f"{true} is taken for {predicted}, {count} of {total}"


def _key_figures(verdict: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return name, value and conditions of the figures at the top: difference, epochs to the target, cost."""
    figures = []
    if (contrast := headline_contrast(verdict)) is not None:
        arms = f"{arm_words(contrast['first'])} against {arm_words(contrast['second'])}"
        conditions = f"percentage points, {arms}, on {contrast['m']} images"
        figures.append(("Difference", format_points(contrast["mean"], signed=True), conditions))
    selected = next(arm for arm in verdict["arms"] if arm["name"] == verdict["selected"])
    if selected["to_target"]:
        epochs = selected["to_target"]["epochs"]
        not_defined = f"{epochs['reached']} of {verdict['n']} runs reached it"
        value = not_defined if epochs["median"] is None else f"{epochs['median']:g}"
        target = f"{arm_words(selected['name'])}: {100 * verdict['target']:.3g} % on {splits(verdict)[0]}"
        runs_words = f"median of {verdict['n']} seeds" if verdict["n"] > 1 else "one seed"
        if epochs["median"] is not None and epochs["reached"] < epochs["n"]:
            runs_words = f"median; reached on {epochs['reached']} of {pluralize(epochs['n'], 'seed')}"
        conditions = f"{target}, {runs_words}"
        figures.append(("Epochs to target", value, conditions))
    seconds = sum(part["seconds"] for part in verdict["cost"].values())
    runs = sum(part["runs"] for part in verdict["cost"].values())
    search = ", including the search" if verdict["cost"]["search"]["runs"] else ""
    figures.append(("Cost", time_span(seconds), f"of training in {pluralize(runs, 'run')}{search}"))
    return figures


def _template() -> jinja2.Template:
    """Return `page.html` with automatic escaping."""
    text = resources.files("headstart.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
