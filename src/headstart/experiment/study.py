"""The life of a study, top to bottom: declare, prepare every arm, search, compare, conclude.

It knows runs only as folders and engines only as something that answers jobs. Killed anywhere, it goes on where it was:
each stage asks for all its runs, and those that are done are answers at once.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from headstart import signals
from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.analysis.verdict import conclude, stopped
from headstart.artifacts import gallery
from headstart.config.run_config import RunConfig
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec, read_study, write_study
from headstart.data.dataset import Dataset
from headstart.engines import Engine
from headstart.errors import DataError, DivergedError, InterruptedRunError
from headstart.experiment import best_model, cleanup
from headstart.experiment.health_summary import HealthSummary
from headstart.experiment.lr_search import Trial, search
from headstart.experiment.preflight import (
    check,
    common_precision,
    met,
    met_by_source,
    require_unchanged,
    source_of,
    source_plan,
    with_evaluation_on_val,
    write_met,
)
from headstart.experiment.progress import Progress, comparing, searching
from headstart.experiment.workload import asked_images, rung_epochs, tuned_images
from headstart.hardware import calibration
from headstart.report import page
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute, job_protocol, reuse, runner
from headstart.storage import files, folders, locks
from headstart.telemetry import seed_means
from headstart.text import capitalize
from headstart.training import setup


@dataclass
class _Study:
    """A study in progress: what was declared, and each cell's complete plan for the first seed.

    `paces` are the seconds that a training image of a cell was measured to take.
    """

    folder: Path
    declared: StudySpec
    engine: Engine
    reporter: Reporter
    progress: Progress
    plans: dict[str, RunConfig] = field(default_factory=dict)
    surveys: dict[str, Dataset] = field(default_factory=dict)
    paces: dict[str, float] = field(default_factory=dict)
    unhealthy_findings: HealthSummary = field(default_factory=HealthSummary)


def begin(declared: StudySpec, runs: Path, reporter: Reporter) -> Path:
    """Check every arm, settle the machine and write study.toml into a new folder under `runs`; nothing is trained.

    Raises every error that an arm, its weights or the data can meet.
    """
    folders.require_writable(runs)
    declared = StudySpec(declared.protocol, calibration.resolve_machine(declared.plan))
    arms, sources = check(declared, reporter)
    plan = declared.plan.changed("machine", precision=common_precision([*arms, *sources.values()]))
    source = folders.slug(Path(declared.plan.data.source).stem)
    folder = folders.make_folder(runs, f"{folders.stamp()}_compare-{source}")
    declared = StudySpec(declared.protocol, plan)
    write_met(folder, declared, arms, sources)
    write_study(folder, declared)
    return folder


def run_study(folder: Path, engine: Engine, reporter: Reporter) -> dict[str, Any]:
    """Go on with the study in `folder` to its verdict, which is also written there as verdict.json.

    Raises InterruptedRunError, also for a signal between two runs: the study can be resumed.
    """
    declared = read_study(folder)
    study = _Study(folder, declared, engine, reporter, Progress(declared))
    with locks.locked(folder), signals.raised():
        try:
            return _carry_out(study)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, signals.TerminationRequested) else signal.SIGINT
            raise _stopped(study, number) from None
        except InterruptedRunError as stop:  # a run or an engine does not know which study it works for
            raise _stopped(study, signal.Signals(stop.exit_code - 128)) from None


def _stopped(study: _Study, number: signal.Signals) -> InterruptedRunError:
    """The error of a study that a signal has stopped: what of it is kept, and how to go on."""
    waiting = study.progress.waiting()
    places = (study.folder, study.folder / "search", study.folder / "sources")
    begun = {found.hash for place in places for found in runs_in(place) if found.can_go_on} & waiting
    stop = InterruptedRunError(number, f"Go on with `headstart resume {study.folder}`.")
    stop.message = f"{stop.message.rstrip('.')} {study.progress.kept(len(begun))}."
    return stop


def _carry_out(study: _Study) -> dict[str, Any]:
    folder, declared, reporter = study.folder, study.declared, study.reporter
    cleanup.clear_half_made(folder)
    _prepare(study)
    study.progress.expect(study.plans)
    found = _search(study)
    files.write_json(folder / "search.json", found)
    _compare(study, found)
    seed_means.rebuild(folder, declared)
    verdict = conclude(folder, declared, found)
    best_model.export(folder, verdict)
    files.write_json(folder / "verdict.json", verdict)
    gallery.illustrate(folder / verdict["exported"]["run"], reporter)
    page.write(folder)
    if told := study.progress.overrun(_added(declared, found)):
        reporter.say(told)
    return dict(files.read_json(folder / "verdict.json"))


def _prepare(study: _Study) -> None:
    """Train the sources that are not there yet, then complete every cell's plan."""
    made: dict[str, Path] = {}
    for cell in study.declared.cells:
        plan = with_evaluation_on_val(cell.plan(study.declared.plan))
        if source := source_of(plan):
            if source not in made:
                made[source] = _source(study, cell.name, source)
            plan = plan.changed("arm", start=f"run:{made[source]}")
        completed_cell = setup.complete(plan, NullReporter())
        require_unchanged(study.folder, cell.name, met(cell.plan(study.declared.plan), completed_cell.plan))
        study.plans[cell.name], study.surveys[cell.name] = completed_cell.plan, completed_cell.dataset
        study.paces[cell.name] = completed_cell.step_seconds / completed_cell.plan.recipe.batch_size


