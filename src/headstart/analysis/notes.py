"""Word the notes of a verdict: what qualifies its result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from headstart.analysis.copies import copies_note
from headstart.analysis.headline import headline_contrast
from headstart.analysis.set_uses import other_studies_note
from headstart.analysis.wording import arm_words, evaluation_images, length_words, named_words, splits, start_words
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.diagnostics.augmentation import MAX_TRAIN_GAP
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.search import ArmSearch
from headstart.storage.schemas.verdict import ArmResult, GridRow, VerdictNumbers
from headstart.text import format_percent, format_points, join_list

MAX_CLASS_NAMES = 5  # in a sentence


def notes(verdict: VerdictNumbers) -> list[Message]:
    """Return what qualifies the result: optimism, diverged runs, edges of the grid, weights that have seen the data."""
    texts = [_optimism(verdict), *_family_notes(verdict), *_pool_notes(verdict), *_looks_notes(verdict)]
    if verdict.pooled:
        texts.insert(
            0,
            _("The runs were pooled after their training: arms, number of seeds and margin were not declared before."),
        )
    if verdict.n > 1 and verdict.one_split:
        texts.append(
            _("All seeds use the same split: only initialization, order and augmentation differ between seeds.")
        )
    texts += _rate_notes(verdict)
    texts += [_diverged(arm) for arm in verdict.arms if arm.diverged]
    texts += [_too_augmented(verdict, arm) for arm in verdict.arms if arm.too_augmented]
    texts += _search_edges(verdict)
    texts += [_row_edge(verdict, row) for row in verdict.grid_rows if row.edge]
    contrast = headline_contrast(verdict)
    if contrast is not None and contrast.n >= MIN_DECISIVE_SEEDS and contrast.p_sign_flip is not None:
        texts.append(
            ngettext(
                "The exact sign-flip test over the seeds alone gives p {p:.2g} for {first} against {second}; with "
                "{count} seed it cannot be below {smallest:.3g}. No decision depends on it.",
                "The exact sign-flip test over the seeds alone gives p {p:.2g} for {first} against {second}; with "
                "{count} seeds it cannot be below {smallest:.3g}. No decision depends on it.",
                contrast.n,
                p=contrast.p_sign_flip,
                first=named_words(verdict, contrast.first),
                second=named_words(verdict, contrast.second),
                smallest=2.0 ** (1 - contrast.n),
            )
        )
    texts += other_studies_note(verdict)
    if (note := copies_note(verdict)) is not None:
        texts.append(note)
    return [*texts, *(overlap.sentence for overlap in verdict.overlaps), *exposure_notes(verdict)]


def _pool_notes(verdict: VerdictNumbers) -> Iterator[Message]:
    """Yield which pooled runs are of somebody else, and which runs were left out."""
    if verdict.of_others:
        yield ngettext(
            "{count:,} of the {total:,} pooled runs was not trained by the user who pooled it: its record is that "
            "of somebody else.",
            "{count:,} of the {total:,} pooled runs were not trained by the user who pooled them: their records "
            "are those of somebody else.",
            verdict.of_others,
            total=sum(len(arm.seeds) for arm in verdict.arms),
        )
    if verdict.left_out:
        yield ngettext(
            "{count:,} other run in the folders that were named for pooling is left out: it does not fit, or has "
            "not ended. Trials of searches are not counted.",
            "{count:,} other runs in the folders that were named for pooling are left out: they do not fit, or "
            "have not ended. Trials of searches are not counted.",
            verdict.left_out,
        )


def _rate_notes(verdict: VerdictNumbers) -> Iterator[Message]:
    """Yield what the verdict leaves out of the choice of learning rates."""
    if verdict.pooled:
        yield _("The learning rates are those of the pooled runs: another rate may be better for an arm.")
    elif not verdict.search and not verdict.grid_rows:
        yield _("The learning rates were given, not searched: an arm may be better at another rate.")
    elif any(group.seed is None for group in verdict.search):
        yield _(
            "One search selected the learning rate of each arm for all seeds: the interval leaves out that another "
            "search can select other rates."
        )


def _family_notes(verdict: VerdictNumbers) -> list[Message]:
    """Return what the error of 5 % covers, if there are several contrasts or other conditions."""
    count, texts = len(verdict.contrasts), []
    if count > 1:
        texts.append(
            _(
                "The {count} contrasts share an error of 5 %: the probability that any of them is decided wrongly is "
                "at most that.",
                count=count,
            )
        )
    if verdict.conditions and count:
        texts.append(
            _("Results at other training lengths and fractions are exploratory: this error does not cover them.")
        )
    return texts


def _optimism(verdict: VerdictNumbers) -> Message:
    """Return how the exported arm's mean on the selection split compares with that on the evaluation split."""
    arm = verdict.arm(verdict.selected)
    selection, evaluation = splits(verdict)
    points = format_points(abs(arm.optimism))
    means = {
        "selection": selection,
        "evaluation": evaluation,
        "selection_mean": format_percent(arm.val),
        "evaluation_mean": format_percent(arm.test),
    }
    means["exported"] = _(
        "{selection:cap} selected the epochs. The arm of the exported model is {arm}",
        selection=selection,
        arm=arm_words(arm.spec),
    )
    if points == "0.0":
        return _(
            "{exported}: its mean on {selection}, {selection_mean}, is about the same as its mean on {evaluation}, "
            "{evaluation_mean}.",
            **means,
        )
    if arm.optimism > 0:
        return _(
            "{exported}: its mean on {selection}, {selection_mean}, is {points} percentage points above its mean on "
            "{evaluation}, {evaluation_mean}.",
            points=points,
            **means,
        )
    return _(
        "{exported}: its mean on {selection}, {selection_mean}, is {points} percentage points below its mean on "
        "{evaluation}, {evaluation_mean}.",
        points=points,
        **means,
    )


