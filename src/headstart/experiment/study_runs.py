"""The runs of a study in progress: plan them, run those that are missing, and read their records.

Runs are known only as folders, engines only as functions from jobs to answers. Every stage of a study requests all its
runs, and finished runs are reused, so that a killed study continues where it stopped.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from headstart import signals
from headstart.analysis.run_records import RunRecord, read_run, runs_in
from headstart.config.study_file import StudySpec
from headstart.engines.engine import Engine
from headstart.errors import InterruptedRunError
from headstart.experiment import cleanup
from headstart.experiment.health_summary import HealthSummary
from headstart.experiment.planned_runs import PlannedRuns
from headstart.experiment.preflight import requested_records
from headstart.experiment.progress import Progress
from headstart.experiment.speed_check import SpeedCheck
from headstart.experiment.study_kind import COMPARISON, StudyKind, resume_hint
from headstart.experiment.workload import backbone_images, requested_images
from headstart.i18n import Message, ngettext
from headstart.reporter import Reporter
from headstart.runs import execute, job_protocol, reuse
from headstart.runs.job_protocol import RunRequest
from headstart.storage import contained, locks
from headstart.storage.schemas.study import RunRole, Stage
from headstart.telemetry import seed_means
from headstart.training import setup


@dataclass
class StudyRuns:
    """The runs of a study in progress. Dictionaries are by name of the arm variant."""

    folder: Path
    spec: StudySpec
    engine: Engine
    reporter: Reporter
    progress: Progress
    kind: StudyKind = COMPARISON
    planned: PlannedRuns = field(init=False)
    image_seconds: dict[str, float] = field(default_factory=dict)  # measured, of a training image
    health: HealthSummary = field(default_factory=HealthSummary)
    speed_check: SpeedCheck = field(default_factory=lambda: SpeedCheck(0))
    _is_index_reported: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Start without variants."""
        self.planned = PlannedRuns(self.spec, self.kind.stage)

    def add_variant(self, name: str, run: setup.ResolvedRun) -> None:
        """Add a variant with its resolved configuration."""
        self.planned.add_variant(name, run.plan, run.dataset)
        self.image_seconds[name] = run.step_seconds / run.plan.recipe.batch_size

    def run(
        self, phase: Message, parent: Path, requests: Sequence[RunRequest], *, rung: bool = False
    ) -> list[RunRecord]:
        """Run what is not done yet below `parent`, and return the records of all requested runs, in order.

        `phase` describes the phase of the study in progress lines. With `rung`, only the rungs are run.
        """
        if parent != self.folder:
            contained.make_folder(self.folder, parent.relative_to(self.folder).as_posix())
        records: dict[str, RunRecord] = {}
        started: dict[str, int] = {}
        for run in runs_in(parent):
            if run.done or (rung and len(run.epochs) >= run.rung):
                records[run.hash] = run
            else:
                started[run.hash] = run.length().images if run.has_checkpoint else 0
        self._reuse_finished(phase, parent, requests, records, started)
        if parent == self.folder:  # the training of selected trials is done
            missing_hashes = {request.plan.hash for request in requests} - records.keys()
            trials = (trial for trial in runs_in(parent, "search") if trial.done and trial.hash in missing_hashes)
            started |= {trial.hash: trial.length().images for trial in trials}
        self.reporter.study_status(self.progress.request(phase, requests, records, started, rung))
        for request in requests:
            if request.plan.hash in records:
                self.health.add(request.role, records[request.plan.hash])
        groups = execute.group_into_jobs(requests)
        bundles = [group for group in groups if any(request.plan.hash not in records for request in group)]
        missing = {
            request.plan.hash: request.role
            for bundle in bundles
            for request in bundle
            if request.plan.hash not in records
        }
        jobs = [
            job_protocol.encode_job(
                parent,
                bundle,
                until=bundle[0].role.rung if rung else None,
                seconds=sum(
                    self._seconds(request, started, rung) for request in bundle if request.plan.hash in missing
                ),
            )
            for bundle in bundles
        ]
        with closing(self.engine.run(jobs)) as answers:
            for _unused, answer in answers:
                self._add_results([read_run(folder) for folder in job_protocol.decode_answer(answer)], missing, records)
        return requested_records(requests, records, self.kind.name)

    def _reuse_finished(
        self,
        phase: Message,
        parent: Path,
        requests: Sequence[RunRequest],
        records: dict[str, RunRecord],
        started: Mapping[str, int],
    ) -> None:
        """Add finished runs of other folders to `records`, and report where they come from."""
        new = {request.plan.hash: request for request in requests if request.plan.hash not in {*records, *started}}
        if not self._is_index_reported and (sentence := reuse.index_fault(list(new.values()))):
            self._is_index_reported = True
            self.reporter.say(sentence)
        reused = [read_run(folder) for folder in reuse.reuse_finished(parent, list(new.values()))]
        records |= {run.hash: run for run in reused}
        hashes = {request.plan.hash for request in requests}
        made_in = [Path(origin) for run in hashes & records.keys() if (origin := records[run].reused_from)]
        from_search = sum(folder.is_relative_to(self.folder.absolute()) for folder in made_in)
        done_before = len(hashes & records.keys()) - len(made_in)
        for sentence in reused_sentences(phase, len(hashes), len(made_in) - from_search, from_search, done_before):
            self.reporter.say(sentence)

    def _seconds(self, request: RunRequest, started: Mapping[str, int], rung: bool) -> float:
        """Predict the seconds for the rest of a run, or of its rung; 0 for a source, whose cost is unknown."""
        plan = request.plan
        images = backbone_images(plan, started.get(plan.hash, 0), requested_images(plan, rung))
        return self.image_seconds.get(request.role.variant, 0.0) * images

    def _add_results(
        self, runs: Sequence[RunRecord], missing: dict[str, RunRole], records: dict[str, RunRecord]
    ) -> None:
        """Move a job's runs from `missing` to `records`, report them, and update the mean runs of their arms."""
        conditions = set()
        for run in runs:
            records[run.hash] = run
            if (role := missing.pop(run.hash, None)) is not None:
                self.reporter.study_status(self.progress.finish(role, run))
                for sentence in self.health.new_finding_sentences(role, run):
                    self.reporter.say(sentence)
                if sentence := self.speed_check.message(run):
                    self.reporter.say(sentence)
                if role.stage is Stage.MAIN:
                    conditions.add((role.variant, role.budget, role.fraction))
        for condition in sorted(conditions):
            seed_means.rebuild_mean_runs(self.folder, self.spec, condition)


