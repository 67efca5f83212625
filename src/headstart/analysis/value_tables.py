"""Read the values of evaluation images of a study's runs, one table for each arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from headstart.analysis.correctness import Predictions
from headstart.analysis.run_records import RunRecord, common_seeds
from headstart.errors import DataError
from headstart.i18n import _
from headstart.metrics.values import image_values


def value_tables(
    runs: Sequence[RunRecord], split: str, metric: str
) -> tuple[dict[str, npt.NDArray[np.float64]], Predictions]:
    """Return a table [seeds, images] of each variant, and one run's predictions for images, labels, units.

    Only seeds that every variant has are included, in ascending order. An image has a copy if it has one in any of the
    runs: with a training fraction, seeds train on different images.

    Args:
        runs: Runs of all variants.
        split: Split of the images.
        metric: Name of a metric that is a mean over images, of which the tables have the values.

    Raises:
        DataError: Runs were evaluated on different images, or the variants have no seed in common.
    """
    by_variant: dict[str, dict[int, RunRecord]] = {}
    for run in runs:
        by_variant.setdefault(run.arm, {})[run.seed] = run
    seeds = common_seeds(runs)
    first: Predictions | None = None
    copies: list[npt.NDArray[np.bool_]] = []
    tables: dict[str, npt.NDArray[np.float64]] = {}
    for variant, by_seed in by_variant.items():
        rows = []
        for seed in seeds:
            predictions = by_seed[seed].predictions(split)
            first = first or predictions
            copies.append(predictions.copies)
            if predictions.images != first.images:
                raise DataError(
                    _("{folder} was evaluated on other images than the other runs.", folder=by_seed[seed].folder),
                    _("Delete that run's folder and resume the study."),
                )
            if not np.array_equal(predictions.units, first.units):
                raise DataError(
                    _("{folder} has other groups of test images than the other runs.", folder=by_seed[seed].folder),
                    _("Compare runs with the same groups and the same setting of --near-duplicates."),
                )
            rows.append(image_values(metric, predictions.labels, predictions.logits))
        tables[variant] = np.array(rows)
    if first is None:
        raise DataError(_("No seed is finished in every arm."), _("Resume the study."))
    return tables, replace(first, copies=np.any(copies, axis=0))
