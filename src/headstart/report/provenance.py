"""How it was done, as tables: the declared protocol, every run with its folder, where everything came from."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.analysis.run_records import RunRecord, runs_in
from headstart.analysis.wording import arm_words, length_words
from headstart.config.resolve import resolve_settings
from headstart.config.run_config import ResolvedFacts, RunConfig, fields, read_plan
from headstart.config.study_file import StudySpec, read_study
from headstart.errors import HeadstartError
from headstart.report.series import PlottedRun
from headstart.report.svg.labels import isolated
from headstart.storage.files import read_json
from headstart.text import join_list

RUN_HEAD = ("run", "state", "rate", "best epoch", "val in fp32, %", "test, %", "folder")
SEARCH_HEAD = ("arm", "seed", "rate", "length", "state", "best val, %", "folder")
SETS_DEFAULTS = ("network", "start", "optimizer")  # settings on which the defaults of others depend
SEARCH_WORDS = {
    "shared": "one for each arm, found on seeds of its own before the comparison",
    "per-seed": "one for each arm and seed, found on the seed's own val",
    "off": "none: the rates are those of the plan",
}


@dataclass(frozen=True)
class Table:
    """Rows under a head; `title` says what they are and how many."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Protocol:
    """What a study declared before its first step: by name what was said, and the file as it stands."""

    rows: Sequence[tuple[str, str]] = ()
    file: str = ""
    missing: str = ""  # why it cannot be told


def protocol(folder: Path) -> Protocol | None:
    """The declaration in study.toml; None where there is none. One that cannot be read is said to be so."""
    path = folder / "study.toml"
    if not path.exists():
        return None
    try:
        declared = read_study(folder)
    except HeadstartError as error:
        return Protocol(missing=f"{error.message} {error.hint}")
    return Protocol(_declared(declared), path.read_text(encoding="utf-8"))


def _declared(declared: StudySpec) -> list[tuple[str, str]]:
    """The rules in the order in which a reader asks for them."""
    rules, recipe = declared.protocol, declared.plan.recipe
    first, second = rules.contrast([cell.name for cell in declared.cells])
    seeds = list(declared.seeds)
    found = {
        "arms": join_list(dict.fromkeys(arm_words(cell.name.partition(",")[0]) for cell in declared.cells)),
        "crossed with": "; ".join(f"{name} {', '.join(values)}" for name, values in rules.vary.items()),
        "primary contrast": f"{arm_words(first)} against {arm_words(second)}",
        "metric": {"balanced": "balanced accuracy: the mean of the classes'"}.get(rules.metric, rules.metric)
        + "; val chooses by it, test judges",
        "margin": f"±{100 * rules.margin_width:g} points: inside, arms are practically equal",
        "target": f"{100 * rules.target:g} % on the images that choose" if rules.target else "none",
        "seeds": f"{len(seeds)}, paired: {_numbers(seeds)}",
        "looks at the judging images": f"after {join_list(map(str, rules.interim))} seeds" if rules.interim else "",
        "length of a run": join_list(length_words(str(budget)) for budget in declared.budgets),
        "share of the training photos": join_list(f"{100 * share:g} %" for share in rules.fractions),
        **_searched(declared),
        "length of a source's training": length_words(str(declared.source_epochs))
        if any("source:" in arm for arm in rules.arms)
        else "",
        "network": declared.plan.network.network.replace("auto", "each start's own, else resnet18"),
        "recipe": f"{recipe.optimizer}{' unless the arm says another' if _names_optimizer(declared) else ''}, "
        f"{recipe.schedule} schedule, batches of {recipe.batch_size}, photos of {recipe.image_size} px",
        "time budget asked for": rules.time_budget,
        "sha256 of the declaration": declared.hash,
    }
    return [(name, value) for name, value in found.items() if value]


def _searched(declared: StudySpec) -> dict[str, str]:
    """How learning rates were to be found."""
    rules = declared.protocol
    if "lr" in rules.vary:
        return {"search of learning rates": "none: they are what is compared"}
    if not declared.searched:
        return {"search of learning rates": SEARCH_WORDS["off"]}
    found = {
        "search of learning rates": SEARCH_WORDS[rules.search],
        "grid of learning rates": f"{join_list(f'{rate:g}' for rate in rules.grid)}; the best "
        f"{rules.survivors} of an arm after the rung run whole",
    }
    if rules.search == "shared":
        found["seeds of the search"] = f"{rules.search_seeds}, never used again: {_numbers(declared.search_seeds)}"
    return found


