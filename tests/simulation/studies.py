"""Simulated studies: tables of correctness for the declared cells, and the project's decisions on them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt

from headstart.analysis.contrasts import compute_contrasts, contrast_pairs
from headstart.analysis.image_sample import ImageSample
from headstart.analysis.interim import interim_analyses
from headstart.analysis.looks import Looks
from headstart.analysis.statistics import family_levels
from headstart.config.study_config import DEFAULT_PRIMARY_SHARE
from headstart.storage.schemas.contrast import Contrast
from tests.simulation.populations import Array, ImageSampler, Population, populations
from tests.simulation.searches import Rule, SearchedRuns, searched_runs

Tables = Mapping[str, npt.NDArray[np.bool_]]
PILOT_STUDIES = 100  # searches from which the shift of an arm is computed


@dataclass(frozen=True)
class Cell:
    """A kind of study.

    Attributes:
        n: Seeds.
        m: Test images.
        arms: Number of arms.
        unit_size: Images of a unit.
        correlation: Correlation within units.
        search: How the rates are searched; None for one rate.
        interim: Numbers of seeds of interim analyses.
    """

    n: int
    m: int
    arms: int = 2
    unit_size: int = 1
    correlation: float = 0.0
    search: Rule | None = None
    interim: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """Return a name that tells the cell from all others."""
        return "; ".join(filter(None, [f"{self.arms} arms, {self.n} seeds, {self.m} images", self.kind]))

    @property
    def kind(self) -> str:
        """Return what differs from a study of independent images with one rate and one analysis."""
        if self.unit_size > 1:
            return f"units of {self.unit_size}, correlation {self.correlation:g}"
        if self.search:
            return f"search {self.search}"
        return f"interim {','.join(map(str, self.interim))}" if self.interim else ""

    @property
    def arm_names(self) -> list[str]:
        """Return the names of the arms; the first and the last one are the primary contrast."""
        return [chr(ord("a") + number) for number in range(self.arms)]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the contrasts, the primary one first."""
        names = self.arm_names
        return contrast_pairs(names, names[-1], (names[0], names[-1]))

    @property
    def sampler(self) -> ImageSampler:
        """Return what samples the test images."""
        return ImageSampler(self.m, self.unit_size, self.correlation)


@dataclass(frozen=True, eq=False)
class SimulatedStudy:
    """One study of equal arms, whose first arm can be shifted by a true gain.

    Attributes:
        names: Names of the arms.
        latent: Latent values [arms, seeds, images]; an image is correct where they are above 0.
        shifts: Shift of the first arm in logits for each gain in expected accuracy.
        searched: The runs of the search, if there was one.
    """

    names: Sequence[str]
    latent: Array
    shifts: Mapping[float, float]
    searched: SearchedRuns | None

    def tables(self, gain: float) -> Tables:
        """Return the correctness of the arms [seeds, images], with a true gain of the first arm."""
        first = self.latent[0] + self.shifts[gain] > 0
        return dict(zip(self.names, [first, *(self.latent[1:] > 0)], strict=True))


def simulate(cell: Cell, studies: int, gains: Sequence[float]) -> Iterator[SimulatedStudy]:
    """Yield studies of a cell, of each real arm in turn; the first ones are the same for any number of studies."""
    rng = np.random.default_rng([crc32(cell.name.encode()), 1])
    arms = list(populations().values())
    shifts = [_shifts(cell, population, gains) for population in arms]
    for number in range(studies):
        population = arms[number % len(arms)]
        yield _simulate_study(cell, population, shifts[number % len(arms)], rng)


def _simulate_study(
    cell: Cell, population: Population, shifts: Mapping[float, float], rng: np.random.Generator
) -> SimulatedStudy:
    sampler, searched = cell.sampler, None
    if cell.search:
        searched = searched_runs(cell.arm_names, cell.n, cell.search, population, rng)
        levels = searched.levels
    else:
        levels = rng.normal(0, population.seed_sd, (cell.arms, cell.n))
    latent = sampler.noise((cell.arms, cell.n), rng)
    latent += (sampler.ease(population, rng) + sampler.arm_effects(cell.arms, rng))[:, None, :]
    latent += levels[:, :, None]
    return SimulatedStudy(cell.arm_names, latent, shifts, searched)


def _shifts(cell: Cell, population: Population, gains: Sequence[float]) -> dict[float, float]:
    """Return the shift of an arm for each gain, at the rates that the search of the cell selects."""
    levels = population.seed_effects
    if cell.search:
        rng = np.random.default_rng([crc32(cell.name.encode()), 2])
        pilots = [
            searched_runs(cell.arm_names, cell.n, cell.search, population, rng).levels for _ in range(PILOT_STUDIES)
        ]
        levels = np.concatenate(pilots, axis=None)
    return {gain: population.shift(gain, levels) if gain else 0.0 for gain in gains}


def decisions(cell: Cell, tables: Tables, sample: ImageSample, margin: float) -> list[Contrast]:
    """Return the contrasts of a study's page as the project decides them, after the seeds that it would have run."""
    pairs, looks = cell.pairs, Looks(cell.interim, cell.n)
    if cell.interim:
        level = family_levels(len(pairs), DEFAULT_PRIMARY_SHARE)[0]
        analyses = interim_analyses(tables, pairs[0], looks, sample=sample, level=level)
        tables = {name: table[: analyses[-1].n] for name, table in tables.items()}
    return compute_contrasts(tables, pairs, margin=margin, sample=sample, looks=looks)