def _source(study: _Study, cell: str, source: str) -> Path:
    """The folder of the run on a source, trained if it is not there yet. `cell` is an arm that starts from it.

    Raises DataError where its photos have changed, DivergedError where it has nothing to teach.
    """
    plan = setup.complete(source_plan(study.declared, source), NullReporter()).plan
    require_unchanged(study.folder, cell, met_by_source(plan))
    about = {"variant": f"source:{Path(source).stem}", "stage": "source", "budget": "", "fraction": 1.0}
    words = f"source of {plan.recipe.epochs}"
    trained = _run(study, words, study.folder / "sources", [(plan, about)])[0]
    if trained.state == "diverged":
        raise DivergedError(
            f"The source {source} diverged at a learning rate of {trained.rate:g}.",
            "Begin a new study with a lower --lr: it is the source's, whatever the search finds for the arms.",
        )
    return trained.folder.absolute()


def _search(study: _Study) -> dict[str, Any]:
    """What was found for every budget, group of seeds (`shared`, or `seed N`) and cell, as search.json holds it."""
    declared, protocol = study.declared, study.declared.protocol
    if not declared.searched:
        return {}
    found: dict[str, Any] = {"chosen": {}, "edges": {}, "tried": {}, "grid": {}}
    groups = [list(declared.search_seeds)]
    if protocol.search == "per-seed":
        groups = [[seed] for seed in declared.seeds]
    cells = [cell.name for cell in declared.cells]
    for budget in map(str, declared.budgets):
        for seeds in groups:
            outcome = search(
                cells,
                protocol.grid,
                seeds,
                survivors=protocol.survivors,
                metric=protocol.metric,
                run=partial(_try, study, budget),
            )
            name = _group(protocol, seeds[0])
            for key, value in (("chosen", outcome.chosen), ("edges", outcome.edges), ("tried", outcome.tried)):
                found[key].setdefault(budget, {})[name] = value
            found["grid"].setdefault(budget, {})[name] = outcome.grid
    cleanup.drop_rungs(study.folder / "search")
    return found


def _added(declared: StudySpec, found: Mapping[str, Any]) -> int:
    """How many learning rates a search added to the grid that was declared, over all budgets and seeds."""
    grids = [grid for groups in found.get("grid", {}).values() for grid in groups.values()]
    return sum(len(grid) - len(declared.protocol.grid) for grid in grids)


def _group(protocol: StudyConfig, seed: int) -> str:
    """Under which name search.json holds what was found for a run of `seed`."""
    return f"seed {seed}" if protocol.search == "per-seed" else "shared"


def _try(study: _Study, budget: str, trials: Sequence[Trial]) -> Mapping[Trial, RunRecord]:
    """Carry out trials of a search: rungs pause when they have shown what they are there for."""
    if not trials:
        return {}
    asked: list[tuple[RunConfig, dict[str, Any]]] = []
    for trial in trials:
        blind = study.declared.protocol.search == "shared"  # per-seed trials are the comparison's own runs
        share = study.declared.share
        about = {"variant": trial.cell, "stage": "search", "budget": budget, "fraction": share, "blind": blind}
        plan = _plan(study, trial.cell, budget, share, trial.seed, trial.rate)
        asked.append((plan, {**about, "rung": rung_epochs(plan)}))
    first = trials[0]
    epochs = max(about["rung"] for _, about in asked) if first.rung else 0
    words = searching(study.declared.protocol, first.seed, epochs, first.extension)
    records = _run(study, words, study.folder / "search", asked, rung=first.rung)
    return dict(zip(trials, records, strict=True))


def _compare(study: _Study, found: dict[str, Any]) -> None:
    """The comparison itself, up to the declared look that ends it."""
    protocol = study.declared.protocol
    for count in protocol.interim or (protocol.seeds,):
        _compare_seeds(study, found, count)
        if protocol.interim and stopped(study.folder, study.declared):
            break
    for sentence in study.unhealthy_findings.summary(study.folder):
        study.reporter.say(sentence)


def _compare_seeds(study: _Study, found: dict[str, Any], count: int) -> None:
    """The first `count` fresh paired seeds, seed by seed, so that a study cut short still has pairs."""
    declared = study.declared
    asked = []
    for budget in map(str, declared.budgets):
        for fraction in declared.protocol.fractions:
            for seed in declared.seeds[:count]:
                for cell in declared.cells:
                    rate = found["chosen"][budget][_group(declared.protocol, seed)][cell.name] if found else None
                    about = {"variant": cell.name, "stage": "main", "budget": budget, "fraction": fraction}
                    asked.append((_plan(study, cell.name, budget, fraction, seed, rate), about))
    _run(study, comparing(declared.protocol, count), study.folder, asked)


