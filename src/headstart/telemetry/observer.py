"""Convert events of the training loop to lines of the record, without changing what is observed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from headstart.i18n import Message, _, join
from headstart.storage.schemas.metrics import EpochLine, FreezeCheckLine, Line, ProbeLine, Speed, StepLine
from headstart.telemetry.cadence import probe_is_due, snapshot_is_due
from headstart.telemetry.tensor_stats import TensorSnapshot
from headstart.training.events import Backward, Epoch, Event, FreezeCheck, Step
from headstart.training.scoring import split_score
from headstart.training.setup import TrainingSetup


class Observer:
    """Converts the events of one run to lines for `metrics.jsonl`."""

    def __init__(
        self, setup: TrainingSetup, layers: Sequence[str] = (), probe: Callable[[int, int], ProbeLine] | None = None
    ) -> None:
        """Create an observer of one run.

        Args:
            setup: The setup of the run.
            layers: Module names of the layers whose tensors are measured.
            probe: Returns a line for (step, epoch); called when `cadence.probe_is_due`.
        """
        context = setup.context
        per_epoch, total, batch_size = context.batches.steps_per_epoch, context.steps, context.batches.batch_size
        self._layers = layers
        self._snapshot_due: Callable[[int], bool] = lambda step: snapshot_is_due(step, per_epoch, total)
        self._probe_due: Callable[[int], bool] = lambda step: probe_is_due(step, per_epoch, total, batch_size)
        self._flops, self._peak, self._probe = setup.flops, setup.peak, probe
        self._snapshot: TensorSnapshot | None = None

    def lines(self, event: Event) -> Iterator[Line]:
        """Yield the lines of the record for `event`; most events have none."""
        if isinstance(event, Backward):
            if self._snapshot_due(event.step):
                self._snapshot = TensorSnapshot(event.network, self._layers)
                self._snapshot.measure_gradients()
        elif isinstance(event, Step):
            yield StepLine(step=event.step, epoch=event.epoch, loss=event.loss, lr=event.rates, time=_now())
            if self._snapshot is not None:
                self._snapshot.measure_weights()
                yield self._snapshot.line(event.step, event.epoch)
                self._snapshot = None
            if self._probe is not None and self._probe_due(event.step):
                yield self._probe(event.step, event.epoch)
        elif isinstance(event, FreezeCheck):
            yield _freeze_check_line(event)
        elif isinstance(event, Epoch):
            yield self._epoch(event)

    def _epoch(self, event: Epoch) -> EpochLine:
        seconds = event.train_seconds or float("inf")
        flops = sum(self._flops[phase] * count for phase, count in event.images.items())
        speed = Speed(
            images_per_second=sum(event.images.values()) / seconds,
            mfu=self._peak.utilization(flops / seconds),
            train_seconds=event.train_seconds,
            val_seconds=event.val_seconds,
        )
        return EpochLine(
            step=event.step,
            epoch=event.epoch,
            train=split_score(event.train),
            val=split_score(event.val),
            lr=event.rates,
            best=event.best,
            confusion=event.val.counts,
            speed=speed,
            time=_now(),
        )


def _now() -> float:
    """Return the seconds since 1970, to the millisecond."""
    return round(time.time(), 3)


def _freeze_check_line(event: FreezeCheck) -> FreezeCheckLine:
    """Return the line of the record which shows that frozen tensors did not change."""
    return FreezeCheckLine(
        step=event.step,
        phase=event.phase,
        before=event.before,
        after=event.after,
        trained_tensors=event.trained_tensors,
        sentence=freeze_check_sentence(event),
    )


def freeze_check_sentence(check: FreezeCheck | FreezeCheckLine) -> Message:
    """Return the message at the end of a phase with frozen tensors."""
    return _(
        "Freeze check passed: all tensors but {number} kept their sha256 ({digest}…) in phase {phase}, BatchNorm "
        "statistics included.",
        number=check.trained_tensors,
        digest=check.after[:12],
        phase=check.phase,
    )


def epoch_sentence(line: EpochLine, epochs: int) -> Message:
    """Return the terminal's line for one epoch; `epochs` is their number in the whole run."""
    train, val, speed = line.train, line.val, line.speed
    numbers = _(
        "epoch {epoch}/{epochs}  train {train_accuracy:5.1f} % loss {train_loss:.3f}  val {val_accuracy:5.1f} % loss "
        "{val_loss:.3f}  lr {learning_rates}  {speed:.0f} images/s  MFU {mfu:.0f} %",
        epoch=f"{line.epoch:>{len(str(epochs))}}",
        epochs=epochs,
        train_accuracy=100 * train.accuracy,
        train_loss=train.loss,
        val_accuracy=100 * val.accuracy,
        val_loss=val.loss,
        learning_rates=" ".join(f"{rate:.3g}" for rate in dict.fromkeys(line.lr.values())),
        speed=speed.images_per_second,
        mfu=100 * speed.mfu,
    )
    return join([numbers, _("best so far, model saved")], "  ") if line.best else numbers
