"""Pool finished runs into one study with a verdict, such as the runs of a class in which each student has a seed.

The plans of the runs must be equal but for arm and seed; what the machine decides, such as the number of threads, may
differ. The pooled study has copies of the runs. Its protocol was declared after the training, and its verdict says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from headstart.analysis.run_records import RunRecord
from headstart.analysis.verdict import compute_verdict
from headstart.config.plan_file import differences
from headstart.config.presets import Setting
from headstart.config.run_config import SECTIONS, ArmConfig, RunConfig
from headstart.config.start_spec import content_start, start_row
from headstart.config.study_config import OPTIMIZER_FIELDS
from headstart.config.study_file import StudySpec, read_study, validate_study, write_study
from headstart.errors import DataError
from headstart.experiment import best_model
from headstart.experiment.pooled_rates import rate_origin, require_declarable_rates
from headstart.experiment.pooled_runs import LeftOut, finished_runs, foreign_runs, left_out_sentences, read_runs
from headstart.experiment.preflight import pooled_inputs
from headstart.experiment.set_ledger import StudyOnTestSet
from headstart.experiment.study_code import code_folder
from headstart.i18n import NOTHING, Message, _, join, ngettext
from headstart.metrics.registry import DEFAULT_METRIC, METRICS, is_study_metric
from headstart.models.user_code import CODE_FOLDER
from headstart.optim.registry import OPTIMIZERS
from headstart.report import page
from headstart.runs.reuse import copy_files, write_copied_plan
from headstart.storage import files, folders, run_index
from headstart.storage.files import JsonData
from headstart.storage.run_files import CODE_FILES, SEARCH_FILE, VARIANTS_FILE, VERDICT_FILE, copy_folder
from headstart.storage.schemas.arm import FULL, USUAL_HEAD
from headstart.storage.schemas.ledger import LedgerUse
from headstart.storage.schemas.search import SearchResults
from headstart.storage.schemas.study import RunRole, Stage, VariantsFile
from headstart.storage.schemas.verdict import Verdict
from headstart.telemetry import seed_means
from headstart.text import join_first

MIN_ARMS = 2
MAX_DIFFERENCES_SHOWN = 3
_FACTS_OF_A_RUN = {"split_counts", "weights_sha256", "mean", "std"}  # that follow from arm and seed
_ARM_FIELDS = {"arm": set(ArmConfig.model_fields), "recipe": {"optimizer", "lr", "weight_decay", "nesterov"}}


@dataclass(frozen=True)
class PooledStudy:
    """A pooled study with its verdict, the runs that do not fit, and what is wrong with the ledger of test sets."""

    folder: Path
    verdict: Verdict
    left_out: tuple[LeftOut, ...]
    ledger_fault: Message = NOTHING


def pool(paths: Sequence[Path], parent: Path, protocol: Mapping[str, Setting], *, trust: bool = False) -> PooledStudy:
    """Make a study of finished runs, with its verdict and report.

    Args:
        paths: Folders of runs, or folders that contain them, at any depth.
        parent: Folder in which the folder of the study is made.
        protocol: Rules of the verdict: margin, target, primary; None means not set.
        trust: Accept runs that are not in this user's index; the verdict says so.

    Raises:
        DataError: There are no runs, or fewer than two arms have runs with the same seed.
        UsageError: A rule is invalid.
    """
    runs, left_out = read_runs(paths)
    runs, others = finished_runs(runs)
    left_out += others
    if not runs:
        raise _no_runs(left_out)
    runs, others = _with_equal_plans(runs)
    left_out += others
    arms = _arms(runs)
    runs, others = _paired(runs, arms)
    left_out += others
    count = sum(not run.is_trial for run in left_out)
    spec = _specification(runs, arms, {**protocol, "pooled_left_out": count})
    foreign = foreign_runs(runs, trust=trust)
    folder = folders.make_folder(parent, f"{folders.stamp()}_pool-{folders.slug(Path(spec.plan.data.source).stem)}")
    copies = _copy_runs(runs, arms, spec, folder, others=foreign)
    inputs = {variant.name: pooled_inputs(variant.arm, copies[variant.name].plan) for variant in spec.variants}
    if sha256 := runs[0].plan.facts.network_sha256:
        copy_folder(runs[0].folder, CODE_FOLDER, folder, code_folder(sha256), CODE_FILES)
    files.write_json(folder / VARIANTS_FILE, VariantsFile(variants=inputs).to_json())
    files.write_json(folder / SEARCH_FILE, SearchResults().to_json())
    write_study(folder, spec)
    spec = read_study(folder)
    run_index.add(folder)
    on_test = StudyOnTestSet.of_study(folder, spec.declared_hash)
    verdict = compute_verdict(folder, spec, [], studies_on_test_set=on_test.place)
    best_model.export(folder, verdict)
    fault = on_test.enter(LedgerUse.VERDICT)
    files.write_json(folder / VERDICT_FILE, verdict.to_json())
    seed_means.rebuild_mean_runs(folder, spec)
    page.write_page(folder)
    return PooledStudy(folder, verdict, tuple(left_out), fault)


def _no_runs(left_out: Sequence[LeftOut]) -> DataError:
    """Return the error if all runs are left out, with the reasons."""
    reasons = join(left_out_sentences(left_out)[:MAX_DIFFERENCES_SHOWN])
    return DataError(
        _("There are no runs that can be pooled. {reasons}", reasons=reasons), _("Name folders of finished runs.")
    )


def _shared(plan: RunConfig) -> dict[str, JsonData]:
    """Return what the plans of a study have in common: all but arm, seed, and what the machine decides."""
    content = plan.identity()
    varying = {**_ARM_FIELDS, "seeding": {"seed"}, "facts": _FACTS_OF_A_RUN}
    for section, names in varying.items():
        values = content[section]
        assert isinstance(values, dict)  # noqa: S101 - a section of the plan
        content[section] = {name: value for name, value in values.items() if name not in names}
    del content["machine"]
    return content


def _with_equal_plans(runs: Sequence[RunRecord]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Return the runs whose plans are those of most runs, and the others with the differences."""
    shared = {run.hash: _shared(run.plan) for run in runs}
    keys = {run_hash: repr(content) for run_hash, content in shared.items()}
    usual = Counter(keys.values()).most_common(1)[0][0]
    reference = next(shared[run_hash] for run_hash in shared if keys[run_hash] == usual)
    left_out = [
        LeftOut(run.folder, _difference_words(differences(reference, shared[run.hash])))
        for run in runs
        if keys[run.hash] != usual
    ]
    return [run for run in runs if keys[run.hash] == usual], left_out


