"""Studies whose runs are made up but whole: plans, records, predictions and results, and the verdict on them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from headstart.analysis.run_records import read_run
from headstart.analysis.verdict import compute_verdict
from headstart.config.study_config import ArmVariant
from headstart.config.study_file import StudySpec, read_study, validate_study, write_study
from headstart.experiment.lr_search import SearchSpace, Trial, TrialResult, is_narrow, search
from headstart.metrics.accuracy import effective_size, wilson_interval
from headstart.metrics.confusion_counts import ConfusionCounts
from headstart.metrics.probabilities import log_loss
from headstart.storage.arrays import write_npz
from headstart.storage.files import write_json
from headstart.storage.journal import Journal
from headstart.storage.run_files import PREDICTIONS_FILE
from headstart.storage.schemas.metrics import Evaluation, ScoreWithoutCopies
from headstart.storage.schemas.overlap import Overlap, OverlapKind
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import SearchGroup, SearchResults
from headstart.storage.schemas.study import RunRole, Stage, VariantInputs, VariantsFile
from headstart.storage.schemas.verdict import Verdict
from tests.handmade import epoch_line, resolved, run_result, seal, split_score, write_run_files

CLASSES = ("a", "b", "c")
VAL_IMAGES = 100


@dataclass(frozen=True)
class Made:
    """What a study is made of.

    Attributes:
        arms: Its arms.
        protocol: Rules that are not the defaults.
        skill: Accuracy of the arms, with all training images.
        slope: Its decrease with the fraction of the training images, as a power.
        seed_effect: Standard deviation of the accuracy between seeds.
        peak: Best learning rate of every arm; None if the accuracy does not depend on it.
        units: Number of each test image's unit.
        copies: Positions of the test images that have a copy.
        diverged: Names of the variants whose runs diverged in their first epoch.
        epochs: Epochs of a run.
    """

    arms: Sequence[str] = ("scratch", "imagenet")
    protocol: Mapping[str, Any] = field(default_factory=dict)
    skill: Sequence[float] = (0.7, 0.8)
    slope: Sequence[float] = (0.3,)
    seed_effect: float = 0.0
    peak: float | None = None
    units: Sequence[int] = tuple(range(60))
    copies: Sequence[int] = ()
    diverged: Sequence[str] = ()
    epochs: int = 3


def write_made(folder: Path, made: Made) -> Verdict:
    """Write a study and return its verdict."""
    folder.mkdir(parents=True)
    rules = {"arms": tuple(made.arms), "seeds": 3, "search": "off", "target": 0.6, **made.protocol}
    plan = {"recipe": {"epochs": f"{made.epochs}ep", "batch_size": 8}, "network": {"network": "resnet20"}}
    write_study(folder, validate_study(rules, plan))
    spec = read_study(folder)
    overlap = Overlap(kind=OverlapKind.IMAGE, splits=("train", "test"), count=2, examples=("x.png", "y.png"))
    write_json(
        folder / "variants.json",
        VariantsFile(
            variants={
                variant.name: VariantInputs(
                    arm=variant.arm, declared="none", overlaps=[overlap], known_classes=["a"], known_images=number
                )
                for number, variant in enumerate(spec.variants)
            }
        ).to_json(),
    )
    groups = search_groups(folder, made, spec) if spec.searches_lr else []
    write_json(folder / "search.json", SearchResults(groups=groups).to_json())
    results = SearchResults(groups=groups)
    for budget in map(str, spec.budgets):
        for fraction in spec.protocol.fractions:
            for seed in spec.seed_range:
                for variant in spec.variants:
                    rate = results.selected_rate(variant.name, budget, seed)
                    role = RunRole(arm=variant.arm, stage=Stage.MAIN, budget=budget, fraction=fraction)
                    write_run(folder, made, spec, variant, role, seed, rate)
    verdict = compute_verdict(folder, spec, groups)
    write_json(folder / "verdict.json", verdict.to_json())
    return verdict


def search_groups(folder: Path, made: Made, spec: StudySpec) -> list[SearchGroup]:
    """Write the runs of the search, and return its results."""
    protocol = spec.protocol
    variants = {variant.name: variant for variant in spec.variants}

    def run(trials: Sequence[Trial], budget: str) -> dict[Trial, TrialResult]:
        records = {}
        for trial in trials:
            variant = variants[trial.variant]
            role = RunRole(arm=variant.arm, stage=Stage.SEARCH, budget=budget, fraction=1.0, rung=1)
            whole = write_run(folder / "search", made, spec, variant, role, trial.seed, trial.rate)
            records[trial] = TrialResult.of(trial, read_run(whole), protocol.metric)
        return records

    is_own = spec.searches_each_seed
    parts = [[seed] for seed in spec.seed_range] if is_own else [list(spec.search_seed_range)]
    spaces = {str(budget): SearchSpace.of(protocol.grid) for budget in spec.budgets}
    narrow = [name for name, variant in variants.items() if is_narrow(variant.arm.tuning)]
    groups = []
    for part in parts:
        for budget, space in spaces.items():
            group = search(
                list(variants), space, part, budget=budget, group=part[0] if is_own else None,
                survivors=protocol.survivors, run=partial(run, budget=budget),
            )  # fmt: skip
            groups.append(group)
            spaces[budget] = space.after(group, narrow)
    return groups


def write_run(
    folder: Path, made: Made, spec: StudySpec, variant: ArmVariant, role: RunRole, seed: int, rate: float | None
) -> Path:
    """Write a run whose predictions are random; an image is easy or hard for every run."""
    place = [arm.name for arm in (v.arm for v in spec.variants)].index(variant.name)
    skill = made.skill[place % len(made.skill)] * role.fraction ** made.slope[place % len(made.slope)]
    rng = np.random.default_rng([seed, place, round(100 * role.fraction), len(role.budget), round(1e6 * (rate or 0))])
    if made.peak is not None and rate is not None:
        skill -= 0.15 * abs(np.log10(rate / made.peak))
    skill += made.seed_effect * float(rng.normal())
    plan = variant.plan(spec.plan).changed(
        seed=seed, fraction=role.fraction, epochs=role.budget, class_names=CLASSES,
        split_counts={"train": 80, "val": VAL_IMAGES, "test": len(made.units)},
    )  # fmt: skip
    plan = resolved(plan if rate is None else plan.changed(lr=rate))
    run = folder / f"Jan01_00-00-00_host-{variant.name}-{role.budget}-{role.fraction:g}-{rate}-s{seed}"
    if run.is_dir():
        return run
    has_diverged = variant.name in made.diverged
    lines = []
    for epoch in range(1, 0 if has_diverged else made.epochs + 1):
        labels, logits = random_logits(np.arange(VAL_IMAGES), skill * (0.7 + 0.3 * epoch / made.epochs), rng)
        counts = ConfusionCounts.of_labels(labels, logits.argmax(1), len(CLASSES))
        score = split_score(float(log_loss(labels, logits).mean()), counts.correct / VAL_IMAGES, VAL_IMAGES)
        line = epoch_line(10 * epoch, epoch, train=split_score(1.0, 0.4, 80), val=score)
        lines.append(line.model_copy(update={"confusion": counts}))
    best = max(lines, key=lambda line: (line.val.accuracy, -line.val.loss), default=None)
    state = RunState.DIVERGED if has_diverged else RunState.FINISHED
    splits = {"val": predictions(np.arange(VAL_IMAGES), (), skill, rng, zero=has_diverged)}
    if role.stage is not Stage.SEARCH:  # a trial is not evaluated on test
        splits["test"] = predictions(np.asarray(made.units), made.copies, skill, rng, zero=has_diverged)
    result = run_result(
        state, epochs=len(lines), best_epoch=best.epoch if best else 0,
        **{name: evaluation(arrays) for name, arrays in splits.items()},
    )  # fmt: skip
    write_run_files(run, plan, role=role, result=result)
    with Journal(run / "metrics.jsonl") as journal:
        for line in lines:
            journal.append(line)
    (run / "artifacts").mkdir()
    arrays = {name: np.concatenate([split[name] for split in splits.values()]) for name in splits["val"]}
    names = np.repeat(list(splits), [len(split["label"]) for split in splits.values()])
    write_npz(run, PREDICTIONS_FILE, {**arrays, "split": names, "classes": np.array(CLASSES)})
    seal(run)
    return run


def random_logits(
    images: npt.NDArray[np.int64], skill: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return labels and logits of images, of which a share of about `skill` is classified correctly."""
    labels = images % len(CLASSES)
    ease = 0.3 * np.sin(37.0 * images)  # the same in every run
    predicted = np.where(rng.random(len(images)) < skill + ease, labels, (labels + 1) % len(CLASSES))
    logits = rng.normal(0, 0.3, (len(images), len(CLASSES))).astype(np.float32)
    logits[np.arange(len(images)), predicted] += 3
    return labels, logits