def _names_optimizer(declared: StudySpec) -> bool:
    return any("optimizer" in cell.changes for cell in declared.cells)


def _numbers(values: Sequence[int]) -> str:
    """`0 to 4`, or the only one."""
    return str(values[0]) if len(values) == 1 else f"{values[0]} to {values[-1]}"


def runs(drawn: Sequence[PlottedRun], folder: Path) -> list[Table]:
    """Every run: those that are compared, then those of the search and of the sources."""
    found = [Table(f"Every run ({len(drawn)})", RUN_HEAD, [_row(run) for run in drawn])]
    for name, title in (("search", "Runs of the search"), ("sources", "Runs that trained a source")):
        rows = [_search_row(run, name) for run in runs_in(folder / name)]
        if rows:
            found.append(Table(f"{title} ({len(rows)})", SEARCH_HEAD, sorted(rows, key=lambda row: row[0])))
    return found


def _row(drawn: PlottedRun) -> list[str]:
    result = drawn.run.result
    val, test = result.get("val", {}), result.get("test", {})
    return [
        drawn.name,
        result.get("state", "not finished"),
        f"{drawn.run.rate:g}",
        str(result.get("best_epoch", "")),
        f"{100 * val['accuracy']:.1f}" if val else "",
        f"{100 * test['accuracy']:.1f}" if test else "",
        drawn.run.folder.name,
    ]


def _search_row(run: RunRecord, place: str) -> list[str]:
    rung = "" if run.done else "ended after the rung" if len(run.epochs) >= run.rung else "not finished"
    accuracies = [100 * line["val"]["accuracy"] for line in run.epochs]
    return [
        arm_words(run.arm),
        str(run.seed),
        f"{run.rate:g}",
        length_words(str(run.plan["recipe"]["epochs"])),
        run.state or rung,
        f"{max(accuracies):.1f}" if accuracies else "",
        f"{place}/{run.folder.name}",
    ]


def train_command(folder: Path) -> str:
    """The command that trains the run in `folder` once more, by what its plan has that is no default; "" if none can.

    A flag cannot say everything, and plans of another version cannot be read: what comes back must be the same plan.
    """
    try:
        plan = read_plan(folder).model_copy(update={"facts": ResolvedFacts()})
        flags: dict[str, Any] = {}
        for names in (SETS_DEFAULTS, fields()):
            usual = resolve_settings({"source": plan.data.source, **flags}).plan
            flags |= {name: value for name in names if (value := _value(plan, name)) != _value(usual, name)}
        words = {name: value if isinstance(value, bool) else _flag_words(value) for name, value in flags.items()}
        if resolve_settings({"source": plan.data.source, **words}).plan != plan:
            return ""
    except HeadstartError:
        return ""
    told = [f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
            for name, value in words.items()]  # fmt: skip
    return " ".join(["headstart train", shlex.quote(plan.data.source), *told])


def _value(plan: RunConfig, name: str) -> Any:
    return getattr(getattr(plan, fields()[name][0]), name)


def _flag_words(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def environment(drawn: Iterable[PlottedRun]) -> list[tuple[str, str]]:
    """Where everything came from, and on what it ran; where runs differ, every value that is there."""
    found: dict[str, list[str]] = {}
    for run in drawn:
        content = read_json(run.run.folder / "plan.json")
        for name, value in _origins(run, content["plan"], content["environment"]).items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return [(name, " · ".join(values)) for name, values in found.items()]


def _origins(run: PlottedRun, plan: dict[str, Any], machine: dict[str, Any]) -> dict[str, str]:
    facts, start = plan["facts"], plan["arm"]["start"]
    weights, licence = facts["weights_sha256"], _licence(run)
    return {
        "data": plan["data"]["source"],
        "fingerprint of the data": facts["fingerprint"],
        "photos": ", ".join(f"{name} {count:,}" for name, count in facts["counts"].items()),
        "classes": ", ".join(f"{isolated(name)} {count:,}" for name, count in facts["images"].items()),
        **({f"sha256 of {start}": weights} if weights else {}),
        **({f"licence of {start}": licence} if licence else {}),
        **{name: str(value) for name, value in machine.items()},
    }


def _licence(run: PlottedRun) -> str:
    """Of the weights that a run began from, as its model says it; "" where none is known."""
    config = run.run.folder / "model" / "config.json"
    return str(read_json(config)["pretrained_cfg"].get("license") or "") if config.exists() else ""
