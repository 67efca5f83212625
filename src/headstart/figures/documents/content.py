"""What the sections of a document are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import arm_words, split_names
from headstart.config.plan_file import awaits_verdict, study_folder
from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import HeadstartError
from headstart.figures.documents.model import Picture
from headstart.figures.documents.usage import Usage
from headstart.i18n import Message
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.provenance import read_variants
from headstart.storage.schemas.verdict import Verdict


@dataclass(frozen=True)
class ReportContent:
    """What the sections of a document are made from.

    Args:
        inputs: Runs, and the verdict of a study that has one.
        pictures: Figures of the document.
    """

    inputs: PageInputs
    pictures: Sequence[Picture]

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the study; None without one."""
        return self.inputs.verdict if isinstance(self.inputs, StudyInputs) else None

    @cached_property
    def spec(self) -> StudySpec | None:
        """The declaration of the study; None for runs outside a study, and if the file cannot be read."""
        if not self.inputs.is_study:
            return None
        try:
            return read_study(self.inputs.folder)
        except HeadstartError:
            return None

    @cached_property
    def runs(self) -> Sequence[RunRecord]:
        """Runs that the document is about."""
        return [run.run for run in self.inputs.compared_runs]

    @cached_property
    def arm_runs(self) -> Mapping[str, RunRecord]:
        """First run of each arm, by the arm's name in words."""
        runs: dict[str, RunRecord] = {}
        for run in self.runs:
            runs.setdefault(arm_words(run.spec), run)
        return runs

    @cached_property
    def plans(self) -> Mapping[str, RunConfig]:
        """Plans whose settings are described: those of the arms in a study, else those of all runs."""
        if self.inputs.is_study:
            return {name: run.plan for name, run in self.arm_runs.items()}
        return {str(run.name): run.run.plan for run in self.inputs.runs}

    @property
    def plan(self) -> RunConfig:
        """Plan of a run with the lowest seed."""
        return min(self.runs, key=lambda run: run.seed).plan

    @cached_property
    def declared(self) -> str | None:
        """Splits that the data of a study has declared; None outside a study, where the records do not tell."""
        if self.verdict is not None:
            return self.verdict.evaluation.declared
        variants = read_variants(self.inputs.folder)
        return next((inputs.declared for inputs in variants.values()), None)

    @property
    def splits(self) -> tuple[Message, Message]:
        """The data's names of the selection split and the evaluation split."""
        return split_names(self.declared or "")

    @property
    def model_folder(self) -> Path | None:
        """Folder of the model of the run that stands for the document."""
        return self.inputs.evaluated / "model" if self.inputs.evaluated else None

    @cached_property
    def shows_test(self) -> bool:
        """True if results on test may be shown: not before the verdict of a study whose runs these are."""
        if self.inputs.is_study:
            return self.verdict is not None
        studies = {study_folder(run.folder) for run in self.runs}
        return not any(awaits_verdict(study) for study in studies if study is not None)

    @cached_property
    def usage(self) -> Usage:
        """What the runs used that has a source to cite."""
        verdict = self.verdict
        return Usage(
            plans=[run.run.plan for run in self.inputs.runs],
            starts=[run.spec.start for run in self.arm_runs.values()],
            verdict=verdict,
            searched=bool(verdict and verdict.search) or bool(not verdict and self.spec and self.spec.searches_lr),
            single_interval=verdict is None and len(self.runs) == 1 and self.runs[0].done and not self.inputs.is_study,
        )
