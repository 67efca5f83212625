"""Tables on how a study was done: the declared protocol, all runs, and the origin of data and weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from headstart import shell
from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.wording import arm_words, length_words, split_names, state_words
from headstart.config.flag_words import flag_text
from headstart.config.model_file import CONFIG_FILE, read_model_config
from headstart.config.plan_file import PlanFile, read_plan_file
from headstart.config.presets import Setting
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import ResolvedFacts, SettingValue, plan_fields
from headstart.config.start_spec import start_row
from headstart.config.study_config import StudyConfig
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import HeadstartError
from headstart.i18n import Message, _, join, ngettext, verbatim
from headstart.metrics.registry import METRICS
from headstart.report.series import PlottedRun
from headstart.report.svg.labels import isolate_bidi
from headstart.storage import contained
from headstart.storage.run_files import MODEL_FOLDER
from headstart.storage.schemas.study import VariantInputs, VariantsFile
from headstart.text import join_list

RUN_HEADER = (
    _("run"),
    _("state"),
    _("learning rate"),
    _("best epoch"),
    _("best epoch: val, %"),
    _("test, %"),
    _("folder"),
)
SEARCH_HEADER = (_("arm"), _("seed"), _("learning rate"), _("length"), _("state"), _("best val, %"), _("folder"))
MAX_LISTED_CLASSES = 50  # with their numbers of images; a page of 20,000 would consist of them
NO_EPOCH = "–"  # of a run that diverged before its first evaluation on val
SETS_DEFAULTS = ("network", "start", "optimizer")  # settings that determine the defaults of others


@dataclass(frozen=True)
class Table:
    """Rows under a header; `title` names them and has their number."""

    title: Message
    header: Sequence[Message]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class DeclaredProtocol:
    """Protocol that a study declared before its first step.

    Args:
        rows: Names and values.
        file: Text of study.toml.
        problem: Why study.toml cannot be read, or None.
    """

    rows: Sequence[tuple[Message, str]] = ()
    file: str = ""
    problem: Message | None = None


def declared_protocol(folder: Path) -> DeclaredProtocol | None:
    """Return the protocol in the folder's study.toml, or the reason why it cannot be read; None without this file."""
    path = folder / "study.toml"
    if not path.exists():
        return None
    try:
        spec = read_study(folder)
    except HeadstartError as error:
        return DeclaredProtocol(problem=join([error.message, error.hint]))
    return DeclaredProtocol(_protocol_rows(spec, _splits(folder)), contained.read_text(folder, "study.toml"))


def _splits(folder: Path) -> tuple[Message, Message]:
    """Return the data's names of the selection split and the evaluation split of a study."""
    return split_names(next((inputs.declared for inputs in read_variants(folder).values()), ""))


def read_variants(folder: Path) -> Mapping[str, VariantInputs]:
    """Return what the variants of the study in `folder` read when it began; empty outside a study."""
    path = folder / "variants.json"
    return VariantsFile.read(path).variants if path.exists() else {}


def _protocol_rows(spec: StudySpec, names: tuple[Message, Message]) -> list[tuple[Message, str]]:
    """Return the names and values of the protocol that are set."""
    selection, evaluation = names
    protocol, metric = spec.protocol, METRICS[spec.protocol.metric]
    first, second = protocol.contrast([variant.arm for variant in spec.variants])
    arms = dict.fromkeys(arm_words(variant.arm.without(*protocol.vary)) for variant in spec.variants)
    contrast = _("{first} against {second}", first=arm_words(spec.arm(first)), second=arm_words(spec.arm(second)))
    selection_words = _(
        "{metric}: {description}; model selection on {selection}, final evaluation on {evaluation}",
        metric=metric.label,
        description=metric.description,
        selection=selection,
        evaluation=evaluation,
    )
    margin = _("±{margin:g} percentage points", margin=100 * protocol.margin_width)
    target = _("{target:g} % on {split}", target=100 * protocol.target, split=selection)
    seeds = list(spec.seed_range)
    rows = [
        (_("arms"), join_list(arms)),
        (_("crossed with"), "; ".join(f"{name} {', '.join(values)}" for name, values in protocol.vary.items())),
        (_("primary contrast"), contrast),
        (_("metric"), selection_words),
        (_("equivalence margin"), margin),
        (_("target"), target if protocol.target else _("none")),
        (_("seeds"), _("{count}, paired: {seeds}", count=len(seeds), seeds=range_words(seeds))),
        (_("interim analyses"), _interim_words(protocol.interim)),
        (_("added seeds"), _added_seeds_words(protocol)),
        (_("length of a run"), join_list(map(length_words, spec.budgets))),
        (_("share of the training images"), join_list(_("{share:g} %", share=100 * x) for x in protocol.fractions)),
        *_search_rows(spec, selection),
        (_("length of source training"), length_words(spec.source_epochs) if _trains_source(spec) else ""),
        (_("network"), _network_words(spec.plan.network.label)),
        (_("recipe"), _training_words(spec)),
        (_("requested time budget"), protocol.time_budget),
        (_("sha256 of the declaration"), spec.hash),
    ]
    return [(name, value) for name, value in rows if value]


