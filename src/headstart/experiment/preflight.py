"""Every arm of a study, checked before the first step: its plan with nothing open, and what it met.

What an arm met (photos, weights, and what both have in common) lies in the study's cells.json: a study that goes on
refuses others, and its verdict tells what the weights had seen before.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart import data
from headstart.config.run_config import RunConfig, differences, read_plan
from headstart.config.start_spec import start_path
from headstart.config.study_file import StudySpec
from headstart.data import pixel_store
from headstart.data.dataset import Dataset, take
from headstart.data.splits import Split, overlaps
from headstart.errors import DataError, HeadstartError, MissingWeightsError, UsageError
from headstart.reporter import NullReporter, Reporter
from headstart.storage import files
from headstart.training import setup

OTHER_WAYS = (
    "name the arms that you have: `--arm scratch --arm file:PATH` takes weights that are here, "
    "`--arm scratch --arm source:DATA` trains on another labelled set first"
)


def check_arms(declared: StudySpec) -> None:
    """Read what every arm names, photos and weights, so that what is missing is told before anything is measured."""
    for cell in declared.cells:
        plan = cell.plan(declared.plan)
        if source := source_of(plan):
            setup.load_inputs(source_plan(declared, source))
            plan = plan.changed("arm", start="scratch")
        with _other_ways():
            setup.load_inputs(plan)


def check(declared: StudySpec, reporter: Reporter) -> tuple[list[setup.ResolvedRun], dict[str, setup.ResolvedRun]]:
    """Complete each cell's plan, so that whatever is wrong with one comes up now; also the plans of their sources.

    `declared` has its machine settled.
    """
    found: list[setup.ResolvedRun] = []
    sources: dict[str, setup.ResolvedRun] = {}
    seen: dict[tuple[str, str], str] = {}
    told: set[tuple[str, str]] = set()
    for cell in declared.cells:
        plan = cell.plan(declared.plan)
        if source := source_of(plan):
            if source not in sources:
                sources[source] = setup.complete(source_plan(declared, source), NullReporter())
            plan = plan.changed("arm", start="scratch")
        with _other_ways():
            completed = setup.complete(with_evaluation_on_val(plan), reporter if not found else NullReporter())
        notes = {(completed.plan.arm.start, note) for note in completed.start.notes}
        for _, note in sorted(notes - told) if found else ():
            reporter.say(f"{cell.name}: {note}")
        told |= notes
        _judgeable(completed.dataset, completed.plan)
        if not found:  # the photos are those of all arms
            for seed in (*declared.seeds, *declared.search_seeds):
                seeded = completed.plan.changed("seeding", seed=seed)
                for fraction in declared.protocol.fractions:
                    completed.dataset.split(seeded.changed("data", fraction=fraction))
        twin = seen.setdefault((completed.plan.hash, cell.plan(declared.plan).arm.start), cell.name)
        if twin != cell.name:
            raise UsageError(f"{twin} and {cell.name} are the same arm.", "Leave one of them out.")
        found.append(completed)
    return found, sources


@contextmanager
def _other_ways() -> Iterator[None]:
    """Of weights that are missing, tell also which arms can do without them."""
    try:
        yield
    except MissingWeightsError as error:
        raise DataError(error.message, f"{error.by_hand}; or {OTHER_WAYS}.") from error


def _judgeable(dataset: Dataset, plan: RunConfig) -> None:
    count, classes = len(dataset.split(plan).test), len(dataset.listing.classes)
    if count < classes:
        raise DataError(
            f"{count} test images cannot judge {classes} classes.", "Add test images, or leave the split to headstart."
        )


def with_evaluation_on_val(plan: RunConfig) -> RunConfig:
    """What a study asks of every run: where only train and val are declared, val judges."""
    return plan.changed("data", evaluate_on_val=True)


def source_of(plan: RunConfig) -> str:
    """The labelled set that an arm is trained on first; "" for other starts."""
    kind, _, source = plan.arm.start.partition(":")
    return source if kind == "source" else ""


def source_plan(declared: StudySpec, source: str) -> RunConfig:
    """How a source is trained: from scratch, with the study's recipe, on the other labelled set."""
    plan = declared.plan.changed("data", source=source, classes=(), fraction=1.0).changed("arm", start="scratch")
    return plan.changed("recipe", epochs=declared.source_epochs)


