"""One self-contained page of a study: what the records say, laid out by `page.html`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any

import jinja2

from headstart.analysis import confusion
from headstart.analysis.headline import headline_contrast, read_verdict
from headstart.analysis.run_records import runs_at
from headstart.analysis.wording import MORE, arm_words, length_words, splits
from headstart.report import cost, curves, health, heatmaps, histograms, provenance, series
from headstart.report import photos as photos_module
from headstart.report import sections as sections_module
from headstart.report.histograms import HistogramPanel
from headstart.report.photos import Gallery
from headstart.report.sections import Section
from headstart.report.series import PlottedRun
from headstart.report.svg import charts
from headstart.report.svg.labels import isolated
from headstart.storage.files import write_atomic
from headstart.text import capitalize, pluralize, points

NAME = "report.html"
MOST_BYTES, SPARE = 5_000_000, 100_000  # of a page, and what of it is kept free for what is counted roughly


def write(folder: Path) -> Path:
    """Write `report.html` into the folder of a study, of a run, or of runs that were copied together; returns its path.

    A study has a verdict, once it has come to it; everything else is shown without one. Raises DataError for a folder
    without runs.
    """
    every = runs_at(folder)
    compared = [run for run in every if run.about.get("stage", "main") == "main"]
    found = compared if compared and (folder / "study.toml").exists() else every
    runs = series.with_unique_names([series.read(run) for run in found])
    verdict = read_verdict(folder) if (folder / "verdict.json").exists() else None
    content = _study(folder, verdict, runs) if verdict else _loose(folder, runs)
    content |= {
        "style": charts.style(),
        "declared": provenance.protocol(folder),
        "tables": provenance.runs(runs, folder),
        "environment": provenance.environment(runs),
    }
    shown = folder / verdict["exported"]["run"] if verdict else found[0].folder
    gallery = photos_module.read(shown) if verdict or len(found) == 1 else None
    write_atomic(folder / NAME, _that_fits(content, gallery, shown.name, runs, _first(verdict)))
    return folder / NAME


def _that_fits(
    content: Mapping[str, Any], gallery: Gallery | None, run: str, runs: Sequence[PlottedRun], first: Sequence[str]
) -> str:
    """The page with as many photos and then histograms as it has room for beside everything else."""
    page = _rendered(content, None, run, HistogramPanel([]))
    if gallery:
        gallery = photos_module.that_fit(gallery, MOST_BYTES - SPARE - len(page.encode()))
        page = _rendered(content, gallery, run, HistogramPanel([]))
    looks = histograms.shown(runs, first, min(histograms.MOST_BYTES, MOST_BYTES - SPARE - len(page.encode())))
    return _rendered(content, gallery, run, looks)


def _rendered(content: Mapping[str, Any], gallery: Gallery | None, run: str, looks: HistogramPanel) -> str:
    in_cells = {id for some in gallery.cells.values() for id in some} if gallery else ()
    photos = {id: gallery.shown(id) for id in sorted(in_cells)} if gallery else {}
    return _template().render(
        **content,
        gallery=_gallery(gallery, run) if gallery else None,
        cells={
            "cells": gallery.cells if gallery else {},
            "more": gallery.keys if gallery else {},
            "photos": {id: {name: one[name] for name in ("src", "text", "key")} for id, one in photos.items()},
        },
        steps=looks,
    )


def _first(verdict: Mapping[str, Any] | None) -> list[str]:
    """Folders of runs that stand for their arm: that whose model is exported, then those that the verdict counts."""
    if verdict is None:
        return []
    return [verdict["exported"]["run"], *(run["run"] for arm in verdict["arms"] for run in arm["seeds"])]


def _study(folder: Path, verdict: Mapping[str, Any], runs: Sequence[PlottedRun]) -> dict[str, Any]:
    said = verdict["sentences"]
    colour = sections_module.colours([arm["name"] for arm in verdict["arms"]], verdict["chosen"])
    sections = [
        sections_module.arms(verdict, colour),
        curves.learning(runs, verdict, colour),
        curves.target(runs, verdict, colour),
        *sections_module.conditions(verdict, colour),
        heatmaps.compared(verdict),
        heatmaps.searched(verdict),
        cost.cost(runs, verdict, colour),
        health.rates(runs, colour),
    ]
    judged = list(chain(*sections_module.by_arm(runs, verdict).values()))
    return {
        "title": f"{said['headline']} headstart",
        "kind": "An experiment with",
        "subject": Path(verdict["source"]).name,
        "headline": said["headline"],
        "lead": said["evidence"],
        "difference": sections_module.difference(verdict, colour),
        "next_steps": [said[key] for key in MORE if key in said],
        "three": _three(verdict),
        "sections": _there(sections),
        "training": _there([health.health(runs), health.distance(judged, colour)]),
        "protocol": f"{len(verdict['arms'])} arms, {_seeds(verdict)}, {length_words(verdict['budget'])}",
        "told": said.get("notes", ()),
        "again": "The same study again",
        "command": f"headstart compare --study {shlex.quote(str(folder / 'study.toml'))}",
        "limits": [said["limits"].removeprefix("Limits: ")],
    }


def _loose(folder: Path, runs: Sequence[PlottedRun]) -> dict[str, Any]:
    colour = sections_module.colours(list(dict.fromkeys(run.arm for run in runs)), "")
    what, lead = f"{len(runs)} runs, which are no study: there is no verdict", ""
    if unfinished := (folder / "study.toml").exists():
        what = f"{len(runs)} run{'s' if len(runs) > 1 else ''} of a study that has not come to its verdict"
        lead = "There is a verdict when all of its runs have come to their end. It goes on with the command below."
    elif len(runs) == 1:
        what, lead = _ended(runs[0]), "One run."
    if studies := len(list(folder.glob("*/study.toml"))):
        lead += f" Not on this page: {studies} {'study' if studies == 1 else 'studies'} in the same folder."
    again, command = "This page again", f"headstart report {shlex.quote(str(folder))}"
    if unfinished:
        again, command = "To go on", f"headstart resume {shlex.quote(str(folder))}"
    elif len(runs) == 1 and (train := provenance.train_command(runs[0].run.folder)):
        again, command = "The same run again", train
    return {
        "title": f"{folder.name} headstart",
        "kind": "Runs in",
        "subject": folder.name,
        "headline": f"{what}.",
        "lead": lead,
        "difference": None,
        "next_steps": [],
        "three": [],
        "sections": _there([curves.loose(runs, colour), heatmaps.loose(runs), health.rates(runs, colour)]),
        "training": _there([health.health(runs), health.distance(runs, colour)]),
        "protocol": "As was declared" if unfinished else "As the plan of each run says",
        "told": [],
        "again": again,
        "command": command,
        "limits": [],
    }


def _seeds(verdict: Mapping[str, Any]) -> str:
    return f"{verdict['n']} paired seeds" if verdict["n"] > 1 else "one seed"


def _ended(run: PlottedRun) -> str:
    """How one run has ended, with its accuracy on the images that judge where it has met them."""
    name, result = capitalize(run.name), run.run.result
    split = next((split for split in ("test", "val") if split in result), "")
    if run.run.state == "diverged":
        return f"{name} has diverged"
    if not split:
        return f"{name} has not come to its end"
    return f"{name}: {100 * result[split]['accuracy']:.1f} % on {result[split]['n']} {split} images"


def _there(sections: Sequence[Section | None]) -> list[Section]:
    return [section for section in sections if section is not None]


def _gallery(found: Gallery, run: str) -> dict[str, Any]:
    """The confusion as a table of buttons, the most confused pairs in words, and the lists of photos."""
    table = []
    shown = confusion.shown_classes(found.counts)
    for true in shown:
        row, name = found.counts[true], isolated(found.classes[true])
        total = max(sum(row), 1)
        cells = [
            {
                "id": f"{true}-{said}",
                "count": count,
                "more": count - len(found.cells.get(f"{true}-{said}", ())),
                "share": round(count / total, 3),
                "right": true == said,
                "label": f"{name}, said to be {isolated(found.classes[said])}: {count} of {total}",
            }
            for said, count in ((said, row[said]) for said in shown)
        ]
        table.append({"name": found.classes[true], "cells": cells})
    finding = f"All {found.total} {found.split} images are right"
    if found.pairs:
        most = _pair_words(found.pairs[0])
        finding = f"{found.wrong} of {found.total} are wrong; most often {most}"
    lists = [
        ("Worst mistakes", "The true class got the least. Below each photo: what spoke for the answer (Grad-CAM).",
         found.mistakes, found.wrong - len(found.mistakes), found.more),
        ("Least sure", f"Of all {found.total} images those whose two likeliest classes are closest, right or wrong.",
         found.unsure, 0, []),
    ]  # fmt: skip
    return {
        "finding": finding,
        "how": f"The model of {run}, on {found.total} {found.split} images."
        + (
            f" The page shows {found.kept} of the {len(found.photos)} photos in evidence/gallery.zip of the run."
            if found.kept < len(found.photos)
            else ""
        ),
        "classes": [found.classes[at] for at in shown],
        "left_out": len(found.classes) - len(shown),
        "table": table,
        "pairs": [_pair_words(pair) for pair in found.pairs[:6]],
        "lists": [(title, how, [found.shown(i) for i in some], *more) for title, how, some, *more in lists if some],
        "filters": found.filters,
    }


def _pair_words(pair: tuple[str, str, int, int]) -> str:
    true, said, count, of = pair
    return f"{true} is taken for {said}, {count} of {of}"


def _three(verdict: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The three figures at the top: difference, epochs to the target, cost."""
    found = []
    if (seen := headline_contrast(verdict)) is not None:
        more = f"points, {arm_words(seen['first'])} against {arm_words(seen['second'])}, on {seen['m']} images"
        found.append(("Difference", points(seen["mean"], signed=True), more))
    chosen = next(arm for arm in verdict["arms"] if arm["name"] == verdict["chosen"])
    if chosen["to_target"]:
        median = chosen["to_target"]["epochs"]["median"]
        got = chosen["to_target"]["epochs"]["reached"]
        value = f"{got} of {verdict['n']} got there" if median is None else f"{median:g}"
        found.append(
            (
                "Epochs to target",
                value,
                f"{arm_words(chosen['name'])}: {100 * verdict['target']:.3g} % on {splits(verdict)[0]}, "
                + (f"median of {verdict['n']} seeds" if verdict["n"] > 1 else "by one seed"),
            )
        )
    seconds = sum(part["seconds"] for part in verdict["cost"].values())
    runs = sum(part["runs"] for part in verdict["cost"].values())
    included = ", the search included" if verdict["cost"]["search"]["runs"] else ""
    found.append(("Cost", cost.time_span(seconds), f"of training in {pluralize(runs, 'run')}{included}"))
    return found


def _template() -> jinja2.Template:
    """`page.html`, in which everything that is not markup is escaped."""
    text = resources.files("headstart.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(text)
