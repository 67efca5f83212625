"""Lines of a run's record, `metrics.jsonl`. Every line has its `kind` and `step`, the number of updates done."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, TypeAdapter

from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.storage.schemas.schema import Count, Positive, Schema, Seconds, Share, VersionedSchema

LayerValues = dict[str, Positive | None]  # norms by layer, or ratios of them; None is one that is not finite
FindingCode = Annotated[
    str, Field(pattern="^[a-z0-9]+(-[a-z0-9]+)*$", description="identifier, which does not change")
]  # a key of `headstart.diagnostics.registry.HEALTH_CHECKS`


MAX_BINS = 100_000  # of a histogram
BEGIN: Literal["begin"] = "begin"  # kind of the first line


class BeginLine(VersionedSchema):
    """The run begins; the first line, with the version of all lines."""

    kind: Literal["begin"] = BEGIN
    step: Count = Field(0, description="number of updates done")
    time: Seconds = Field(description="seconds since 1970")


class ImageLine(Schema):
    """An image inside the run folder."""

    kind: Literal["image"] = "image"
    step: Count = Field(0, description="number of updates done")
    tag: str = Field(description="TensorBoard tag")
    file: str = Field(description="path of a PNG or JPEG, relative to the run folder")


class StepLine(Schema):
    """One update of the weights."""

    kind: Literal["step"] = "step"
    step: Count = Field(description="number of updates done")
    epoch: Count = Field(description="epoch of the step, from 1")
    loss: float = Field(description="loss of the batch")
    lr: dict[str, Positive] = Field(
        min_length=1, description="learning rate by part (`backbone`, `head`), read back from the optimizer"
    )
    time: Seconds = Field(description="seconds since 1970")


class Histogram(Schema):
    """Counts of values in equal bins."""

    low: float = Field(description="lower end of the first bin")
    high: float = Field(description="upper end of the last bin")
    n: Count = Field(description="number of finite values")
    sum: float = Field(description="sum of the finite values")
    sum_squares: Positive = Field(description="sum of their squares")
    counts: list[Count] = Field(max_length=MAX_BINS, description="values in each bin")
    not_finite: Count = Field(0, description="number of values that are not finite")


class SnapshotLine(Schema):
    """Weights and gradients of every layer after one step."""

    kind: Literal["snapshot"] = "snapshot"
    step: Count = Field(description="number of updates done")
    epoch: Count = Field(description="epoch of the step, from 1")
    weights: dict[str, Histogram] = Field(description="by layer, the weights after the update")
    gradients: dict[str, Histogram] = Field(description="by layer that is not frozen, the gradients before clipping")
    gradient_norm: LayerValues = Field(description="by layer, norm of the gradients before clipping")
    update_ratio: LayerValues = Field(description="by layer, norm of the update over norm of the weights")


class ProbeLine(Schema):
    """The gradient probe: signals and gradients on 8 fixed training images."""

    kind: Literal["probe"] = "probe"
    step: Count = Field(description="number of updates done")
    epoch: Count = Field(description="epoch of the step; 0 before the first step")
    loss: float | None = Field(description="mean cross-entropy L of the images; null if not finite")
    block_gradient_norm: LayerValues = Field(description="by block, norm of ∂L/∂h at its output h")
    zero_activations: dict[str, Share] = Field(description="by layer before a ReLU, share of zeros after it")
    dead_channels: dict[str, Share] = Field(
        description="by layer before a ReLU, share of filters that are zero on all images"
    )
    distance_from_init: LayerValues = Field(
        description="by layer, norm of its change since the start over the norm at the start"
    )


class FindingLine(Schema):
    """A finding, when `diagnose` would first report it."""

    kind: Literal["finding"] = "finding"
    step: Count = Field(description="number of updates done")
    code: FindingCode
    name: str = Field(description="name in texts")
    layer: str = Field(description="name of the layer or block; empty if it is about none")
    epoch: Count = Field(description="epoch of the value; 0 before the first step")
    value: float | None = Field(description="the measured value; null if not finite or not measured")
    threshold: float = Field(description="limit of the value")
    evidence: str = Field(description="what was measured")
    meaning: str = Field(description="what it means")
    advice: str = Field(description="what to do")
    unhealthy: bool = Field(description="false for a note on what the user asked for, such as frozen layers")
    sentence: str = Field(description="`evidence`, `meaning` and `advice`")


class WithdrawnLine(Schema):
    """A finding that no longer holds at the end of the run."""

    kind: Literal["withdrawn"] = "withdrawn"
    step: Count = Field(description="number of updates done")
    code: FindingCode
    name: str = Field(description="name in texts")
    sentence: str = Field(description="the withdrawal in words")


class FreezeCheckLine(Schema):
    """Hashes that show that frozen tensors did not change in a phase."""

    kind: Literal["freeze_check"] = "freeze_check"
    step: Count = Field(description="number of updates done")
    phase: str = Field(description="name of the training phase")
    before: str = Field(description="sha256 of all frozen tensors at the beginning of the phase")
    after: str = Field(description="the same at its end")
    trained_tensors: Count = Field(description="number of tensors that were not frozen")
    sentence: str = Field(description="the result in words")


class SplitScore(Schema):
    """Mean loss and accuracy over n images."""

    loss: float = Field(description="mean loss")
    accuracy: Share = Field(description="share of correct predictions")
    n: Count = Field(description="number of images")


class Speed(Schema):
    """Speed of an epoch."""

    images_per_second: Positive = Field(description="training images per second")
    mfu: Positive = Field(description="model FLOP/s over the peak of the device")
    train_seconds: Seconds = Field(description="duration of the training")
    val_seconds: Seconds = Field(description="duration of the validation")


class EpochLine(Schema):
    """The end of an epoch."""

    kind: Literal["epoch"] = "epoch"
    step: Count = Field(description="number of updates done")
    epoch: Count = Field(description="number of the epoch, from 1")
    train: SplitScore = Field(description="scores on the training images")
    val: SplitScore = Field(description="scores on val")
    lr: dict[str, Positive] = Field(min_length=1, description="learning rate by part at the last step")
    best: bool = Field(description="whether it is the best epoch so far")
    confusion: ConfusionCounts = Field(description="confusion counts on val")
    speed: Speed = Field(description="speed of the epoch")
    time: Seconds = Field(description="seconds since 1970")


class ScoreWithoutCopies(Schema):
    """Accuracy on the images of a split that have no copy in another split from which the model was made."""

    copies: Count = Field(description="number of images with a copy, equal or a near-duplicate; they are left out")
    n: Count = Field(description="number of images without a copy")
    accuracy: Share | None = Field(description="share of correct predictions of these; null if there are none")


class Evaluation(Schema):
    """Evaluation of the best model on one split, in fp32."""

    loss: float = Field(description="mean cross-entropy")
    accuracy: Share = Field(description="share of correct predictions")
    n: Count = Field(description="number of images")
    units: Count = Field(description="number of their units: images in one group or nearly equal are one unit")
    correct: Count = Field(description="number of correct predictions")
    interval: tuple[Share, Share] = Field(
        description="95 % interval of the accuracy (Wilson 1927), at the effective number of independent images"
    )
    confusion: ConfusionCounts = Field(description="confusion counts")
    without_copies: ScoreWithoutCopies | None = Field(
        None, description="accuracy without images that the model has seen elsewhere; null if there are none of them"
    )


class EndLine(Schema):
    """The evaluation of the best model."""

    kind: Literal["end"] = "end"
    step: Count = Field(description="number of updates done")
    epoch: Count = Field(description="last epoch")
    val: Evaluation = Field(description="evaluation on val")
    test: Evaluation | None = Field(None, description="evaluation on test; null if the run was not evaluated on it")

    @property
    def without_test(self) -> Self:
        """The same line without the evaluation on test."""
        return self.model_copy(update={"test": None})


class StoppedLine(Schema):
    """A signal stopped the run; the line is removed when the run continues."""

    kind: Literal["stopped"] = "stopped"
    step: Count = Field(description="number of updates done")
    signal: str = Field(description="name of the signal")


Line = (
    BeginLine
    | ImageLine
    | StepLine
    | SnapshotLine
    | ProbeLine
    | FindingLine
    | WithdrawnLine
    | FreezeCheckLine
    | EpochLine
    | EndLine
    | StoppedLine
)
TimedLine = BeginLine | StepLine | EpochLine  # lines with a `time`
LINE: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])
