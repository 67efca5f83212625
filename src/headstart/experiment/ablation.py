"""Run an ablation of the network: shortcut x norm x depth, with the same seeds."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import runs_in
from headstart.config.run_config import RunConfig
from headstart.engines import factory
from headstart.engines.registry import validate_engine_name
from headstart.errors import DataError, InterruptedRunError
from headstart.experiment.ablation_grid import ablation_spec
from headstart.experiment.ablation_summary import read_cell, summarize
from headstart.experiment.preflight import common_precision, requested_records
from headstart.hardware import calibration
from headstart.reporter import NullReporter, Reporter
from headstart.runs import job_protocol
from headstart.runs.job_protocol import RunRequest
from headstart.storage import folders, locks
from headstart.storage.schemas.ablation import AblationResult
from headstart.storage.schemas.study import RunRole, Stage
from headstart.text import pluralize
from headstart.training import setup

RESUME_HINT = "Run the same command again to resume."


def run_ablation(
    source: str,
    settings: Mapping[str, Any],
    runs: Path,
    reporter: Reporter,
    *,
    engine_name: str = "auto",
    seeds: int = 1,
) -> AblationResult:
    """Train the networks of the ablation that are not trained yet, and compare them.

    The folder is named after the configuration, so that the same call resumes an interrupted ablation.

    Args:
        source: The images.
        settings: Settings of the runs. `start` may be one of `random_starts()`.
        runs: Folder in which the ablation's folder is made.
        reporter: Receives progress.
        engine_name: Name of the engine.
        seeds: Seeds of each network.

    Raises:
        UsageError: A setting is one of `FACTORIAL_FIELDS`, or the start is not random.
        DataError: The evaluation split has fewer than two images, or the images changed during the ablation.
        InterruptedRunError: A signal stopped a run, or the ablation between two runs.
    """
    spec = ablation_spec(source, settings, seeds).study
    validate_engine_name(engine_name)
    folders.require_writable(runs)
    draft = calibration.resolve_machine(spec.plan)
    resolved = [setup.resolve_run(variant.plan(draft), NullReporter()) for variant in spec.variants]
    _require_two_images(resolved[0].plan)
    folder, precision = _folder_and_precision(runs, draft, resolved)
    requests: list[RunRequest] = []
    for variant, run in zip(spec.variants, resolved, strict=True):
        for seed in spec.seed_range:
            plan = run.plan.changed("seeding", seed=seed).changed("machine", precision=precision)
            plan = run.dataset.with_split_counts(plan)
            epochs = str(plan.recipe.epochs)
            role = RunRole(arm=variant.arm, stage=Stage.ABLATION, budget=epochs, fraction=plan.data.fraction)
            requests.append((plan, role))
    reporter.say(f"{len(requests)} runs in {folder}. Safe to press Ctrl-C: run the same command again to resume.")
    _run(folder, requests, engine_name, reporter)
    records = requested_records(requests, {run.hash: run for run in runs_in(folder)}, "ablation")
    cells = [read_cell(records[first : first + seeds]) for first in range(0, len(records), seeds)]
    return summarize(cells, requests[0][0], folder)


def _require_two_images(plan: RunConfig) -> None:
    """Raise DataError if the evaluation split has fewer than two images: an interval needs two."""
    split = "test" if plan.facts.split_counts["test"] else "val"
    if (count := plan.facts.split_counts[split]) < 2:
        raise DataError(
            f"The {split} split has {pluralize(count, 'image')}, and an ablation needs at least 2.",
            f"Add images to {split}.",
        )


def _folder_and_precision(runs: Path, draft: RunConfig, resolved: Sequence[setup.ResolvedRun]) -> tuple[Path, str]:
    """Return the ablation's folder and the precision of all its runs.

    A measured precision may differ when the command is run again. It is then not part of the folder's name, and the
    precision of the first existing run is used.
    """
    precision, first = common_precision(resolved), resolved[0].plan
    measured = draft.machine.precision == "auto"
    named = first.changed("machine", precision="fp32" if measured else precision)
    folder = runs / f"ablation-{folders.slug(Path(draft.data.source).stem)}-{named.hash[:12]}"
    existing = next(runs_in(folder), None) if measured else None
    return folder, existing.plan.machine.precision if existing is not None else precision


def _run(folder: Path, requests: Sequence[RunRequest], engine_name: str, reporter: Reporter) -> None:
    """Run each request as a job of its own; finished runs are reused."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with (
            locks.locked(folder),
            factory.open_engine(engine_name, requests[0][0], reporter) as engine,
            closing(engine.run([job_protocol.encode_job(folder, [request]) for request in requests])) as answers,
        ):
            for count, (index, answer) in enumerate(answers, 1):
                job_protocol.decode_answer(answer)
                reporter.say(f"{count} of {len(requests)}: {requests[index][1].variant}")
    except KeyboardInterrupt:
        raise InterruptedRunError(signal.SIGINT, RESUME_HINT) from None
    except InterruptedRunError as stop:  # the hint of a run names only that run
        stop.hint = RESUME_HINT
        raise
