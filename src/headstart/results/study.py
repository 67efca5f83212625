"""A study folder, opened: its verdict, every run and epoch as a table, its contrasts and its best model."""

from __future__ import annotations

import html
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from headstart.analysis.headline import flip_contrast, read_verdict
from headstart.analysis.run_records import runs_in
from headstart.analysis.wording import arm_words, paragraph
from headstart.config.study_file import read_study
from headstart.errors import UsageError
from headstart.results.plots import Plots
from headstart.results.run import Run
from headstart.text import join_list


class Verdict(dict[str, Any]):
    """The content of verdict.json (docs/formats.md), which shows itself in words."""

    def __str__(self) -> str:
        return paragraph(self["sentences"])

    def _repr_html_(self) -> str:
        said = self["sentences"]
        rest = html.escape(paragraph({**said, "headline": ""}).strip())
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in (*said.get("others", ()), *said.get("notes", ())))
        return f"<h4>{html.escape(said['headline'])}</h4><p>{rest}</p>{f'<ul>{notes}</ul>' if notes else ''}"


class Study:
    """One study, read from its folder; it may be finished or still under way."""

    def __init__(self, folder: str | Path) -> None:
        """Raises DataError when `folder` is not a study."""
        self.folder = Path(folder)
        self.declared = read_study(self.folder)

    @cached_property
    def verdict(self) -> Verdict:
        """The content of verdict.json. Raises DataError while there is none."""
        return Verdict(read_verdict(self.folder))

    @property
    def plot(self) -> Plots:
        """Charts: `curves()`, `grid()`, `health()`, `confusion()`, `mistakes()`. Raises DataError without a verdict."""
        return Plots(self.folder, self.verdict)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row for each run of the comparison and epoch: arm, seed, budget, fraction, lr, the epoch's numbers."""
        tables = []
        for record in runs_in(self.folder):
            if record.about.get("stage") == "main":
                table = Run(record.folder).history
                about = {key: record.about[key] for key in ("budget", "fraction")}
                first = {"arm": record.about["variant"], "seed": record.seed, **about, "lr": record.rate}
                for place, (name, value) in enumerate(first.items()):
                    table.insert(place, name, value)
                tables.append(table.assign(run=record.folder.name, state=record.result.get("state", "unfinished")))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def contrast(
        self, first: str, second: str, *, budget: str | None = None, fraction: float | None = None
    ) -> dict[str, Any]:
        """The declared contrast of two arms, as `first` minus `second`, named as in the table or in the sentences.

        Without `budget` ("3ep") and `fraction` it is that of the verdict: the last budget and the largest share. Raises
        UsageError where there is none.
        """
        first, second = self._arm(first), self._arm(second)
        wanted = (budget or self.verdict["budget"], fraction or self.verdict["fraction"])
        every = [self.verdict, *self.verdict["conditions"]]
        for condition in every:
            if (condition["budget"], condition["fraction"]) == wanted:
                for found in condition["contrasts"]:
                    if {found["first"], found["second"]} == {first, second}:
                        return flip_contrast(found, first)
        arms = join_list(arm["name"] for arm in self.verdict["arms"])
        where = join_list(f"budget {one['budget']!r} with fraction {one['fraction']:g}" for one in every)
        raise UsageError(
            f"The study has no contrast of {first!r} and {second!r} for {wanted[0]!r} and fraction {wanted[1]:g}.",
            f"Its arms are {arms}; it has {where}.",
        )

    def _arm(self, name: str) -> str:
        """The arm of that name, else the only one that sentences call so; else what was given."""
        known = [arm["name"] for arm in self.verdict["arms"]]
        called = [arm for arm in known if arm_words(arm).lower() == name.lower()]
        return called[0] if name not in known and len(called) == 1 else name

    def learning_curve(self) -> pd.DataFrame:
        """Test accuracy by share of the training photos: one row for each arm, fraction and budget."""
        rows = []
        for condition in (*self.verdict["conditions"], self.verdict):
            for arm in condition["arms"]:
                about = {"arm": arm["name"], "budget": condition["budget"], "fraction": condition["fraction"]}
                rows.append({**about, "val": arm["val"], "test": arm["test"], "test_sd": arm["test_sd"]})
        order = {str(budget): place for place, budget in enumerate(self.declared.budgets)}
        by = {"budget": lambda budgets: budgets.map(order)}
        table = pd.DataFrame(rows)
        return table.sort_values(
            ["budget", "arm", "fraction"],
            key=lambda column: by.get(str(column.name), lambda c: c)(column),
            ignore_index=True,
        )

    def best(self) -> Run:
        """The run whose model was exported: the best seed by val of the arm that val chose."""
        return Run(self.folder / self.verdict["exported"]["run"])

    def __repr__(self) -> str:
        if not (self.folder / "verdict.json").exists():
            return f"Study({self.folder}: unfinished)"
        return f"Study({paragraph(self.verdict['sentences'])})"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict in words, then the arms as a table."""
        if not (self.folder / "verdict.json").exists():
            return f"<p><code>{html.escape(str(self.folder))}</code>: unfinished</p>"
        shown = self.learning_curve().to_html(index=False, float_format=lambda x: f"{x:.4g}", border=0)
        return f"{self.verdict._repr_html_()}{shown}<p><code>{html.escape(str(self.folder))}</code></p>"
