"""The sections on the results: what the study decided, the tables of its numbers, and the health of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headstart.analysis.wording import length_words, metric_words, named_words, splits, state_words
from headstart.figures.documents.ablation import ablation_results
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import Block, BulletList, DocumentTable, Heading, Paragraph, Target, cite, refer
from headstart.figures.documents.tables import NO_EPOCH_NOTE, NO_VALUE, accuracy_table, contrast_table, numbers_of
from headstart.i18n import Message, Value, _, join, ngettext
from headstart.report.cost import cost_section
from headstart.report.curves import target_section
from headstart.report.health import health_section
from headstart.report.heatmaps import compared_rates_section, searched_grids, standalone_rates_section
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.sections import budgets_section, labels_section, ranked_arms
from headstart.report.series import PlottedRun
from headstart.report.words import evaluated_images
from headstart.storage.schemas.result import RunState
from headstart.storage.schemas.verdict import Verdict
from headstart.text import end_sentence, join_list

FINAL_EVALUATION = _("Accuracies of ended runs are those of the final evaluation, in fp32.")


def result_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the section on the results."""
    yield Heading(_("Results"))
    inputs = content.inputs
    if isinstance(inputs, StudyInputs):
        yield from _study_blocks(content, inputs)
    else:
        yield from _run_blocks(content, inputs)


