"""Tables on how a study was done: the declared protocol, all runs, and the origin of data and weights."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.wording import arm_words, length_words, split_names
from headstart.config.duration import Duration
from headstart.config.plan_file import PlanFile, read_plan_file
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import ResolvedFacts, RunConfig, plan_fields
from headstart.config.start_spec import start_row
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import HeadstartError
from headstart.metrics.registry import METRICS
from headstart.report.series import PlottedRun
from headstart.report.svg.labels import isolate_bidi
from headstart.storage.schemas.study import VariantInputs
from headstart.text import join_list

SettingValue = str | float | bool | Duration | tuple[str | Duration, ...]  # of a field of a plan
RUN_HEADER = ("run", "state", "learning rate", "best epoch", "best epoch: val, %", "test, %", "folder")
SEARCH_HEADER = ("arm", "seed", "learning rate", "length", "state", "best val, %", "folder")
SETS_DEFAULTS = ("network", "start", "optimizer")  # settings that determine the defaults of others
SEARCH_WORDS = {
    "shared": "one rate for each arm, searched on separate seeds before the comparison",
    "per-seed": "one rate for each arm and seed, searched on {selection} of the seed",
}


@dataclass(frozen=True)
class Table:
    """Rows under a header; `title` names them and has their number."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class DeclaredProtocol:
    """Protocol that a study declared before its first step.

    Args:
        rows: Names and values.
        file: Text of study.toml.
        problem: Why study.toml cannot be read, or "".
    """

    rows: Sequence[tuple[str, str]] = ()
    file: str = ""
    problem: str = ""


def declared_protocol(folder: Path) -> DeclaredProtocol | None:
    """Return the protocol in the folder's study.toml, or the reason why it cannot be read; None without this file."""
    path = folder / "study.toml"
    if not path.exists():
        return None
    try:
        spec = read_study(folder)
    except HeadstartError as error:
        return DeclaredProtocol(problem=f"{error.message} {error.hint}")
    return DeclaredProtocol(_protocol_rows(spec, _splits(folder)), path.read_text(encoding="utf-8"))


def _splits(folder: Path) -> tuple[str, str]:
    """Return the data's names of the selection split and the evaluation split of a study."""
    path = folder / "variants.json"
    variants = VariantInputs.read_by_name(path) if path.exists() else {}
    return split_names(next((inputs.declared for inputs in variants.values()), ""))


