"""Read a study folder: its verdict, a table of all runs and epochs, its contrasts and its best model."""

from __future__ import annotations

import html
from functools import cached_property, reduce
from pathlib import Path

import pandas as pd

from headstart.analysis.headline import flip_contrast
from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.sentences import verdict_messages
from headstart.analysis.status import read_verdict, require_runs
from headstart.analysis.wording import arm_words, start_words
from headstart.config.study_file import read_study
from headstart.errors import UsageError
from headstart.i18n import Message, _, translated
from headstart.printable import printable
from headstart.results.frame_html import frame_html
from headstart.results.plots import Plots
from headstart.results.run import Run
from headstart.storage import contained
from headstart.storage.schemas.contrast import Contrast
from headstart.storage.schemas.study import Stage
from headstart.storage.schemas.verdict import Verdict
from headstart.text import join_list


class StudyVerdict(Verdict):
    """Content of verdict.json (docs/formats.md), displayed as sentences.

    Examples:
        >>> study.verdict.winner is None, study.verdict.n  # one seed decides nothing
        (True, 1)
        >>> study.verdict.selected in ("scratch", "scratch@adam")
        True
    """

    def __str__(self) -> str:
        return printable(translated(verdict_messages(self).paragraph))

    def __repr__(self) -> str:
        return f"StudyVerdict({self})"

    def _repr_html_(self) -> str:
        messages = verdict_messages(self)
        headline, rest = (html.escape(translated(text)) for text in (messages.headline, messages.after_headline))
        notes = "".join(f"<li>{html.escape(translated(note))}</li>" for note in (*messages.others, *messages.notes))
        return f"<h4>{headline}</h4><p>{rest}</p>{f'<ul>{notes}</ul>' if notes else ''}"


