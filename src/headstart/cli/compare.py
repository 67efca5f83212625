"""The command `compare`: run or resume a study and print its verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headstart.cli.app import DATA_FORMS, RUNS, Address, EngineName, Json, Log, command
from headstart.cli.options import StudyFlags, parameter, switch
from headstart.cli.render import print_study
from headstart.config.presets import PRESETS
from headstart.config.registry.starts import SOURCE_START, STARTS
from headstart.config.start_spec import start_form, start_forms
from headstart.console import ConsoleReporter
from headstart.engines.registry import EngineChoice
from headstart.errors import UsageError
from headstart.i18n import _, translated
from headstart.storage.schemas.arm import TUNING_FORMS
from headstart.telemetry.trackers.registry import require_trackers

if TYPE_CHECKING:
    from headstart.config.study_file import StudySpec

_ARM_HELP = _(
    "Arm as START[+TUNING][+HEAD][@OPTIMIZER], e.g. imagenet+frozen; repeatable. START: {starts}. The weights of "
    "{source} are trained on {data} first. TUNING: {tunings}. HEAD: linear, mlp:WIDTH.",
    starts=", ".join(start_forms()),
    source=start_form(SOURCE_START),
    data=STARTS[SOURCE_START].argument,
    tunings=", ".join(TUNING_FORMS),
)


@command(
    _("Compare arms with paired seeds and searched learning rates; print the verdict with its confidence interval."),
    sort_key=0,
)
def compare(
    source: Annotated[str | None, parameter(_("{forms:cap} [default: digits].", forms=DATA_FORMS))] = None,
    *,
    arm: Annotated[
        list[str] | None,
        parameter(_ARM_HELP, negative=""),
    ] = None,
    vary: Annotated[
        list[str] | None,
        parameter(_("Field and values as FIELD=a,b,c, with which the arms are crossed; repeatable."), negative=""),
    ] = None,
    study: Annotated[Path | None, parameter(_("study.toml to run, or folder of a study to resume."))] = None,
    config: Annotated[Path | None, parameter(_("TOML file with settings of the plan; flags override it."))] = None,
    preset: Annotated[
        str | None,
        parameter(_("Preset: {presets}; a settings file and flags override it.", presets=", ".join(PRESETS))),
    ] = None,
    runs: Annotated[Path, parameter(_("Parent of the study's folder."))] = RUNS,
    engine: EngineName = "auto",
    address: Address = "",
    log: Log = None,
    dry_run: Annotated[bool, switch(_("Check everything and print what would be done; train nothing."))] = False,
    require_winner: Annotated[bool, switch(_("Exit code 2 unless the exported model's arm is the winner."))] = False,
    json: Json = False,
    settings: StudyFlags = None,
) -> None:
    """Compare arms with paired seeds and searched learning rates; print the verdict with its confidence interval."""
    from headstart.config.study_request import build_study_spec, reject_extra_options

    chosen, trackers = EngineChoice(engine, address), require_trackers(log or ())
    varied = dict(_parse_vary(text) for text in vary or ())
    flags = settings or {}
    explicit = flags if study is None else None
    target: StudySpec | Path
    if study is not None and study.is_dir() and not dry_run:
        reject_extra_options(study, source, arm, varied, config, preset, flags)
        target = study
    else:
        target = build_study_spec(source, arm or (), varied, study, config, preset, flags)
    from headstart.experiment import compare as orchestrator

    with ConsoleReporter() as reporter:
        if dry_run and not isinstance(target, Path):
            print("\n".join(map(translated, orchestrator.describe(target, chosen, reporter, explicit=explicit))))
            return
        finished = orchestrator.compare(target, runs, chosen, reporter, explicit=explicit, trackers=trackers)
    print_study(finished.folder, finished.verdict, json)
    if require_winner:
        from headstart.experiment import best_model

        best_model.require_winner(finished.verdict)


def _parse_vary(text: str) -> tuple[str, list[str]]:
    """Parse `lr=0.1,0.01` to ("lr", ["0.1", "0.01"])."""
    name, sign, values = text.partition("=")
    if not sign or not values.strip(","):
        raise UsageError(_("--vary {text!r} has no values.", text=text), _("Write it as --vary lr=0.1,0.01."))
    return name.strip(), [value.strip() for value in values.split(",") if value.strip()]
