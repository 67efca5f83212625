"""Is the training of a run, or of a study's runs, healthy? Read from what they left; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.record import read_lines
from headstart.use.printing import printable
from headstart.verdict.finding import Finding
from headstart.verdict.gather import RunRecord, runs_at
from headstart.verdict.health import findings, healthy_words
from headstart.verdict.history import read
from headstart.verdict.words import arm_words, capital


@dataclass(frozen=True)
class Diagnosis:
    """What was found in one run; `healthy` says in words what was looked at, where nothing is wrong."""

    run: str
    arm: str
    seed: int
    findings: tuple[Finding, ...]
    healthy: str

    def to_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "arm": self.arm,
            "seed": self.seed,
            "findings": [finding.to_json() for finding in self.findings],
            "healthy": self.healthy or None,
        }


def diagnose(folder: Path) -> list[Diagnosis]:
    """The runs of a folder: a run's own, or those of a study. Raises DataError where there are none."""
    return [_one(run) for run in runs_at(folder)]


def _one(run: RunRecord) -> Diagnosis:
    history = read(run.plan, read_lines(run.folder / "metrics.jsonl"), run.state)
    found = tuple(findings(history))
    healthy = "" if any(one.ailment for one in found) else healthy_words(history)
    return Diagnosis(run.folder.name, run.arm, run.seed, found, healthy)


def sentences(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """The findings in words, those of runs of one arm that have the same name together, told of their first run."""
    said = []
    for arm in dict.fromkeys(one.arm for one in diagnoses):
        here = [one for one in diagnoses if one.arm == arm]
        said.append(f"{capital(arm_words(arm))}:")
        for name in dict.fromkeys(finding.name for one in here for finding in one.findings):
            having = [one for one in here if any(finding.name == name for finding in one.findings)]
            first = next(finding for finding in having[0].findings if finding.name == name)
            said.append(f"  {capital(name)}{_where(having, here)}. {first.sentence}")
        if well := [one for one in here if one.healthy]:
            said.append(f"  {well[0].healthy.removesuffix('.')}{_where(well, here)}.")
    return [printable(line) if not line.startswith(" ") else f"  {printable(line.strip())}" for line in said]


def _where(having: Sequence[Diagnosis], every: Sequence[Diagnosis]) -> str:
    if len(every) == 1:
        return ""
    return f", seed{'s' if len(having) > 1 else ''} {', '.join(str(one.seed) for one in having)}"