class Study:
    """One study, read from its folder; it may be finished or unfinished.

    Examples:
        >>> study = headstart.Study(study.folder)
        >>> [arm.name for arm in study.verdict.arms]
        ['scratch', 'scratch@adam']
        >>> study.best().folder.parent == study.folder
        True
    """

    def __init__(self, folder: str | Path) -> None:
        """Read study.toml in `folder`.

        Raises:
            DataError: `folder` is not a study.
        """
        self.folder = Path(folder)
        self.spec = read_study(self.folder)

    @cached_property
    def verdict(self) -> StudyVerdict:
        """Content of verdict.json. Raises DataError if there is none yet, or if the runs are not those of it."""
        verdict = read_verdict(self.folder)
        require_runs(verdict, runs_in(self.folder))
        return StudyVerdict(**dict(verdict))

    @property
    def plot(self) -> Plots:
        """Charts: `curves()`, `grid()`, `health()`, `confusion()`, `mistakes()`. Raises DataError without a verdict."""
        return Plots(self.folder, self.verdict)

    @property
    def runs(self) -> list[Run]:
        """Runs of the comparison so far, sorted by arm (in the declared order), budget, fraction and seed.

        Examples:
            >>> [run.plan.recipe.optimizer for run in study.runs]
            ['adamw', 'adam']
        """
        names = [variant.name for variant in self.spec.variants]
        budgets = [str(budget) for budget in self.spec.budgets]

        def sort_key(record: RunRecord) -> tuple[int, int, float, int]:
            budget, fraction = record.condition
            return names.index(record.arm), budgets.index(budget), fraction, record.seed

        return [Run(record.folder) for record in sorted(self._main_runs, key=sort_key)]

    @property
    def _main_runs(self) -> list[RunRecord]:
        """Runs of the comparison, sorted by the names of their folders."""
        return [record for record in runs_in(self.folder) if record.stage is Stage.MAIN]

    @cached_property
    def frame(self) -> pd.DataFrame:
        """One row per epoch of each run of the comparison: arm, seed, budget, fraction, lr, the epoch's results."""
        tables = []
        for record in self._main_runs:
            table = Run(record.folder).history
            budget, fraction = record.condition
            columns: dict[str, str | float | None] = {"arm": record.arm, "seed": record.seed}
            columns |= {"budget": budget, "fraction": fraction, "lr": record.rate}
            for position, (name, value) in enumerate(columns.items()):
                table.insert(position, name, value)
            tables.append(table.assign(run=record.folder.name, state=record.state.value))
        return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()

    def contrast(
        self, first: str, second: str, *, budget: str | None = None, fraction: float | None = None
    ) -> Contrast:
        """Return the contrast of two arms as `first` minus `second`.

        Args:
            first: Name of an arm, as in the table or in the sentences.
            second: Name of the other arm.
            budget: Budget such as "3ep"; the last budget by default, which is the verdict's.
            fraction: Fraction of the training images; the largest by default, which is the verdict's.

        Raises:
            UsageError: The study has no such contrast.
        """
        first, second = self._arm(first), self._arm(second)
        requested = (budget or self.verdict.budget, fraction or self.verdict.fraction)
        conditions = self.verdict.all_conditions
        for condition in conditions:
            if (condition.budget, condition.fraction) == requested:
                for contrast in condition.contrasts:
                    if contrast.pair == {first, second}:
                        return flip_contrast(contrast, first)
        choices = [
            _("budget {budget!r} with fraction {fraction:g}", budget=condition.budget, fraction=condition.fraction)
            for condition in conditions
        ]
        raise UsageError(
            _(
                "The study has no contrast of {first!r} and {second!r} for budget {budget!r} and fraction "
                "{fraction:g}.",
                first=first,
                second=second,
                budget=requested[0],
                fraction=requested[1],
            ),
            _(
                "Choose two of the arms {arms}, and {conditions}.",
                arms=join_list(arm.name for arm in self.verdict.arms),
                conditions=reduce(_either, choices),
            ),
        )

    def _arm(self, name: str) -> str:
        """Return the arm with that name, else the only arm with that name in sentences, else `name` itself.

        The start alone is enough if one arm has it.
        """
        arms = self.verdict.arms
        if name in {arm.name for arm in arms}:
            return name
        for words in (arm_words, start_words):
            texts = {arm.name: words(arm.spec) for arm in arms}
            matches = [arm for arm, text in texts.items() if name.lower() in (text.lower(), translated(text).lower())]
            if len(matches) == 1:
                return matches[0]
        return name

    def learning_curve(self) -> pd.DataFrame:
        """Return test accuracy by fraction of the training images: one row per arm, fraction and budget."""
        rows = []
        for condition in self.verdict.all_conditions:
            for arm in condition.arms:
                key = {"arm": arm.name, "budget": condition.budget, "fraction": condition.fraction}
                rows.append({**key, "val": arm.val, "test": arm.test, "test_sd": arm.test_sd})
        order = {str(budget): position for position, budget in enumerate(self.spec.budgets)}
        sort_keys = {"budget": lambda budgets: budgets.map(order)}
        table = pd.DataFrame(rows)
        return table.sort_values(
            ["budget", "arm", "fraction"],
            key=lambda column: sort_keys.get(str(column.name), lambda c: c)(column),
            ignore_index=True,
        )

    def best(self) -> Run:
        """Return the run whose model was exported: the best seed on val of the arm that was selected on val."""
        return Run(contained.subfolder(self.folder, self.verdict.exported.run))

    def __repr__(self) -> str:
        if not (self.folder / "verdict.json").exists():
            return f"Study({printable(str(self.folder))}: {translated(_('unfinished'))})"
        return f"Study({self.verdict})"

    def _repr_html_(self) -> str:
        """Return HTML for notebooks: the verdict in sentences, then a table of the arms."""
        if not (self.folder / "verdict.json").exists():
            return f"<p><code>{html.escape(str(self.folder))}</code>: {html.escape(translated(_('unfinished')))}</p>"
        table = self.learning_curve()
        table["arm"] = table["arm"].map({arm.name: translated(arm_words(arm.spec)) for arm in self.verdict.arms})
        shown = frame_html(table)
        return f"{self.verdict._repr_html_()}{shown}<p><code>{html.escape(str(self.folder))}</code></p>"


def _either(first: Message, second: Message) -> Message:
    """Return two alternatives as one."""
    return _("{first} or {second}", first=first, second=second)
