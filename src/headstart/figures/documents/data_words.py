"""Word the data of a study or of runs: the images, their splits, and the tables of the classes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from headstart.analysis.wording import data_key
from headstart.config.run_config import RunConfig
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import DocumentTable, cite
from headstart.figures.documents.recipe import for_each_group
from headstart.figures.documents.usage import uses_digits
from headstart.i18n import Message, _, join, ngettext
from headstart.storage.schemas.study import TRAIN_AND_VAL

ALL_SPLITS = "train+val+test"  # declared splits of data of which no seed draws a split
DRAWN_VAL = ("none", "train", "train+test")  # declared splits of data of which the seed draws val
MAX_CLASSES = 40  # in a table of classes
MAX_CLASS_TABLES = 5


def data_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield what the images are, and how they are split; for each group of runs where runs differ."""
    plans = content.data_plans
    yield from for_each_group(plans, _image_words)
    if content.has_arms:
        ((seed, plan),) = plans.items()
        yield _("With seed {seed} there are {counts}.", seed=seed, counts=_count_words(plan, content.splits))
    else:
        yield from for_each_group(
            plans, lambda plan: _("There are {counts}.", counts=_count_words(plan, content.splits))
        )
    yield _split_sentence(content)
    verdict, spec = content.verdict, content.spec
    declared = spec.protocol.fractions if spec else ()
    if len({c.fraction for c in verdict.all_conditions} if verdict else set(declared)) > 1:
        yield _("The study also trains with a part of the training images; smaller parts are subsets of larger ones.")


def class_tables(content: ReportContent) -> Iterator[DocumentTable]:
    """Yield the number of images by class of each data set."""
    plans = list({data_key(plan): plan for plan in content.data_plans.values()}.values())
    for number, (name, plan) in enumerate(zip(content.data_names, plans, strict=True), 1):
        counts = plan.facts.class_counts
        if 0 < len(counts) <= MAX_CLASSES and number <= MAX_CLASS_TABLES:
            caption, key = _("Number of images by class, of all splits."), "classes"
            if len(plans) > 1:
                caption = _("Number of images by class of {data}, of all splits.", data=name)
                key = f"classes-{number}"
            rows = [[label, f"{count:,}"] for label, count in counts.items()]
            yield DocumentTable(key, caption, [_("class"), _("images")], rows)


def _image_words(plan: RunConfig) -> Message:
    facts = plan.facts
    text = ngettext(
        "The data is {source}: {images} images in {count} class.",
        "The data is {source}: {images} images in {count} classes.",
        len(facts.class_names),
        source=Path(plan.data.source).name,
        images=f"{sum(facts.class_counts.values()):,}",
    )
    if not uses_digits(plan):
        return text
    digits = _(
        "These are handwritten digits of 8 x 8 px {digits}, as scikit-learn contains them {library}.",
        digits=cite("alpaydin1998"),
        library=cite("pedregosa2011"),
    )
    return join([text, digits])


def _count_words(plan: RunConfig, splits: tuple[Message, Message]) -> Message:
    """Return the number of images of each split, as a clause."""
    counts, (selection, evaluation) = plan.facts.split_counts, splits
    train = ngettext("{count:,} training image", "{count:,} training images", counts.train)
    if plan.data.fraction != 1:
        train = _("{images} ({share:.3g} % of those in train)", images=train, share=100 * plan.data.fraction)
    if not counts.test:
        return _("{train} and {val:,} val images; there is no test split", train=train, val=counts.val)
    return _(
        "{train}, {val:,} images for model selection ({selection}) and {test:,} for the final evaluation "
        "({evaluation})",
        train=train,
        val=counts.val,
        test=counts.test,
        selection=selection,
        evaluation=evaluation,
    )


def _split_sentence(content: ReportContent) -> Message:
    """Return how the images of a study were split, as far as the records tell."""
    together = _("Images of equal content and images of one group are in the same split.")
    match content.declared:
        case "none" | "train":
            drawn = _("About 15 % of the images of each class were drawn for test and as many for val.")
            return join([drawn, together, _("Test is the same for all runs; the seed draws val.")])
        case "train+test":
            drawn = _("The data declares test. The seed draws about 15 % of the other images of each class for val.")
            return join([drawn, _("Images of equal content and images of one group are not divided between the two.")])
        case declared if declared == TRAIN_AND_VAL:
            return _(
                "The data declares train and val. Val is used for the final evaluation; the seed draws about 15 % of "
                "the images of each class in train for model selection."
            )
        case declared if declared == ALL_SPLITS:
            return _("The data declares all three splits, which are the same for all seeds.")
    return join([])


def seed_effect_words(declared: str) -> Message:
    """Return what a seed determines.

    Args:
        declared: Splits that the data has declared; "" if that is not known.
    """
    if declared == ALL_SPLITS:
        return _("A seed determines the random initial weights, the order of the images and the augmentation.")
    if declared:
        return _(
            "A seed determines the training images and those for model selection, the random initial weights, the "
            "order of the images and the augmentation."
        )
    return _(
        "A seed determines the random initial weights, the order of the images, the augmentation, and train and val "
        "where the data does not declare them."
    )


def own_search_words(declared: str) -> Message:
    """Return on which images each seed searches its learning rates; the same argument as `seed_effect_words`."""
    if declared == ALL_SPLITS:
        return _("Each seed has a search of its own; val is the same for all.")
    if declared == TRAIN_AND_VAL:
        return _("Each seed has a search of its own, on the part of train that it draws for model selection.")
    if declared in DRAWN_VAL:
        return _("Each seed has a search of its own, on the val images that it draws.")
    return _("Each seed has a search of its own.")
