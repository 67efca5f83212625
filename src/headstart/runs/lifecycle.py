"""The lifecycle of runs: open the folder, resume, train, record, save, stop on request, and end with the results.

Runs that are trained together have one lifecycle. How they are trained and what of them is saved is the part of a
`Trainer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from headstart.artifacts import gallery, predictions
from headstart.errors import DivergedError, InterruptedRunError
from headstart.i18n import Message, _
from headstart.reporter import Reporter
from headstart.runs.checkpoints import RunCheckpoints
from headstart.runs.result import write_evaluation, write_result, zero_logit_scores
from headstart.runs.session import RunSession
from headstart.signals import SignalGuard
from headstart.storage import locks
from headstart.storage.cache import remove_stale
from headstart.storage.schemas.result import RunState
from headstart.training import events
from headstart.training.scoring import Score

S = TypeVar("S", bound=RunSession)


class Trainer(Protocol[S]):
    """The steps in which the trainings of runs differ."""

    @property
    def sessions(self) -> Sequence[S]:
        """The runs, in the order in which they end."""

    @property
    def checkpoints(self) -> RunCheckpoints | None:
        """The checkpoints of the only run; without them nothing is written before the end of the training."""

    @property
    def resume_hint(self) -> Message:
        """Hint that says how to continue after a signal."""

    def folder(self, session: S) -> Path:
        """Return the folder of a run, which is made if it is new."""

    def train(self) -> Iterator[events.Event]:
        """Train the runs, and let their sessions observe the events.

        A run that diverges has the error in its session; it is not raised.

        Yields:
            Events after which the training can be saved and stopped.
        """

    def evaluate(self, session: S) -> Iterator[tuple[str, Score | None]]:
        """Evaluate the best model of a run.

        Yields:
            The name of a split, and None where the evaluation can be stopped or the score of the split.
        """

    def write_model(self, session: S) -> None:
        """Write the best model of a run, unless `train` has written it."""


def run(trainer: Trainer[S], reporter: Reporter, *, until: int | None = None) -> None:
    """Train runs from the start or from their checkpoint, and end them.

    Args:
        trainer: The steps that depend on the kind of training.
        reporter: Receives progress.
        until: Epoch after which the run pauses, with a checkpoint and no result.

    Raises:
        InterruptedRunError: A signal stopped the runs.
    """
    with SignalGuard() as guard:
        is_ended = _Lifecycle(trainer, reporter, guard).run(until)
    for session in trainer.sessions if is_ended else ():
        # a study makes a gallery only for the run whose model it exports
        if session.role is None and session.diverged is None:
            gallery.write_if_possible(session.run_logger.folder, reporter, session.setup)


class _Lifecycle(Generic[S]):
    """The lifecycle of the runs of one trainer."""

    def __init__(self, trainer: Trainer[S], reporter: Reporter, guard: SignalGuard) -> None:
        self._trainer, self._reporter, self._guard = trainer, reporter, guard
        self._open: list[S] = []  # runs whose folder is open
        self._samples: dict[int, bytes] = {}  # pictures of training samples, which runs of one seed share

    def run(self, until: int | None) -> bool:
        """Train and end the runs; return False if they have paused."""
        with ExitStack() as stack:
            if self._trainer.checkpoints is not None:
                for session in self._trainer.sessions:
                    stack.enter_context(self._opened(session))
            if not self._train(until):
                return False
            for session in self._trainer.sessions:
                self._raise_if_stop_requested()
                scores = self._evaluate(session)
                if session not in self._open:
                    with self._opened(session):
                        self._end(session, scores)
                else:
                    self._end(session, scores)
            self._guard.complete()
        return True

    @contextmanager
    def _opened(self, session: S) -> Iterator[None]:
        """Lock and open the folder of a run within the block, and resume from its checkpoint if it has one."""
        folder, checkpoints = self._trainer.folder(session), self._trainer.checkpoints
        with locks.locked(folder):
            for name in ("", "model", "artifacts"):
                remove_stale(folder, name)  # incomplete files of a crash
            saved = checkpoints.load(self._reporter) if checkpoints is not None else None
            with session.opened(folder, saved, lambda: self._samples_picture(session)):
                self._open.append(session)
                yield
                self._open.remove(session)

    def _samples_picture(self, session: S) -> bytes:
        seed = session.setup.plan.seeding.seed
        if seed not in self._samples:
            self._samples[seed] = predictions.render_samples(session.setup.context)
        return self._samples[seed]

    def _train(self, until: int | None) -> bool:
        """Train, save on schedule and stop on request; return False if the training has paused."""
        checkpoints = self._trainer.checkpoints
        for event in self._trainer.train():
            # read once: a signal that arrives after this line is handled at the next event
            is_stop = self._guard.pending() is not None
            if checkpoints is not None:
                if is_stop:
                    self._reporter.say(
                        _("Stopping with a checkpoint. A second signal stops at once, without a checkpoint.")
                    )
                is_pause = isinstance(event, events.Epoch) and event.epoch == until and not checkpoints.is_finished
                if is_stop or is_pause or checkpoints.is_due(event):
                    (session,) = self._trainer.sessions
                    checkpoints.save(session)
                if is_pause and not is_stop:
                    return False
            if is_stop:
                self._raise_if_stop_requested()
        return True

    def _raise_if_stop_requested(self) -> None:
        """Save open runs that have checkpoints, and raise InterruptedRunError, after a signal."""
        if (number := self._guard.pending()) is not None:
            for session in self._open:
                if self._trainer.checkpoints is not None:
                    self._trainer.checkpoints.save(session)  # does nothing if this state is saved
                session.record_stop(number)
            raise InterruptedRunError(number, self._trainer.resume_hint)

    def _evaluate(self, session: S) -> dict[str, Score]:
        """Return the scores of the best model on val, and on test for the first and only time.

        A diverged run is evaluated by its best model before that. A run without a best model, or with one whose loss
        is not finite, is evaluated by logits of 0.
        """
        try:
            if session.best_epoch:
                return self._scores(session)
        except DivergedError as error:
            session.diverged = session.diverged or error
        return zero_logit_scores(session.setup)

    def _scores(self, session: S) -> dict[str, Score]:
        scores: dict[str, Score] = {}
        for name, score in self._trainer.evaluate(session):
            if score is None:
                self._raise_if_stop_requested()
            elif not math.isfinite(score.loss):
                raise DivergedError(
                    _("The best model's {split} loss is {loss}.", split=name, loss=score.loss),
                    _("Divide --lr by 10."),
                )
            else:
                scores[name] = score
        return scores

    def _end(self, session: S, scores: dict[str, Score]) -> None:
        """Write everything that a run has at its end: model, findings, evaluation and result."""
        self._trainer.write_model(session)
        session.report_findings(RunState.FINISHED if session.diverged is None else RunState.DIVERGED)
        evaluation = write_evaluation(session, scores)
        write_result(session, evaluation)
        if self._trainer.checkpoints is not None:
            self._trainer.checkpoints.remove()