def _diverged(arm: ArmResult) -> Message:
    """Return on which seeds an arm diverged."""
    return join(
        [
            ngettext(
                "{arm} diverged on seed {seeds}.",
                "{arm} diverged on seeds {seeds}.",
                len(arm.diverged),
                arm=arm_words(arm.spec),
                seeds=join_list(map(str, arm.diverged)),
            ),
            _(
                "Diverged runs count with their best model before the divergence, or as always predicting the first "
                "class if no epoch was validated."
            ),
        ]
    )


def _too_augmented(verdict: VerdictNumbers, arm: ArmResult) -> Message:
    """Return on which seeds the training images of an arm were harder than val until the end."""
    selection = splits(verdict)[0]
    return ngettext(
        "Accuracy of {arm} on the augmented training images stayed {points:g} percentage points or more below "
        "{selection} on {affected} of {count} seed: the augmentation may be too strong for {length}, and another one "
        "may change the result. Compare with `--vary crop=…`.",
        "Accuracy of {arm} on the augmented training images stayed {points:g} percentage points or more below "
        "{selection} on {affected} of {count} seeds: the augmentation may be too strong for {length}, and another one "
        "may change the result. Compare with `--vary crop=…`.",
        verdict.n,
        arm=arm_words(arm.spec),
        points=100 * MAX_TRAIN_GAP,
        selection=selection,
        affected=len(arm.too_augmented),
        length=length_words(verdict.budget),
    )


def _search_edges(verdict: VerdictNumbers) -> Iterator[Message]:
    """Yield the arms whose searched learning rate is at the edge of the grid."""
    groups = [group for group in verdict.search if group.budget == verdict.budget]
    for arm in verdict.arms if groups else ():
        at_edge = [search for group in groups for search in group.arms if search.arm == arm.name and search.at_edge]
        if not at_edge:
            continue
        values = {"arm": named_words(verdict, arm.name), "rates": join_list(f"{rate:g}" for rate in _rates(at_edge))}
        if groups[0].seed is None:
            yield _("The best learning rate of {arm}, {rates}, is at the edge of the grid.", **values)
        else:
            yield ngettext(
                "The best learning rate of {arm} is at the edge of the grid on {count} of {seeds} seeds: {rates}.",
                "The best learning rate of {arm} is at the edge of the grid on {count} of {seeds} seeds: {rates}.",
                len(at_edge),
                seeds=len(groups),
                **values,
            )