def _plan(study: _Study, cell: str, budget: str, fraction: float, seed: int, rate: float | None) -> RunConfig:
    """The complete plan of one run."""
    plan = study.plans[cell].changed("seeding", seed=seed).changed("data", fraction=fraction)
    changes: dict[str, Any] = {"epochs": budget} | ({} if rate is None else {"lr": rate})
    return study.surveys[cell].recounted(plan.changed("recipe", **changes))


def _run(
    study: _Study, words: str, parent: Path, asked: Sequence[tuple[RunConfig, dict[str, Any]]], *, rung: bool = False
) -> list[RunRecord]:
    """Have the engine carry out the runs, or rungs, that are not there yet; returns the records of all, in order.

    `words` say which part of the study they are.
    """
    parent.mkdir(exist_ok=True)
    records: dict[str, RunRecord] = {}
    begun: dict[str, int] = {}
    for found in runs_in(parent):
        if found.done or (rung and len(found.epochs) >= found.rung):
            records[found.hash] = found
        else:
            begun[found.hash] = int(found.length()["images"]) if found.can_go_on else 0
    _adopt(study, words, parent, asked, records, begun)
    study.reporter.table(study.progress.ask(words, asked, records, begun, rung))
    for plan, about in asked:
        if plan.hash in records:
            study.unhealthy_findings.count(about, records[plan.hash])
    bundles = [some for some in execute.bundles(asked) if any(plan.hash not in records for plan, _ in some)]
    missing = {plan.hash: about for some in bundles for plan, about in some if plan.hash not in records}
    texts = [
        job_protocol.text(
            parent,
            some,
            until=some[0][1]["rung"] if rung else None,
            seconds=sum(_seconds(study, *one, begun, rung) for one in some if one[0].hash not in records),
        )
        for some in bundles
    ]
    with closing(study.engine.run(texts)) as answers:
        for _, answer in answers:
            _note(study, [read_run(folder) for folder in job_protocol.folders(answer)], missing, records)
    if any(plan.hash not in records for plan, _ in asked):
        raise DataError("The photos or the weights changed while the study ran.", "Put them back, then resume it.")
    return [records[plan.hash] for plan, _ in asked]


def _adopt(
    study: _Study,
    words: str,
    parent: Path,
    asked: Sequence[tuple[RunConfig, dict[str, Any]]],
    records: dict[str, RunRecord],
    begun: Mapping[str, int],
) -> None:
    """Take over into `records` what is done elsewhere, and tell it, so that nobody takes it for trained anew."""
    open_ones = {plan.hash: (plan, about) for plan, about in asked if plan.hash not in {*records, *begun}}
    taken = [read_run(folder) for folder in reuse.reuse_finished(parent, list(open_ones.values()))]
    records |= {found.hash: found for found in taken}
    if not taken:
        return
    here = {plan.hash for plan, _ in asked}
    made_in = [Path(records[one].made_in) for one in here & records.keys() if records[one].made_in]
    own = sum(place.is_relative_to(study.folder.absolute()) for place in made_in)
    for count, whence in ((len(made_in) - own, "earlier studies"), (own, "the search")):
        if count:
            there = f"{count} of {len(here)} runs are" if len(here) > 1 else "the run is"
            study.reporter.say(f"{capitalize(words)}: {there} there already, from {whence}.")


def _seconds(study: _Study, plan: RunConfig, about: dict[str, Any], begun: Mapping[str, int], rung: bool) -> float:
    """How long what is left of a run, or of its rung, may take; that of a source is not known."""
    images = tuned_images(plan, begun.get(plan.hash, 0), asked_images(plan, rung))
    return study.paces.get(about["variant"], 0.0) * images


def _note(
    study: _Study, made: Sequence[RunRecord], missing: dict[str, dict[str, Any]], records: dict[str, RunRecord]
) -> None:
    """Take a job's runs over from `missing` into `records`, tell them, and renew the mean runs of their arms."""
    conditions = set()
    for found in made:
        records[found.hash] = found
        if (about := missing.pop(found.hash, None)) is not None:
            study.reporter.table(study.progress.end(about, found))
            for sentence in study.unhealthy_findings.take(about, found):
                study.reporter.say(sentence)
            if about["stage"] == "main":
                conditions.add((about["variant"], about["budget"], about["fraction"]))
    for condition in sorted(conditions):
        seed_means.rebuild(study.folder, study.declared, condition)


def repair(folder: Path) -> list[Path]:
    """Make the TensorBoard files of a study anew, of its runs and their means; returns the folders."""
    with locks.locked(folder):
        return [
            *(runner.repair(found.folder) for found in runs_in(folder)),
            *seed_means.rebuild(folder, read_study(folder)),
        ]
