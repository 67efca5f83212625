"""The command `compare`: run or resume a study and print its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from headstart.cli.app import DATA_FORMS, RUNS, Address, EngineName, Json, Log, Preset, Runs, command, reporter
from headstart.cli.common_flags import COMPARE
from headstart.cli.foreign_flags import ALIASES, field_of
from headstart.cli.options import COMPARISON, DATA, StudyFlags, parameter, switch
from headstart.cli.render import print_forecast, print_study
from headstart.config.field_help import is_list
from headstart.config.new_place import NewPlace
from headstart.config.registry.starts import SOURCE_START, STARTS
from headstart.config.run_config import plan_fields
from headstart.config.start_spec import start_form, start_forms
from headstart.engines.registry import EngineChoice
from headstart.errors import UsageError
from headstart.i18n import _
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
_VARY_HELP = _(
    "Field and values as FIELD=a,b,c, with which the arms are crossed; repeatable, also for more values of a field. "
    "Each --vary milestones=... is one list of milestones."
)


@command(
    _("Compare arms with paired seeds and searched learning rates; print the verdict with its confidence interval."),
    sort_key=0,
    common=COMPARE,
    examples=(
        "headstart compare photos/ --preset quick --seeds 3 --search off",
        "headstart compare photos/ --arm scratch --arm imagenet+frozen --time-budget 1h",
    ),
)
def compare(
    source: Annotated[
        str | None,
        parameter(_("{forms:cap} [default: digits].", forms=DATA_FORMS), group=DATA, alias=ALIASES["source"]),
    ] = None,
    *,
    arm: Annotated[
        list[str] | None,
        parameter(_ARM_HELP, negative="", group=COMPARISON),
    ] = None,
    vary: Annotated[
        list[str] | None,
        parameter(_VARY_HELP, negative="", group=COMPARISON),
    ] = None,
    study: Annotated[
        Path | None, parameter(_("study.toml to run, or folder of a study to resume."), group=COMPARISON)
    ] = None,
    config: Annotated[
        Path | None, parameter(_("TOML file with settings of the plan; flags override it."), group=DATA)
    ] = None,
    preset: Preset = None,
    runs: Runs = RUNS,
    engine: EngineName = "auto",
    address: Address = "",
    log: Log = None,
    dry_run: Annotated[
        bool, switch(_("Check everything and print what would be done, as text or with --json; train nothing."))
    ] = False,
    require_winner: Annotated[bool, switch(_("Exit code 7 unless the exported model's arm is the winner."))] = False,
    json: Json = False,
    settings: StudyFlags = None,
) -> None:
    """Compare arms with paired seeds and searched learning rates; print the verdict with its confidence interval."""
    from headstart.config.study_request import build_study_spec, reject_extra_options

    if dry_run and require_winner:
        raise UsageError(_("--dry-run has no verdict for --require-winner."), _("Leave one of them out."))
    chosen, trackers = EngineChoice(engine, address), require_trackers(log or ())
    varied = _parse_vary(vary or ())
    flags = settings or {}
    explicit = flags if study is None else None
    target: StudySpec | Path
    if study is not None and study.is_dir() and not dry_run:
        reject_extra_options(study, source, arm, varied, config, preset, flags)
        target = study
    else:
        target = build_study_spec(source, arm or (), varied, study, config, preset, flags)
    from headstart.experiment import compare as orchestrator

    with reporter() as output:
        if dry_run and not isinstance(target, Path):
            print_forecast(orchestrator.forecast(target, chosen, output, explicit=explicit), json)
            return
        finished = orchestrator.compare(target, runs, chosen, output, explicit=explicit, trackers=trackers)
    print_study(finished.folder, finished.verdict, json)
    if require_winner:
        from headstart.experiment import best_model

        best_model.require_winner(finished.verdict)


def resume_study(
    folder: Path,
    engine: EngineChoice,
    trackers: Sequence[str],
    place: NewPlace | None,
    json: bool,
    more_seeds: int | None = None,
) -> None:
    """Resume the study in a folder, with `more_seeds` added to a finished one, and print its verdict."""
    from headstart.experiment import compare as orchestrator

    with reporter() as output:
        finished = orchestrator.compare(
            folder, folder.parent, engine, output, trackers=trackers, place=place, more_seeds=more_seeds
        )
    print_study(finished.folder, finished.verdict, json)


def _parse_vary(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the values by field of texts such as `lr=0.1,0.01`; a field may occur in several texts.

    Commas separate values, but not those of a field that is a list itself: each text is one value of it.
    """
    varied: dict[str, list[str]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        if not sign or not values.strip(", "):
            raise UsageError(_("--vary {text!r} has no values.", text=text), _("Write it as --vary lr=0.1,0.01."))
        _section, field = plan_fields().get(field_of(f"--{name.strip()}"), ("", None))
        parts = [values] if field is not None and is_list(field) else values.split(",")
        varied.setdefault(field_of(f"--{name.strip()}"), []).extend(part.strip() for part in parts if part.strip())
    return varied
