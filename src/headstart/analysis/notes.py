"""Word the notes of a verdict: what qualifies its result."""

from __future__ import annotations

from headstart.analysis.headline import headline_contrast
from headstart.analysis.wording import arm_words, evaluation_images, named_words, splits, start_words
from headstart.config.study_config import MIN_DECISIVE_SEEDS
from headstart.storage.schemas.verdict import VerdictNumbers
from headstart.text import capitalize, format_percent, format_points, join_list

MAX_CLASS_NAMES = 5  # in a sentence


def notes(verdict: VerdictNumbers) -> list[str]:
    """Return what qualifies the result: optimism, diverged runs, edges of the grid, weights that have seen the data."""
    selected = verdict.arm(verdict.selected)
    selection, evaluation = splits(verdict)
    apart = format_points(abs(selected.optimism))
    side = "above" if selected.optimism > 0 else "below"
    gap = f"{apart} percentage points {side}" if apart != "0.0" else "about the same as"
    texts = [
        f"{capitalize(selection)} selected the epochs and the arm, {arm_words(selected.spec)}: its mean on "
        f"{selection}, {format_percent(selected.val)}, is {gap} its mean on {evaluation}, "
        f"{format_percent(selected.test)}."
    ]
    if verdict.n > 1 and verdict.one_split:
        texts.append("All seeds use the same split: they vary initialization, order and augmentation only.")
    texts += [
        f"{capitalize(arm_words(arm.spec))} diverged on seed{'s' if len(arm.diverged) > 1 else ''} "
        f"{join_list(map(str, arm.diverged))}. Diverged runs count with their best model before the divergence, or "
        "as always predicting the first class if no epoch was validated."
        for arm in verdict.arms
        if arm.diverged
    ]
    for group, edges in (verdict.search.edges[verdict.budget] if verdict.search else {}).items():
        where = "" if group == "shared" else f" on {group}"
        texts += [
            f"The best learning rate of {named_words(verdict, name)}{where}, {edge:g}, is at the edge of the grid."
            for name, edge in edges.items()
        ]
    texts += [
        f"The best learning rate of {named_words(verdict, row.variant)} is the "
        f"{'lowest' if row.edge == 'low' else 'highest'} one tested with these settings. "
        "A better rate may be outside the grid."
        for row in verdict.grid_rows
        if row.edge
    ]
    contrast = headline_contrast(verdict)
    if contrast is not None and contrast.n >= MIN_DECISIVE_SEEDS and contrast.p_sign_flip is not None:
        pair = f"{named_words(verdict, contrast.first)} against {named_words(verdict, contrast.second)}"
        texts.append(
            f"The exact sign-flip test over the seeds gives p {contrast.p_sign_flip:.2g} for {pair}; "
            f"with {contrast.n} seeds it cannot be below {2 / 2**contrast.n:.2g}."
        )
    return [*texts, *verdict.overlaps, *exposure_notes(verdict)]


def exposure_notes(verdict: VerdictNumbers) -> list[str]:
    """Return which initial weights were trained on these classes, or on some of the evaluation images."""
    texts: dict[str, str] = {}
    unknown = []
    images = evaluation_images(verdict)
    for name, exposure in verdict.exposure.items():
        start = start_words(verdict.spec(name))
        title = capitalize(start)
        if exposure.classes:
            classes, more = exposure.classes[:MAX_CLASS_NAMES], len(exposure.classes) - MAX_CLASS_NAMES
            shown = ", ".join(classes) + (f" and {more} more" if more > 0 else "")
            texts[f"{title} classes"] = (
                f"{title} was trained on classes with these names: {shown}. It may be worse on classes that are new to "
                "it."
            )
        if exposure.images:
            texts[f"{title} images"] = (
                f"{title} was trained on {exposure.images:,} of the {verdict.evaluation.images:,} {images}: "
                "its accuracy is biased upwards."
            )
        if exposure.images is None and start not in unknown:
            unknown.append(start)
    if unknown:
        texts["unknown"] = (
            f"It is unknown whether {join_list(unknown)} {'was' if len(unknown) == 1 else 'were'} trained on any of "
            f"the {images}: the training images are not available."
        )
    return list(texts.values())
