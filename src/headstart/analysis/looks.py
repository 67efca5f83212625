"""The analyses of a study on its test images, and the error that each of them may spend.

A study can be analyzed before its last declared seed (interim analyses), and again after further seeds, up to a
declared number. Each analysis is a chance for a false decision. The error of a contrast is therefore divided among all
of them, by a rule that is declared before the first run: the analyses up to the declared seeds spend a share, and
further seeds spend the rest in proportion to their number (Lan & DeMets 1983). The interim analyses divide their share
by the boundary of O'Brien & Fleming. The information is that of the seeds. All analyses have the same test images, so
that they are more alike than the boundaries assume: the error stays below that of the contrast.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from headstart.analysis.statistics import obrien_fleming, spending_boundaries
from headstart.config.study_config import DEFAULT_FIRST_SHARE, StudyConfig


@dataclass(frozen=True)
class Looks:
    """The declared analyses of a study, and the further ones so far.

    Attributes:
        interim: Numbers of seeds of the interim analyses, the last one after all declared seeds; empty without any.
        seeds: Declared seeds.
        further: Numbers of seeds of the analyses after more seeds.
        max_seeds: Most seeds of all analyses; 0 if no further ones are declared.
        first_share: Share of the error that the analyses up to the declared seeds spend, if further ones are declared.
    """

    interim: tuple[int, ...] = ()
    seeds: int = 0
    further: tuple[int, ...] = ()
    max_seeds: int = 0
    first_share: float = DEFAULT_FIRST_SHARE

    @classmethod
    def of(cls, protocol: StudyConfig) -> Looks:
        """Return the analyses that a study has declared."""
        return cls(protocol.interim, protocol.seeds, protocol.further, protocol.max_seeds, protocol.first_share)

    def first_level(self, level: float) -> float:
        """Return the level of a contrast for the analyses up to the declared seeds.

        Args:
            level: Level of the contrast over all analyses.
        """
        return 1 - self.first_share * (1 - level) if self.max_seeds else level

    def interim_boundaries(self, level: float) -> list[float]:
        """Return the p-value of each interim analysis at which the study stops; see `first_level`."""
        return _interim_boundaries(self.interim, self.first_level(level))

    def level_after(self, n: int, level: float) -> float:
        """Return the level of an interval after n seeds: one minus the boundary of the analysis.

        The intervals of all analyses hold together with `level` (Jennison & Turnbull 1989). Without an analysis up to
        n, or with one analysis only, it is `level`.
        """
        if later := sum(count <= n for count in self.further):
            return 1 - _further_boundaries(self, level)[later - 1]
        if made := sum(count <= n for count in self.interim):
            return 1 - self.interim_boundaries(level)[made - 1]
        return self.first_level(level)

    def spent(self, n: int, level: float) -> float:
        """Return the error that all analyses up to n seeds may spend, for n from the declared seeds on."""
        rest = (n - self.seeds) / (self.max_seeds - self.seeds)
        return (1 - level) * (self.first_share + (1 - self.first_share) * rest)


@cache
def _interim_boundaries(interim: tuple[int, ...], level: float) -> list[float]:
    return obrien_fleming([n / interim[-1] for n in interim], level) if interim else []


@cache
def _further_boundaries(looks: Looks, level: float) -> list[float]:
    """Return the p-value of each further analysis that the spending of all analyses before it leaves."""
    first = looks.interim or (looks.seeds,)
    known = looks.interim_boundaries(level) or [1 - looks.first_level(level)]
    shares = [n / looks.max_seeds for n in (*first, *looks.further)]
    return spending_boundaries(shares, known, [looks.spent(n, level) for n in looks.further])
