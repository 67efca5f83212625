"""The contrasts of a study: which pairs of arms are compared, with which level, and what each comparison shows.

All pairs of a page share an error of 5 % (Bonferroni; Dunn 1961, *JASA* 56, 52-64), of which the primary contrast has a
declared share.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from headstart.verification.declaration import Declaration
from headstart.verification.formulas import (
    ROUNDING,
    Sample,
    Values,
    degrees_of_freedom,
    least_error,
    mean_squares,
    missed_difference,
    sign_flip,
    standard_error,
    t_quantile,
    two_sided,
    unit_values,
)
from headstart.verification.sample_sizes import required
from headstart.verification.stopping import Stages
from headstart.verification.tree import Tree

ERROR = 0.05  # of all contrasts of a page together
MIN_SEEDS, MIN_UNITS = 3, 20  # with fewer nothing is decided
MAX_ARMS_OF_ALL_PAIRS = 5
Pair = tuple[str, str]


def pairs_of(declared: Declaration, more: Sequence[Pair] = ()) -> list[Pair]:
    """Return the primary pair, then all others; beyond five arms those with the reference, and `more`."""
    primary = declared.primary
    names, reference = declared.names, primary[1]
    others = [pair for pair in itertools.combinations(names, 2) if set(pair) != set(primary)]
    if len(names) > MAX_ARMS_OF_ALL_PAIRS:
        others = [pair for pair in others if reference in pair]
    pairs = [primary, *((b, a) if a == reference else (a, b) for a, b in others)]
    for pair in more:
        pairs += [pair] if set(pair) not in map(set, pairs) else []
    return pairs


def errors_of(count: int, primary_share: float) -> list[float]:
    """Return the error of each of `count` contrasts, that of the primary one first."""
    if count == 1:
        return [ERROR]
    return [ERROR * primary_share, *[ERROR * (1 - primary_share) / (count - 1)] * (count - 1)]


def contrasts_of(
    tables: dict[str, Values], pairs: Sequence[Pair], declared: Declaration, stages: Stages, sample: Sample
) -> list[Tree]:
    """Return the contrast of each pair.

    Args:
        tables: For each arm whether each image is classified correctly, [seeds, images].
        pairs: Names of the arms, the primary pair first.
        declared: What the study declares.
        stages: Its analyses, among which each contrast divides its error.
        sample: The images.
    """
    rows: list[Tree] = []
    for pair, error in zip(pairs, errors_of(len(pairs), declared.protocol.primary_share), strict=True):
        difference = tables[pair[0]] - tables[pair[1]]
        level = stages.level_after(len(difference), error)
        rows.append(contrast(difference, pair, level, declared.protocol.margin_width, sample, primary=not rows))
    return rows


def contrast(d: Values, pair: Pair, level: float, margin: float, sample: Sample, *, primary: bool) -> Tree:
    """Return one contrast from the differences of the images, [seeds, images]."""
    of_units = unit_values(d, sample)
    n, g = of_units.shape
    squares, (mean, error, df) = mean_squares(of_units), interval_of(of_units, sample)
    per_seed, half, p = of_units.mean(1), float(t_quantile(level, df)) * error, two_sided(mean / error, df)
    low, high = max(-1.0, mean - half), min(1.0, mean + half)
    outcome = _outcome(low, high, margin, n, g, float(missed_difference(g, level, sample)))
    open_end = outcome == "undecided" and n >= MIN_SEEDS and g >= MIN_UNITS
    endless = max(float(least_error(sample, g)) ** 2, (squares[1] - squares[2]) / (n * g))
    return {
        "first": pair[0],
        "second": pair[1],
        "primary": primary,
        "outcome": outcome,
        "by_less_than_margin": {"better": low < margin, "worse": high > -margin}.get(outcome, False),
        "mean": mean,
        "low": low,
        "high": high,
        "level": level,
        "p": p,
        "p_adjusted": min(1.0, p * ERROR / (1 - level)),
        "p_sign_flip": sign_flip(per_seed) if n <= 20 else None,
        "half_width_infinite_seeds": min(1.0, float(t_quantile(level, g - 1.0)) * endless**0.5),
        "degrees_of_freedom": df,
        "wins": int((per_seed > ROUNDING).sum()),
        "losses": int((per_seed < -ROUNDING).sum()),
        "n": n,
        "m": d.shape[1],
        "g": g,
        "sample_sizes": [
            required(squares, n, g, level, target, sample)
            for target in ([margin] if half > margin else []) + [margin / 2]
            if open_end
        ],
    }


def interval_of(of_units: Values, sample: Sample) -> tuple[float, float, float]:
    """Return the mean of the values of the units [n, g], its standard error, and the degrees of freedom."""
    (a, b, c), (n, g) = mean_squares(of_units), of_units.shape
    error, df = standard_error(a, b, c, n, g, sample), degrees_of_freedom(a, b, c, n, g)
    return min(max(float(of_units.mean()), -1.0), 1.0), float(error), float(df)


def _outcome(low: float, high: float, margin: float, n: int, g: int, missed: float) -> str:
    """Return what an interval decides, in this order."""
    if n < MIN_SEEDS or g < MIN_UNITS:
        return "undecided"
    if -margin <= low and high <= margin and missed <= margin:
        return "equivalent"
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def analyses_of(d: Values, stages: Stages, error: float, sample: Sample) -> list[Tree]:
    """Return the interim analyses of the primary contrast up to the first that ends the study.

    Args:
        d: Differences of the images, [seeds, images].
        stages: The analyses of the study.
        error: Error of the primary contrast.
        sample: The images.
    """
    analyses: list[Tree] = []
    for n, limit in zip(stages.interim, stages.interim_boundaries(error), strict=True):
        if n > len(d) or sample.g < MIN_UNITS or (analyses and analyses[-1]["stopped"]):
            break
        mean, of_mean, df = interval_of(unit_values(d[:n], sample), sample)
        p = two_sided(mean / of_mean, df)
        analyses.append({"n": n, "p": p, "boundary": limit, "stopped": p <= limit})
    return analyses
