"""Is the training of a run, or of a study's runs, healthy? Read from what they left; nothing here imports torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress, groupby
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import RunRecord, runs_at
from headstart.analysis.wording import arm_words, length_words, network_words
from headstart.config.duration import Duration
from headstart.diagnostics.checks import findings, healthy_words
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import read
from headstart.storage.journal import read_lines
from headstart.text import capitalize, join_list, printable


@dataclass(frozen=True)
class Diagnosis:
    """What was found in one run; `healthy` says in words what was looked at, where nothing is wrong.

    `network`, `epochs` (as declared: "3ep"), `fraction` of the training photos and `lr` are what runs of one arm may
    differ in.
    """

    run: str
    arm: str
    seed: int
    network: str
    epochs: str
    fraction: float
    lr: float
    findings: tuple[Finding, ...]
    healthy: str

    def to_json(self) -> dict[str, Any]:
        """As the command prints it; `healthy` is null where something is wrong."""
        return {
            "run": self.run,
            "arm": self.arm,
            "seed": self.seed,
            "network": self.network,
            "epochs": self.epochs,
            "fraction": self.fraction,
            "lr": self.lr,
            "findings": [finding.to_json() for finding in self.findings],
            "healthy": self.healthy or None,
        }


def diagnose(folder: Path) -> list[Diagnosis]:
    """The runs of a folder: a run's own, or those of a study. Raises DataError where there are none."""
    return [_one(run) for run in runs_at(folder)]


def _one(run: RunRecord) -> Diagnosis:
    history = read(run.plan, read_lines(run.folder / "metrics.jsonl"), run.state)
    found = tuple(findings(history))
    healthy = "" if any(one.unhealthy for one in found) else healthy_words(history)
    epochs, fraction = run.plan["recipe"]["epochs"], run.plan["data"]["fraction"]
    network = network_words(run.plan["network"])
    return Diagnosis(run.folder.name, run.arm, run.seed, network, epochs, fraction, run.rate, found, healthy)


def sentences(diagnoses: Sequence[Diagnosis]) -> list[str]:
    """The findings in words, those of runs that differ in their seeds alone by name, each told of its first run."""
    said = []
    for title, here in _alike(diagnoses):
        said.append(f"{capitalize(title)}:")
        which = partial(_which, here) if len(diagnoses) > 1 else lambda _: ""
        by_name: dict[str, list[tuple[Diagnosis, Finding]]] = {}
        for one in here:
            for finding in one.findings:
                by_name.setdefault(finding.name, []).append((one, finding))
        for name, having in by_name.items():
            said.append(f"  {capitalize(name)}{which([one for one, _ in having])}. {having[0][1].sentence}")
        if well := [one for one in here if one.healthy]:
            said.append(f"  {well[0].healthy.removesuffix('.')}{which(well)}.")
    return [printable(line) if not line.startswith(" ") else f"  {printable(line.strip())}" for line in said]


def _alike(diagnoses: Sequence[Diagnosis]) -> Iterator[tuple[str, list[Diagnosis]]]:
    """Runs of one arm that differ in their seeds at most, and a name for them: by what not all of the arm share."""
    for arm in dict.fromkeys(one.arm for one in diagnoses):
        here = sorted((one for one in diagnoses if one.arm == arm), key=_order)
        differ = [len(set(values)) > 1 for values in zip(*map(_conditions, here), strict=True)]
        for conditions, some in groupby(here, _conditions):
            yield ", ".join([arm_words(arm), *compress(conditions, differ)]), list(some)


def _order(one: Diagnosis) -> tuple[str, str, float, float, float, int]:
    length = Duration.parse(one.epochs)
    return one.network, length.unit, length.value, one.fraction, one.lr, one.seed


def _conditions(one: Diagnosis) -> tuple[str, str, str, str]:
    return (
        one.network,
        length_words(one.epochs),
        f"{100 * one.fraction:.3g} % of the labels",
        f"learning rate {one.lr:g}",
    )


def _which(here: Sequence[Diagnosis], some: Sequence[Diagnosis]) -> str:
    """Which of the runs `here`, that are called alike: by seeds, or by folders where two of them share a seed."""
    if len({one.seed for one in here}) < len(here):
        return f", in {join_list(one.run for one in some)}"
    return f", seed{'s' if len(some) > 1 else ''} {', '.join(str(one.seed) for one in some)}"