def reused_sentences(
    phase: Message, requested: int, from_studies: int, from_search: int, done_before: int
) -> Iterator[Message]:
    """Yield how many of the `requested` runs of a phase are not trained, and why.

    Args:
        phase: Description of the phase.
        requested: Number of its runs.
        from_studies: Number of runs that are reused from earlier studies.
        from_search: Number of runs that are reused from the search.
        done_before: Number of runs that an earlier phase of the study, or the study before it was resumed, has done.
    """
    values = {"phase": phase, "runs": ngettext("{count:,} run", "{count:,} runs", requested)}
    if from_studies:
        yield ngettext(
            "{phase:cap}: {count:,} of {runs} is reused from earlier studies.",
            "{phase:cap}: {count:,} of {runs} are reused from earlier studies.",
            from_studies,
            **values,
        )
    if from_search:
        yield ngettext(
            "{phase:cap}: {count:,} of {runs} is reused from the search.",
            "{phase:cap}: {count:,} of {runs} are reused from the search.",
            from_search,
            **values,
        )
    if done_before:
        yield ngettext(
            "{phase:cap}: {count:,} of {runs} is done already.",
            "{phase:cap}: {count:,} of {runs} are done already.",
            done_before,
            **values,
        )


@contextmanager
def in_progress(study: StudyRuns) -> Iterator[None]:
    """Lock the study's folder, and remove what a killed process left in it.

    Raises:
        InterruptedRunError: A signal stopped a run, or the study between two runs; the error says what is kept.
    """
    with locks.locked(study.folder), signals.raise_on_sigterm():
        try:
            cleanup.remove_partial_writes(study.folder)
            yield
        except KeyboardInterrupt as stop:
            number = stop.number if isinstance(stop, signals.TerminationRequested) else signal.SIGINT
            raise _interruption(study, number) from None
        except InterruptedRunError as stop:  # the hint of a run or engine does not name the study
            raise _interruption(study, signal.Signals(stop.exit_code - 128)) from None


def _interruption(study: StudyRuns, number: signal.Signals) -> InterruptedRunError:
    """Return the error of a study stopped by a signal, with what is kept and how to resume."""
    pending = study.progress.pending()
    runs = (run for part in ("", "search", "sources") for run in runs_in(study.folder, part))
    started = {run.hash for run in runs if run.has_checkpoint} & pending
    stop = InterruptedRunError(number, resume_hint(study.folder))
    stop.message = study.progress.stop_message(number.name, len(started))
    return stop
