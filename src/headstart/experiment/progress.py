"""Where a study stands while it goes on: each arm's seeds, and how long the rest will take. It is told, and tells."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from headstart.analysis.run_records import RunRecord
from headstart.analysis.statistics import time_to_target
from headstart.config.duration import seconds
from headstart.config.run_config import RunConfig
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec
from headstart.experiment.workload import (
    CostSoFar,
    asked_images,
    left_words,
    rungs_of,
    seconds_left,
    span_words,
    workload,
)
from headstart.reporter import ArmStatus, StudyStatus
from headstart.text import pluralize

Condition = tuple[str, float]  # budget, fraction
About = Mapping[str, Any]  # what a run is there for: cell, stage, budget, fraction
_WIDER = ("", ", wider grid", ", still wider grid")  # by how often it was widened


def searching(protocol: StudyConfig, seed: int, rung: int, extension: int) -> str:
    """A part of the search in words; `rung` counts the epochs of its longest rung, 0 for whole runs."""
    whose = f" for seed {seed}" if protocol.search == "per-seed" else ""
    length = ("first epoch" if rung == 1 else "first epochs") if rung else "whole"
    return f"search{whose}{_WIDER[extension]}, {length}"


def comparing(protocol: StudyConfig, seeds: int) -> str:
    """The comparison in words, up to a look at so many seeds."""
    return f"comparison, up to {seeds} seeds" if protocol.interim else "comparison"


class Progress:
    """Counts what a study has done of what it will do.

    An arm's price is the wall clock between one answer of the engine and the next, so that whatever else a run costs is
    in it, and runs side by side share it. What is left is what was asked and has not come, and what is known to follow.
    """

    def __init__(self, declared: StudySpec, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self.declared, self._clock = declared, clock
        self._began = self._then = clock()
        self._spent: dict[str, CostSoFar] = {}
        self._waiting: dict[str, dict[str, int]] = defaultdict(dict)  # cell -> hash -> images
        self._taken: set[tuple[str, bool]] = set()  # plans that have been asked for, as rungs or whole
        self._follow: dict[str, dict[str, int]] = {}  # cell -> stage -> images that nobody has asked for yet
        self._asked: dict[str, int] = defaultdict(int)  # runs of the comparison, by cell
        self._tried: dict[str, int] = defaultdict(int)  # trials of the search that have ended, by cell
        self._compared: dict[Condition, dict[str, dict[int, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
        self._stage, self._condition = "", (str(declared.budgets[0]), declared.protocol.fractions[0])
        self._words = ""  # of the part of the study in which runs were asked last,
        self._done, self._total = 0, 0  # and how many of them there are

    def expect(self, plans: Mapping[str, RunConfig]) -> None:
        """Note what the study will ask for; `plans` holds a complete one of each cell."""
        for cell, plan in plans.items():
            load = workload(self.declared, plan.facts.counts["train"], plan.recipe.batch_size, rungs_of(plan))
            self._follow[cell] = {"search": load.rungs + load.whole, "main": load.main}

    def ask(
        self,
        words: str,
        asked: Sequence[tuple[RunConfig, About]],
        there: Mapping[str, RunRecord],
        begun: Mapping[str, int],
        rung: bool,
    ) -> StudyStatus:
        """Note runs that are asked for: those that are `there`, by hash, and the images of those that were `begun`.

        `words` say which part of the study they are.
        """
        self._then, self._words = self._clock(), words
        hashes = {plan.hash for plan, _ in asked}
        self._done, self._total = len(hashes & there.keys()), len(hashes)
        for plan, about in asked:
            if about["stage"] == "search":
                self._condition = (about["budget"], about["fraction"])
            self._stage = about["stage"]
            length = asked_images(plan, rung) - begun.get(plan.hash, 0)
            if (plan.hash, rung) not in self._taken:  # a look asks for earlier seeds again
                self._taken.add((plan.hash, rung))
                self._take(about, length)
            if plan.hash in there:
                self._note(about, there[plan.hash])
            else:
                self._waiting[about["variant"]][plan.hash] = length
        return self.table("")

    def _take(self, about: About, images: int) -> None:
        """What is asked for does not follow any more; nor do trials, once arms are compared."""
        follow = self._follow.get(about["variant"], {})  # a source is no arm
        follow[about["stage"]] = max(0, follow.get(about["stage"], 0) - images)
        if about["stage"] == "main":
            protocol = self.declared.protocol
            self._asked[about["variant"]] += 1
            follow["search"] = 0
            if self._asked[about["variant"]] >= protocol.seeds * len(self.declared.budgets) * len(protocol.fractions):
                follow["main"] = 0

    def end(self, about: About, record: RunRecord) -> StudyStatus:
        """Note that a run has ended."""
        now, cell = self._clock(), about["variant"]
        spent = self._spent.get(cell, CostSoFar())
        images = self._waiting[cell].pop(record.hash, 0)
        if record.done:  # heads that are trained together run whole where a rung is asked for
            images = max(images, int(record.length()["images"])) if images else 0
        if not record.made_in:  # what is taken over costs nothing and says nothing of the rest
            self._spent[cell] = CostSoFar(spent.images + images, spent.seconds + now - self._then)
        self._then = now
        self._done += 1
        self._note(about, record)
        state = "" if record.result.get("state") != "diverged" else ", diverged"
        where = f"  {self._where()}" if self._several() and about["stage"] != "source" else ""
        what = f"{self._count()}  {cell}{where}  seed {record.seed}  lr {record.rate:g}"
        return self.table(f"{what}  val {100 * record.val_score(self.declared.protocol.metric):.1f} %{state}")

    def _note(self, about: About, record: RunRecord) -> None:
        if about["stage"] == "search":
            self._tried[about["variant"]] += 1
        elif about["stage"] == "main":
            self._condition = (about["budget"], about["fraction"])
            self._compared[self._condition][about["variant"]][record.seed] = record

    def waiting(self) -> set[str]:
        """Hashes of the runs that were asked for and have not come."""
        return {one for runs in self._waiting.values() for one in runs}

    def kept(self, begun: int) -> str:
        """Where the study is and what stays when it is stopped here, in words; `begun` runs have no end yet."""
        if not self._words:
            return "before it asked for a run: all that is done is kept"
        runs = f"{self._done} of {pluralize(self._total, 'run')}"
        said = f"in its {self._words}: {runs} {'is' if self._done == 1 else 'are'} done and kept, as is all before"
        if not begun:
            return said
        last = "1 that is begun goes on from its last checkpoint"
        return f"{said}, and {last if begun == 1 else f'{begun} that are begun go on from their last checkpoints'}"

    def overrun(self, added: int) -> str:
        """At the end: that it took longer than its time budget, and why; "" where it did not, or there is none.

        `added` are the learning rates that widened the grid. Time before this life of the study is not known.
        """
        budget, took = self.declared.protocol.time_budget, self._clock() - self._began
        if not budget or took <= seconds(budget):
            return ""
        rates = "a learning rate was" if added == 1 else f"{added} learning rates were"
        why = [f"{rates} added at the edges of the grid"] if added else []
        why += ["runs may take longer than was measured before, as beside other work on this machine"]
        return (
            f"It took {span_words(took)}, and --time-budget declared {span_words(seconds(budget))}: {'; '.join(why)}. "
            "It was not cut short, since its seeds and epochs are declared before its first run."
        )

    def seconds_left(self) -> float | None:
        """Of the whole study; None while nothing has been measured."""
        left = {cell: float(sum(runs.values())) for cell, runs in self._waiting.items()}
        for cell, stages in self._follow.items():
            left[cell] = left.get(cell, 0.0) + sum(stages.values())
        return seconds_left(self._spent, left)

    def table(self, latest: str) -> StudyStatus:
        """The arms under the budget and fraction that is being compared."""
        protocol = self.declared.protocol
        rows = tuple(self._row(cell.name) for cell in self.declared.cells)
        left = left_words(self.seconds_left(), datetime.now())
        return StudyStatus(f"{self._count()}: {self._where()}", protocol.target, rows, latest, left)

    def _count(self) -> str:
        return f"{self._words} {self._done}/{self._total}"

    def _several(self) -> bool:
        return len(self.declared.budgets) > 1 or len(self.declared.protocol.fractions) > 1

    def _where(self) -> str:
        budget, fraction = self._condition
        share = f", {100 * fraction:.3g} % of the photos" if len(self.declared.protocol.fractions) > 1 else ""
        return f"{budget}{share}"

    def _row(self, cell: str) -> ArmStatus:
        protocol = self.declared.protocol
        records = self._compared[self._condition][cell].values()
        tried = self._tried[cell]
        state = pluralize(tried, "trial") if self._stage == "search" else "waiting"
        if records:
            state = "done" if len(records) == protocol.seeds else "comparing"
        val = sum(r.val_score(protocol.metric) for r in records) / len(records) if records else None
        median = None
        if records and protocol.target:
            times = [r.to_target(protocol.target, protocol.metric) for r in records]
            median = time_to_target([None if t is None else t["epochs"] for t in times]).median
        return ArmStatus(cell, state, len(records), protocol.seeds, val, median)
