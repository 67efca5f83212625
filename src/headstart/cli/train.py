"""The commands `train` and `resume`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    command,
    is_verbose,
    reporter,
)
from headstart.cli.common_flags import TRAIN
from headstart.cli.compare import compare
from headstart.cli.foreign_flags import ALIASES
from headstart.cli.options import DATA, PlanFlags, parameter, switch
from headstart.cli.render import print_run
from headstart.config.resolve import checkpoint_interval, resolve_settings
from headstart.config.start_spec import require_start
from headstart.errors import DataError, UsageError
from headstart.i18n import _
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
    dry_run: Annotated[bool, switch(_("Check everything and print the plan as TOML; train nothing."))] = False,
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
    from headstart.runs import runner

    with reporter() as output:
        if dry_run:
            runner.check(draft.plan, output)
            print(draft.plan.to_toml(), end="")
            return
        for name, value, origin in draft.table(defaults=is_verbose()):
            output.say(_("  {name} = {value} ({origin})", name=name, value=value, origin=origin))
        folder = runner.run_new(draft.plan, runs, output, save_every=interval, trackers=trackers)
    print_run(folder, json)


@command(
    _("Resume an interrupted run or study; the result is bit-identical to that of an uninterrupted one."), sort_key=2
)
def resume(
    folder: Annotated[Path, parameter(_("Folder of a run or of a study."))],
    /,
    *,
    force_new: Annotated[bool, switch(_("New run of the same plan in a folder beside the run."))] = False,
    save_every: SaveEvery = None,
    log: Log = None,
    engine: EngineName = "auto",
    address: Address = "",
    json: Json = False,
) -> None:
    """Resume an interrupted run or study; the result is bit-identical to that of an uninterrupted one."""
    if not folder.exists():
        raise DataError(_("{folder} does not exist.", folder=folder), _("Use the folder of a run or of a study."))
    if (folder / "study.toml").is_file():
        flags = (("force-new", force_new), ("save-every", save_every))
        if invalid := [name for name, value in flags if value]:
            raise UsageError(
                _("--{flag} belongs to a run, and {folder} is a study.", flag=invalid[0], folder=folder),
                _("Remove the flag."),
            )
        compare(study=folder, engine=engine, address=address, log=log, json=json)
        return
    if not (folder / "plan.json").exists():
        raise DataError(
            _("{folder} is neither a run nor a study.", folder=folder), _("Use the folder of a run or of a study.")
        )
    if engine != "auto" or address:
        raise UsageError(_("--engine belongs to a study, and {folder} is a run.", folder=folder), _("Remove the flag."))
    interval, trackers = checkpoint_interval(save_every), require_trackers(log or ())
    from headstart.runs import runner

    with reporter() as output:
        if force_new:
            draft, parent = runner.draft_from_run(folder), folder.absolute().parent
            folder = runner.run_new(draft, parent, output, save_every=interval, trackers=trackers)
        else:
            runner.resume(folder, output, save_every=interval, trackers=trackers)
    print_run(folder, json)
