"""The record of a run in progress, its position and the health checks on it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from headstart.diagnostics import checks
from headstart.diagnostics.history import History
from headstart.errors import DivergedError
from headstart.reporter import Reporter
from headstart.runs.run_folder import begin_record, is_blind
from headstart.storage import journal
from headstart.storage.schemas.metrics import (
    EpochLine,
    FindingLine,
    FreezeCheckLine,
    Line,
    StepLine,
    StoppedLine,
    WithdrawnLine,
)
from headstart.storage.schemas.result import RunSeconds, RunState
from headstart.storage.schemas.study import RunRole
from headstart.telemetry.observer import Observer, epoch_sentence, freeze_check_sentence
from headstart.telemetry.run_logger import RunLogger
from headstart.training import events
from headstart.training.checkpoint import RunPosition
from headstart.training.setup import TrainingSetup


class RunSession:
    """A run in progress: the lines of its record, how far it is, and the findings reported.

    Lines are kept until the folder of the run is opened.
    """

    def __init__(self, setup: TrainingSetup, role: RunRole | None, observer: Observer, reporter: Reporter) -> None:
        """Start at the first step.

        Args:
            setup: The setup of the run.
            role: The role of the run in a study.
            observer: Converts the events of the training to lines.
            reporter: Receives epochs and findings.
        """
        self.setup, self.role = replace(setup, blind=is_blind(role)), role
        self.step = self.epoch = self.best_epoch = 0  # of the last lines
        self.diverged: DivergedError | None = None
        self.is_resumed = False
        self._observer, self._reporter = observer, reporter
        self._history = History(setup.plan)
        self._reported: set[str] = set()  # codes of reported findings
        self._training_seconds = self._logging_seconds = 0.0
        self._run_logger: RunLogger | None = None
        self._unwritten: list[Line] = []  # lines from before the folder is opened

    @property
    def run_logger(self) -> RunLogger:
        """The logger of the run, whose folder must have been opened."""
        assert self._run_logger is not None  # noqa: S101
        return self._run_logger

    @property
    def seconds(self) -> RunSeconds:
        """Duration of the run so far."""
        return RunSeconds(training=self._training_seconds, logging=self._logging_seconds)

    @contextmanager
    def opened(self, folder: Path, saved: RunPosition | None, samples: Callable[[], bytes]) -> Iterator[None]:
        """Open the record and the event file of the run within the block, and write the lines so far.

        Args:
            folder: The folder of the run.
            saved: The position in the checkpoint from which the run continues; None to begin a new record.
            samples: Returns the picture of training samples for a new record.
        """
        kept, is_of_study = saved.bytes if saved else 0, self.role is not None and self.role.awaits_verdict
        with RunLogger(folder, self.setup.plan, kept, withholds_test=is_of_study) as self._run_logger:
            if saved is None:
                begin_record(self._run_logger, samples())
            else:
                self._restore(saved)
            clock = time.perf_counter()
            for line in self._unwritten:
                self._run_logger.write(line)
            self._logging_seconds += time.perf_counter() - clock
            yield

    def _restore(self, saved: RunPosition) -> None:
        """Restore the position, the history and the reported findings from the record, and the times."""
        self.is_resumed = True
        self._training_seconds, self._logging_seconds = saved.seconds.training, saved.seconds.logging
        for line in journal.read_lines(self.run_logger.folder / "metrics.jsonl"):
            self._follow(line)
            if isinstance(line, FindingLine):
                self._reported.add(line.code)
            elif isinstance(line, WithdrawnLine):
                self._reported.discard(line.code)

    def write(self, line: Line) -> None:
        """Write a line to the record, and follow it for the position and the health checks."""
        if self._run_logger is None:
            self._unwritten.append(line)
        else:
            self._run_logger.write(line)
        self._follow(line)

    def _follow(self, line: Line) -> None:
        self._history.add(line)
        if isinstance(line, StepLine):
            self.step = line.step
        elif isinstance(line, EpochLine):
            self.epoch = line.epoch
            self.best_epoch = line.epoch if line.best else self.best_epoch

    @contextmanager
    def logging_time(self) -> Iterator[None]:
        """Count the time of the block as logging."""
        clock = time.perf_counter()
        yield
        self._logging_seconds += time.perf_counter() - clock

    def observe(self, event: events.Event) -> None:
        """Write the lines of an event, and report epochs, freeze checks and new findings."""
        context = self.setup.context
        epochs = -(-context.steps // context.batches.steps_per_epoch)
        with self.logging_time():
            for line in self._observer.lines(event):
                self.write(line)
                if isinstance(line, FreezeCheckLine):
                    self._reporter.say(freeze_check_sentence(line))
                elif isinstance(line, EpochLine):
                    self._reporter.say(epoch_sentence(line, epochs))
                    self.report_findings()
        if isinstance(event, events.Epoch):
            self._training_seconds += event.train_seconds + event.val_seconds

    def report_findings(self, state: RunState = RunState.UNFINISHED) -> None:
        """Report new findings in the terminal and in the record, and so in TensorBoard.

        Args:
            state: The state of the run; when it has ended, findings that no longer hold are withdrawn.
        """
        self._history.state = state
        for notice in checks.new_notices(self._history, self._reported, self.step):
            self.write(notice.line)
            self._reporter.say(notice.message)

    def record_stop(self, number: signal.Signals) -> None:
        """Write durably that a signal stopped the run."""
        self.write(StoppedLine(step=self.step, signal=number.name))
        self.run_logger.sync()