def _interim_words(seeds: Sequence[int]) -> Message:
    """Return the numbers of seeds after which interim analyses are made, or ""."""
    if not seeds:
        return join([])
    return ngettext("after {numbers} seed", "after {numbers} seeds", seeds[-1], numbers=join_list(map(str, seeds)))


def _added_seeds_words(protocol: StudyConfig) -> Message:
    """Return how many seeds may be added, and the share of the error of the analyses before, or ""."""
    if not protocol.max_seeds:
        return join([])
    return _(
        "up to {limit} seeds in all; {share:.0f} % of the error is for the analyses up to {seeds}",
        limit=protocol.max_seeds,
        share=100 * protocol.first_share,
        seeds=protocol.seeds,
    )


def _network_words(network: str) -> str:
    return _("that of the initial weights, else resnet18") if network == "auto" else network


def _training_words(spec: StudySpec) -> Message:
    """Return optimizer, schedule, batch size and image size of the recipe."""
    recipe = spec.plan.recipe
    values: dict[str, str | int] = {
        "optimizer": recipe.optimizer,
        "schedule": recipe.schedule,
        "batch_size": recipe.batch_size,
        "image_size": recipe.image_size,
    }
    if any("optimizer" in variant.arm.settings for variant in spec.variants):
        return _(
            "{optimizer} unless the arm names another, {schedule} schedule, batches of {batch_size}, images of "
            "{image_size} px",
            **values,
        )
    return _("{optimizer}, {schedule} schedule, batches of {batch_size}, images of {image_size} px", **values)


def _trains_source(spec: StudySpec) -> bool:
    return any(start_row(variant.arm.start).needs_training for variant in spec.variants)


def _search_rows(spec: StudySpec, selection: Message) -> list[tuple[Message, str]]:
    """Return how learning rates are searched, by name."""
    protocol, search = spec.protocol, _("learning-rate search")
    if "lr" in protocol.vary:
        return [(search, _("none: the study compares learning rates"))]
    if not spec.searches_lr:
        return [(search, _("none: the rates are those of the plan"))]
    grid = ngettext(
        "{rates}; the best {count} of an arm after the rung is trained in full",
        "{rates}; the best {count} of an arm after the rung are trained in full",
        protocol.survivors,
        rates=join_list(f"{rate:g}" for rate in protocol.grid),
    )
    if protocol.search == "per-seed":
        words = _("one rate for each arm and seed, searched on {split}", split=selection)
        return [(search, words), (_("learning-rate grid"), grid)]
    words = _("one rate for each arm, searched on separate seeds before the comparison")
    seeds = _(
        "{count}, not used again: {seeds}", count=protocol.search_seeds, seeds=range_words(spec.search_seed_range)
    )
    return [(search, words), (_("learning-rate grid"), grid), (_("seeds of the search"), seeds)]


def range_words(values: Sequence[int]) -> Message:
    """Return `0 to 4`; the values if they are not consecutive, or there is one."""
    if len(values) == 1 or values[-1] - values[0] != len(values) - 1:
        return verbatim(", ".join(map(str, values)))
    return _("{first} to {last}", first=values[0], last=values[-1])


def run_tables(runs: Sequence[PlottedRun], folder: Path) -> list[Table]:
    """Return the tables of all runs: those of the comparison, of the search, and of the sources in `folder`."""
    tables = [Table(_("All runs ({count})", count=len(runs)), RUN_HEADER, [_run_row(run) for run in runs])]
    if searched := _search_table_rows(folder, "search"):
        tables.append(Table(_("Runs of the search ({count})", count=len(searched)), SEARCH_HEADER, searched))
    if sources := _search_table_rows(folder, "sources"):
        tables.append(Table(_("Runs that trained a source ({count})", count=len(sources)), SEARCH_HEADER, sources))
    return tables