def _protocol_rows(spec: StudySpec, names: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the names and values of the protocol that are set."""
    selection, evaluation = names
    protocol, recipe = spec.protocol, spec.plan.recipe
    metric = METRICS[protocol.metric]
    first, second = protocol.contrast([variant.arm for variant in spec.variants])
    seeds = list(spec.seed_range)
    rows = {
        "arms": join_list(dict.fromkeys(arm_words(variant.arm.without(*protocol.vary)) for variant in spec.variants)),
        "crossed with": "; ".join(f"{name} {', '.join(values)}" for name, values in protocol.vary.items()),
        "primary contrast": f"{arm_words(spec.arm(first))} against {arm_words(spec.arm(second))}",
        "metric": f"{metric.label}: {metric.description}; model selection on {selection}, "
        f"final evaluation on {evaluation}",
        "equivalence margin": f"±{100 * protocol.margin_width:g} percentage points",
        "target": f"{100 * protocol.target:g} % on {selection}" if protocol.target else "none",
        "seeds": f"{len(seeds)}, paired: {_range_words(seeds)}",
        "interim analyses": f"after {join_list(map(str, protocol.interim))} seeds" if protocol.interim else "",
        "length of a run": join_list(length_words(str(budget)) for budget in spec.budgets),
        "share of the training images": join_list(f"{100 * share:g} %" for share in protocol.fractions),
        **_search_rows(spec, selection),
        "length of source training": length_words(str(spec.source_epochs))
        if any(start_row(variant.arm.start).needs_training for variant in spec.variants)
        else "",
        "network": spec.plan.network.network.replace("auto", "that of the initial weights, else resnet18"),
        "recipe": f"{recipe.optimizer}{' unless the arm names another' if _names_optimizer(spec) else ''}, "
        f"{recipe.schedule} schedule, batches of {recipe.batch_size}, images of {recipe.image_size} px",
        "requested time budget": protocol.time_budget,
        "sha256 of the declaration": spec.hash,
    }
    return [(name, value) for name, value in rows.items() if value]


def _search_rows(spec: StudySpec, selection: str) -> dict[str, str]:
    """Return how learning rates are searched, by name."""
    protocol = spec.protocol
    if "lr" in protocol.vary:
        return {"learning-rate search": "none: the study compares learning rates"}
    if not spec.searches_lr:
        return {"learning-rate search": "none: the rates are those of the plan"}
    rows = {
        "learning-rate search": SEARCH_WORDS[protocol.search].format(selection=selection),
        "learning-rate grid": f"{join_list(f'{rate:g}' for rate in protocol.grid)}; the best "
        f"{protocol.survivors} of an arm after the rung are trained in full",
    }
    if protocol.search != "shared":
        return rows
    seeds = f"{protocol.search_seeds}, not used again: {_range_words(spec.search_seed_range)}"
    return rows | {"seeds of the search": seeds}


def _names_optimizer(spec: StudySpec) -> bool:
    return any("optimizer" in variant.arm.settings for variant in spec.variants)


def _range_words(values: Sequence[int]) -> str:
    """Return `0 to 4`, or the only value."""
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def run_tables(runs: Sequence[PlottedRun], folder: Path) -> list[Table]:
    """Return the tables of all runs: those of the comparison, of the search, and of the sources in `folder`."""
    tables = [Table(f"All runs ({len(runs)})", RUN_HEADER, [_run_row(run) for run in runs])]
    for name, title in (("search", "Runs of the search"), ("sources", "Runs that trained a source")):
        rows = [_search_row(run, name) for run in runs_in(folder / name)]
        if rows:
            tables.append(Table(f"{title} ({len(rows)})", SEARCH_HEADER, sorted(rows, key=lambda row: row[0])))
    return tables


def _run_row(plotted: PlottedRun) -> list[str]:
    result = plotted.run.result
    return [
        plotted.name,
        result.state if result else "not finished",
        f"{plotted.run.rate:g}",
        str(result.best_epoch) if result else "",
        f"{100 * result.val.accuracy:.1f}" if result else "",
        f"{100 * result.test.accuracy:.1f}" if result and result.test else "",
        plotted.run.folder.name,
    ]


def _search_row(run: RunRecord, place: str) -> list[str]:
    rung = "ended after the rung" if len(run.epochs) >= run.rung else "not finished"
    accuracies = [100 * line.val.accuracy for line in run.epochs]
    return [
        arm_words(run.spec),
        str(run.seed),
        f"{run.rate:g}",
        length_words(str(run.plan.recipe.epochs)),
        run.state if run.done else rung,
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
            settings |= {name: value for name in names if (value := _value(plan, name)) != _value(defaults, name)}
        words = {name: value if isinstance(value, bool) else _flag_words(value) for name, value in settings.items()}
        if resolve_settings({"source": plan.data.source, **words}).plan != plan:
            return ""
    except HeadstartError:
        return ""
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
             for name, value in words.items()]  # fmt: skip
    return " ".join(["headstart train", shlex.quote(plan.data.source), *flags])


def _value(plan: RunConfig, name: str) -> SettingValue:
    value: SettingValue = getattr(getattr(plan, plan_fields()[name][0]), name)
    return value


def _flag_words(value: SettingValue) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def environment_rows(runs: Iterable[PlottedRun]) -> list[tuple[str, str]]:
    """Return the origin of data and weights and the environment of the runs, with all values where runs differ."""
    rows: dict[str, list[str]] = {}
    for run in runs:
        for name, value in _origins(run, read_plan_file(run.run.folder)).items():
            if value not in rows.setdefault(name, []):
                rows[name].append(value)
    return [(name, " · ".join(values)) for name, values in rows.items()]


def _origins(run: PlottedRun, content: PlanFile) -> dict[str, str]:
    facts, start = content.plan.facts, content.plan.arm.start
    weights, license = facts.weights_sha256, _license(run)
    return {
        "data": content.plan.data.source,
        "fingerprint of the data": facts.fingerprint,
        "images": ", ".join(f"{name} {count:,}" for name, count in facts.split_counts.items()),
        "classes": ", ".join(f"{isolate_bidi(name)} {count:,}" for name, count in facts.class_counts.items()),
        **({f"sha256 of {start}": weights} if weights else {}),
        **({f"license of {start}": license} if license else {}),
        **{name: str(value) for name, value in content.environment.items()},
    }


class _PretrainedConfig(BaseModel):
    license: str | None = None


class _ModelConfig(BaseModel):
    """The part of config.json, in timm's layout, that is shown here."""

    pretrained_cfg: _PretrainedConfig


def _license(run: PlottedRun) -> str:
    """Return the license of a run's initial weights from its model's config.json, or "" if it names none."""
    config = run.run.folder / "model" / "config.json"
    return _ModelConfig.model_validate_json(config.read_bytes()).pretrained_cfg.license or "" if config.exists() else ""
