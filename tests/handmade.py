"""Hand-made lines of a record, results and roles; values that a test does not give are plausible."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.config.plan_file import PLAN_FILE, PlanFile, read_plan_file, write_plan_file
from headstart.config.run_config import RunConfig
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.storage import seals
from headstart.storage.files import write_json
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.metrics import (
    EpochLine,
    Evaluation,
    Histogram,
    LayerValues,
    ProbeLine,
    SnapshotLine,
    Speed,
    SplitScore,
    StepLine,
)
from headstart.storage.schemas.result import RESULT_FILE, RunResult, RunSeconds, RunState
from headstart.storage.schemas.seal import UNSEALED
from headstart.storage.schemas.study import RunRole, Stage

SPEED = Speed(images_per_second=100.0, mfu=0.1, train_seconds=1.0, val_seconds=0.5)


def step_line(
    step: int, loss: float = 1.0, *, epoch: int = 1, lr: Mapping[str, float] | None = None, time: float = 0.0
) -> StepLine:
    return StepLine(step=step, epoch=epoch, loss=loss, lr=dict(lr or {"head": 0.01}), time=time)


def histogram(low: float, high: float, counts: list[int], not_finite: int = 0) -> Histogram:
    return Histogram(low=low, high=high, n=sum(counts), sum=0.0, sum_squares=1.0, counts=counts, not_finite=not_finite)


def snapshot_line(
    step: int,
    epoch: int = 1,
    *,
    update_ratio: LayerValues | None = None,
    gradient_norm: LayerValues | None = None,
    weights: dict[str, Histogram] | None = None,
    gradients: dict[str, Histogram] | None = None,
) -> SnapshotLine:
    return SnapshotLine(
        step=step,
        epoch=epoch,
        weights=weights or {},
        gradients=gradients or {},
        gradient_norm=gradient_norm or {},
        update_ratio=update_ratio or {},
    )


def probe_line(
    step: int = 0,
    epoch: int = 0,
    *,
    loss: float | None = 1.0,
    block_gradient_norm: LayerValues | None = None,
    zero_activations: dict[str, float] | None = None,
    dead_channels: dict[str, float] | None = None,
    distance_from_init: LayerValues | None = None,
) -> ProbeLine:
    return ProbeLine(
        step=step,
        epoch=epoch,
        loss=loss,
        block_gradient_norm=block_gradient_norm or {},
        zero_activations=zero_activations or {},
        dead_channels=dead_channels or {},
        distance_from_init=distance_from_init or {},
    )


def counts_of(table: Sequence[Sequence[int]]) -> ConfusionCounts:
    """Return the confusion counts of a matrix [true][predicted]."""
    cells = [(i, j, int(n)) for i, row in enumerate(table) for j, n in enumerate(row) if n]
    true, predicted, counts = zip(*cells, strict=True) if cells else ((), (), ())
    return ConfusionCounts(classes=len(table), true=list(true), predicted=list(predicted), counts=list(counts))


def table_of(counts: ConfusionCounts) -> list[list[int]]:
    """Return the matrix [true][predicted] of confusion counts."""
    table = [[0] * counts.classes for _ in range(counts.classes)]
    for true, predicted, count in zip(counts.true, counts.predicted, counts.counts, strict=True):
        table[true][predicted] = count
    return table


def read_table(run: Path) -> list[list[int]]:
    """Return the confusion matrix [true][predicted] of a run on test, from result.json."""
    return table_of(ConfusionCounts.model_validate(json.loads((run / RESULT_FILE).read_text())["test"]["confusion"]))


def split_score(loss: float = 1.0, accuracy: float = 0.5, n: int = 10) -> SplitScore:
    return SplitScore(loss=loss, accuracy=accuracy, n=n)


def epoch_line(
    step: int,
    epoch: int,
    *,
    train: SplitScore | None = None,
    val: SplitScore | None = None,
    lr: Mapping[str, float] | None = None,
    best: bool = True,
    confusion: Sequence[Sequence[int]] = (),
    speed: Speed = SPEED,
    time: float = 0.0,
) -> EpochLine:
    return EpochLine(
        step=step,
        epoch=epoch,
        train=train or split_score(),
        val=val or split_score(),
        lr=dict(lr or {"head": 0.01}),
        best=best,
        confusion=counts_of(confusion),
        speed=speed,
        time=time,
    )


def evaluation(accuracy: float = 0.5, n: int = 10, loss: float = 1.0) -> Evaluation:
    """Return an evaluation on two classes."""
    correct = round(accuracy * n)
    confusion = [[correct, n - correct], [0, 0]]
    return Evaluation(
        loss=loss, accuracy=accuracy, n=n, units=n, correct=correct, interval=(0.0, 1.0), confusion=counts_of(confusion)
    )


def run_result(
    state: RunState = RunState.FINISHED,
    *,
    best_epoch: int = 1,
    epochs: int = 1,
    val: Evaluation | None = None,
    test: Evaluation | None = None,
) -> RunResult:
    return RunResult(
        arm="scratch@sgd",
        seed=0,
        plan="hash",
        state=state,
        best_epoch=best_epoch,
        epochs=epochs,
        val=val or evaluation(),
        test=test,
        evaluation_split="test" if test else "val",
        seconds=RunSeconds(training=1.0, logging=0.0),
        seal=UNSEALED,
    )


def arm_spec(name: str) -> ArmSpec:
    """Return the arm of a name, `START[+TUNING][+HEAD][@OPTIMIZER][,FIELD=VALUE…]`."""
    arm, *varied = name.split(",")
    values = dict(value.split("=") for value in varied)
    start, *parts = arm.partition("@")[0].split("+")
    heads = [part for part in parts if part.partition(":")[0] in ("linear", "mlp")]
    return ArmSpec(
        start=start,
        label=start,
        tuning=next((part for part in parts if part not in heads), None),
        head=next(iter(heads), None),
        optimizer=arm.partition("@")[2] or None,
        varied={field.replace("-", "_"): value for field, value in values.items()},
    )


def run_role(variant: str = "scratch", stage: Stage = Stage.MAIN, *, budget: str = "10ep") -> RunRole:
    return RunRole(arm=arm_spec(variant), stage=stage, budget=budget, fraction=1.0)


def write_run_files(
    folder: Path, plan: RunConfig, *, hash: str = "hash", role: RunRole | None = None, result: RunResult | None = None
) -> None:
    """Write plan.json, and result.json if there is a result, into a run folder.

    What the plan leaves open is resolved. `hash` is the fingerprint of its images if it has none, and decides its hash.
    A run with a result gets an empty record if it has none; `seal` seals it again when its files have changed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan = resolved(plan, hash)
    write_plan_file(folder, PlanFile(hash=plan.hash, plan=plan, environment={"python": "3"}, study=role))
    if result is not None:
        (folder / "metrics.jsonl").touch()
        write_json(folder / RESULT_FILE, result.to_json())
        seal(folder)


def resolved(plan: RunConfig, fingerprint: str = "") -> RunConfig:
    """Return a plan with the fields that are not resolved, so that it has a hash."""
    values = {"network": "resnet20", "device": "cpu", "precision": "fp32", "threads": 1, "crop": 0.35, "flip": "off"}
    opened = {name.partition(".")[2] for name in plan.unresolved_fields}
    plan = plan.changed(**{name: value for name, value in values.items() if name in opened})
    return plan if plan.facts.fingerprint else plan.changed(fingerprint=fingerprint or "0" * 64)


def seal(folder: Path) -> None:
    """Seal the run in a folder as it is: its plan, its result and its files."""
    content = json.loads((folder / PLAN_FILE).read_text())
    plan = RunConfig.model_validate(content["plan"])
    content["hash"] = plan.hash
    (folder / PLAN_FILE).write_text(json.dumps(content))
    read = read_plan_file(folder)
    result = RunResult.read(folder / RESULT_FILE).model_copy(update={"plan": read.hash})
    write_json(folder / RESULT_FILE, seals.seal_run(folder, result, read.sealed).to_json())