def health_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the section on the health of the training."""
    section = health_section(content.inputs)
    yield Heading(_("Is the training healthy?"))
    yield Paragraph(
        join(
            [
                end_sentence(section.finding),
                _("The checks look for learning rates that are too high or too low, vanishing and exploding gradients, "
                  "and dead filters."),
            ]
        )
    )  # fmt: skip
    if section.lead:
        yield BulletList(section.lead)


def _study_blocks(content: ReportContent, inputs: StudyInputs) -> Iterator[Block]:
    verdict, sentences = inputs.verdict, inputs.sentences
    yield Paragraph(join([sentences.headline, sentences.evidence]))
    if sentences.details:
        yield Paragraph(join(sentences.details))
    tables = [accuracy_table(verdict), *contrast_table(verdict)]
    yield Paragraph(join([_accuracy_reference(verdict), *_contrast_reference(verdict), *_figure_reference(content)]))
    yield from tables
    yield from _condition_tables(inputs)
    yield from _target_table(inputs)
    yield from _rate_blocks(inputs)
    yield from _cost_blocks(inputs)
    if sentences.notes:
        yield Heading(_("Notes and warnings"), 2)
        yield BulletList(sentences.notes)


def _accuracy_reference(verdict: Verdict) -> Message:
    best = ranked_arms(verdict)[0]
    return _(
        "{table} has the {metric} of the arms on {images}; the highest mean is that of {arm}.",
        table=refer(Target.TABLE, "accuracy"),
        metric=metric_words(verdict),
        images=evaluated_images(verdict),
        arm=named_words(verdict, best.name),
    )


def _contrast_reference(verdict: Verdict) -> list[Message]:
    if not verdict.contrasts:
        return []
    return [_("{table} has the differences between arms.", table=refer(Target.TABLE, "contrasts"))]


def _figure_reference(content: ReportContent) -> list[Message]:
    if "verdict" not in [figure.key for figure in content.figures]:
        return []
    figure = refer(Target.FIGURE, "verdict")
    if content.verdict is not None and content.verdict.contrasts:
        return [_("{figure} shows both.", figure=figure)]
    return [_("{figure} shows it.", figure=figure)]


def _condition_tables(inputs: StudyInputs) -> Iterator[Block]:
    """Yield the tables of training lengths and of fractions of the images, if the study has several."""
    values = {"metric": metric_words(inputs.verdict), "images": evaluated_images(inputs.verdict)}
    yield from numbers_of(
        labels_section(inputs), "labels", _("{metric:cap} on {images} by number of training images.", **values)
    )
    yield from numbers_of(
        budgets_section(inputs),
        "budgets",
        _("{metric:cap} on {images} by training length, in training images of a run.", **values),
    )


def _target_table(inputs: StudyInputs) -> Iterator[Block]:
    verdict = inputs.verdict
    yield from numbers_of(
        target_section(inputs),
        "target",
        _(
            "Epochs until {target:.3g} % on {split} were reached.",
            target=100 * verdict.target,
            split=splits(verdict)[0],
        ),
    )


def _rate_blocks(inputs: StudyInputs) -> Iterator[Block]:
    """Yield the tables of the learning rates that were searched or compared."""
    compared = numbers_of(
        compared_rates_section(inputs),
        "rates",
        _(
            "{metric:cap} in per cent on {images} by learning rate.",
            metric=metric_words(inputs.verdict),
            images=evaluated_images(inputs.verdict),
        ),
    )
    if not compared and not inputs.verdict.search:
        return
    yield Heading(_("Learning rates of the arms"), 2)
    yield from compared or _search_tables(inputs.verdict)


def _search_tables(verdict: Verdict) -> Iterator[Block]:
    """Yield one table for each training length and grid of the search."""
    grids = [(grid, grid.search) for grid in searched_grids(verdict) if grid.search is not None]
    keys = [f"rates-{number}" for number in range(1, len(grids) + 1)]
    references = join_list(refer(Target.TABLE, key) for key in keys)
    yield Paragraph(
        ngettext(
            "{tables} has the result of the search.", "{tables} have the results of the search.", len(keys),
            tables=references,
        )
    )  # fmt: skip
    for key, (searched, search) in zip(keys, grids, strict=True):
        header = [_("arm"), *searched.grid.columns, _("selected")]
        rows = [
            [name, *texts, _("{rate:g} (edge of the grid)", rate=arm.selected) if arm.at_edge else f"{arm.selected:g}"]
            for name, texts, arm in zip(searched.grid.rows, searched.grid.texts, search.arms, strict=True)
        ]
        conditions = [length_words(search.budget)]
        conditions += [_("seed {seed}", seed=search.seed)] if search.seed is not None else []
        caption = _(
            "Search of the learning rates, {conditions}: mean {metric} on {split} in per cent. In brackets: after the "
            "first evaluation of the search only. ×: diverged.",
            conditions=join(conditions, ", "),
            metric=metric_words(verdict),
            split=splits(verdict)[0],
        )
        yield DocumentTable(key, caption, header, rows)


def _cost_blocks(inputs: StudyInputs) -> Iterator[Block]:
    section = cost_section(inputs)
    yield Heading(_("Time and cost"), 2)
    yield Paragraph(join([end_sentence(section.finding), *section.notes]))
    caption = _(
        "Cost of a run of each arm: mean minutes of training and validation, mean number of training images (each "
        "counted as often as used), and the median share of the machine's measured matrix-product speed that the "
        "training reached (MFU)."
    )
    yield from numbers_of(section, "cost", caption)


def _run_blocks(content: ReportContent, inputs: PageInputs) -> Iterator[Block]:
    """Yield the results of runs without a verdict."""
    runs = inputs.runs
    if inputs.is_study:
        yield Paragraph(
            ngettext(
                "The study has no verdict yet: {ended} of {count} run so far has ended. Results on test are not shown "
                "before the verdict.",
                "The study has no verdict yet: {ended} of {count} runs so far have ended. Results on test are not "
                "shown before the verdict.",
                len(runs),
                ended=sum(run.run.done for run in runs),
            )
        )
    elif content.is_ablation:
        yield from ablation_results(content)
    elif len(runs) == 1:
        yield Paragraph(join(_single_run_sentences(content, runs[0])))
    else:
        yield Paragraph(
            _("The runs are no study: nothing is decided, and the document has no intervals of differences.")
        )
    yield _run_table(content, runs)
    if not content.has_arms:
        caption = _("Best val accuracy by optimizer and learning rate.")
        yield from numbers_of(standalone_rates_section(inputs), "rates", caption)


def _single_run_sentences(content: ReportContent, run: PlottedRun) -> Iterator[Message]:
    result = run.run.result
    if result is None:
        yield _("The run has not ended.")
        return
    yield _("The run finished.") if result.state is RunState.FINISHED else _("The run diverged.")
    on_test = result.test is not None
    split, score = content.splits[on_test], result.final
    values: dict[str, Value] = {
        "epoch": result.best_epoch,
        "accuracy": 100 * score.accuracy,
        "split": split,
        "low": 100 * score.interval[0],
        "high": 100 * score.interval[1],
        "source": cite("wilson1927"),
    }
    if not result.best_epoch:
        yield ngettext(
            "No epoch was evaluated on {selection}. The run therefore counts as a model that predicts the first class, "
            "with an accuracy of {accuracy:.1f} % on {count} image of {split}.",
            "No epoch was evaluated on {selection}. The run therefore counts as a model that predicts the first class, "
            "with an accuracy of {accuracy:.1f} % on {count} images of {split}.",
            score.n,
            selection=content.splits[0],
            **values,
        )
    else:
        yield ngettext(
            "Its best epoch, {epoch}, has an accuracy of {accuracy:.1f} % on {count} image of {split} (95 % interval "
            "{low:.1f} to {high:.1f} % {source}).",
            "Its best epoch, {epoch}, has an accuracy of {accuracy:.1f} % on {count} images of {split} (95 % interval "
            "{low:.1f} to {high:.1f} % {source}).",
            score.n,
            **values,
        )
        if not on_test:
            yield _("This number is optimistic, since {split} selected the epoch.", split=split)
    if not content.shows_test:
        yield _("Its study has no verdict yet. Results on test are not shown before the verdict.")


def _run_table(content: ReportContent, runs: Sequence[PlottedRun]) -> DocumentTable:
    """Return the table of runs without a verdict; it has results on test only where they may be shown."""
    selection, evaluation = content.splits
    header = [_("run"), _("state"), _("learning rate"), _("epochs"), _("best epoch")]
    header += [_("{split}, %", split=split) for split in (selection, evaluation)[: 1 + content.shows_test]]
    rows = []
    for run in runs:
        result = run.run.result
        best = run.run.selected_epoch
        val = next((f"{100 * line.val.accuracy:.1f}" for line in run.epochs if line.epoch == best), NO_VALUE)
        val = f"{100 * result.val.accuracy:.1f}" if result else val
        epochs = [str(len(run.epochs)), str(best or NO_VALUE)]
        row = [run.name, state_words(run.run.state), f"{run.run.rate:g}", *epochs, val]
        if content.shows_test:
            row.append(f"{100 * result.test.accuracy:.1f}" if result and result.test else NO_VALUE)
        rows.append(row)
    caption = [
        _("The runs. The best epoch is the one that {selection} selected.", selection=selection),
        FINAL_EVALUATION,
    ]
    if any(run.run.done and not run.run.best_epoch for run in runs):
        caption.append(NO_EPOCH_NOTE)
    return DocumentTable("runs", join(caption), header, rows)