def _difference_words(lines: Sequence[str]) -> Message:
    """Return differences of the form `section.field: usual -> actual` in words."""
    return join_first([_in_words(line) for line in lines], MAX_DIFFERENCES_SHOWN)


def _in_words(line: str) -> Message:
    field, _unused, values = line.partition(": ")
    usual, _unused, actual = values.partition(" -> ")
    if field == "facts.network_sha256":
        return _("the code of its network differs")
    if field == "facts.fingerprint":
        return _("its images differ")
    if field == "facts.near_duplicates_sha256":
        return _("other near-duplicates of its images are kept together")
    return _("{field} is {actual}, in most runs {usual}", field=field.partition(".")[2], actual=actual, usual=usual)


def _arm_key(plan: RunConfig) -> tuple[str, ...]:
    """Return what makes two runs the same arm: content in place of paths."""
    recipe = plan.recipe
    start = content_start(plan.arm.start) if plan.facts.weights_sha256 else plan.arm.start
    return (start, plan.facts.weights_sha256, str(plan.arm.tuning), plan.arm.head, recipe.optimizer)


def _arms(runs: Sequence[RunRecord]) -> dict[tuple[str, ...], str]:
    """Return the text of each arm; random weights first, and the optimizer where arms differ in it."""
    several = len({run.plan.recipe.optimizer for run in runs}) > 1
    arms: dict[tuple[str, ...], str] = {}
    for run in sorted(runs, key=lambda run: _declaration_order(run.plan)):
        plan = run.plan
        parts = [_declared_start(run)]
        parts += [str(plan.arm.tuning)] if plan.arm.tuning != FULL else []
        parts += [plan.arm.head] if plan.arm.head != USUAL_HEAD else []
        arms.setdefault(_arm_key(plan), "+".join(parts) + (f"@{plan.recipe.optimizer}" if several else ""))
    if twice := [text for text, count in Counter(arms.values()).items() if count > 1]:
        raise DataError(
            _("Runs of {arm} have initial weights with different content.", arm=twice[0]),
            _("Rename one of the files, or pool only the runs with equal weights."),
        )
    if len(arms) < MIN_ARMS:
        raise DataError(
            _("All runs are of one arm, {arm}.", arm=next(iter(arms.values()))),
            _("Add runs with other initial weights, fine-tuning mode, head or optimizer."),
        )
    return arms


def _declared_start(run: RunRecord) -> str:
    """Return the start of a run as it was declared: a `source:` start became the folder of the run on the source."""
    declared = run.role.arm.start if run.role else ""
    return declared if declared and start_row(declared).needs_training else run.plan.arm.start


def _declaration_order(plan: RunConfig) -> tuple[bool, str, str, str, int]:
    """Return the key that orders arms: random weights first, then names, and optimizers as they are registered."""
    arm = plan.arm
    optimizer = list(OPTIMIZERS).index(plan.recipe.optimizer)
    return not start_row(arm.start).from_scratch, arm.start, str(arm.tuning), arm.head, optimizer


