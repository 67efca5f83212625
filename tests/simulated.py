"""Simulate studies from the real records in tests/fixtures/records.npz, for false winners, power and interim analyses.

Five real seeds are too few to resample: rows drawn with replacement repeat each other, and their studies would vary
less than real ones. A small model is fitted to the real records instead, and studies are drawn from the model:

    P(seed i classifies image j correctly) = logistic(ease_j + seed_effect_i),   seed_effect_i ~ N(0, sd²)

- `ease_j`: image j was classified correctly in k_j of the R runs of one arm at one learning rate. The shares are fitted
  with a beta distribution by moments, and every simulated study draws each image's share from its posterior
  Beta(a + k_j, b + R - k_j): between studies the ease of an image varies as much as R runs leave it unknown. Images are
  drawn with replacement from the real ones.
- `seed_effect_i`: its variance is the between-seed component (A - C)/m of the accuracy in the crossed model, pooled
  over the two best rates of every real arm and divided by the mean slope p (1 - p), squared, of the simulated arm.
- The search: each copy of an arm draws, for each rate with real runs, two val scores from a normal distribution with
  that rate's mean on val and the pooled standard deviation between seeds, and selects the rate with the better mean.
  Copies may end at different rates.
- `interaction`: an arm x image effect of mean zero: the ease of each image changes by N(0, interaction²) in each copy.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from scipy import optimize

RECORDS = Path(__file__).parent / "fixtures" / "records.npz"
VAL_IMAGES = 165


@dataclass(frozen=True)
class Pool:
    """Real runs of one arm at one learning rate: correctness [runs, images] and best scores on val [runs]."""

    rate: float
    correct: np.ndarray
    val: np.ndarray

    @property
    def between_seeds(self) -> float:
        """Variance of the accuracy between seeds, (A - C)/m; it may be negative."""
        n, m = self.correct.shape
        row, column = self.correct.mean(1, keepdims=True), self.correct.mean(0, keepdims=True)
        rest = ((self.correct - row - column + self.correct.mean()) ** 2).sum() / ((n - 1) * (m - 1))
        return float(row.var(ddof=1) - rest / m)

    @property
    def slope(self) -> float:
        """Mean of p (1 - p) over the images: the derivative of the accuracy by a shift of all logits."""
        (a, b), correct, runs = self.prior, self.correct.sum(0), len(self.correct)
        up, down = a + correct, b + runs - correct
        return float((up * down / ((up + down) * (up + down + 1))).mean())

    @cached_property
    def correct_runs(self) -> np.ndarray:
        """Number of runs that classify an image correctly [images]."""
        return self.correct.sum(0)

    @cached_property
    def prior(self) -> tuple[float, float]:
        """Parameters of the beta distribution of the shares, by moments: Var(k/R) = v + (mean (1 - mean) - v)/R."""
        runs, shares = len(self.correct), self.correct.mean(0)
        mean, spread = shares.mean(), shares.mean() * (1 - shares.mean())
        between = np.clip((shares.var(ddof=1) - spread / runs) / (1 - 1 / runs), 0.05 * spread, 0.95 * spread)
        total = spread / between - 1
        return mean * total, (1 - mean) * total

    def shares(self, rng: np.random.Generator) -> np.ndarray:
        """Draw each image's probability of a correct classification from its posterior."""
        (a, b), correct = self.prior, self.correct_runs
        return np.clip(rng.beta(a + correct, b + len(self.correct) - correct), 1e-6, 1 - 1e-6)


@dataclass(frozen=True)
class ArmModel:
    """One arm's pools by rate, and the standard deviations of seeds in logits and of val scores in the search."""

    pools: tuple[Pool, ...]
    seed_sd: float
    val_sd: float

    def studies(
        self, count: int, copies: int, rng: np.random.Generator, *, n: int = 5, m: int = 205, interaction: float = 0.0,
        shift: float = 0.0,
    ):  # fmt: skip
        """Yield for each study `correct` [copies, n, m] on the test images and the mean val score of each copy.

        `shift`, in logits, makes copy 0 better.
        """
        for _ in range(count):
            shares = [pool.shares(rng) for pool in self.pools]
            images = rng.integers(len(shares[0]), size=m + VAL_IMAGES)
            correct, val = [], []
            for copy in range(copies):
                searched = [pool.val.mean() + rng.normal(0, self.val_sd / np.sqrt(2)) for pool in self.pools]
                probability = shares[int(np.argmax(searched))][images]
                ease = (
                    np.log(probability / (1 - probability))
                    + rng.normal(0, interaction, len(images))
                    + shift * (copy == 0)
                )
                seed_effect = rng.normal(0, self.seed_sd, (n, 1))
                is_correct = rng.random((n, len(images))) < 1 / (1 + np.exp(-ease - seed_effect))
                correct.append(is_correct[:, :m])
                val.append(is_correct[:, m:].mean())
            yield np.array(correct, dtype=np.int8), np.array(val)

    @property
    def best(self) -> Pool:
        """Pool of the rate that a search with infinitely many seeds would select."""
        return max(self.pools, key=lambda pool: pool.val.mean())

    def shift(self, gain: float, interaction: float = 0.0) -> float:
        """Return the shift in logits that adds `gain` to the expected accuracy at the best rate."""
        rng = np.random.default_rng(0)
        shares = np.array([self.best.shares(rng) for _ in range(40)])
        ease = (
            np.log(shares / (1 - shares))
            + rng.normal(0, self.seed_sd, (40, 1))
            + rng.normal(0, interaction, shares.shape)
        )

        def accuracy(shift: float) -> float:
            return float((1 / (1 + np.exp(-ease - shift))).mean())

        return float(optimize.brentq(lambda shift: accuracy(shift) - accuracy(0) - gain, 0, 10))


def arm_models() -> dict[str, ArmModel]:
    """Return each arm of the real records with the learning rates that have at least two seeds."""
    with np.load(RECORDS, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    correct = np.unpackbits(arrays["correct"], axis=1, count=len(arrays["labels"])).astype(float)
    pools: dict[str, list[Pool]] = {}
    for arm, name in enumerate(arrays["arms"]):
        for rate in np.unique(arrays["rate"][arrays["arm"] == arm]):
            rows = (arrays["arm"] == arm) & (arrays["rate"] == rate)
            if rows.sum() > 1:
                pools.setdefault(str(name), []).append(Pool(float(rate), correct[rows], arrays["val"][rows]))
    ranked = {name: sorted(arm_pools, key=lambda pool: -pool.val.mean()) for name, arm_pools in pools.items()}
    best = [pool for arm_pools in ranked.values() for pool in arm_pools[:2]]
    degrees = [len(pool.correct) - 1 for pool in best]
    between = max(np.average([pool.between_seeds for pool in best], weights=degrees), 0.0)
    val_sd = float(np.sqrt(np.average([pool.val.var(ddof=1) for pool in best], weights=degrees)))
    return {
        name: ArmModel(tuple(arm_pools), float(np.sqrt(between)) / arm_pools[0].slope, val_sd)
        for name, arm_pools in ranked.items()
    }
