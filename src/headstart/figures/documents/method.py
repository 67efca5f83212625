"""The section on the method of a study or of runs, from the plans, study.toml and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import length_words, network_words
from headstart.config.plan_file import read_plan_file
from headstart.config.registry.starts import PRETRAINED_START, SCHEMES, TIMM_START, Argument
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import split_start, start_row, without_kind
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.model import Block, Heading, Paragraph, Table, Target, cite, refer
from headstart.figures.documents.recipe import RECIPE_SENTENCES, for_each_group
from headstart.figures.documents.statistics_words import comparison_blocks
from headstart.figures.documents.usage import is_builtin_resnet, scheme_of, uses_digits, uses_timm
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.models.user_code import is_user_network
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.schemas.study import TRAIN_AND_VAL
from headstart.text import join_list

SCHEME_SOURCES = {"kaiming": "he2015", "xavier": "glorot2010", "orthogonal": "saxe2014", "zero-gamma": "goyal2017"}
MAX_CLASSES = 40  # in the table of the classes
RUNNING_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # ends of names of tensors without weights
SOFTWARE = {"python": "Python", "torch": "PyTorch", "torchvision": "torchvision", "timm": "timm", "numpy": "NumPy"}


def method_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the section on the method."""
    yield Heading(_("Method"))
    yield Heading(_("Data"), 2)
    yield Paragraph(join(_data_sentences(content)))
    yield from _class_table(content)
    yield Heading(_("Network and initial weights"), 2)
    yield Paragraph(join(_network_sentences(content)))
    yield _arm_table(content.arm_runs)
    yield Heading(_("Training"), 2)
    sentences = [text for words in RECIPE_SENTENCES for text in for_each_group(content.plans, words)]
    yield Paragraph(join([*sentences, *_other_lengths(content), *_precision(content)]))
    yield from comparison_blocks(content)
    yield Heading(_("Hardware and software"), 2)
    yield Paragraph(join(_environment_sentences(content)))


def _data_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield what the images are, and how they are split."""
    plan = content.plan
    facts, counts = plan.facts, plan.facts.split_counts
    yield ngettext(
        "The data is {source}: {images} images in {count} class.",
        "The data is {source}: {images} images in {count} classes.",
        len(facts.class_names),
        source=Path(plan.data.source).name,
        images=f"{sum(facts.class_counts.values()):,}",
    )
    if uses_digits(plan):
        yield _(
            "These are handwritten digits of 8 x 8 px {digits}, as scikit-learn contains them {library}.",
            digits=cite("alpaydin1998"),
            library=cite("pedregosa2011"),
        )
    selection, evaluation = content.splits
    yield (
        _(
            "With seed {seed} there are {train:,} training images, {val:,} images for model selection ({selection}) "
            "and {test:,} for the final evaluation ({evaluation}).",
            seed=plan.seeding.seed,
            train=counts.train,
            val=counts.val,
            test=counts.evaluation[1],
            selection=selection,
            evaluation=evaluation,
        )
        if counts.test
        else _(
            "With seed {seed} there are {train:,} training images and {val:,} val images; there is no test split.",
            seed=plan.seeding.seed,
            train=counts.train,
            val=counts.val,
        )
    )
    yield _split_sentence(content)
    if plan.data.fraction != 1:
        yield _("Training uses {share:.3g} % of the training images.", share=100 * plan.data.fraction)
    if content.verdict is not None and len({c.fraction for c in content.verdict.all_conditions}) > 1:
        yield _("The study also trains with a part of the training images; smaller parts are subsets of larger ones.")


def _split_sentence(content: ReportContent) -> Message:
    """Return how the images were split, as far as the records tell."""
    together = _("Images of equal content and images of one group are in the same split.")
    match content.declared:
        case None:
            return join([])
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
    return _("The data declares all three splits, which are used as they are.")


def _class_table(content: ReportContent) -> Iterator[Table]:
    counts = content.plan.facts.class_counts
    if 0 < len(counts) <= MAX_CLASSES:
        caption = _("Number of images by class, of all splits.")
        yield Table("classes", caption, [_("class"), _("images")], [[name, f"{n:,}"] for name, n in counts.items()])


def _network_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield the network with its source and its number of parameters, and where the arms are described."""
    yield from for_each_group({name: run.plan for name, run in content.arm_runs.items()}, _network_sentence)
    if (count := _parameters(content.model_folder)) is not None:
        yield _(
            "The saved model has {count:,} parameters: all tensors in its file but the running statistics of "
            "normalization layers.",
            count=count,
        )
    yield from _source_sentences(content)
    if len(content.arm_runs) > 1:
        yield _("{table} has the arms.", table=refer(Target.TABLE, "arms"))
        yield _("The weights of the head are random; with one seed they are the same for all arms with equal heads.")


