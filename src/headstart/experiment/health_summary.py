"""What ails the runs of a study, told as they end: engines are silent, and a study of many runs must not be a flood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import RunRecord
from headstart.text import capitalize, pluralize


class HealthSummary:
    """Counts the findings of an arm's runs, and tells each once when it first appears.

    Trials of a search are left out: the ends of a grid are there to be too high and too low.
    """

    def __init__(self) -> None:
        self._runs: dict[str, set[str]] = defaultdict(set)  # cell -> hashes
        self._ill: dict[tuple[str, str], set[str]] = defaultdict(set)  # cell and name of the finding -> hashes
        self._told: set[tuple[str, str]] = set()

    def count(self, about: Mapping[str, Any], record: RunRecord) -> None:
        """Note a run that was there already."""
        if about["stage"] != "search":
            self._runs[about["variant"]].add(record.hash)
            for finding in record.unhealthy_findings:
                self._ill[about["variant"], finding.name].add(record.hash)

    def take(self, about: Mapping[str, Any], record: RunRecord) -> list[str]:
        """Note a run that has just ended; returns a sentence for each ailment that is new in its arm."""
        self.count(about, record)
        told = []
        for finding in record.unhealthy_findings if about["stage"] != "search" else ():
            key = (about["variant"], finding.name)
            if key not in self._told:
                self._told.add(key)
                told.append(f"{capitalize(finding.name)} in {about['variant']}, seed {record.seed}: {finding.sentence}")
        return told

    def summary(self, folder: Path) -> list[str]:
        """How many runs of an arm have an ailment, where that is more than was told; `folder` is the study's."""
        return [
            f"{capitalize(name)} in {len(ill)} of {pluralize(len(self._runs[cell]), 'run')} of {cell}. "
            f"`headstart diagnose {folder}` tells of each."
            for (cell, name), ill in self._ill.items()
            if len(ill) > 1 or (cell, name) not in self._told
        ]
