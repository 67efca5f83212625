"""Compute a study's verdict from its records by the declared rules; `analysis.sentences` words its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headstart.analysis.contrasts import compute_contrasts, contrast_pairs
from headstart.analysis.copies import result_without_copies
from headstart.analysis.correctness import Predictions
from headstart.analysis.data_efficiency import data_efficiency
from headstart.analysis.headline import not_worse
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.interim import interim_analyses
from headstart.analysis.looks import Looks
from headstart.analysis.run_records import ConditionKey, RunRecord, common_seeds, main_runs, runs_in
from headstart.analysis.sentences import verdict_sentences
from headstart.analysis.statistics import family_levels, time_to_target
from headstart.analysis.value_tables import value_tables
from headstart.analysis.varied_fields import ValuePairs, value_pairs, varied_fields
from headstart.config.study_config import ArmVariant
from headstart.config.study_file import StudySpec
from headstart.diagnostics.augmentation import is_too_strong
from headstart.metrics.values import metric_value
from headstart.storage.bounds import MAX_INTEGER
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.search import SearchGroup
from headstart.storage.schemas.study import VariantsFile
from headstart.storage.schemas.verdict import (
    ArmResult,
    Condition,
    Edge,
    EvaluationImages,
    ExportedRun,
    Exposure,
    GridRow,
    RunLength,
    SeedResult,
    StageCost,
    StudyCost,
    TimesToTarget,
    Verdict,
    VerdictNumbers,
    VerdictSeal,
)

EVALUATION_SPLIT = "test"


def compute_verdict(
    folder: Path, spec: StudySpec, search: Sequence[SearchGroup], *, studies_on_test_set: int | None = None
) -> Verdict:
    """Return the verdict of a study.

    Args:
        folder: Folder of the study.
        spec: The declared study.
        search: Results of the learning-rate search; empty if nothing was searched.
        studies_on_test_set: Place of the study among those that used the same test images; None if it is unknown.

    Raises:
        DataError: No seed is finished in every arm, or an arm has two runs with the same seed.
    """
    runs = main_runs(folder, with_test=True)
    variants = VariantsFile.read(folder / "variants.json").variants
    first = next(iter(variants.values()))
    conditions = []
    for budget in map(str, spec.budgets):
        for fraction in spec.protocol.fractions:
            key = ConditionKey(budget, fraction)
            if compared := [run for run in runs if run.condition == key]:
                conditions.append(_condition(compared, spec, key, first.declared))
    numbers = VerdictNumbers(
        **dict(conditions[-1]),  # the last budget with the largest fraction
        study=spec.hash,
        pooled=bool(spec.protocol.pooled_seeds),
        of_others=sum(run.of_others for run in runs),
        left_out=spec.protocol.pooled_left_out,
        studies_on_test_set=studies_on_test_set,
        metric=spec.protocol.metric,
        margin=spec.protocol.margin_width,
        further=list(spec.protocol.further),
        max_seeds=spec.protocol.max_seeds,
        target=spec.protocol.target,
        source=runs[0].plan.data.source,
        fingerprint=runs[0].plan.facts.fingerprint,
        network=runs[0].plan.network.label,
        classes=list(runs[0].plan.facts.class_names),
        conditions=conditions[:-1],
        labels=data_efficiency(conditions),
        search=list(search),
        exposure={
            name: Exposure(classes=inputs.known_classes, images=inputs.known_images)
            for name, inputs in variants.items()
        },
        overlaps=first.overlaps,
        cost=StudyCost(
            search=stage_cost(folder, "search"),
            main=stage_cost(folder),
            source=stage_cost(folder, "sources"),
        ),
    )
    seals = {run.folder.name: run.result.seal.digest for run in runs if run.result is not None}
    return Verdict(**dict(numbers), sentences=verdict_sentences(numbers), seal=VerdictSeal(runs=seals))


def stops_early(folder: Path, spec: StudySpec, seeds: int) -> bool:
    """Return whether the study ends after this number of seeds, at an interim analysis before the last declared one."""
    if seeds not in spec.protocol.interim[:-1]:
        return False
    runs = [run for run in main_runs(folder, with_test=True) if run.condition == _main_condition(spec)]
    metric = spec.protocol.metric
    tables, images = value_tables(runs, EVALUATION_SPLIT, metric)
    primary = spec.protocol.contrast([variant.arm for variant in spec.variants])
    sample = ImageSample.of_metric(metric, images.labels, images.units)
    level = family_levels(len(_pairs(spec)), spec.protocol.primary_share)[0]
    analyses = interim_analyses(tables, primary, Looks.of(spec.protocol), sample=sample, level=level)
    return any(analysis.stopped for analysis in analyses if analysis.n <= seeds)


def contrast_levels(spec: StudySpec) -> list[float]:
    """Return the levels of the contrasts of a study after its last seed, that of the primary contrast first.

    In a grid of learning rates the verdict adds contrasts between the best rates on val, which widens the others.
    """
    protocol = spec.protocol
    levels = family_levels(len(_pairs(spec)), protocol.primary_share)
    return [Looks.of(protocol).level_after(protocol.all_seeds, level) for level in levels]


def _pairs(spec: StudySpec, best: str = "", comparators: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the contrasts of a study, the primary one first.

    Args:
        spec: The declared study.
        best: The best variant of a grid of learning rates on val.
        comparators: What it is compared with; empty outside a grid, and before the runs have ended.
    """
    arms = [variant.arm for variant in spec.variants]
    primary = spec.protocol.contrast(arms)
    pairs = with_comparators([arm.name for arm in arms], primary, best, comparators)
    return with_values(pairs, value_pairs(arms, primary))