def _looks_notes(verdict: VerdictNumbers) -> Iterator[Message]:
    """Yield how often the study may be analyzed, and whether the seeds that it lacks can be added."""
    undecided = [contrast for contrast in verdict.contrasts if contrast.sample_sizes]
    wants_seeds = any(size.seeds is not None for contrast in undecided for size in contrast.sample_sizes)
    if verdict.max_seeds:
        if verdict.further:
            yield ngettext(
                "Seeds were added to this study, within the {limit} that it declared. The levels of this analysis, "
                "after {count} seed, allow for the earlier ones.",
                "Seeds were added to this study, within the {limit} that it declared. The levels of this analysis, "
                "after {count} seeds, allow for the earlier ones.",
                verdict.n,
                limit=verdict.max_seeds,
            )
        if wants_seeds and (left := verdict.max_seeds - verdict.n) > 0:
            yield ngettext(
                "`headstart resume` with --more-seeds can add {count} seed, as declared.",
                "`headstart resume` with --more-seeds can add {count} seeds, as declared.",
                left,
            )
    elif wants_seeds and not verdict.pooled:
        yield _(
            "More seeds are a new study on fresh seeds: seeds that are added to this one would be another chance for a "
            "false decision, for which it declared no share of the error (--max-seeds)."
        )


def _rates(searches: Iterable[ArmSearch]) -> list[float]:
    """Return the selected rates of some searches, each once, in ascending order."""
    return sorted({search.selected for search in searches})


def _row_edge(verdict: VerdictNumbers, row: GridRow) -> Message:
    """Return that the best learning rate of a row of the grid is at an end of the row."""
    arm = named_words(verdict, row.variant)
    if row.edge == "low":
        text = _("The best learning rate of {arm} is the lowest one tested with these settings.", arm=arm)
    else:
        text = _("The best learning rate of {arm} is the highest one tested with these settings.", arm=arm)
    return join([text, _("A better rate may be outside the grid.")])


def exposure_notes(verdict: VerdictNumbers) -> list[Message]:
    """Return which initial weights were trained on these classes, or on some of the evaluation images."""
    texts: dict[tuple[str, str], Message] = {}
    unknown = []
    for name, exposure in verdict.exposure.items():
        start = start_words(verdict.spec(name))
        if exposure.classes:
            texts[start, "classes"] = _(
                "{start} was trained on classes with these names: {classes}. It may be worse on classes that are "
                "new to it.",
                start=start,
                classes=_class_names(exposure.classes),
            )
        if exposure.images:
            texts[start, "images"] = ngettext(
                "{start} was trained on {trained:,} of the {count:,} {split} image: its accuracy is biased upwards.",
                "{start} was trained on {trained:,} of the {count:,} {split} images: its accuracy is biased upwards.",
                verdict.evaluation.images,
                start=start,
                trained=exposure.images,
                split=splits(verdict)[1],
            )
        if exposure.images is None and start not in unknown:
            unknown.append(start)
    return [*texts.values(), *([_unknown_exposure(verdict, unknown)] if unknown else [])]


def _class_names(classes: list[str]) -> Message:
    """Return the first names of classes, and how many more there are."""
    names, more = join(classes[:MAX_CLASS_NAMES], ", "), len(classes) - MAX_CLASS_NAMES
    return ngettext("{names} and {count} more", "{names} and {count} more", more, names=names) if more > 0 else names


def _unknown_exposure(verdict: VerdictNumbers, starts: list[str]) -> Message:
    """Return that it is unknown what some initial weights were trained on."""
    return ngettext(
        "It is unknown whether {starts} was trained on any of the {images}: the training images are not available.",
        "It is unknown whether {starts} were trained on any of the {images}: the training images are not available.",
        len(starts),
        starts=join_list(starts),
        images=evaluation_images(verdict),
    )
