"""Simulated studies like the real ones in tests/data/records.npz, for false winners, power and early looks.

Five real seeds are too few to draw from: rows drawn with replacement repeat each other, and studies of them would vary
less than real ones. So a small model is fitted to the real answers, and studies are drawn from the model:

    P(seed i answers image j rightly) = logistic(ease_j + luck_i),   luck_i ~ N(0, sd²)

- `ease_j`: image j was answered rightly k_j times of the R runs of one arm at one learning rate. The shares are fitted
  with a beta distribution by moments, and every simulated study draws each image's share anew from its posterior
  Beta(a + k_j, b + R - k_j): between studies the ease of an image varies as much as R runs leave it unknown. Images are
  drawn with replacement from the real ones.
- `luck_i`: its variance is the between-seed component (A - C)/m of the accuracy in the crossed model, pooled over the
  two best rates of every real arm and divided by the mean slope p (1 - p), squared, of the arm that is simulated.
- The search: each copy of an arm draws, for each rate with real runs, two val scores from a normal distribution with
  that rate's mean on val and the spread between seeds, pooled likewise, and takes the rate with the better mean. Copies
  may so end at different rates.
- `taste`: with it, each copy finds each image easier or harder by N(0, taste²), mean zero: an arm x image effect.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import optimize

RECORDS = Path(__file__).parent / "fixtures" / "records.npz"
VAL_IMAGES = 165


@dataclass(frozen=True)
class Pool:
    """The real runs of one arm at one learning rate: their answers [runs, images] and their best scores on val."""

    rate: float
    right: np.ndarray
    val: np.ndarray

    @property
    def between_seeds(self) -> float:
        """Variance of the accuracy between seeds, (A - C)/m; it may come out below 0."""
        n, m = self.right.shape
        row, column = self.right.mean(1, keepdims=True), self.right.mean(0, keepdims=True)
        rest = ((self.right - row - column + self.right.mean()) ** 2).sum() / ((n - 1) * (m - 1))
        return float(row.var(ddof=1) - rest / m)

    @property
    def slope(self) -> float:
        """Mean of p (1 - p) over the images: what a small change of all logits does to the accuracy."""
        (a, b), right, runs = self.prior, self.right.sum(0), len(self.right)
        up, down = a + right, b + runs - right
        return float((up * down / ((up + down) * (up + down + 1))).mean())

    @property
    def prior(self) -> tuple[float, float]:
        """The beta distribution of the images' shares, by moments: Var(k/R) = v + (mean (1 - mean) - v)/R."""
        runs, shares = len(self.right), self.right.mean(0)
        mean, spread = shares.mean(), shares.mean() * (1 - shares.mean())
        between = np.clip((shares.var(ddof=1) - spread / runs) / (1 - 1 / runs), 0.05 * spread, 0.95 * spread)
        total = spread / between - 1
        return mean * total, (1 - mean) * total

    def shares(self, rng: np.random.Generator) -> np.ndarray:
        """Each image's probability of a right answer, drawn anew from what these runs say of it."""
        (a, b), right = self.prior, self.right.sum(0)
        return np.clip(rng.beta(a + right, b + len(self.right) - right), 1e-6, 1 - 1e-6)


@dataclass(frozen=True)
class World:
    """One arm's pools by rate; the luck of the seeds in logits, and the spread of val scores in the search."""

    pools: tuple[Pool, ...]
    luck: float
    val_spread: float

    def studies(
        self, count: int, copies: int, rng: np.random.Generator, *, n: int = 5, m: int = 205, taste: float = 0.0,
        shift: float = 0.0,
    ):  # fmt: skip
        """Yields for each study `correct` [copies, n, m] on the judge images and the mean val of each copy.

        `shift`, in logits, makes copy 0 better.
        """
        for _ in range(count):
            shares = [pool.shares(rng) for pool in self.pools]
            where = rng.integers(len(shares[0]), size=m + VAL_IMAGES)
            correct, val = [], []
            for copy in range(copies):
                searched = [pool.val.mean() + rng.normal(0, self.val_spread / np.sqrt(2)) for pool in self.pools]
                seeding = shares[int(np.argmax(searched))][where]
                ease = np.log(seeding / (1 - seeding)) + rng.normal(0, taste, len(where)) + shift * (copy == 0)
                luck = rng.normal(0, self.luck, (n, 1))
                right = rng.random((n, len(where))) < 1 / (1 + np.exp(-ease - luck))
                correct.append(right[:, :m])
                val.append(right[:, m:].mean())
            yield np.array(correct, dtype=np.int8), np.array(val)

    @property
    def best(self) -> Pool:
        """The rate that a search with endless seeds would choose."""
        return max(self.pools, key=lambda pool: pool.val.mean())

    def shift(self, gain: float, taste: float = 0.0) -> float:
        """The shift in logits that adds `gain` to the expected accuracy at the best rate, over images and chance."""
        rng = np.random.default_rng(0)
        shares = np.array([self.best.shares(rng) for _ in range(40)])
        ease = np.log(shares / (1 - shares)) + rng.normal(0, self.luck, (40, 1)) + rng.normal(0, taste, shares.shape)

        def accuracy(shift: float) -> float:
            return float((1 / (1 + np.exp(-ease - shift))).mean())

        return float(optimize.brentq(lambda shift: accuracy(shift) - accuracy(0) - gain, 0, 10))


def worlds() -> dict[str, World]:
    """Each arm of the real records, with the learning rates that ran on two seeds or more."""
    with np.load(RECORDS, allow_pickle=False) as held:
        arrays = {name: held[name] for name in held.files}
    right = np.unpackbits(arrays["right"], axis=1, count=len(arrays["labels"])).astype(float)
    pools: dict[str, list[Pool]] = {}
    for arm, name in enumerate(arrays["arms"]):
        for rate in np.unique(arrays["rate"][arrays["arm"] == arm]):
            rows = (arrays["arm"] == arm) & (arrays["rate"] == rate)
            if rows.sum() > 1:
                pools.setdefault(str(name), []).append(Pool(float(rate), right[rows], arrays["val"][rows]))
    ranked = {name: sorted(of_arm, key=lambda pool: -pool.val.mean()) for name, of_arm in pools.items()}
    good = [pool for of_arm in ranked.values() for pool in of_arm[:2]]
    free = [len(pool.right) - 1 for pool in good]
    between = max(np.average([pool.between_seeds for pool in good], weights=free), 0.0)
    spread = float(np.sqrt(np.average([pool.val.var(ddof=1) for pool in good], weights=free)))
    return {
        name: World(tuple(of_arm), float(np.sqrt(between)) / of_arm[0].slope, spread) for name, of_arm in ranked.items()
    }
