"""Track the progress of a study: runs done by arm, and an estimate of the remaining time."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from headstart.analysis.run_records import ConditionKey, RunRecord, epoch_score
from headstart.analysis.statistics import time_to_target
from headstart.analysis.wording import arm_words, role_words
from headstart.config.duration import parse_seconds
from headstart.config.run_config import RunConfig
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec
from headstart.experiment.lr_search import is_narrow
from headstart.experiment.workload import (
    END_S,
    ArmCost,
    CostSoFar,
    requested_images,
    rung_length,
    seconds_left,
    trial_counts,
    workload,
)
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.reporter import ArmStatus, StudyStatus
from headstart.runs.job_protocol import RunRequest
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.study import RunRole, Stage
from headstart.text import format_duration, format_remaining


def search_phase(protocol: StudyConfig, seed: int, rung: int, extension: int) -> Message:
    """Describe a phase of the search.

    Args:
        protocol: Rules of the study.
        seed: Search seed, named if each seed has its own search.
        rung: Epochs of the longest rung; 0 for whole runs.
        extension: How often the grid has been extended.
    """
    length = ngettext("first epoch", "first epochs", rung) if rung else _("whole runs")
    if protocol.search == "per-seed":
        if extension == 0:
            return _("search for seed {seed}, {length}", seed=seed, length=length)
        if extension == 1:
            return _("search for seed {seed}, wider grid, {length}", seed=seed, length=length)
        return _("search for seed {seed}, still wider grid, {length}", seed=seed, length=length)
    if extension == 0:
        return _("search, {length}", length=length)
    if extension == 1:
        return _("search, wider grid, {length}", length=length)
    return _("search, still wider grid, {length}", length=length)


def comparison_phase(spec: StudySpec, seeds: Sequence[int]) -> Message:
    """Describe the comparison on some of the paired seeds, after a search for each, or up to an interim analysis."""
    if spec.searches_each_seed:
        return _("comparison with seed {seed}", seed=seeds[-1])
    if not spec.protocol.interim:
        return _("comparison")
    count = spec.seed_range.index(seeds[-1]) + 1
    return ngettext("comparison, up to {count} seed", "comparison, up to {count} seeds", count)


class Progress:
    """Count the work of a study that is done and that remains.

    The cost of an arm is the wall-clock time between one answer of the engine and the next. It includes all costs of a
    run, and concurrent runs share it. The remaining work is what was requested and is not done, and what is expected to
    be requested.
    """

    def __init__(
        self,
        spec: StudySpec,
        clock: Callable[[], float] = time.monotonic,
        compared: Stage = Stage.MAIN,
        runs_here: int = 0,
    ) -> None:
        """Start without runs.

        Args:
            spec: The study.
            clock: Returns seconds.
            compared: Stage of the runs that are compared.
            runs_here: Number of runs at a time on this machine; 0 if others run them.
        """
        self.spec, self._clock, self._compared_stage, self._runs_here = spec, clock, compared, runs_here
        self._started = self._last_answer = clock()
        self._spent: dict[str, CostSoFar] = {}
        self._costs: dict[str, ArmCost] = {}  # by variant
        self._pending: dict[str, dict[str, float]] = defaultdict(dict)  # variant -> hash -> predicted seconds
        self._requested: set[tuple[str, bool]] = set()  # (hash, whether a rung) of every requested run
        self._expected: dict[str, dict[Stage, float]] = {}  # variant -> stage -> predicted seconds, not requested yet
        self._main_runs: dict[str, int] = defaultdict(int)  # requested runs of the comparison, by variant
        self._trials: dict[str, int] = defaultdict(int)  # finished trials of the search, by variant
        self._compared: dict[ConditionKey, dict[str, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
        self._stage: Stage | None = None  # of the latest request
        self._condition = ConditionKey(str(spec.budgets[0]), spec.protocol.fractions[0])
        self._phase, self._rung = join([]), False  # description of the latest request, and whether it is of rungs
        self._done, self._total = 0, 0  # runs of the latest request

    def expect(self, plans: Mapping[str, RunConfig], image_seconds: Mapping[str, float]) -> None:
        """Set the expected work.

        Args:
            plans: A resolved configuration of each variant.
            image_seconds: Measured seconds of a training image, by variant.
        """
        protocol, budgets = self.spec.protocol, len(self.spec.budgets)
        for variant, plan in plans.items():
            narrow = is_narrow(plan.arm.tuning)
            rungs, trials = trial_counts(protocol, narrow=narrow) if self.spec.searches_lr else (0, 0)
            counts, batch_size = plan.facts.split_counts, plan.recipe.batch_size
            load = workload(self.spec, counts.train, batch_size, rung_length(plan), narrow=narrow)
            cost = self._costs[variant] = ArmCost.of(plan, image_seconds[variant])
            rung = cost.seconds(load.rung_images, runs=rungs * budgets, evaluations=0)
            whole = cost.seconds(load.full_run_images, runs=trials * budgets, evaluations=trials * budgets)
            compared = protocol.all_seeds * budgets * len(protocol.fractions)
            # a rate is often added at an edge of the grid, which costs about as much as one of the grid
            added = (rung + whole) / len(protocol.grid) if rung else 0.0
            self._expected[variant] = {
                Stage.SEARCH: rung + whole + added,
                self._compared_stage: cost.seconds(load.comparison_images, runs=compared, evaluations=compared),
            }

    def request(
        self,
        phase: Message,
        requests: Sequence[RunRequest],
        done: Mapping[str, RunRecord],
        started: Mapping[str, int],
        rung: bool,
    ) -> StudyStatus:
        """Add requested runs.

        Args:
            phase: Description of the phase of the study that requests them.
            requests: The runs.
            done: Records of finished runs, by hash.
            started: Images that unfinished runs have trained on, by hash.
            rung: Only the rungs of the runs are requested.
        """
        self._last_answer, self._phase, self._rung = self._clock(), phase, rung
        hashes = {request.plan.hash for request in requests}
        self._done, self._total = len(hashes & done.keys()), len(hashes)
        for request in requests:
            plan, role = request.plan, request.role
            if role.stage is Stage.SEARCH:
                self._condition = ConditionKey(role.budget, role.fraction)
            self._stage = role.stage
            images = requested_images(plan, rung) - started.get(plan.hash, 0)
            seconds = self._predicted(role, images, evaluations=int(not rung))
            if (plan.hash, rung) not in self._requested:  # an interim analysis requests earlier seeds again
                self._requested.add((plan.hash, rung))
                self._reduce_expected(role, seconds)
            if plan.hash in done:
                self._add(role, done[plan.hash])
            else:
                self._pending[role.variant][plan.hash] = seconds
        return self.table(join([]))

    def _predicted(self, role: RunRole, images: int, *, evaluations: int) -> float:
        """Return the predicted seconds of a run; 0 for a source, which belongs to no arm."""
        cost = self._costs.get(role.variant)
        return cost.seconds(images, evaluations=evaluations) if cost is not None else 0.0

    def _reduce_expected(self, role: RunRole, seconds: float) -> None:
        """Reduce the expected work by a requested run; once all arms are compared, no more trials are expected."""
        expected = self._expected.get(role.variant, {})  # a source is no arm
        expected[role.stage] = max(0.0, expected.get(role.stage, 0.0) - seconds)
        if role.stage is self._compared_stage:
            protocol = self.spec.protocol
            self._main_runs[role.variant] += 1
            if not self.spec.searches_each_seed:
                expected[Stage.SEARCH] = 0.0
            if self._main_runs[role.variant] >= protocol.all_seeds * len(self.spec.budgets) * len(protocol.fractions):
                expected[self._compared_stage] = expected[Stage.SEARCH] = 0.0

    def finish(self, role: RunRole, record: RunRecord) -> StudyStatus:
        """Add the result of a requested run that has ended."""
        now, variant = self._clock(), role.variant
        spent = self._spent.get(variant, CostSoFar())
        predicted = self._pending[variant].pop(record.hash, 0.0)
        if record.done and predicted:  # heads that are trained together run to the end although a rung was requested
            predicted = max(predicted, self._predicted(role, record.length().images, evaluations=1))
        if predicted and not record.reused_from:  # a reused run costs nothing and does not predict the others
            self._spent[variant] = CostSoFar(spent.predicted + predicted, spent.seconds + now - self._last_answer)
        self._last_answer = now
        self._done += 1
        self._add(role, record)
        return self.table(join(self._columns(role, record), "  "))

    def _columns(self, role: RunRole, record: RunRecord) -> Iterator[Message]:
        """Yield the columns of the line about a run that has ended."""
        yield self._count()
        yield role_words(role)
        if self._has_conditions() and role.stage is not Stage.SOURCE:
            yield self._condition_words()
        yield _("seed {seed}", seed=record.seed)
        yield _("lr {learning_rate:g}", learning_rate=record.rate)
        score = 100 * self._score(record)
        if record.state is RunState.DIVERGED:
            yield _("val {score:.1f} %, diverged", score=score)
        else:
            yield _("val {score:.1f} %", score=score)

    def _score(self, record: RunRecord) -> float:
        """Return the score on val that the present phase uses: after a rung, that of its last epoch."""
        metric = self.spec.protocol.metric
        if self._rung and record.epochs:  # heads that are trained together run to the end
            return epoch_score(record.epochs[: record.rung][-1], metric)
        return record.val_score(metric)

    def _add(self, role: RunRole, record: RunRecord) -> None:
        if role.stage is Stage.SEARCH:
            self._trials[role.variant] += 1
        elif role.stage is self._compared_stage:
            self._condition = ConditionKey(role.budget, role.fraction)
            self._compared[self._condition][role.variant][record.seed] = record

    def pending(self) -> set[str]:
        """Return the hashes of the requested runs that are not done."""
        return {run for runs in self._pending.values() for run in runs}

    def stop_message(self, signal_name: str, started: int) -> Message:
        """Describe where a signal has stopped the study and what is kept; `started` runs are not finished."""
        if not self._phase:
            return _("Stopped by {signal} before its first run: all finished work is kept.", signal=signal_name)
        done = ngettext(
            "{count} of {runs} is done",
            "{count} of {runs} are done",
            self._done,
            runs=ngettext("{count:,} run", "{count:,} runs", self._total),
        )
        if not started:
            return _(
                "Stopped by {signal} during its {phase}: {done}, all finished runs are kept.",
                signal=signal_name,
                phase=self._phase,
                done=done,
            )
        return ngettext(
            "Stopped by {signal} during its {phase}: {done}, all finished runs are kept, and {count} unfinished run "
            "resumes from its last checkpoint.",
            "Stopped by {signal} during its {phase}: {done}, all finished runs are kept, and {count} unfinished runs "
            "resume from their last checkpoints.",
            started,
            signal=signal_name,
            phase=self._phase,
            done=done,
        )

    def overrun(self, added: int) -> Message:
        """Return a sentence on a study that took longer than its time budget, with the causes, else "".

        The time before the study was last resumed is unknown.

        Args:
            added: Learning rates that were added to the grid.
        """
        budget, took = self.spec.protocol.time_budget, self._clock() - self._started
        if not budget or took <= parse_seconds(budget):
            return join([])
        rates = ngettext(
            "a learning rate was added at the edges of the grid",
            "{count} learning rates were added at the edges of the grid",
            added,
        )
        causes = [
            *([rates] if added else []),
            _("runs may take longer than measured before, for example beside other processes on this machine"),
        ]
        return _(
            "The study took {duration}; --time-budget was {limit}: {causes}. The study was not shortened, since its "
            "seeds and epochs are declared before its first run.",
            duration=format_duration(took),
            limit=format_duration(parse_seconds(budget)),
            causes=join(causes, "; "),
        )

    def seconds_left(self) -> float | None:
        """Estimate the seconds that the study still takes, from predictions alone before the first answer.

        None if nothing is known, as on other machines.
        """
        remaining = {variant: sum(runs.values()) for variant, runs in self._pending.items()}
        for variant, stages in self._expected.items():
            remaining[variant] = remaining.get(variant, 0.0) + sum(stages.values())
        left = seconds_left(self._spent, remaining, 1 / self._runs_here if self._runs_here else None)
        return left + END_S if left else left

    def table(self, latest: Message) -> StudyStatus:
        """Return the status of all arms under the current budget and fraction.

        Args:
            latest: A line on the run that has just ended, or "".
        """
        protocol = self.spec.protocol
        rows = tuple(self._row(variant.arm) for variant in self.spec.variants)
        left = format_remaining(self.seconds_left(), datetime.now())
        title = _("{phase}: {condition}", phase=self._count(), condition=self._condition_words())
        return StudyStatus(title, protocol.target, rows, latest, left)

    def _count(self) -> Message:
        return _("{phase} {done}/{total}", phase=self._phase, done=self._done, total=self._total)

    def _has_conditions(self) -> bool:
        """Return whether the study has more than one budget or fraction."""
        return len(self.spec.budgets) > 1 or len(self.spec.protocol.fractions) > 1

    def _condition_words(self) -> Message:
        condition = self._condition
        if len(self.spec.protocol.fractions) > 1:
            return _("{budget}, {share:.3g} % of the images", budget=condition.budget, share=100 * condition.fraction)
        return verbatim(condition.budget)

    def _row(self, arm: ArmSpec) -> ArmStatus:
        """Return the status of one variant under the current condition."""
        protocol, variant = self.spec.protocol, arm.name
        records = self._compared[self._condition][variant].values()
        trials = self._trials[variant]
        is_search = self._stage is Stage.SEARCH
        state = ngettext("{count:,} trial", "{count:,} trials", trials) if is_search else _("waiting")
        if records:
            state = _("done") if len(records) == protocol.all_seeds else _("comparing")
        val = sum(r.val_score(protocol.metric) for r in records) / len(records) if records else None
        median = None
        if records and protocol.target:
            times = [r.to_target(protocol.target, protocol.metric) for r in records]
            median = time_to_target([None if t is None else t.epochs for t in times]).median
        return ArmStatus(arm_words(arm), state, len(records), protocol.all_seeds, val, median)