def _paired(runs: Sequence[RunRecord], arms: Mapping[tuple[str, ...], str]) -> tuple[list[RunRecord], list[LeftOut]]:
    """Return the runs of the seeds that every arm has, with equal learning rates in an arm, and the others."""
    kept: dict[tuple[str, ...], dict[int, RunRecord]] = {key: {} for key in arms}
    left_out: list[LeftOut] = []
    for key, by_seed in kept.items():
        of_arm = [run for run in runs if _arm_key(run.plan) == key]
        usual = Counter(tuple(_rates(run).items()) for run in of_arm).most_common(1)[0][0]
        for run in of_arm:
            changes = differences(dict(usual), _rates(run))
            if changes:
                words = _difference_words(changes)
                reason = _("{differences} ({origin})", differences=words, origin=rate_origin(run))
                left_out.append(LeftOut(run.folder, reason))
            elif run.seed in by_seed:
                reason = _("{other} has seed {seed} of its arm", other=by_seed[run.seed].folder, seed=run.seed)
                left_out.append(LeftOut(run.folder, reason))
            else:
                by_seed[run.seed] = run
    common = set[int].intersection(*(set(by_seed) for by_seed in kept.values()))
    if not common:
        listed = "; ".join(f"{arms[key]}: {', '.join(map(str, sorted(by_seed)))}" for key, by_seed in kept.items())
        raise DataError(
            _("The arms have no seed in common ({seeds}).", seeds=listed),
            _("Runs are compared in pairs of one seed: add runs of the other arm with the same --seed."),
        )
    fitting = [run for by_seed in kept.values() for run in by_seed.values()]
    left_out += [
        LeftOut(run.folder, _("not every arm has seed {seed}", seed=run.seed))
        for run in fitting
        if run.seed not in common
    ]
    return [run for run in fitting if run.seed in common], left_out


def _rates(run: RunRecord) -> dict[str, JsonData]:
    """Return the settings that may differ between arms, but not within one."""
    recipe = run.plan.recipe
    return {"recipe.lr": recipe.lr, "recipe.weight_decay": recipe.weight_decay, "recipe.nesterov": recipe.nesterov}


def _specification(
    runs: Sequence[RunRecord], arms: Mapping[tuple[str, ...], str], protocol: Mapping[str, Setting]
) -> StudySpec:
    """Return the study of which the runs are, as far as their plans say it."""
    seeds = sorted({run.seed for run in runs})
    first = min((run for run in runs if _arm_key(run.plan) == next(iter(arms))), key=lambda run: run.seed)
    plan = first.plan
    metric = plan.recipe.select if is_study_metric(METRICS[plan.recipe.select]) else DEFAULT_METRIC
    base = plan.changed(start=ArmConfig().start, tuning=str(FULL), head=USUAL_HEAD, fraction=1.0, seed=seeds[0])
    rates = {key: _rates(next(run for run in runs if _arm_key(run.plan) == key)) for key in arms}
    equal = [name for name in OPTIMIZER_FIELDS if len({of_arm[f"recipe.{name}"] for of_arm in rates.values()}) == 1]
    rules: dict[str, Setting] = {
        "arms": tuple(arms.values()),
        "seeds": len(seeds),
        "pooled_seeds": tuple(seeds),
        "fractions": (plan.data.fraction,),
        "metric": metric,
        "search": "off",
        "fixed_fields": tuple(equal),
        **{name: value for name, value in protocol.items() if value is not None},
    }
    spec = validate_study(rules, {name: getattr(base, name).model_dump() for name in SECTIONS})
    examples = {_arm_key(run.plan): run for run in runs}
    require_declarable_rates(spec, [examples[key] for key in arms])
    return spec


def _copy_runs(
    runs: Sequence[RunRecord],
    arms: Mapping[tuple[str, ...], str],
    spec: StudySpec,
    folder: Path,
    *,
    others: Collection[Path],
) -> dict[str, RunRecord]:
    """Copy the runs into the study, with their role in it; return one run of each variant by its name.

    `others` has the folders of the runs that somebody else trained.
    """
    variants = dict(zip(arms, spec.variants, strict=True))
    budget, fraction = str(spec.budgets[-1]), spec.largest_fraction
    examples: dict[str, RunRecord] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        arm = variants[_arm_key(run.plan)].arm
        target = folders.make_folder(folder, run.folder.name)
        copy_files(run.folder, target)
        role = RunRole(arm=arm, stage=Stage.MAIN, budget=budget, fraction=fraction)
        write_copied_plan(target, run, role, of_others=run.folder in others or run.of_others)
        examples.setdefault(arm.name, run)
    return examples


def summary(study: PooledStudy) -> list[Message]:
    """Return how many seeds and arms were pooled, which runs were left out, and what is wrong with the ledger."""
    pooled = ngettext(
        "{seeds} of {count} arm were pooled.",
        "{seeds} of {count} arms were pooled.",
        len(study.verdict.arms),
        seeds=ngettext("{count:,} seed", "{count:,} seeds", study.verdict.n),
    )
    faults = [study.ledger_fault] if study.ledger_fault else []
    return [pooled, *left_out_sentences(study.left_out), *faults]