def predictions(
    units: npt.NDArray[np.int64], copies: Sequence[int], skill: float, rng: np.random.Generator, *, zero: bool
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of one split; a run that diverged at once has zero logits."""
    labels, logits = random_logits(np.arange(len(units)), skill, rng)
    return {
        "image": np.array([f"{number}.png" for number in range(len(units))]),
        "label": labels,
        "copy": np.isin(np.arange(len(units)), copies),
        "unit": units,
        "logits": np.zeros_like(logits) if zero else logits,
    }


def evaluation(arrays: Mapping[str, npt.NDArray[Any]]) -> Evaluation:
    """Return the evaluation of a run on one split."""
    labels, logits, kept = arrays["label"], arrays["logits"], ~arrays["copy"]
    correct = logits.argmax(1) == labels
    without = ScoreWithoutCopies(
        copies=int((~kept).sum()), n=int(kept.sum()), accuracy=float(correct[kept].mean()) if kept.any() else None
    )
    hits, size = int(correct.sum()), effective_size(correct, arrays["unit"])
    return Evaluation(
        loss=float(log_loss(labels, logits).mean()),
        accuracy=float(correct.mean()),
        n=len(labels),
        units=len(np.unique(arrays["unit"])),
        correct=hits,
        interval=wilson_interval(hits, len(labels), size=size),
        confusion=ConfusionCounts.of_labels(labels, logits.argmax(1), len(CLASSES)),
        without_copies=None if kept.all() else without,
    )