def write_met(
    folder: Path, declared: StudySpec, arms: list[setup.ResolvedRun], sources: dict[str, setup.ResolvedRun]
) -> None:
    """Keep what the arms met, cell by cell, as the study's cells.json."""
    cells = {}
    for cell, arm in zip(declared.cells, arms, strict=True):
        asked = cell.plan(declared.plan)
        source = sources.get(source_of(asked))
        known = source.dataset.listing.classes if source else arm.start.classes
        seen, all_of_it = (_trained_on(source.dataset, source.split), True) if source else _learned(arm.plan.arm.start)
        count = sum(arm.dataset.contents[i] in seen for i in arm.split.test)
        cells[cell.name] = {
            **met(asked, arm.plan),
            **(met_by_source(source.plan) if source else {}),
            "declared": arm.split.declared,
            "overlaps": overlaps(arm.dataset.listing, arm.split, arm.dataset.contents),
            "known_classes": list(in_common(arm.dataset.listing.classes, known)),
            "known_images": count if count or all_of_it else None,
        }
    files.write_json(folder / "cells.json", cells)


def _learned(start: str) -> tuple[set[str], bool]:
    """Digests of the photos that a start is known to have been trained on, and whether those are all.

    Those of a run are read again where its photos still are what they were, and so are those of the run it began with.
    """
    kind, path = start.partition(":")[0], start_path(start)
    if kind in ("scratch", "stats"):  # no weight is taken over
        return set(), True
    if kind != "run" or path is None:
        return set(), False
    try:
        plan = read_plan(path)
        listing = data.read(plan.data.source, classes=plan.data.classes, allow_outside=plan.data.allow_outside)
        dataset, parted = take(plan, listing, NullReporter())
    except (HeadstartError, OSError):
        return set(), False
    if pixel_store.fingerprint(dataset.listing, dataset.contents) != plan.facts.fingerprint:
        return set(), False
    before, all_before = _learned(plan.arm.start)
    return before | _trained_on(dataset, parted), all_before


def _trained_on(dataset: Dataset, parted: Split) -> set[str]:
    """Digests of the photos of a training split."""
    return {dataset.contents[i] for i in parted.train}


def met(asked: RunConfig, complete: RunConfig) -> dict[str, Any]:
    """The photos and the weights that an arm met; those of a source are not made yet."""
    facts = complete.facts
    return {"photos": facts.fingerprint} | ({} if source_of(asked) else {"weights": facts.weights_sha256})


def met_by_source(complete: RunConfig) -> dict[str, Any]:
    """The photos that an arm's source met: trained on others, it would give the arm other weights."""
    return {"source_photos": complete.facts.fingerprint}


def require_unchanged(folder: Path, cell: str, now: dict[str, Any]) -> None:
    """Raise DataError where an arm meets other photos or weights than when the study in `folder` began."""
    path = folder / "cells.json"
    began = files.read_json(path).get(cell, now) if path.exists() else now
    if told := differences({name: began.get(name, now[name]) for name in now}, now):
        raise DataError(
            f"The data or the weights of {cell} are not those the study began with: {'; '.join(told)}.",
            "Put them back, or begin a new study.",
        )


def common_precision(found: Iterable[setup.ResolvedRun]) -> str:
    """The precision of a study: the first arm's, but fp32 where an arm or a source must be, or is faster, in that."""
    chosen = [complete.plan.machine.precision for complete in found]
    return "fp32" if "fp32" in chosen else chosen[0]


def in_common(classes: Iterable[str], known: Collection[str]) -> tuple[str, ...]:
    """Those of `classes` that the weights know by name: the same words, or the last words of a longer name.

    Case, `_` and `-` do not count: `Golden_Retriever` is known as "golden retriever", `retriever` too.
    """
    names = {_words(name) for name in known}
    ends = {name[i:] for name in names for i in range(len(name))}
    return tuple(name for name in classes if _words(name) in ends)


def _words(name: str) -> tuple[str, ...]:
    """Class names that are numbers (0, 1, 2) say nothing of what is on the photos."""
    words = tuple(re.findall(r"\w+", name.lower().replace("_", " ")))
    return () if all(word.isdecimal() for word in words) else words
