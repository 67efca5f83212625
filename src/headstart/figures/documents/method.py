"""The section on the method of a study or of runs, from the plans, study.toml and the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from headstart.analysis.run_records import RunRecord
from headstart.analysis.wording import length_words, network_words
from headstart.config.model_file import MODEL_FILE
from headstart.config.plan_file import read_plan_file
from headstart.config.registry.starts import PRETRAINED_START, SCHEMES, TIMM_START, Argument
from headstart.config.run_config import RunConfig
from headstart.config.start_spec import inner_start, split_start, start_row, without_kind
from headstart.figures.documents.ablation import ablation_networks
from headstart.figures.documents.content import ReportContent
from headstart.figures.documents.data_words import class_tables, data_sentences
from headstart.figures.documents.model import Block, DocumentTable, Heading, Paragraph, Target, cite, refer
from headstart.figures.documents.recipe import for_each_group, recipe_sentences
from headstart.figures.documents.statistics_words import comparison_blocks
from headstart.figures.documents.usage import is_builtin_resnet, scheme_of
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.models.user_code import is_user_network
from headstart.storage import contained
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.arm import TuningKind
from headstart.storage.tensor_file import read_tensor_file
from headstart.text import join_list

SCHEME_SOURCES = {
    "kaiming": ("he2015",),
    "xavier": ("glorot2010",),
    "orthogonal": ("saxe2014",),
    "zero-gamma": ("he2015", "goyal2017"),
}
RUNNING_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")  # ends of names of tensors without weights
SOFTWARE = {"python": "Python", "torch": "PyTorch", "torchvision": "torchvision", "timm": "timm", "numpy": "NumPy"}


def method_blocks(content: ReportContent) -> Iterator[Block]:
    """Yield the section on the method."""
    yield Heading(_("Method"))
    yield Heading(_("Data"), 2)
    yield Paragraph(join(data_sentences(content)))
    yield from class_tables(content)
    yield Heading(_("Network and initial weights"), 2)
    yield Paragraph(join(_network_sentences(content)))
    yield _arm_table(content.arm_runs)
    yield Heading(_("Training"), 2)
    recipe = recipe_sentences(content.splits[0])
    sentences = [text for words in recipe for text in for_each_group(content.plans, words)]
    yield Paragraph(join([*sentences, *_other_lengths(content), *_precision(content)]))
    yield from comparison_blocks(content)
    yield Heading(_("Hardware and software"), 2)
    yield Paragraph(join(_environment_sentences(content)))


def _network_sentences(content: ReportContent) -> Iterator[Message]:
    """Yield the network with its source and its number of parameters, and where the arms are described."""
    if content.is_ablation:
        yield ablation_networks(content)
    else:
        yield from for_each_group(content.plans, _network_sentence)
    if (count := _parameters(content.inputs.evaluated)) is not None:
        yield _(
            "The saved model has {count:,} parameters: all tensors in its file but the running statistics of "
            "normalization layers.",
            count=count,
        )
    yield from _source_sentences(content)
    if len(content.arm_runs) > 1:
        yield _("{table} has the arms.", table=refer(Target.TABLE, "arms"))
        yield _(
            "The weights of the head are random; with one seed they are the same for all arms with equal networks and "
            "heads."
        )


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
    if plan.network.network.startswith("timm:"):
        return _("The network is {network} {source}.", network=name, source=cite("wightman2019"))
    if is_user_network(plan.network.network):
        return _("The network is {network}, a user-defined class.", network=name)
    return _("The network is {network}.", network=name)


def _parameters(run: Path | None) -> int | None:
    """Return the number of values in the weights of the model of a run; None without one."""
    name = f"{MODEL_FOLDER}/{MODEL_FILE}"
    if run is None or not contained.is_file(run, name):
        return None
    shapes = read_tensor_file(run, name).shapes  # of the header: the weights are not used, and not verified
    return sum(math.prod(shape) for name, shape in shapes.items() if not name.endswith(RUNNING_STATISTICS))


def _arm_table(runs: Mapping[str, RunRecord]) -> DocumentTable:
    """Return the table of the arms: initial weights, what is trained, head and optimizer."""
    header = [_("arm"), _("initial weights"), _("trained"), _("head"), _("optimizer")]
    rows = [
        [name, _start_text(run), _tuning_text(run.plan), run.plan.arm.head, run.plan.recipe.optimizer]
        for name, run in runs.items()
    ]
    return DocumentTable("arms", _("The arms: what they start from, and what is trained."), header, rows)


def _start_text(run: RunRecord) -> Message:
    """Return the initial weights of an arm in words, with their source."""
    start = run.spec.start
    row, name = start_row(start), without_kind(run.spec.label)
    if row.from_scratch:
        return _scheme_text(run.plan)
    if published := _published_text(start):
        return published
    if row.argument is Argument.START:
        return _(
            "random {source}, with the mean and standard deviation of each tensor of {start}",
            start=_published_text(inner_start(start)) or without_kind(split_start(run.spec.label)[1]),
            source=cite("raghu2019"),
        )
    if row.argument is Argument.DATA:
        return _("trained in this study on {data} first", data=split_start(name)[1])
    if row.argument is Argument.RUN:
        return _("the best model of the run {name}", name=name)
    return _("the weights file {name}", name=name) if row.argument is Argument.PATH else verbatim(name)


def _published_text(start: str) -> Message:
    """Return published weights in words, with their source; an empty message for other weights."""
    kind, argument = split_start(start)
    if kind == PRETRAINED_START:
        return _(
            "the weights of torchvision {library}, trained on ImageNet {data}",
            library=cite("torchvision2016"),
            data=cite("russakovsky2015"),
        )
    if kind == TIMM_START:
        return _("the weights of {name} in timm {source}", name=argument, source=cite("wightman2019"))
    return join([])


def _scheme_text(plan: RunConfig) -> Message:
    scheme = scheme_of(plan)
    if scheme not in SCHEMES:
        return _("random, as the constructor of the network draws them")
    text = _("random: {description}", description=SCHEMES[scheme].description)
    return _("{text} {source}", text=text, source=cite(*SCHEME_SOURCES[scheme])) if scheme in SCHEME_SOURCES else text


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
    verdict, spec = content.verdict, content.spec
    budgets = list(map(str, spec.budgets)) if spec else []  # shortest first, and the last one is described
    if verdict is not None:
        budgets = [*(c.budget for c in verdict.all_conditions if c.budget != verdict.budget), verdict.budget]
    others = [length_words(length) for length in dict.fromkeys(budgets[:-1])]
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
