"""The commands `train` and `resume`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from headstart.cli.ablate import resume_ablation
from headstart.cli.app import (
    DATA_FORMS,
    RUNS,
    Address,
    EngineName,
    Json,
    Log,
    Preset,
    Runs,
    SaveEvery,
    Trust,
    command,
    is_verbose,
    reporter,
)
from headstart.cli.common_flags import TRAIN
from headstart.cli.compare import resume_study
from headstart.cli.foreign_flags import ALIASES
from headstart.cli.options import DATA, PlanFlags, parameter, switch
from headstart.cli.output import print_json, print_toml
from headstart.cli.render import print_run
from headstart.config.new_place import NewPlace
from headstart.config.plan_file import PLAN_FILE
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.start_spec import require_start
from headstart.config.stored_code import trusting
from headstart.engines.registry import EngineChoice
from headstart.errors import DataError, UsageError
from headstart.experiment.ablation_grid import ABLATION_FILE
from headstart.i18n import Message, _
from headstart.models.user_code import require_network
from headstart.telemetry.trackers.registry import require_trackers


@command(
    _("Train one run, with TensorBoard curves during training and the best model as files at the end."),
    sort_key=1,
    common=TRAIN,
    examples=(
        "headstart train photos/ --start imagenet --tuning lp-ft",
        "headstart train photos/ --network resnet34 --epochs 20 --optimizer adamw",
    ),
)
def train(
    source: Annotated[
        str | None,
        parameter(
            _("{forms:cap} [default: that of --config, or digits].", forms=DATA_FORMS),
            group=DATA,
            alias=ALIASES["source"],
        ),
    ] = None,
    *,
    config: Annotated[Path | None, parameter(_("TOML file with settings; flags override it."), group=DATA)] = None,
    preset: Preset = None,
    runs: Runs = RUNS,
    save_every: SaveEvery = None,
    log: Log = None,
    dry_run: Annotated[
        bool, switch(_("Check everything and print the plan, as TOML or with --json; train nothing."))
    ] = False,
    json: Json = False,
    settings: PlanFlags = None,
) -> None:
    """Train one run, with TensorBoard curves during training and the best model as files at the end."""
    trackers = require_trackers(log or ())
    draft = resolve_settings({"source": source, **(settings or {})}, file=config, preset=preset)
    interval = checkpoint_interval(save_every)
    from headstart.data.sources import require_source

    require_source(draft.plan.data.source)  # a wrong path is reported before the slow import of torch
    require_start(draft.plan.arm.start)
    require_network(draft.plan.network.network)
    from headstart.runs import runner

    with reporter() as output:
        if dry_run:
            runner.check(draft.plan, output)
            if json:
                print_json(draft.plan.settings())
            else:
                print_toml(draft.plan.to_toml())
            return
        for name, value, origin in draft.table(defaults=is_verbose()):
            output.say(_("  {name} = {value} ({origin})", name=name, value=value, origin=origin))
        folder = runner.run_new(draft.plan, runs, output, save_every=interval, trackers=trackers)
    print_run(folder, json)


@command(
    _("Resume an interrupted run, study or ablation; the result is bit-identical to that of an uninterrupted one."),
    sort_key=2,
)
def resume(
    folder: Annotated[Path, parameter(_("Folder of a run, of a study or of an ablation."))],
    /,
    *,
    data: Annotated[
        str | None,
        parameter(
            _("New place of the images, if they were moved: a folder, or a manifest."), alias=ALIASES["source"][1:]
        ),
    ] = None,
    force_new: Annotated[bool, switch(_("New run of the same plan in a folder beside the run."))] = False,
    more_seeds: Annotated[
        int | None, parameter(_("Of a finished study: add this number of seeds, up to its --max-seeds."))
    ] = None,
    save_every: SaveEvery = None,
    log: Log = None,
    engine: EngineName = "auto",
    address: Address = "",
    trust: Trust = False,
    json: Json = False,
) -> None:
    """Resume an interrupted run, study or ablation; the result is bit-identical to that of an uninterrupted one."""
    with trusting(trust):
        place = None if data is None else NewPlace(data)
        _resume(folder, place, force_new, more_seeds, save_every, log, EngineChoice(engine, address), json)


def _resume(
    folder: Path,
    place: NewPlace | None,
    force_new: bool,
    more_seeds: int | None,
    save_every: str | None,
    log: list[str] | None,
    engine: EngineChoice,
    json: bool,
) -> None:
    hint = _("Use the folder of a run, of a study or of an ablation.")
    if not folder.exists():
        raise DataError(_("{folder} does not exist.", folder=folder), hint)
    from headstart.analysis.status import is_study

    has_study, is_ablation = is_study(folder), (folder / ABLATION_FILE).is_file()
    if has_study or is_ablation:
        _reject(folder, {"force-new": force_new, "save-every": save_every}, _("a run"))
    if has_study:
        resume_study(folder, engine, require_trackers(log or ()), place, json, more_seeds)
        return
    _reject(folder, {"more-seeds": more_seeds is not None}, _("a study"))
    if is_ablation:
        resume_ablation(folder, engine, require_trackers(log or ()), place, json)
        return
    if not (folder / PLAN_FILE).is_file():
        raise DataError(_("{folder} is no run, study or ablation.", folder=folder), hint)
    _reject(folder, {"engine": engine.name != "auto", "address": engine.address}, _("a study or an ablation"))
    interval, trackers = checkpoint_interval(save_every), require_trackers(log or ())
    from headstart.runs import runner

    with reporter() as output:
        if force_new:
            draft, parent = runner.draft_from_run(folder, place), folder.absolute().parent
            folder = runner.run_new(draft, parent, output, save_every=interval, trackers=trackers)
        else:
            runner.resume(folder, output, save_every=interval, trackers=trackers, place=place)
    print_run(folder, json)


def _reject(folder: Path, flags: Mapping[str, object], owner: Message) -> None:
    """Raise UsageError if a flag is given that belongs to another kind of folder."""
    if invalid := [name for name, value in flags.items() if value]:
        raise UsageError(
            _("--{flag} belongs to {owner}, and {folder} is none.", flag=invalid[0], owner=owner, folder=folder),
            _("Remove the flag."),
        )
