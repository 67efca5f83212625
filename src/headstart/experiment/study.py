"""Run a study from top to bottom: declare, resolve every arm, search, compare, conclude.

A killed study continues where it stopped: each stage requests all its runs, and finished runs are reused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from headstart.analysis.run_records import runs_in
from headstart.analysis.verdict import compute_verdict, stops_early
from headstart.artifacts import gallery
from headstart.config.start_spec import run_start
from headstart.config.study_file import StudySpec, read_study, write_study
from headstart.engines.engine import Engine
from headstart.errors import DivergedError
from headstart.experiment import best_model, cleanup
from headstart.experiment.lr_search import SearchSpace, Trial, TrialResult, is_narrow, search
from headstart.experiment.planned_runs import seed_parts
from headstart.experiment.preflight import (
    common_precision,
    input_fingerprints,
    require_unchanged,
    resolve_arms,
    source_arm,
    source_fingerprint,
    source_of,
    source_plan,
    write_arm_inputs,
)
from headstart.experiment.progress import Progress, comparison_phase, search_phase
from headstart.experiment.set_ledger import StudyOnTestSet
from headstart.experiment.speed_check import SpeedCheck
from headstart.experiment.study_code import read_code, write_code
from headstart.experiment.study_runs import StudyRuns, in_progress
from headstart.hardware import calibration
from headstart.i18n import _
from headstart.models.user_code import pinned
from headstart.report import page
from headstart.reporter import NullReporter, Reporter
from headstart.runs import runner
from headstart.runs.job_protocol import RunRequest
from headstart.runs.relocation import suggesting_new_place
from headstart.storage import contained, files, folders, locks
from headstart.storage.run_files import SEARCH_FILE, VERDICT_FILE
from headstart.storage.schemas.gallery import GALLERY_FILE
from headstart.storage.schemas.ledger import LedgerUse
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import SearchGroup, SearchResults
from headstart.storage.schemas.study import RunRole, Stage
from headstart.storage.schemas.verdict import Verdict
from headstart.telemetry import seed_means, tensorboard
from headstart.training import setup


@pinned()
def begin(spec: StudySpec, runs: Path, reporter: Reporter) -> Path:
    """Check every arm, resolve the machine, and write study.toml to a new folder; train nothing.

    The folder is made in `runs`, and returned.

    Raises:
        HeadstartError: Every error about an arm, its weights or the data.
    """
    folders.require_writable(runs)
    spec = StudySpec(spec.protocol, calibration.resolve_machine(spec.plan))
    arms, sources = resolve_arms(spec, reporter)
    plan = spec.plan.changed(precision=common_precision([*arms, *sources.values()]))
    source = folders.slug(Path(spec.plan.data.source).stem)
    folder = folders.make_folder(runs, f"{folders.stamp()}_compare-{source}")
    spec = StudySpec(spec.protocol, plan)
    write_arm_inputs(folder, spec, arms, sources)
    write_code(folder, arms)
    write_study(folder, spec)
    return folder


def run_study(folder: Path, engine: Engine, reporter: Reporter, *, runs_here: int = 0) -> Verdict:
    """Run, or resume, the study in `folder`, and return its verdict, which is also written to verdict.json.

    Args:
        folder: Folder of the study.
        engine: Where its runs execute.
        reporter: Receives progress.
        runs_here: Number of runs at a time on this machine; 0 if other machines run them, or if it is unknown.

    Raises:
        InterruptedRunError: A signal stopped a run, or the study between two runs. The study can be resumed.
    """
    spec = read_study(folder)
    progress = Progress(spec, runs_here=runs_here)
    study = StudyRuns(folder, spec, engine, reporter, progress, speed_check=SpeedCheck(runs_here))
    with pinned(read_code(folder, spec)), in_progress(study):
        return _run_stages(study)


def _run_stages(study: StudyRuns) -> Verdict:
    folder, spec, reporter = study.folder, study.spec, study.reporter
    _resolve_variants(study)
    study.progress.expect(study.planned.plans, study.image_seconds)
    results = _search_by_seed(study) if spec.searches_each_seed else _search_once(study)
    for sentence in study.health.summary(folder):
        reporter.say(sentence)
    verdict = conclude(folder, spec, results, reporter)
    if sentence := study.progress.overrun(_added_rates(spec, results)):
        reporter.say(sentence)
    return verdict


def conclude(folder: Path, spec: StudySpec, results: SearchResults, reporter: Reporter) -> Verdict:
    """Make what a study has beside its runs, which have ended, and return its verdict.

    The images are read only for pictures of the report that the exported run does not have yet.

    Args:
        folder: Folder of the study, which is locked.
        spec: Its content of study.toml.
        results: Results of its search.
        reporter: Receives why the report has no pictures.
    """
    on_test = StudyOnTestSet.of_study(folder, spec.declared_hash)
    verdict = compute_verdict(folder, spec, results.groups, studies_on_test_set=on_test.place)
    best_model.export(folder, verdict)
    if fault := on_test.enter(LedgerUse.VERDICT):
        reporter.say(fault)
    files.write_json(folder / VERDICT_FILE, verdict.to_json())
    write_event_files(folder, spec)
    exported = contained.subfolder(folder, verdict.exported.run)
    if not contained.is_file(exported, GALLERY_FILE):
        gallery.write_if_possible(exported, reporter)
    page.write_page(folder)
    return verdict


def write_event_files(folder: Path, spec: StudySpec) -> None:
    """Write what event files have once a study has its verdict: results on test, and the mean runs."""
    for run in runs_in(folder):
        if run.stage is Stage.MAIN and not run.withholds_test and not spec.protocol.pooled_seeds:
            tensorboard.add_test(run.folder, run.lines())
    seed_means.rebuild_mean_runs(folder, spec)


def _resolve_variants(study: StudyRuns) -> None:
    """Train the sources that are not done yet, then resolve the configuration of every variant."""
    sources: dict[str, Path] = {}
    for variant in study.spec.variants:
        draft = variant.plan(study.spec.plan)
        plan = study.kind.with_evaluation_split(draft)
        if source := source_of(plan):
            if source not in sources:
                sources[source] = _train_source(study, variant.name, source)
            plan = plan.changed(start=run_start(sources[source]))
        with suggesting_new_place(study.folder):
            run = setup.resolve_run(plan, NullReporter())
        require_unchanged(study.folder, variant.name, input_fingerprints(draft, run.plan))
        study.add_variant(variant.name, run)


def _train_source(study: StudyRuns, variant: str, source: str) -> Path:
    """Return the folder of the run on a source of the variant; the run is made if it is not done yet.

    Raises DataError if the images of the source have changed, and DivergedError if the run diverged.
    """
    plan = setup.resolve_run(source_plan(study.spec, source), NullReporter()).plan
    require_unchanged(study.folder, variant, source_fingerprint(plan))
    role = RunRole(arm=source_arm(source), stage=Stage.SOURCE, budget="", fraction=1.0)
    phase = _("source of {length}", length=str(plan.recipe.epochs))
    run = study.run(phase, study.folder / "sources", [RunRequest(plan=plan, role=role)])[0]
    if run.state is RunState.DIVERGED:
        raise DivergedError(
            _(
                "The source {source} diverged at a learning rate of {learning_rate:g}.",
                source=source,
                learning_rate=run.rate,
            ),
            _(
                "Begin a new study with a lower --lr: it is the rate of the source, and the search sets those of "
                "the arms."
            ),
        )
    return run.folder.absolute()


def _search_once(study: StudyRuns) -> SearchResults:
    """Search one rate for all seeds of an arm, unless the rates are given, then compare the arms."""
    spec, protocol = study.spec, study.spec.protocol
    groups = []
    if spec.searches_lr:
        space = SearchSpace.of(protocol.grid)
        groups = [_search(study, space, spec.search_seed_range, budget, None) for budget in map(str, spec.budgets)]
        cleanup.remove_rung_artifacts(study.folder)
    results = SearchResults(groups=groups)
    files.write_json(study.folder / SEARCH_FILE, results.to_json())
    for seeds in seed_parts(spec):
        if _compare(study, seeds, results):
            break
    return results


def _search_by_seed(study: StudyRuns) -> SearchResults:
    """Search a rate for each seed, and compare the arms on it, seed by seed."""
    spec = study.spec
    narrow = [variant.name for variant in spec.variants if is_narrow(variant.arm.tuning)]
    spaces = {budget: SearchSpace.of(spec.protocol.grid) for budget in map(str, spec.budgets)}
    results = SearchResults()
    for seeds in seed_parts(spec):
        for budget, space in spaces.items():
            group = _search(study, space, seeds, budget, seeds[0])
            spaces[budget] = space.after(group, narrow)
            results = SearchResults(groups=[*results.groups, group])
        cleanup.remove_rung_artifacts(study.folder)
        files.write_json(study.folder / SEARCH_FILE, results.to_json())
        if _compare(study, seeds, results):
            break
    return results


def _search(study: StudyRuns, space: SearchSpace, seeds: Sequence[int], budget: str, group: int | None) -> SearchGroup:
    """Return the result of one search; see `lr_search.search`."""
    variants = [variant.name for variant in study.spec.variants]
    survivors, run = study.spec.protocol.survivors, partial(_run_trials, study, budget)
    return search(variants, space, seeds, budget=budget, group=group, survivors=survivors, run=run)


def _run_trials(study: StudyRuns, budget: str, trials: Sequence[Trial]) -> Mapping[Trial, TrialResult]:
    """Run trials of a search; rungs pause after their last epoch."""
    if not trials:
        return {}
    requests = study.planned.trial_requests(budget, trials)
    first, protocol = trials[0], study.spec.protocol
    epochs = max(request.role.rung or 0 for request in requests) if first.rung else 0
    phase = search_phase(protocol, first.seed, epochs, first.extension)
    records = study.run(phase, study.folder / "search", requests, rung=first.rung)
    pairs = zip(trials, records, strict=True)
    return {trial: TrialResult.of(trial, record, protocol.metric) for trial, record in pairs}


def _compare(study: StudyRuns, seeds: Sequence[int], results: SearchResults) -> bool:
    """Run the comparison on some seeds; return whether an interim analysis after the last one ends the study."""
    requests = study.planned.comparison_requests(seeds, results)
    study.run(comparison_phase(study.spec, seeds), study.folder, requests)
    count = study.spec.seed_range.index(seeds[-1]) + 1
    if count in study.spec.protocol.interim:
        on_test = StudyOnTestSet.of_study(study.folder, study.spec.declared_hash)
        on_test.enter(LedgerUse.INTERIM_ANALYSIS)  # `conclude` reports what is wrong with the ledger
    return stops_early(study.folder, study.spec, count)


def _added_rates(spec: StudySpec, results: SearchResults) -> int:
    """Count the learning rates that the search added to the declared grid, over all budgets."""
    added = {(group.budget, rate) for group in results.groups for rate in group.grid}
    return len(added - {(str(budget), rate) for budget in spec.budgets for rate in spec.protocol.grid})


def rebuild(folder: Path) -> list[Path]:
    """Rebuild the TensorBoard files of a study's runs and mean runs from their records; return their folders."""
    with locks.locked(folder):
        return [
            *(runner.rebuild(run.folder) for run in runs_in(folder)),
            *seed_means.rebuild_mean_runs(folder, read_study(folder)),
        ]
