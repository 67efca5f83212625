"""What the sections of a document are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import arm_words, data_names, network_words, split_names
from headstart.config.plan_file import awaits_verdict, study_folder
from headstart.config.run_config import RunConfig
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import HeadstartError
from headstart.figures.documents.model import DocumentFigure
from headstart.i18n import Message, join
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.provenance import read_variants
from headstart.storage.schemas.ablation import AblationResult
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict


@dataclass(frozen=True)
class ReportContent:
    """What the sections of a document are made from.

    Args:
        inputs: Runs, and the verdict of a study that has one.
        figures: Figures of the document.
        ablation: Result of an ablation whose runs have all ended.
        foreign_folders: Number of folders with event files of other programs, which the document leaves out.
    """

    inputs: PageInputs
    figures: Sequence[DocumentFigure]
    ablation: AblationResult | None = None
    foreign_folders: int = 0

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the study; None without one."""
        return self.inputs.verdict if isinstance(self.inputs, StudyInputs) else None

    @property
    def is_ablation(self) -> bool:
        """True if the runs are those of an ablation."""
        return len(self.runs) > 1 and all(run.stage is Stage.ABLATION for run in self.runs)

    @property
    def has_arms(self) -> bool:
        """True if the runs have a common plan, from which only their arms differ: those of a study or an ablation."""
        return self.inputs.is_study or self.is_ablation

    @cached_property
    def spec(self) -> StudySpec | None:
        """The declaration of the study; None for runs outside a study, and if the file cannot be read."""
        if not self.inputs.is_study:
            return None
        try:
            return read_study(self.inputs.folder)
        except HeadstartError:
            return None

    @property
    def is_pooled(self) -> bool:
        """True if the study was declared after the training of its runs."""
        return bool(self.verdict and self.verdict.pooled) or bool(self.spec and self.spec.protocol.pooled_seeds)

    @cached_property
    def runs(self) -> Sequence[RunRecord]:
        """Runs that the document is about."""
        return [run.run for run in self.inputs.compared_runs]

    @cached_property
    def arm_runs(self) -> Mapping[str, RunRecord]:
        """The run that describes each arm, by the arm's name in words: the longest, on the most images.

        Outside a study, runs of an arm with different networks are different arms.
        """
        networks: dict[str, set[Message]] = {}
        for run in self.runs:
            networks.setdefault(arm_words(run.spec), set()).add(network_words(run.plan.network))
        runs: dict[str, RunRecord] = {}
        for run in self.runs:
            arm = arm_words(run.spec)
            name = join([arm, network_words(run.plan.network)], ", ") if len(networks[arm]) > 1 else arm
            if name not in runs or _extent(run) > _extent(runs[name]):
                runs[name] = run
        return runs

    @cached_property
    def plans(self) -> Mapping[str, RunConfig]:
        """Plans whose settings are described: those of the arms in a study or an ablation, else those of all runs."""
        if self.has_arms:
            return {name: run.plan for name, run in self.arm_runs.items()}
        return {str(run.name): run.run.plan for run in self.inputs.runs}

    @cached_property
    def data_plans(self) -> Mapping[str, RunConfig]:
        """Plans whose data are described: one of a study or an ablation, which has one data set, else those of all."""
        if self.has_arms:
            run = max(self.runs, key=lambda run: (*_extent(run), -run.seed))
            return {str(run.seed): run.plan}
        return self.plans

    @cached_property
    def data_names(self) -> Sequence[Message]:
        """Names of the data sets of the runs."""
        return list(data_names(list(self.data_plans.values())).values())

    @cached_property
    def declared(self) -> str:
        """Splits that the data of a study has declared; "" if the records do not tell."""
        if self.verdict is not None:
            return self.verdict.evaluation.declared
        studies = {self.inputs.folder} if self.inputs.is_study else {study_folder(run.folder) for run in self.runs}
        declared = {
            inputs.declared for study in studies if study is not None for inputs in read_variants(study).values()
        }
        return declared.pop() if len(studies) == len(declared) == 1 else ""

    @property
    def splits(self) -> tuple[Message, Message]:
        """The data's names of the selection split and the evaluation split."""
        return split_names(self.declared)

    @cached_property
    def shows_test(self) -> bool:
        """True if results on test may be shown: not before the verdict of a study whose runs these are."""
        return not awaits_verdict(self.inputs.folder) and not any(run.withholds_test for run in self.runs)


def _extent(run: RunRecord) -> tuple[float, float]:
    """Return share of the images and length of a run."""
    return run.plan.data.fraction, run.plan.recipe.epochs.value