def _search_table_rows(folder: Path, place: str) -> list[list[str]]:
    return sorted((_search_row(run, place) for run in runs_in(folder, place)), key=lambda row: row[0])


def _run_row(plotted: PlottedRun) -> list[str]:
    result = plotted.run.result
    return [
        plotted.name,
        state_words(plotted.run.state),
        f"{plotted.run.rate:g}",
        str(result.best_epoch or NO_EPOCH) if result else "",
        f"{100 * result.val.accuracy:.1f}" if result else "",
        f"{100 * result.test.accuracy:.1f}" if result and result.test else "",
        plotted.run.folder.name,
    ]


def _search_row(run: RunRecord, place: str) -> list[str]:
    paused = not run.done and len(run.epochs) >= run.rung
    accuracies = [100 * line.val.accuracy for line in run.epochs]
    return [
        arm_words(run.spec),
        str(run.seed),
        f"{run.rate:g}",
        length_words(run.plan.recipe.epochs),
        _("ended after the rung") if paused else state_words(run.state),
        f"{max(accuracies):.1f}" if accuracies else "",
        f"{place}/{run.folder.name}",
    ]


def train_command(folder: Path) -> str:
    """Return the command that repeats the run in `folder`, with the settings that are not defaults.

    Flags cannot express every plan, and plans of other versions cannot be read. The result is "" if the command would
    not give the same plan.
    """
    try:
        plan = read_plan_file(folder).plan.model_copy(update={"facts": ResolvedFacts()})
        settings: dict[str, SettingValue] = {}
        for names in (SETS_DEFAULTS, plan_fields()):
            defaults = resolve_settings({"source": plan.data.source, **settings}).plan
            settings |= {name: value for name in names if (value := plan.value(name)) != defaults.value(name)}
        typed = {name: _as_typed(value) for name, value in settings.items()}
        if resolve_settings({"source": plan.data.source, **typed}).plan != plan:
            return ""
    except HeadstartError:
        return ""
    flags = [flag_text(name, value) for name, value in settings.items()]
    return " ".join(["headstart train", shell.quote_path(plan.data.source), *flags])


def _as_typed(value: SettingValue) -> Setting:
    """Return a value as the command line passes it on."""
    if isinstance(value, bool):
        return value
    return list(map(str, value)) if isinstance(value, tuple) else str(value)


def environment_rows(runs: Iterable[PlottedRun]) -> list[tuple[str, Message]]:
    """Return the origin of data and weights and the environment of the runs, with all values where runs differ."""
    rows: dict[str, list[str]] = {}
    for run in runs:
        for name, value in _origins(run, read_plan_file(run.run.folder)).items():
            if value not in rows.setdefault(name, []):
                rows[name].append(value)
    return [(name, join(values, " · ")) for name, values in rows.items()]


def _origins(run: PlottedRun, content: PlanFile) -> dict[str, str]:
    facts, start = content.plan.facts, content.plan.arm.start
    weights, license = facts.weights_sha256, _license(run)
    return {
        _("data"): content.plan.data.source,
        _("fingerprint of the data"): facts.fingerprint,
        _("images"): ", ".join(f"{name} {count:,}" for name, count in facts.split_counts),
        _("classes"): _class_counts(facts.class_counts),
        **({_("sha256 of {weights}", weights=start): weights} if weights else {}),
        **({_("license of {weights}", weights=start): license} if license else {}),
        **{name: str(value) for name, value in content.environment.items()},
    }


def _class_counts(counts: Mapping[str, int]) -> str:
    """Return the classes with their numbers of images; of very many the first ones."""
    listed = [f"{isolate_bidi(name)} {count:,}" for name, count in islice(counts.items(), MAX_LISTED_CLASSES)]
    if len(counts) <= MAX_LISTED_CLASSES:
        return ", ".join(listed)
    return _("{classes:,} classes: {names}, …", classes=len(counts), names=", ".join(listed))


def _license(run: PlottedRun) -> str:
    """Return the license of a run's initial weights from its model's config.json, or "" if it names none."""
    folder = run.run.folder
    if has_model := contained.is_file(folder, config := f"{MODEL_FOLDER}/{CONFIG_FILE}"):
        run.run.require_intact(config)
    return read_model_config(folder, MODEL_FOLDER).pretrained_cfg.license if has_model else ""
