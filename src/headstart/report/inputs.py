"""What the sections of a page are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from headstart.analysis.sentences import VerdictMessages, verdict_messages
from headstart.config.start_spec import start_row
from headstart.i18n import NOTHING, Message
from headstart.report.logged_run import LoggedRun
from headstart.report.series import PlottedRun
from headstart.storage import contained
from headstart.storage.schemas.arm import ArmSpec
from headstart.storage.schemas.verdict import Verdict

COLOR_COUNT = 6
GRAY, BLUE = 0, 1  # the first arm from scratch, and the arm of the exported model


@dataclass(frozen=True)
class PageInputs:
    """Inputs of a page of runs without a verdict.

    Args:
        folder: Folder of the study, of the run, or of the runs.
        runs: Runs of the page.
        color: Color of each arm.
        absent: Which runs of the study are not there, as a sentence; empty if all are.
    """

    folder: Path
    runs: Sequence[PlottedRun]
    color: Mapping[str, int]
    absent: Message = field(default=NOTHING, kw_only=True)

    @property
    def compared_runs(self) -> Sequence[PlottedRun]:
        """Runs of the condition that the page is about."""
        return self.runs

    @property
    def evaluated(self) -> Path | None:
        """Folder of the run whose predictions the page shows, if there is one."""
        return self.runs[0].run.folder if len(self.runs) == 1 else None

    @property
    def preferred_runs(self) -> Sequence[str]:
        """Folder names of the runs that represent their arm, in order of preference."""
        return ()

    @property
    def is_study(self) -> bool:
        """True if the runs are those of a study."""
        return (self.folder / "study.toml").exists()


@dataclass(frozen=True)
class LoggedInputs(PageInputs):
    """Inputs of a page with runs that other programs logged.

    Args:
        logged: All runs of the page by their start: those, and headstart's own, which are also in `runs`.
        tags: Values of `--tag` with which they were read.
    """

    logged: Sequence[LoggedRun]
    tags: Sequence[str] = ()


@dataclass(frozen=True)
class StudyInputs(PageInputs):
    """Inputs of a page of a study with a verdict."""

    verdict: Verdict

    @property
    def sentences(self) -> VerdictMessages:
        """The verdict in words."""
        return verdict_messages(self.verdict)

    @property
    def runs_by_arm(self) -> dict[str, list[PlottedRun]]:
        """Runs of the verdict's condition by arm, in the declared order."""
        of_verdict = {run.run for arm in self.verdict.arms for run in arm.seeds}
        groups: dict[str, list[PlottedRun]] = {arm.name: [] for arm in self.verdict.arms}
        for run in self.runs:
            if run.run.folder.name in of_verdict:
                groups[run.arm].append(run)
        return groups

    @property
    def compared_runs(self) -> Sequence[PlottedRun]:
        """Runs of the verdict's condition."""
        return list(chain(*self.runs_by_arm.values()))

    @property
    def evaluated(self) -> Path:
        """Folder of the run of the exported model."""
        return contained.subfolder(self.folder, self.verdict.exported.run)

    @property
    def preferred_runs(self) -> Sequence[str]:
        """Folder names of the run of the exported model, then of the runs of the verdict."""
        return [self.verdict.exported.run, *(run.run for arm in self.verdict.arms for run in arm.seeds)]


def verdict_colors(verdict: Verdict) -> dict[str, int]:
    """Return the color of each arm of a verdict, by name.

    Blue is the arm of the exported model, unless this is the first arm from scratch, which is gray.
    """
    arms = [arm.spec for arm in verdict.arms]
    reference = next((arm.name for arm in arms if start_row(arm.start).from_scratch), "")
    selected = "" if verdict.selected == reference and verdict.winner is None else verdict.selected
    return arm_colors(arms, selected)


def arm_colors(arms: Sequence[ArmSpec], blue: str = "") -> dict[str, int]:
    """Return the color of each arm, by name.

    The arm `blue` is blue, of the others the first from scratch is gray. The rest takes the remaining colors, which
    repeat after the last of `COLOR_COUNT`.
    """
    color: dict[str, int] = {}
    free = 2
    for arm in arms:
        if arm.name == blue:
            color[arm.name] = BLUE
        elif start_row(arm.start).from_scratch and GRAY not in color.values():
            color[arm.name] = GRAY
        else:
            color[arm.name] = free
            free = free + 1 if free + 1 < COLOR_COUNT else 2
    return color