def _source_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield how the study trained the initial weights of some arms."""
    specs = [run.spec for run in content.arm_runs.values()]
    starts = dict.fromkeys(spec.label for spec in specs if start_row(spec.start).needs_training)
    if starts and content.spec is not None:
        yield _(
            "The weights {starts} were trained in this study first, from scratch, for {length} and at a learning rate "
            "of {rate:g}, which was not searched.",
            starts=join_list(starts),
            length=length_words(content.spec.source_epochs),
            rate=content.spec.plan.recipe.lr,
        )


def _network_sentence(plan: RunConfig) -> Message:
    name = network_words(plan.network)
    if is_builtin_resnet(plan):
        keys = ["he2016", *(["ioffe2015"] if plan.network.norm == "batch" else [])]
        return _("The network is {network} {source}.", network=name, source=cite(*keys))
    if uses_timm(plan) and plan.network.network.startswith("timm:"):
        return _("The network is {network} {source}.", network=name, source=cite("wightman2019"))
    if is_user_network(plan.network.network):
        return _("The network is {network}, a user-defined class.", network=name)
    return _("The network is {network}.", network=name)


def _parameters(folder: Path | None) -> int | None:
    """Return the number of values in the weights of a saved model; None without one."""
    path = folder / "model.safetensors" if folder else None
    if path is None or not path.exists():
        return None
    count = 0
    with safetensors.safe_open(path, "numpy") as file:
        for name in file.keys():  # noqa: SIM118 - not a mapping
            if not name.endswith(RUNNING_STATISTICS):
                size = 1
                for side in file.get_slice(name).get_shape():
                    size *= side
                count += size
    return count


def _arm_table(runs: Mapping[str, RunRecord]) -> Table:
    """Return the table of the arms: initial weights, what is trained, head and optimizer."""
    header = [_("arm"), _("initial weights"), _("trained"), _("head"), _("optimizer")]
    rows = [
        [name, _start_text(run), _tuning_text(run.plan), run.plan.arm.head, run.plan.recipe.optimizer]
        for name, run in runs.items()
    ]
    return Table("arms", _("The arms: what they start from, and what is trained."), header, rows)


def _start_text(run: RunRecord) -> Message:
    """Return the initial weights of an arm in words, with their source."""
    start = run.spec.start
    kind, argument = split_start(start)
    row, name = start_row(start), without_kind(run.spec.label)
    if row.from_scratch:
        return _scheme_text(run.plan)
    if kind == PRETRAINED_START:
        return _(
            "weights of torchvision {library}, trained on ImageNet {data}",
            library=cite("torchvision2016"),
            data=cite("russakovsky2015"),
        )
    if row.argument is Argument.START:
        return _(
            "random, with the mean and standard deviation of each tensor of {start} {source}",
            start=without_kind(split_start(run.spec.label)[1]),
            source=cite("raghu2019"),
        )
    if kind == TIMM_START:
        return _("weights of {name} in timm {source}", name=argument, source=cite("wightman2019"))
    if row.argument is Argument.DATA:
        return _("trained in this study on {data} first", data=split_start(name)[1])
    if row.argument is Argument.RUN:
        return _("the best model of the run {name}", name=name)
    return _("the weights file {name}", name=name) if row.argument is Argument.PATH else verbatim(name)


def _scheme_text(plan: RunConfig) -> Message:
    scheme = scheme_of(plan)
    if scheme not in SCHEMES:
        return _("random, as the constructor of the network draws them")
    text = _("random: {description}", description=SCHEMES[scheme].description)
    return _("{text} {source}", text=text, source=cite(SCHEME_SOURCES[scheme])) if scheme in SCHEME_SOURCES else text


def _tuning_text(plan: RunConfig) -> Message:
    tuning = plan.arm.tuning
    match tuning.kind:
        case TuningKind.FROZEN:
            return _("the head only")
        case TuningKind.LP_FT:
            return _("the head first, then all layers")
        case TuningKind.STAGES:
            return ngettext("the head and the last {count} stage", "the head and the last {count} stages",
                            tuning.stages)  # fmt: skip
    return _("all layers")


def _other_lengths(content: ReportContent) -> list[Message]:
    """Return the other training lengths of a study."""
    verdict = content.verdict
    conditions = verdict.all_conditions if verdict else []
    lengths = dict.fromkeys(condition.budget for condition in conditions)
    others = [length_words(length) for length in lengths if verdict and length != verdict.budget]
    return [_("The study also trains for {lengths}.", lengths=join_list(others))] if others else []


def _precision(content: ReportContent) -> list[Message]:
    """Return the precision of the training."""

    def words(plan: RunConfig) -> Message:
        """Return the precision of one plan."""
        return _("Training computes in {precision}.", precision=plan.machine.precision)

    return for_each_group(content.plans, words)


def _environment_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield versions and machine, from the records of the runs, with all values where runs differ."""
    values: dict[str, list[str]] = {}
    for run in content.inputs.runs:
        for name, value in read_plan_file(run.run.folder).environment.items():
            if str(value) not in values.setdefault(name, []):
                values[name].append(str(value))
    versions = [
        _("{name} {version}", name=SOFTWARE[name], version=join(values[name], " / "))
        for name in SOFTWARE
        if name in values
    ]
    if "headstart" in values:
        yield _("The runs were trained with headstart {version}.", version=join(values["headstart"], " / "))
    if versions:
        yield _("Other software: {versions}; PyTorch is described in {source}.", versions=join_list(versions),
                source=cite("paszke2019"))  # fmt: skip
    machine = [join(values[name], " / ") for name in ("processor", "system") if name in values]
    if machine:
        yield _("The machine: {machine}.", machine=join(machine, "; "))
    if "device" in values:
        yield _("The device of the training: {device}.", device=join(values["device"], " / "))
    yield _("The figures are made with Matplotlib {source}.", source=cite("hunter2007"))
    yield _("{table} has all recorded values.", table=refer(Target.TABLE, "environment"))
