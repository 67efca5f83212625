"""Report health findings of a study's runs, each once per arm, so that a study of many runs stays readable."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import role_words
from headstart.diagnostics.registry import finding_name
from headstart.i18n import Message, _, ngettext
from headstart.storage.schemas.study import RunRole, Stage

_LEFT_OUT = (Stage.SEARCH, Stage.ABLATION)


class HealthSummary:
    """Count the findings of each arm's runs, and report each finding when it first appears.

    Trials of the learning-rate search are left out: rates at the ends of a grid are expected to be too high or too low.
    So are networks of an ablation, some of which are expected to be unhealthy: its result names their findings.
    """

    def __init__(self) -> None:
        """Start without runs."""
        self._words: dict[str, Message] = {}  # by variant
        self._runs: dict[str, set[str]] = defaultdict(set)  # variant -> hashes
        self._unhealthy: dict[tuple[str, str], set[str]] = defaultdict(set)  # (variant, finding's code) -> hashes
        self._reported: set[tuple[str, str]] = set()

    def add(self, role: RunRole, run: RunRecord) -> None:
        """Count the findings of a run without reporting them."""
        if role.stage not in _LEFT_OUT:
            self._words[role.variant] = role_words(role)
            self._runs[role.variant].add(run.hash)
            for finding in run.unhealthy_findings:
                self._unhealthy[role.variant, finding.code].add(run.hash)

    def new_finding_sentences(self, role: RunRole, run: RunRecord) -> list[Message]:
        """Count the findings of a run that has just ended; return a sentence for each that is new in its arm."""
        self.add(role, run)
        sentences = []
        for finding in run.unhealthy_findings if role.stage not in _LEFT_OUT else ():
            key = (role.variant, finding.code)
            if key not in self._reported:
                self._reported.add(key)
                sentences.append(
                    _(
                        "{finding:cap} in {arm}, seed {seed}: {sentence}",
                        finding=finding.name,
                        arm=role_words(role),
                        seed=run.seed,
                        sentence=finding.sentence,
                    )
                )
        return sentences

    def summary(self, folder: Path) -> list[Message]:
        """Return how many runs of an arm have a finding, unless the only one has been reported.

        Args:
            folder: Folder of the study, named in the sentences.
        """
        return [
            ngettext(
                "{finding:cap} in {affected} of {count:,} run of {arm}. "
                "Run `headstart diagnose {folder:shell}` for details.",
                "{finding:cap} in {affected} of {count:,} runs of {arm}. "
                "Run `headstart diagnose {folder:shell}` for details.",
                len(self._runs[variant]),
                finding=finding_name(code),
                affected=len(hashes),
                arm=self._words[variant],
                folder=folder,
            )
            for (variant, code), hashes in self._unhealthy.items()
            if len(hashes) > 1 or (variant, code) not in self._reported
        ]
