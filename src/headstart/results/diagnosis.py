"""Diagnose the training of a run, or of a study's runs, from their files. This module does not import torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress, groupby
from pathlib import Path

from headstart.analysis.run_records import RunRecord, runs_at
from headstart.analysis.status import checked_verdict, is_study
from headstart.analysis.wording import arm_words, labels_share, length_words, network_words
from headstart.config.duration import Duration
from headstart.diagnostics.checks import findings, healthy_words
from headstart.diagnostics.finding import Finding
from headstart.diagnostics.history import read_history
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.files import JsonData
from headstart.storage.schemas.arm import ArmSpec
from headstart.text import join_list


@dataclass(frozen=True)
class Diagnosis:
    """Findings in one run. `health` says what was checked, without a period; it is empty if something is wrong.

    Runs of one arm may differ in `network`, `epochs` (as declared: "3ep"), `fraction` of the training images and `lr`.

    Examples:
        >>> diagnosis = run.diagnose()
        >>> diagnosis.seed, diagnosis.epochs
        (0, '1ep')
    """

    run: str
    arm: ArmSpec
    seed: int
    network: Message
    epochs: str
    fraction: float
    lr: float
    findings: tuple[Finding, ...]
    health: Message

    @property
    def healthy(self) -> Message:
        """Sentence on what was checked; empty if something is wrong."""
        return _("{health}.", health=self.health) if self.health else self.health

    def to_json(self) -> dict[str, JsonData]:
        """Return the diagnosis as the command prints it; `healthy` is null if something is wrong."""
        return {
            "run": self.run,
            "arm": self.arm.name,
            "seed": self.seed,
            "network": self.network,
            "epochs": self.epochs,
            "fraction": self.fraction,
            "lr": self.lr,
            "findings": [finding.to_json() for finding in self.findings],
            "healthy": self.healthy or None,
        }


def diagnose(folder: Path) -> list[Diagnosis]:
    """Diagnose the run in a folder, or all runs of a study.

    Raises:
        DataError: There are no runs, or study.toml or the verdict of the study is missing or damaged.
        BrokenSealError: A run was changed after it ended, or is not that of the study's verdict.
    """
    runs = runs_at(folder)
    is_study(folder)  # raises: study.toml may be missing
    checked_verdict(folder, runs)
    return [_diagnose_run(run) for run in runs]


def _diagnose_run(run: RunRecord) -> Diagnosis:
    history = read_history(run.plan, run.lines(), run.state)
    run_findings = tuple(findings(history))
    health = join([]) if any(finding.unhealthy for finding in run_findings) else healthy_words(history)
    epochs, fraction = str(run.plan.recipe.epochs), run.plan.data.fraction
    network = network_words(run.plan.network)
    return Diagnosis(run.folder.name, run.spec, run.seed, network, epochs, fraction, run.rate, run_findings, health)


def describe_diagnoses(diagnoses: Sequence[Diagnosis]) -> list[Message]:
    """Return the findings as lines of text.

    Runs that differ only in their seeds share a title. A finding that several of them have is stated once, for the
    first of these runs.
    """
    lines = []
    for title, group in _groups(diagnoses):
        lines.append(_("{title}:", title=title))
        named_in = group if len(diagnoses) > 1 else ()
        by_code: dict[str, list[tuple[Diagnosis, Finding]]] = {}
        for diagnosis in group:
            for finding in diagnosis.findings:
                by_code.setdefault(finding.code, []).append((diagnosis, finding))
        for cases in by_code.values():
            runs, finding = [diagnosis for diagnosis, _finding in cases], cases[0][1]
            subject = _with_runs(finding.name, named_in, runs)
            lines.append(_("  {subject:cap}. {sentence}", subject=subject, sentence=finding.sentence))
        if healthy := [diagnosis for diagnosis in group if diagnosis.health]:
            lines.append(_("  {health}.", health=_with_runs(healthy[0].health, named_in, healthy)))
    return lines


def _groups(diagnoses: Sequence[Diagnosis]) -> Iterator[tuple[Message, list[Diagnosis]]]:
    """Yield groups of runs that differ at most in their seeds, with a title: the arm and what its groups differ in."""
    for arm in {diagnosis.arm.name: diagnosis.arm for diagnosis in diagnoses}.values():
        of_arm = sorted((diagnosis for diagnosis in diagnoses if diagnosis.arm == arm), key=_sort_key)
        differ = [len(set(values)) > 1 for values in zip(*map(_conditions, of_arm), strict=True)]
        for conditions, group in groupby(of_arm, _conditions):
            yield join([arm_words(arm), *compress(conditions, differ)], ", "), list(group)


def _sort_key(diagnosis: Diagnosis) -> tuple[str, str, float, float, float, int]:
    length = Duration.parse(diagnosis.epochs)
    return diagnosis.network, length.unit, length.value, diagnosis.fraction, diagnosis.lr, diagnosis.seed


def _conditions(diagnosis: Diagnosis) -> tuple[Message, Message, Message, Message]:
    return (
        diagnosis.network,
        length_words(diagnosis.epochs),
        labels_share(diagnosis.fraction),
        _("learning rate {rate:g}", rate=diagnosis.lr),
    )


def _with_runs(subject: Message, group: Sequence[Diagnosis], runs: Sequence[Diagnosis]) -> Message:
    """Return a subject with the runs of a group that it is about; without them if there is no group.

    The runs are named by their seeds, or by their folders if two runs of the group share a seed.
    """
    if not group:
        return subject
    if len({diagnosis.seed for diagnosis in group}) < len(group):
        return _("{subject}, in {runs}", subject=subject, runs=join_list(diagnosis.run for diagnosis in runs))
    seeds = ", ".join(str(diagnosis.seed) for diagnosis in runs)
    return ngettext("{subject}, seed {seeds}", "{subject}, seeds {seeds}", len(runs), subject=subject, seeds=seeds)
