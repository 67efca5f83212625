"""The command `compare`: run or resume a study and print its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from headstart.cli.app import DATA_FORMS, RUNS, Address, EngineName, Json, app
from headstart.cli.options import switch, with_study_flags
from headstart.cli.render import print_study
from headstart.config.registry.starts import SOURCE_START, STARTS
from headstart.config.start_spec import require_start, start_form, start_forms
from headstart.console import ConsoleReporter
from headstart.engines.registry import require_listener, validate_engine_name
from headstart.errors import UsageError

if TYPE_CHECKING:
    from headstart.config.study_file import StudySpec
    from headstart.storage.schemas.verdict import Verdict


_ARM_HELP = (
    "Arm as START[+TUNING][+HEAD][@OPTIMIZER], e.g. imagenet+frozen; repeatable. "
    f"START: {', '.join(start_forms())}. "
    f"The weights of {start_form(SOURCE_START)} are trained on {STARTS[SOURCE_START].argument} first. "
    "TUNING: full, frozen, lp-ft, stages:N. HEAD: linear, mlp:WIDTH."
)


@app.command(sort_key=0)
@with_study_flags
def compare(
    source: Annotated[str | None, Parameter(help=f"{DATA_FORMS} [default: digits].")] = None,
    *,
    arm: Annotated[
        list[str] | None,
        Parameter(help=_ARM_HELP, negative=""),
    ] = None,
    vary: Annotated[
        list[str] | None,
        Parameter(help="Field and values as FIELD=a,b,c, with which the arms are crossed; repeatable.", negative=""),
    ] = None,
    study: Annotated[Path | None, Parameter(help="study.toml to run, or folder of a study to resume.")] = None,
    config: Annotated[Path | None, Parameter(help="TOML file with settings of the plan; flags override it.")] = None,
    preset: Annotated[
        str | None, Parameter(help="Preset: demo, digits, quick or lab; a settings file and flags override it.")
    ] = None,
    runs: Annotated[Path, Parameter(help="Parent of the study's folder.")] = RUNS,
    engine: EngineName = "auto",
    address: Address = "",
    dry_run: Annotated[bool, switch("Check everything and print what would be done; train nothing.")] = False,
    require_winner: Annotated[bool, switch("Exit code 2 unless the exported model's arm is the winner.")] = False,
    json: Json = False,
    **settings: Any,
) -> None:
    """Compare arms with paired seeds and searched learning rates; print the verdict with its confidence interval."""
    from headstart.config.study_file import read_study
    from headstart.config.study_request import build_study_spec, reject_extra_options

    validate_engine_name(engine, address)
    varied = dict(_parse_vary(text) for text in vary or ())
    flags = {name: value for name, value in settings.items() if value is not None}
    spec = verdict = None
    if study is not None and study.is_dir() and not dry_run:
        reject_extra_options(study, source, arm, varied, config, preset, flags)
        folder, verdict = study, _finished_verdict(study)
    else:
        spec = build_study_spec(source, arm or (), varied, study, config, preset, settings)
        _require_inputs(spec)
    if verdict is None:
        require_listener(address)
        from headstart.engines import factory
        from headstart.experiment import planning
        from headstart.experiment.study import run_study

        with ConsoleReporter() as reporter:
            if spec is not None:
                resolved = planning.check_inputs_and_choose_threads(spec, engine, reporter)
                named = flags if study is None else None
                if dry_run:
                    print("\n".join(planning.describe_plan(resolved, named, reporter, engine)))
                    return
                folder = planning.begin_within_time_budget(resolved, named, runs, reporter, engine)
            with factory.open_engine(engine, read_study(folder).plan, reporter, address) as run_engine:
                verdict = run_study(folder, run_engine, reporter)
    print_study(folder, verdict, json)
    if require_winner:
        from headstart.experiment import best_model

        best_model.require_winner(verdict)


def _finished_verdict(study: Path) -> Verdict | None:
    """Return and announce the verdict of a finished study; None for a study with work left."""
    from headstart.analysis.status import complete_verdict
    from headstart.config.study_file import read_study

    if verdict := complete_verdict(study, read_study(study)):
        with ConsoleReporter() as reporter:
            reporter.say(f"The study {study} is finished; this is its verdict.")
    return verdict


def _require_inputs(spec: StudySpec) -> None:
    """Raise the error of data or weights that do not exist, before the slow import of torch."""
    from headstart.data.sources import require_source

    require_source(spec.plan.data.source)
    for variant in spec.variants:
        start = variant.plan(spec.plan).arm.start
        require_start(start, in_study=True)


def _parse_vary(text: str) -> tuple[str, list[str]]:
    """Parse `lr=0.1,0.01` to ("lr", ["0.1", "0.01"])."""
    name, sign, values = text.partition("=")
    if not sign or not values.strip(","):
        raise UsageError(f"--vary {text!r} has no values.", "Write it as --vary lr=0.1,0.01.")
    return name.strip(), [value.strip() for value in values.split(",") if value.strip()]
