"""The sections on the results: what the study decided, the tables of its numbers, and the health of the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headstart.analysis.wording import length_words, metric_words, named_words, splits, state_words
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import Block, BulletList, Heading, Paragraph, Table, Target, cite, refer
from headstart.figures.documents.tables import NO_VALUE, accuracy_table, contrast_table, numbers_of
from headstart.i18n import Message, _, join, ngettext
from headstart.report.cost import cost_section
from headstart.report.curves import target_section
from headstart.report.health import health_section
from headstart.report.heatmaps import compared_rates_section, searched_grids, standalone_rates_section
from headstart.report.inputs import PageInputs, StudyInputs
from headstart.report.sections import budgets_section, labels_section, ranked_arms
from headstart.report.series import PlottedRun
from headstart.report.words import evaluated_images
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
    if "verdict" not in [picture.key for picture in content.pictures]:
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
    keys = [f"rates-{number}" for number in range(1, len(searched_grids(verdict)) + 1)]
    references = join_list(refer(Target.TABLE, key) for key in keys)
    yield Paragraph(
        ngettext(
            "{tables} has the result of the search.", "{tables} have the results of the search.", len(keys),
            tables=references,
        )
    )  # fmt: skip
    budgets = list(dict.fromkeys(group.budget for group in verdict.search))
    groups = sorted(verdict.search, key=lambda group: -budgets.index(group.budget))
    for key, group, searched in zip(keys, groups, searched_grids(verdict), strict=True):
        header = [_("arm"), *searched.grid.columns, _("selected")]
        rows = [
            [name, *texts, _("{rate:g} (edge of the grid)", rate=arm.selected) if arm.at_edge else f"{arm.selected:g}"]
            for name, texts, arm in zip(searched.grid.rows, searched.grid.texts, group.arms, strict=True)
        ]
        conditions = [length_words(group.budget)]
        conditions += [_("seed {seed}", seed=group.seed)] if group.seed is not None else []
        caption = _(
            "Search of the learning rates, {conditions}: mean {metric} on {split} in per cent. In brackets: after the "
            "first evaluation of the search only. ×: diverged.",
            conditions=join(conditions, ", "),
            metric=metric_words(verdict),
            split=splits(verdict)[0],
        )
        yield Table(key, caption, header, rows)


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
    elif len(runs) == 1:
        yield Paragraph(join(_single_run_sentences(content, runs[0])))
    else:
        yield Paragraph(
            _("The runs are no study: nothing is decided, and the document has no intervals of differences.")
        )
    yield _run_table(content, runs)
    if not inputs.is_study:
        caption = _("Best val accuracy by optimizer and learning rate.")
        yield from numbers_of(standalone_rates_section(inputs), "rates", caption)


def _single_run_sentences(content: ReportContent, run: PlottedRun) -> Iterator[Message]:
    result = run.run.result
    if result is None:
        yield _("The run has not ended.")
        return
    yield _("The run is {state}.", state=state_words(result.state))
    split, score = ("val", result.val)
    if result.test is not None and content.shows_test:
        split, score = ("test", result.test)
    yield ngettext(
        "Its best epoch, {epoch}, has an accuracy of {accuracy:.1f} % on {count} {split} image (95 % interval "
        "{low:.1f} to {high:.1f} % {source}).",
        "Its best epoch, {epoch}, has an accuracy of {accuracy:.1f} % on {count} {split} images (95 % interval "
        "{low:.1f} to {high:.1f} % {source}).",
        score.n,
        epoch=result.best_epoch,
        accuracy=100 * score.accuracy,
        split=split,
        low=100 * score.interval[0],
        high=100 * score.interval[1],
        source=cite("wilson1927"),
    )
    if split == "val":
        yield _("This number is optimistic, since val selected the epoch.")
    if not content.shows_test:
        yield _("Its study has no verdict yet. Results on test are not shown before the verdict.")


def _run_table(content: ReportContent, runs: Sequence[PlottedRun]) -> Table:
    """Return the table of runs without a verdict; it has results on test only where they may be shown."""
    header = [_("run"), _("state"), _("learning rate"), _("epochs"), _("best epoch"), _("val, %")]
    header += [_("test, %")] if content.shows_test else []
    rows = []
    for run in runs:
        result = run.run.result
        best = run.run.selected_epoch
        val = next((f"{100 * line.val.accuracy:.1f}" for line in run.epochs if line.epoch == best), NO_VALUE)
        val = f"{100 * result.val.accuracy:.1f}" if result else val
        row = [run.name, state_words(run.run.state), f"{run.run.rate:g}", str(len(run.epochs)), str(best), val]
        if content.shows_test:
            row.append(f"{100 * result.test.accuracy:.1f}" if result and result.test else NO_VALUE)
        rows.append(row)
    return Table(
        "runs", join([_("The runs. The best epoch is the one that val selected."), FINAL_EVALUATION]), header, rows
    )