def _main_condition(spec: StudySpec) -> ConditionKey:
    """Return the budget and the fraction of the verdict: the last budget and the largest fraction."""
    return ConditionKey(str(spec.budgets[-1]), spec.largest_fraction)


def _condition(runs: Sequence[RunRecord], spec: StudySpec, key: ConditionKey, splits: str) -> Condition:
    """Return one budget and fraction: arms, contrasts, the arms that are not shown to be worse, and the exported run.

    `splits` are those that the data declares.
    """
    protocol = spec.protocol
    specs = [variant.arm for variant in spec.variants]
    order, primary = [arm.name for arm in specs], protocol.contrast(specs)
    tables, images = value_tables(runs, EVALUATION_SPLIT, protocol.metric)
    seeds = common_seeds(runs)
    arms = [_arm(arm, [run for run in runs if run.arm == arm.name and run.seed in seeds], spec) for arm in specs]
    val = {arm.name: arm.val for arm in arms}
    leader = max(arms, key=lambda arm: arm.val)  # on val only; of equal arms the first declared
    comparators = [] if protocol.primary else comparators_of(leader.name, spec.variants, val)
    question = (leader.name, comparators[0]) if comparators else primary
    sample = ImageSample.of_metric(protocol.metric, images.labels, images.units)
    looks = Looks.of(protocol) if key == _main_condition(spec) else Looks()
    pairs = _pairs(spec, leader.name, comparators)
    level = family_levels(len(pairs), protocol.primary_share)[0]
    analyses = interim_analyses(tables, primary, looks, sample=sample, level=level)
    contrasts = []
    if len(seeds) > 1 and sample.count > 1:
        rules = {"margin": protocol.margin_width, "primary_share": protocol.primary_share}
        contrasts = compute_contrasts(tables, pairs, sample=sample, looks=looks, **rules)
    remaining = not_worse(contrasts, order)
    selected = max((arm for arm in arms if arm.name in remaining), key=lambda arm: arm.val)
    # prefer a run with a validated epoch: only that has a model
    best = max(selected.seeds, key=lambda run: (bool(run.best_epoch), run.val, -run.seed))
    without_copies = result_without_copies(
        tables,
        images,
        primary,
        metric=protocol.metric,
        margin=protocol.margin_width,
        level=contrasts[0].level if contrasts else None,
    )
    return Condition(
        budget=key.budget,
        fraction=key.fraction,
        counts=min(runs, key=lambda run: run.seed).plan.facts.split_counts,  # folder order is not seed order
        evaluation=EvaluationImages(
            split=EVALUATION_SPLIT, images=len(images.images), units=sample.count, declared=splits
        ),
        n=len(seeds),
        one_split=len({run.predictions("val").images for run in runs}) == 1,
        arms=arms,
        primary=primary,
        question=question,
        not_worse=remaining,
        selected=selected.name,
        grid_rows=grid_rows(spec.variants, val),
        exported=ExportedRun(run=best.run, seed=best.seed),
        contrasts=contrasts,
        without_copies=without_copies,
        varied=varied_fields(value_pairs(specs, primary), contrasts),
        interim=analyses,
        winner=remaining[0] if len(remaining) == 1 else None,
    )


def _arm(arm: ArmSpec, runs: Sequence[RunRecord], spec: StudySpec) -> ArmResult:
    """Return the results of one arm: each seed, the means, and the time to the target."""
    protocol = spec.protocol
    seeds = [_seed(run, spec) for run in sorted(runs, key=lambda run: run.seed)]
    test = np.array([run.test for run in seeds])
    val = np.array([run.val for run in seeds])
    return ArmResult(
        name=arm.name,
        spec=arm,
        val=float(val.mean()),
        test=float(test.mean()),
        test_sd=float(test.std(ddof=1)) if len(test) > 1 else None,
        optimism=float(val.mean() - test.mean()),
        diverged=[run.seed for run in seeds if run.state is RunState.DIVERGED],
        too_augmented=sorted(run.seed for run in runs if is_too_strong(run.plan.recipe, run.epochs)),
        to_target=_times(seeds) if protocol.target else None,
        seeds=seeds,
    )


