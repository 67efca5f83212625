"""Run a study from top to bottom: declare, resolve every arm, search, compare, conclude.

Runs are known only as folders, engines only as functions from jobs to answers. A killed study continues where it
stopped: each stage requests all its runs, and finished runs are reused.
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
from headstart.analysis.verdict import compute_verdict, stops_early
from headstart.artifacts import gallery
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import run_start
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec, read_study, write_study
from headstart.data.dataset import Dataset
from headstart.engines.engine import Engine
from headstart.errors import DivergedError, InterruptedRunError
from headstart.experiment import best_model, cleanup
from headstart.experiment.health_summary import HealthSummary
from headstart.experiment.lr_search import SearchOutcome, Trial, search, search_results
from headstart.experiment.preflight import (
    common_precision,
    input_fingerprints,
    requested_records,
    require_unchanged,
    resolve_arms,
    source_arm,
    source_fingerprint,
    source_of,
    source_plan,
    with_evaluation_on_val,
    write_arm_inputs,
)
from headstart.experiment.progress import Progress, comparison_phase, search_phase
from headstart.experiment.workload import backbone_images, requested_images, rung_epochs
from headstart.hardware import calibration
from headstart.report import page
from headstart.reporter import NullReporter, Reporter
from headstart.runs import execute, job_protocol, reuse, runner
from headstart.runs.job_protocol import RunRequest
from headstart.storage import files, folders, locks
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole, SearchResults, Stage
from headstart.storage.schemas.verdict import Verdict
from headstart.telemetry import seed_means
from headstart.text import capitalize
from headstart.training import setup


@dataclass
class _Study:
    """A study in progress. Dictionaries are by name of the arm variant."""

    folder: Path
    spec: StudySpec
    engine: Engine
    reporter: Reporter
    progress: Progress
    plans: dict[str, RunConfig] = field(default_factory=dict)  # resolved, for the first seed
    datasets: dict[str, Dataset] = field(default_factory=dict)
    image_seconds: dict[str, float] = field(default_factory=dict)  # measured, of a training image
    health: HealthSummary = field(default_factory=HealthSummary)


def begin(spec: StudySpec, runs: Path, reporter: Reporter) -> Path:
    """Check every arm, resolve the machine, and write study.toml to a new folder; train nothing.

    The folder is made in `runs`, and returned.

    Raises:
        HeadstartError: Every error about an arm, its weights or the data.
    """
    folders.require_writable(runs)
    spec = StudySpec(spec.protocol, calibration.resolve_machine(spec.plan))
    arms, sources = resolve_arms(spec, reporter)
    plan = spec.plan.changed("machine", precision=common_precision([*arms, *sources.values()]))
    source = folders.slug(Path(spec.plan.data.source).stem)
    folder = folders.make_folder(runs, f"{folders.stamp()}_compare-{source}")
    spec = StudySpec(spec.protocol, plan)
    write_arm_inputs(folder, spec, arms, sources)
    write_study(folder, spec)
    return folder


def run_study(folder: Path, engine: Engine, reporter: Reporter) -> Verdict:
    """Run, or resume, the study in `folder`, and return its verdict, which is also written to verdict.json.

    Raises:
        InterruptedRunError: A signal stopped a run, or the study between two runs. The study can be resumed.
    """
    spec = read_study(folder)
    study = _Study(folder, spec, engine, reporter, Progress(spec))
    with locks.locked(folder), signals.raise_on_sigterm():
        try:
            return _run_stages(study)
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, signals.TerminationRequested) else signal.SIGINT
            raise _interruption(study, number) from None
        except InterruptedRunError as stop:  # the hint of a run or engine does not name the study
            raise _interruption(study, signal.Signals(stop.exit_code - 128)) from None


def _interruption(study: _Study, number: signal.Signals) -> InterruptedRunError:
    """Return the error of a study stopped by a signal, with what is kept and how to resume."""
    pending = study.progress.pending()
    parents = (study.folder, study.folder / "search", study.folder / "sources")
    started = {run.hash for parent in parents for run in runs_in(parent) if run.has_checkpoint} & pending
    stop = InterruptedRunError(number, f"Resume with `headstart resume {study.folder}`.")
    stop.message = f"{stop.message.rstrip('.')} {study.progress.stop_summary(len(started))}."
    return stop


def _run_stages(study: _Study) -> Verdict:
    folder, spec, reporter = study.folder, study.spec, study.reporter
    cleanup.remove_partial_writes(folder)
    _resolve_variants(study)
    study.progress.expect(study.plans)
    results = _search(study)
    files.write_json(folder / "search.json", results.to_json() if results else None)
    _compare(study, results)
    seed_means.rebuild_mean_runs(folder, spec)
    verdict = compute_verdict(folder, spec, results)
    best_model.export(folder, verdict)
    files.write_json(folder / "verdict.json", verdict.to_json())
    gallery.write_if_possible(folder / verdict.exported.run, reporter)
    page.write_page(folder)
    if sentence := study.progress.overrun(_added_rates(spec, results)):
        reporter.say(sentence)
    return verdict


def _resolve_variants(study: _Study) -> None:
    """Train the sources that are not done yet, then resolve the configuration of every variant."""
    sources: dict[str, Path] = {}
    for variant in study.spec.variants:
        draft = variant.plan(study.spec.plan)
        plan = with_evaluation_on_val(draft)
        if source := source_of(plan):
            if source not in sources:
                sources[source] = _train_source(study, variant.name, source)
            plan = plan.changed("arm", start=run_start(sources[source]))
        run = setup.resolve_run(plan, NullReporter())
        require_unchanged(study.folder, variant.name, input_fingerprints(draft, run.plan))
        study.plans[variant.name], study.datasets[variant.name] = run.plan, run.dataset
        study.image_seconds[variant.name] = run.step_seconds / run.plan.recipe.batch_size


def _train_source(study: _Study, variant: str, source: str) -> Path:
    """Return the folder of the run on a source of the variant; the run is made if it is not done yet.

    Raises DataError if the images of the source have changed, and DivergedError if the run diverged.
    """
    plan = setup.resolve_run(source_plan(study.spec, source), NullReporter()).plan
    require_unchanged(study.folder, variant, source_fingerprint(plan))
    role = RunRole(arm=source_arm(source), stage=Stage.SOURCE, budget="", fraction=1.0)
    run = _run(study, f"source of {plan.recipe.epochs}", study.folder / "sources", [(plan, role)])[0]
    if run.state is RunState.DIVERGED:
        raise DivergedError(
            f"The source {source} diverged at a learning rate of {run.rate:g}.",
            "Begin a new study with a lower --lr: it is the rate of the source, and the search sets those of the arms.",
        )
    return run.folder.absolute()


def _search(study: _Study) -> SearchResults | None:
    """Return the results of the learning-rate search, or None if the rates are given."""
    spec, protocol = study.spec, study.spec.protocol
    if not spec.searches_lr:
        return None
    per_seed = protocol.search == "per-seed"
    groups = [[seed] for seed in spec.seed_range] if per_seed else [list(spec.search_seed_range)]
    variants = [variant.name for variant in spec.variants]
    outcomes: dict[str, dict[str, SearchOutcome]] = {}
    for budget in map(str, spec.budgets):
        for seeds in groups:
            outcomes.setdefault(budget, {})[_group(protocol, seeds[0])] = search(
                variants,
                protocol.grid,
                seeds,
                survivors=protocol.survivors,
                metric=protocol.metric,
                run=partial(_run_trials, study, budget),
            )
    cleanup.remove_rung_artifacts(study.folder / "search")
    return search_results(outcomes)


def _added_rates(spec: StudySpec, results: SearchResults | None) -> int:
    """Count the learning rates that the search added to the declared grid, over all budgets and seeds."""
    grids = [grid for groups in results.grid.values() for grid in groups.values()] if results else []
    return sum(len(grid) - len(spec.protocol.grid) for grid in grids)


def _group(protocol: StudyConfig, seed: int) -> str:
    """Return the name of the group of seeds whose results apply to a run of `seed`."""
    return f"seed {seed}" if protocol.search == "per-seed" else "shared"


def _run_trials(study: _Study, budget: str, trials: Sequence[Trial]) -> Mapping[Trial, RunRecord]:
    """Run trials of a search; rungs pause after their last epoch."""
    if not trials:
        return {}
    requests: list[RunRequest] = []
    for trial in trials:
        blind = study.spec.protocol.search == "shared"  # per-seed trials are also runs of the comparison
        share = study.spec.largest_fraction
        plan = _plan(study, trial.variant, budget, share, trial.seed, trial.rate)
        arm, rung = study.spec.arm(trial.variant), rung_epochs(plan)
        role = RunRole(arm=arm, stage=Stage.SEARCH, budget=budget, fraction=share, rung=rung, blind=blind)
        requests.append((plan, role))
    first = trials[0]
    epochs = max(role.rung or 0 for _, role in requests) if first.rung else 0
    phase = search_phase(study.spec.protocol, first.seed, epochs, first.extension)
    records = _run(study, phase, study.folder / "search", requests, rung=first.rung)
    return dict(zip(trials, records, strict=True))


def _compare(study: _Study, results: SearchResults | None) -> None:
    """Run the comparison, up to the interim analysis that stops it."""
    protocol = study.spec.protocol
    for count in protocol.interim or (protocol.seeds,):
        _compare_seeds(study, results, count)
        if protocol.interim and stops_early(study.folder, study.spec):
            break
    for sentence in study.health.summary(study.folder):
        study.reporter.say(sentence)


def _compare_seeds(study: _Study, results: SearchResults | None, count: int) -> None:
    """Run the first `count` fresh paired seeds, seed by seed, so that an interrupted study still has pairs."""
    spec = study.spec
    requests: list[RunRequest] = []
    for budget in map(str, spec.budgets):
        for fraction in spec.protocol.fractions:
            for seed in spec.seed_range[:count]:
                for variant in spec.variants:
                    rate = results.selected[budget][_group(spec.protocol, seed)][variant.name] if results else None
                    role = RunRole(arm=variant.arm, stage=Stage.MAIN, budget=budget, fraction=fraction)
                    requests.append((_plan(study, variant.name, budget, fraction, seed, rate), role))
    _run(study, comparison_phase(spec.protocol, count), study.folder, requests)


def _plan(study: _Study, variant: str, budget: str, fraction: float, seed: int, rate: float | None) -> RunConfig:
    """Return the resolved configuration of one run."""
    plan = study.plans[variant].changed("seeding", seed=seed).changed("data", fraction=fraction)
    changes: dict[str, Any] = {"epochs": budget} | ({} if rate is None else {"lr": rate})
    return study.datasets[variant].with_split_counts(plan.changed("recipe", **changes))


def _run(
    study: _Study, phase: str, parent: Path, requests: Sequence[RunRequest], *, rung: bool = False
) -> list[RunRecord]:
    """Run what is not done yet below `parent`, and return the records of all requested runs, in order.

    `phase` describes the phase of the study in progress lines. With `rung`, only the rungs are run.
    """
    parent.mkdir(exist_ok=True)
    records, started = dict[str, RunRecord](), dict[str, int]()
    for run in runs_in(parent):
        if run.done or (rung and len(run.epochs) >= run.rung):
            records[run.hash] = run
        else:
            started[run.hash] = run.length().images if run.has_checkpoint else 0
    _reuse_finished(study, phase, parent, requests, records, started)
    study.reporter.study_status(study.progress.request(phase, requests, records, started, rung))
    for plan, role in requests:
        if plan.hash in records:
            study.health.add(role, records[plan.hash])
    groups = execute.group_into_jobs(requests)
    bundles = [group for group in groups if any(plan.hash not in records for plan, _ in group)]
    missing = {plan.hash: role for bundle in bundles for plan, role in bundle if plan.hash not in records}
    jobs = [
        job_protocol.encode_job(
            parent,
            bundle,
            until=bundle[0][1].rung if rung else None,
            seconds=sum(_seconds(study, *run, started, rung) for run in bundle if run[0].hash not in records),
        )
        for bundle in bundles
    ]
    with closing(study.engine.run(jobs)) as answers:
        for _, answer in answers:
            _add_results(study, [read_run(folder) for folder in job_protocol.decode_answer(answer)], missing, records)
    return requested_records(requests, records, "study")


def _reuse_finished(
    study: _Study,
    phase: str,
    parent: Path,
    requests: Sequence[RunRequest],
    records: dict[str, RunRecord],
    started: Mapping[str, int],
) -> None:
    """Add finished runs of other folders to `records`, and report where they come from."""
    new = {plan.hash: (plan, role) for plan, role in requests if plan.hash not in {*records, *started}}
    reused = [read_run(folder) for folder in reuse.reuse_finished(parent, list(new.values()))]
    records |= {run.hash: run for run in reused}
    if not reused:
        return
    hashes = {plan.hash for plan, _ in requests}
    made_in = [Path(origin) for run in hashes & records.keys() if (origin := records[run].reused_from)]
    from_search = sum(folder.is_relative_to(study.folder.absolute()) for folder in made_in)
    for count, origin in ((len(made_in) - from_search, "earlier studies"), (from_search, "the search")):
        if count:
            runs = f"{count} of {len(hashes)} runs are" if len(hashes) > 1 else "the run is"
            study.reporter.say(f"{capitalize(phase)}: {runs} reused from {origin}.")


def _seconds(study: _Study, plan: RunConfig, role: RunRole, started: Mapping[str, int], rung: bool) -> float:
    """Predict the seconds for the rest of a run, or of its rung; 0 for a source, whose cost is unknown."""
    images = backbone_images(plan, started.get(plan.hash, 0), requested_images(plan, rung))
    return study.image_seconds.get(role.variant, 0.0) * images


def _add_results(
    study: _Study, runs: Sequence[RunRecord], missing: dict[str, RunRole], records: dict[str, RunRecord]
) -> None:
    """Move a job's runs from `missing` to `records`, report them, and update the mean runs of their arms."""
    conditions = set()
    for run in runs:
        records[run.hash] = run
        if (role := missing.pop(run.hash, None)) is not None:
            study.reporter.study_status(study.progress.finish(role, run))
            for sentence in study.health.new_finding_sentences(role, run):
                study.reporter.say(sentence)
            if role.stage is Stage.MAIN:
                conditions.add((role.variant, role.budget, role.fraction))
    for condition in sorted(conditions):
        seed_means.rebuild_mean_runs(study.folder, study.spec, condition)


def repair(folder: Path) -> list[Path]:
    """Rebuild the TensorBoard files of a study's runs and mean runs from their records; return their folders."""
    with locks.locked(folder):
        return [
            *(runner.repair(run.folder) for run in runs_in(folder)),
            *seed_means.rebuild_mean_runs(folder, read_study(folder)),
        ]
