"""The parts of the method that belong to a comparison: search, selection, evaluation and statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headstart.config.study_config import MIN_DECISIVE_SEEDS, MIN_DECISIVE_UNITS
from headstart.config.study_file import StudySpec
from headstart.figures.documents.ablation import ablation_statistics
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.data_words import own_search_words, seed_effect_words
from headstart.figures.documents.model import Block, Heading, Paragraph, Target, cite, refer
from headstart.figures.documents.recipe import for_each_group, selection_words
from headstart.i18n import Message, _, join, ngettext
from headstart.metrics.registry import METRICS
from headstart.report.provenance import range_words
from headstart.report.words import evaluated_images
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.contrast import Contrast
from headstart.storage.schemas.verdict import Verdict
from headstart.text import format_level, format_points, join_list


def comparison_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield how rates were searched, epochs selected, runs evaluated and arms compared, as far as it applies."""
    if content.spec is not None:
        yield Heading(_("Learning rates"), 2)
        has_verdict = content.verdict is not None
        yield Paragraph(join(_search_sentences(content.spec, content, has_verdict=has_verdict)))
    yield Heading(_("Selection and evaluation"), 2)
    yield Paragraph(join(_selection_sentences(content)))
    if content.verdict is not None:
        yield Heading(_("Statistics"), 2)
        yield Paragraph(join(_statistics_sentences(content.verdict)))
    elif content.is_ablation:
        yield Heading(_("Statistics"), 2)
        yield Paragraph(join(ablation_statistics(content)))


def _search_sentences(spec: StudySpec, content: ReportContent, *, has_verdict: bool) -> Iterator[Message]:
    """Yield how learning rates were searched, or why they were not."""
    protocol, selection = spec.protocol, content.splits[0]
    if "lr" in protocol.vary:
        yield _("The study compares learning rates, so none was searched.")
        return
    if not spec.searches_lr:
        yield (
            _("The learning rates are those of the pooled runs.")
            if protocol.pooled_seeds
            else _("The learning rates were given, not searched.")
        )
        if has_verdict:
            yield _("{table} has them.", table=refer(Target.TABLE, "accuracy"))
        return
    yield _(
        "The learning rate of each arm was searched in the grid {grid} by successive halving {source}.",
        grid=join_list(f"{rate:g}" for rate in protocol.grid),
        source=cite("jamieson2016"),
    )
    yield ngettext(
        "Each rate was trained briefly; the best {count} rate of an arm on {selection} was trained in full.",
        "Each rate was trained briefly; the best {count} rates of an arm on {selection} were trained in full.",
        protocol.survivors,
        selection=selection,
    )
    if protocol.search == "per-seed":
        yield own_search_words(content.declared)
    else:
        yield ngettext(
            "The search used {count} seed that is used for nothing else.",
            "The search used {count} seeds that are used for nothing else.",
            protocol.search_seeds,
        )
    yield _("If the best rate of an arm was at an edge of the grid, the grid was extended for all arms, at most twice.")
    yield _("Every arm had the same search.")


def _selection_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield how epochs are selected and runs evaluated, and what the seeds determine."""
    selection, evaluation = content.splits
    yield from for_each_group(content.plans, lambda plan: selection_words(plan, selection))
    verdict, spec = content.verdict, content.spec
    evaluated = _(
        "The model of this epoch is then evaluated once on {evaluation}, in fp32. {evaluation:cap} selects neither "
        "epochs nor learning rates.",
        evaluation=evaluation,
    )
    yield from for_each_group(content.plans, lambda plan: evaluated if plan.facts.split_counts.test else join([]))
    if verdict is not None:
        seeds = range_words([run.seed for run in verdict.arms[0].seeds])
        yield ngettext(
            "Each arm was trained with {count} seed: {seeds}.",
            "Each arm was trained with the same {count} seeds: {seeds}.",
            verdict.n,
            seeds=seeds,
        )
        yield seed_effect_words(content.declared)
        if any(plan.arm.tuning.kind in (TuningKind.FROZEN, TuningKind.LP_FT) for plan in content.plans.values()):
            yield _("The augmented views of a frozen backbone are the same for all seeds.")
    if spec is not None and spec.protocol.interim and verdict is not None:
        yield _(
            "Interim analyses on {evaluation} were declared after {seeds} seeds, with the bounds of O’Brien and "
            "Fleming {source}.",
            evaluation=evaluation,
            seeds=join_list(map(str, spec.protocol.interim)),
            source=cite("obrien1979"),
        )


def _statistics_sentences(verdict: Verdict) -> Iterator[Message]:
    """Yield how the arms were compared."""
    yield _("The compared metric is the {metric}.", metric=metric_description(verdict))
    if not verdict.contrasts:
        yield _("With one seed there is no interval of a difference, and nothing is decided.")
        return
    yield _(
        "The difference of two arms is paired by seed and image. Its interval covers two sources of variation "
        "{variance}, seeds and units of images, as crossed random effects {model}: mean ± t · √Var, with the degrees "
        "of freedom of Satterthwaite {degrees}.",
        variance=cite("bouthillier2021"),
        model=cite("searle1992"),
        degrees=cite("satterthwaite1946"),
    )
    yield _(
        "A unit is an image, or a group of images that are not independent: declared groups, equal images, and "
        "near-duplicates. The evaluation has {images}.",
        images=evaluated_images(verdict),
    )
    yield from _level_sentences(verdict.contrasts)
    yield _(
        "An interval inside the equivalence margin of ±{margin} percentage points means equivalent, if there are "
        "enough images to detect a difference of this size. Otherwise an interval that excludes 0 means better or "
        "worse, and any other interval undecided.",
        margin=format_points(verdict.margin),
    )
    if verdict.n < MIN_DECISIVE_SEEDS:
        yield _("With fewer than {count} seeds every contrast is undecided.", count=MIN_DECISIVE_SEEDS)
    if verdict.evaluation.units < MIN_DECISIVE_UNITS:
        yield _("With fewer than {count} units every contrast is undecided.", count=MIN_DECISIVE_UNITS)
    if verdict.n > 1:
        yield _(
            "The interval of the accuracy of one arm is a t interval over its seeds {source}.",
            source=cite("student1908"),
        )


def _level_sentences(contrasts: Sequence[Contrast]) -> Iterator[Message]:
    """Yield the levels of the intervals of the primary contrast and of the other ones."""
    primary = next(contrast for contrast in contrasts if contrast.primary)
    others = [contrast for contrast in contrasts if not contrast.primary]
    yield _("The interval of the primary contrast has the level {level}.", level=format_level(primary.level))
    if others:
        yield ngettext(
            "That of the other contrast has the level {level}: both hold together with at least 95 % (Bonferroni "
            "{source}), and the p-values are adjusted in the same way.",
            "Those of the {count} other contrasts have the level {level}: all hold together with at least 95 % "
            "(Bonferroni {source}), and the p-values are adjusted in the same way.",
            len(others),
            level=format_level(others[0].level),
            source=cite("dunn1961"),
        )


def metric_description(verdict: Verdict) -> Message:
    """Return the metric with its definition."""
    row = METRICS[verdict.metric]
    return _("{label} ({description})", label=row.label, description=row.description)