def _seed(run: RunRecord, spec: StudySpec) -> SeedResult:
    """Return the result of one run of an arm."""
    protocol, length = spec.protocol, run.length()
    return SeedResult(
        seed=run.seed,
        run=run.folder.name,
        state=run.state,
        lr=run.rate,
        best_epoch=run.best_epoch,
        val=_val(run, protocol.metric),
        test=_score(run.predictions(EVALUATION_SPLIT), protocol.metric),
        to_target=_to_target(run, spec),
        epochs=length.epochs,
        images=length.images,
        seconds=length.seconds,
    )


def _to_target(run: RunRecord, spec: StudySpec) -> RunLength | None:
    """Return the part of a run up to the target, or None if the run did not reach it or there is none."""
    protocol = spec.protocol
    return run.to_target(protocol.target, protocol.metric) if protocol.target else None


def grid_rows(variants: Sequence[ArmVariant], val: Mapping[str, float]) -> list[GridRow]:
    """Return the best learning rate on val of each row of a grid; of equal ones the first declared.

    A row has the variants that differ in nothing but their learning rate.

    Args:
        variants: Variants of the study.
        val: Mean score on val of each variant.

    Returns:
        One for each row; empty if no learning rates are varied.
    """
    rows = []
    for row in _rows(variants):
        best = max(row, key=lambda name: val[name])
        ends: dict[str, Edge] = {}
        if len(row) > 1:
            ends = {min(row, key=row.__getitem__): "low", max(row, key=row.__getitem__): "high"}
        rows.append(GridRow(variant=best, lr=row[best], edge=ends.get(best)))
    return rows


def comparators_of(selected: str, variants: Sequence[ArmVariant], val: Mapping[str, float]) -> list[str]:
    """Return the comparators of the best variant of a learning-rate grid, the best on val first.

    The comparators are the best variants of the other rows. With a single row the comparator is the next best rate. The
    list is empty if no learning rates are varied: the comparator is then the reference.
    """
    rows = _rows(variants)
    if len(rows) == 1:
        return sorted((name for name in rows[0] if name != selected), key=lambda name: -val[name])[:1]
    best = [max(row, key=lambda name: val[name]) for row in rows if selected not in row]
    return sorted(best, key=lambda name: -val[name])


def with_comparators(
    order: Sequence[str], primary: tuple[str, str], selected: str, comparators: Sequence[str]
) -> list[tuple[str, str]]:
    """Return the contrasts of a study, plus those of the best arm on val with its comparators."""
    pairs = contrast_pairs(order, primary[1], primary)
    return pairs + [
        (selected, comparator) for comparator in comparators if {selected, comparator} not in map(set, pairs)
    ]


def with_values(pairs: Sequence[tuple[str, str]], by_value: ValuePairs) -> list[tuple[str, str]]:
    """Return contrasts, plus those at the values of varied fields that are not among them."""
    result = list(pairs)
    for contrast in (contrast for contrasts in by_value.values() for contrast in contrasts):
        if {contrast.first, contrast.second} not in map(set, result):
            result.append((contrast.first, contrast.second))
    return result


def _rows(variants: Sequence[ArmVariant]) -> list[dict[str, float]]:
    """Return learning rates by variant name, for each group of variants that differ in nothing else."""
    rows: dict[str, dict[str, float]] = {}
    for variant in variants:
        if (rate := variant.arm.varied.get("lr")) is not None:
            rows.setdefault(variant.arm.without("lr").name, {})[variant.name] = float(rate)
    return list(rows.values())


def _times(seeds: Sequence[SeedResult]) -> TimesToTarget:
    """Return median times over all runs in epochs, images and seconds. All runs have ended."""
    lengths = [run.to_target for run in seeds]
    return TimesToTarget(
        epochs=time_to_target([None if length is None else length.epochs for length in lengths]),
        images=time_to_target([None if length is None else length.images for length in lengths]),
        seconds=time_to_target([None if length is None else length.seconds for length in lengths]),
    )


def _val(run: RunRecord, metric: str) -> float:
    """Return the score of the best epoch on val; if no epoch was validated, that of the run's predictions."""
    return run.val_score(metric) if run.best_epoch else _score(run.predictions("val"), metric)


def _score(predictions: Predictions, metric: str) -> float:
    """Return a metric of the predictions of a run."""
    return metric_value(metric, predictions.labels, predictions.logits)


def stage_cost(study: Path, part: str = "") -> StageCost:
    """Return the cost of the runs in a part of a study: none if it does not exist."""
    lengths = [run.length() for run in runs_in(study, part)]
    return StageCost(
        runs=len(lengths),
        images=min(sum(length.images for length in lengths), MAX_INTEGER),
        seconds=round(sum(length.seconds for length in lengths), 1),
    )
